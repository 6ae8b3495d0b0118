"""What decoding may take: memory and time are known or bounded, and whoever waits can leave."""

import struct
import threading
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from analysis.errors import Cancelled
from models.data.decoding import budget, decode
from models.data.images import list_notes, open_image
from tests.unit.models.data.made_pictures import JPEG, PICTURE, PNG, check_refused, encode, png_chunk, save


def png_header(width: int, height: int) -> bytes:
    """The start of a grey 8-bit PNG: what a reader sees before it decodes anything."""
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


@pytest.mark.parametrize("size", [(20_000, 20_000), (9_000, 9_000), (2**31 - 1, 2**31 - 1)])
def test_huge_pictures_are_refused_before_they_are_decoded(tmp_path, size):
    # The data would decode to nothing: an attempt ends in "damaged" instead.
    path = save(tmp_path, png_header(*size) + png_chunk(b"IDAT", zlib.compress(bytes(100))) + png_chunk(b"IEND", b""))
    tracemalloc.start()
    check_refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_jpegs_too_large_for_the_memory_are_decoded_at_a_fraction_and_say_so(tmp_path, monkeypatch):
    image = Image.linear_gradient("L").resize((1600, 1200)).convert("RGB")
    jpeg, png = save(tmp_path, encode(image, "JPEG"), "x.jpg"), save(tmp_path, encode(image, "PNG"))
    assert open_image(jpeg).size == (1600, 1200) and not list_notes(open_image(jpeg))
    for most, size in ((1_000_000, (800, 600)), (200_000, (400, 300)), (30_000, (200, 150))):
        monkeypatch.setattr(decode, "MAX_PIXELS", most)
        opened = open_image(jpeg)
        assert opened.size == size
        np.testing.assert_allclose(np.asarray(opened, int), np.asarray(image.resize(size), int), atol=6)
        (note,) = list_notes(opened)
        assert f"{size[0]} x {size[1]}" in note and "1600 x 1200" in note
        check_refused(png, "1600 x 1200", "2 Mpx")
    monkeypatch.setattr(decode, "MAX_PIXELS", 10_000)
    check_refused(jpeg)


@pytest.mark.parametrize("size", [(16320, 12240), (40000, 40000)], ids=str)
def test_jpegs_of_200_megapixels_are_decoded_at_a_fraction_too(tmp_path, size):
    """Only their header is here: whether the picture is refused for its size, or the decoder misses the rest."""
    data = bytearray(encode(Image.new("L", (16, 16)), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", *size[::-1])
    check_refused(save(tmp_path, bytes(data[:-3]), "x.jpg"))


@pytest.mark.parametrize("compressed", [True, False])
def test_text_bombs_are_refused(tmp_path, compressed):
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=compressed)
    path = save(tmp_path, encode(PICTURE, "PNG", pnginfo=info))
    if not compressed:  # 1 MB of plain text is no bomb
        assert open_image(path).size == PICTURE.size
        return
    assert path.stat().st_size < 10_000
    check_refused(path)


def test_what_decoding_takes_is_known_before_it_begins(tmp_path, monkeypatch):
    """A picture over the limit of bytes is refused unread, whatever its format takes for a pixel."""
    files = {
        "PNG": PNG,
        "WEBP": encode(PICTURE, "WEBP"),
        "AVIF": encode(PICTURE, "AVIF"),
        "GIF": encode(PICTURE, "GIF"),
    }
    monkeypatch.setattr(decode, "MAX_BYTES", 14 * 12 * 4)
    monkeypatch.setattr(Image.Image, "load", None)
    for kind, data in files.items():
        check_refused(save(tmp_path, data, kind))


def test_scans_that_take_too_long_are_refused_unread(tmp_path, monkeypatch):
    path = save(tmp_path, encode(PICTURE, "JPEG", progressive=True), "x.jpg")
    open_image(path)
    monkeypatch.setattr(decode, "MAX_SCAN_PIXELS", 14 * 12 * 5)
    check_refused(path)
    assert open_image(save(tmp_path, JPEG, "y.jpg")).size == PICTURE.size


def test_few_pictures_are_decoded_at_once(tmp_path, monkeypatch):
    """Four threads, room for two: never more of them inside a decoder."""
    room, inside, most = budget.Room(2 * 14 * 12 * 8), [], []
    monkeypatch.setattr(decode, "ROOM", room)
    both = threading.Barrier(2)

    def convert(image, *options):
        inside.append(threading.get_ident())
        most.append(len(inside))
        both.wait(10)
        inside.remove(threading.get_ident())
        return image, ""

    monkeypatch.setattr(decode, "to_8_bit", convert)
    path = save(tmp_path, PNG)
    threads = [threading.Thread(target=open_image, args=(path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(most) == 4 and max(most) == 2


class Enough(Exception):
    pass


def stop(done, total):
    raise Enough


def test_waiting_for_a_turn_can_be_cancelled(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "FIRST_REPORT_SECONDS", 0)
    room = budget.Room(1000)
    monkeypatch.setattr(decode, "ROOM", room)
    path = save(tmp_path, PNG)
    started = time.monotonic()
    with pytest.raises(Enough):
        open_image(path, progress=stop)
    assert time.monotonic() - started < 5
    with room.lend(1000, lambda: None):  # the one that gave up does not stand in line
        pass


def test_decoding_can_be_cancelled_between_two_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "FIRST_REPORT_SECONDS", 0)
    reads = []

    def report(done, total):
        reads.append((done, total))
        if len(reads) == 3:
            raise Enough

    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8))
    for kind in ("PNG", "JPEG", "BMP"):
        reads.clear()
        path = save(tmp_path, encode(noise, kind))
        with pytest.raises(Enough):
            open_image(path, progress=report)
        assert len(reads) == 3 and all(total <= path.stat().st_size for _, total in reads)


def test_slow_pictures_of_every_kind_are_opened_all_the_same(tmp_path, monkeypatch):
    """Each reports to its very end, though some decoders have closed their file by then."""
    files = {kind: encode(PICTURE.convert("RGBA"), kind) for kind in ("PNG", "WEBP", "AVIF", "TIFF", "GIF")}
    files["grey"] = encode(Image.fromarray(np.float32([[0, 1]])), "TIFF")
    files["packed"] = encode(Image.fromarray(np.float32([[0, 1]])), "TIFF", compression="tiff_lzw")
    files |= {"JPEG": JPEG, "BMP": encode(PICTURE, "BMP"), "PPM": encode(PICTURE, "PPM")}
    monkeypatch.setattr(budget, "FIRST_REPORT_SECONDS", -1)
    for kind, data in files.items():
        path, reports = save(tmp_path, data, kind), []
        open_image(path, progress=lambda done, total, reports=reports: reports.append((done, total)))
        assert reports and all(0 <= done <= total for done, total in reports), kind


def test_a_file_that_keeps_its_decoder_busy_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "MAX_SECONDS", -1)
    check_refused(save(tmp_path, PNG))


def test_whoever_waits_for_room_is_asked_and_leaves_the_line_by_giving_up():
    def give_up():
        raise Cancelled

    room = budget.Room(10)
    with room.lend(8, give_up):
        with pytest.raises(Cancelled), room.lend(3, give_up):
            pytest.fail("there was no room")
        with room.lend(2, give_up):  # neither asked nor behind the one who gave up
            pass
    with room.lend(10, give_up):
        pass
