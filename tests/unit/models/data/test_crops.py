"""Reading several pictures at once gives what reading one after the other gives, in order, and cleans up."""

import io
import threading
import warnings
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageOps

from analysis.errors import UserError
from models.data import crops
from models.data.crops import read_square, read_squares
from models.data.decoding import budget, decode
from models.data.decoding.formats import ImageError
from models.data.images import open_image
from tests.sentences import refused


@pytest.fixture
def photograph(chelsea):
    return chelsea.resize((1203, 800), Image.Resampling.LANCZOS)


def full_size(path, side):
    """What a square is, without any short cut."""
    fitted = ImageOps.fit(open_image(path).convert("RGB"), (side, side), Image.Resampling.BILINEAR)
    return np.asarray(fitted).transpose(2, 0, 1)


@pytest.mark.parametrize("side", [32, 64, 224])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_reduced_decoding_is_close_to_full_decoding(tmp_path, photograph, suffix, side):
    photograph.save(tmp_path / f"cat{suffix}")
    square = read_square(tmp_path / f"cat{suffix}", side)
    difference = np.abs(square.astype(int) - full_size(tmp_path / f"cat{suffix}", side))
    assert square.shape == (3, side, side) and square.dtype == np.uint8
    assert difference.mean() < 2 and difference.max() <= 16


@pytest.mark.parametrize("size", [(8, 8), (20, 12), (100, 70)])
def test_small_pictures_lose_nothing(tmp_path, size):
    pixels = np.random.default_rng(0).integers(256, size=(size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert np.array_equal(read_square(tmp_path / "x.png", 64), full_size(tmp_path / "x.png", 64))


def test_jpegs_are_decoded_small_upright_and_in_colour(tmp_path, photograph, monkeypatch):
    sizes = []

    def opening(*given, **options):
        image = open_image(*given, **options)
        sizes.append(image.size)
        return image

    monkeypatch.setattr(crops, "open_image", opening)
    exif = Image.Exif()
    exif[0x112] = 6  # turned by a quarter
    for name, picture, options in (
        ("plain.jpg", photograph, {}),
        ("turned.jpg", photograph, {"exif": exif}),
        ("grey.jpg", photograph.convert("L"), {}),
        ("print.jpg", photograph.convert("CMYK"), {}),
    ):
        picture.save(tmp_path / name, **options)
        difference = np.abs(read_square(tmp_path / name, 64).astype(int) - full_size(tmp_path / name, 64))
        assert difference.mean() < 1.5, name
    assert sizes == [(301, 200), (200, 301), (301, 200), (301, 200)]


@contextmanager
def opened(path, log):
    log.append(("open", path.name))
    if path.name.startswith("locked"):
        raise ImageError(f"{path.name} is damaged inside the zip.")
    try:
        yield path
    finally:
        log.append(("close", path.name))


def make_files(tmp_path, count):
    """Pictures whose colour is their number; every other one is large enough for a thread of its own."""
    for i in range(count):
        if i % 10 == 3:
            (tmp_path / f"broken{i}.png").write_bytes(b"no picture")
        elif i % 10 != 7:
            Image.new("RGB", (20, 20) if i % 2 else (90, 90), (i, 0, 0)).save(
                tmp_path / f"fine{i}.png", compress_level=0
            )
    assert (tmp_path / "fine0.png").stat().st_size > crops._SMALL_BYTES > (tmp_path / "fine1.png").stat().st_size
    names = {3: "broken{}.png", 7: "locked{}.png"}
    return [tmp_path / names.get(i % 10, "fine{}.png").format(i) for i in range(count)]


def test_order_is_kept_and_problems_are_in_their_place(tmp_path):
    log = []
    files = make_files(tmp_path, 100)
    results = list(read_squares([partial(opened, path, log) for path in files], 8))
    for i, (path, result) in enumerate(zip(files, results, strict=True)):
        if path.name.startswith("fine"):
            assert (result[0] == i).all()
        else:
            assert isinstance(result, ImageError) and path.name in str(result)
    names = [path.name for path in files]
    assert [name for what, name in log if what == "open"] == names
    assert sorted(name for what, name in log if what == "close") == sorted(n for n in names if "locked" not in n)


def test_only_a_few_files_are_open_at_once(tmp_path):
    log, most = [], 0
    for _ in read_squares([partial(opened, path, log) for path in make_files(tmp_path, 100)], 8):
        most = max(most, sum(1 if what == "open" else -1 for what, name in log if "locked" not in name))
    assert 1 < most <= crops.MAX_THREADS * crops._WAITING_PER_THREAD + 1


def test_leaving_early_closes_everything(tmp_path):
    log, before, filters = [], threading.active_count(), list(warnings.filters)
    reading = read_squares([partial(opened, path, log) for path in make_files(tmp_path, 50)], 8)
    next(reading)
    reading.close()
    started = [name for what, name in log if what == "open" and "locked" not in name]
    assert sorted(started) == sorted(name for what, name in log if what == "close") and len(started) < 50
    assert threading.active_count() == before and warnings.filters == filters


def test_leaving_early_begins_no_further_picture(tmp_path, monkeypatch):
    """All that wait are cancelled before the ones at work are waited for: these end only when that is done."""
    begun, may_end, cancel = threading.Semaphore(0), threading.Event(), Future.cancel

    def read(path, **options):
        begun.release()
        assert may_end.wait(5)

    def cancel_and_count(job):
        if not cancel(job):
            return False
        cancelled.append(job)
        if len(cancelled) == 4:
            may_end.set()
        return True

    cancelled = []
    monkeypatch.setattr(crops, "MAX_THREADS", 2)
    monkeypatch.setattr(crops, "_SMALL_BYTES", 0)
    monkeypatch.setattr(crops, "read_square", read)
    monkeypatch.setattr(Future, "cancel", cancel_and_count)

    @contextmanager
    def refuse():
        assert begun.acquire(timeout=60) and begun.acquire(timeout=60)
        raise UserError("too much")
        yield

    monkeypatch.setattr(crops.os, "sched_getaffinity", lambda process: range(2))
    (tmp_path / "a.png").write_bytes(b"x" * 100)
    openers = [partial(opened, tmp_path / "a.png", [])] * 6 + [refuse]
    with pytest.raises(UserError, match="too much"):
        list(read_squares(openers, 8))
    assert len(cancelled) == 4 and not begun.acquire(blocking=False)


def test_leaving_early_ends_what_is_being_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "FIRST_REPORT_SECONDS", 0)
    noise = np.random.default_rng(0).integers(256, size=(400, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "small.png")
    inside, go_on = threading.Event(), threading.Event()
    ended = []

    def opening(path, *, progress, **options):
        if path.name == "small.png":
            return open_image(path, progress=progress, **options)
        inside.set()
        go_on.wait(10)
        try:
            return open_image(path, progress=progress, **options)
        except Exception as error:
            ended.append(type(error).__name__)
            raise

    monkeypatch.setattr(crops, "open_image", opening)
    reading = read_squares([partial(opened, tmp_path / name, []) for name in ("small.png", "large.png")], 8)
    next(reading)
    assert inside.wait(10)
    threading.Timer(0.1, go_on.set).start()
    reading.close()
    assert ended == ["_LeftError"]


def test_jpegs_in_a_data_set_are_bounded_like_all_others(tmp_path, photograph, monkeypatch):
    photograph.save(tmp_path / "x.jpg", progressive=True)
    assert read_square(tmp_path / "x.jpg", 16).shape == (3, 16, 16)
    for limit in ("MAX_SCAN_PIXELS", "MAX_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(decode, limit, 1000)
            with refused("x.jpg", error=ImageError):
                read_square(tmp_path / "x.jpg", 16)


def test_bugs_are_not_taken_for_broken_pictures(tmp_path, monkeypatch):
    def fail(path, **options):
        raise ZeroDivisionError

    monkeypatch.setattr(crops, "read_square", fail)
    with pytest.raises(ZeroDivisionError):
        list(read_squares([partial(opened, path, []) for path in make_files(tmp_path, 3)], 8))


def test_hostile_jpegs_are_left_to_the_careful_reader(tmp_path, photograph):
    buffer = io.BytesIO()
    photograph.save(buffer, "JPEG")
    for name, data in {"short": buffer.getvalue()[:3000], "empty": b"", "text": b"\xff\xd8\xff hello"}.items():
        (tmp_path / f"{name}.jpg").write_bytes(data)
        with refused(name, error=ImageError):
            read_square(tmp_path / f"{name}.jpg", 16)
    with refused("gone.jpg", error=ImageError):
        read_square(tmp_path / "gone.jpg", 16)
