"""Pictures decoded in a process of their own: the same picture, the same sentence, and an end at any time."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest
from PIL import Image

from models.data.decoding import budget, decode
from models.data.decoding.formats import ImageError
from models.data.images import list_notes, open_image
from tests.sentences import refused

NOISE = np.random.default_rng(0).integers(0, 256, (1100, 1300, 3), dtype=np.uint8)
DEEP = np.linspace(-3, 5, 600, dtype=np.float32).reshape(20, 30)


class Enough(Exception):
    pass


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Even small pictures count as slow, and whoever waits is asked at once."""
    monkeypatch.setattr(decode, "TAKEN_WHOLE", dict.fromkeys(decode.TAKEN_WHOLE, 0))
    monkeypatch.setattr(budget, "FIRST_REPORT_SECONDS", 0)


@pytest.fixture
def children(monkeypatch):
    """The processes that are started."""
    started = []
    start = subprocess.Popen

    def note(*arguments, **options):
        started.append(start(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", note)
    return started


@pytest.mark.parametrize("kind", decode.TAKEN_WHOLE)
@pytest.mark.parametrize("picture", [Image.fromarray(NOISE), Image.fromarray(NOISE[..., 0])], ids=["RGB", "L"])
def test_the_picture_is_the_same(tmp_path, monkeypatch, children, kind, picture):
    path = tmp_path / f"그림 {os.fsdecode(bytes([0xE9]))}.{kind}"
    picture.save(path, kind)
    found = open_image(path)
    assert len(children) == 1
    monkeypatch.undo()
    here = open_image(path)
    assert found.mode == here.mode and found.tobytes() == here.tobytes()


def test_its_notes_come_along(tmp_path, children):
    Image.fromarray(DEEP).save(tmp_path / "deep.tif")
    found = open_image(tmp_path / "deep.tif")
    assert found.mode == "L" and len(list_notes(found)) == len(children) == 1


def test_a_damaged_picture_gets_the_same_sentence(tmp_path, monkeypatch, children):
    path = tmp_path / "broken.tif"
    Image.fromarray(NOISE // 64).save(path, compression="tiff_adobe_deflate")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 1000] = bytes(1000)
    path.write_bytes(data)
    with pytest.raises(ImageError) as there:
        open_image(path)
    monkeypatch.undo()
    with pytest.raises(ImageError) as here:
        open_image(path)
    assert str(there.value) == str(here.value) and len(children) == 1


def test_whoever_gives_up_ends_the_decoder(tmp_path, children):
    path = tmp_path / "x.webp"
    Image.fromarray(NOISE).save(path)

    def give_up(done, total):
        if children:
            assert (done, total) == (0, path.stat().st_size)
            raise Enough

    with pytest.raises(Enough):
        open_image(path, progress=give_up)
    assert len(children) == 1 and children[0].returncode == -signal.SIGKILL
    with budget.ROOM.lend(budget.MAX_BYTES_AT_ONCE, lambda: None):  # all its room is free again
        pass


@pytest.mark.parametrize("number", [signal.SIGXCPU, signal.SIGSEGV])
def test_a_decoder_that_is_ended_is_a_sentence(tmp_path, children, number):
    path = tmp_path / "x.webp"
    Image.fromarray(NOISE).save(path)

    def end():
        while not children:
            time.sleep(0.001)
        os.kill(children[0].pid, number)

    threading.Thread(target=end).start()
    with refused(error=ImageError):
        open_image(path)


def test_its_time_is_bounded(tmp_path):
    """A decoder that never ends is ended by the system."""
    path = tmp_path / "x.webp"
    Image.fromarray(NOISE).save(path)
    code = f"""
import itertools
from models.data.decoding import apart, budget
budget.MAX_SECONDS = 0.4
apart.decode = lambda *_: all(itertools.repeat(True))
apart.main([{str(path)!r}, ""])
"""
    ended = subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, timeout=60)
    assert ended.returncode == -signal.SIGXCPU


def test_nothing_is_left_behind(tmp_path, children):
    path = tmp_path / "x.avif"
    Image.fromarray(NOISE).save(path)
    threads = threading.active_count()
    open_image(path)
    assert threading.active_count() == threads and not psutil.pid_exists(children[0].pid)
