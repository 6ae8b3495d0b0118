"""Opening pictures: every kind becomes upright 8-bit RGB or grey, and everything else one clear sentence."""

import io
import logging
import os
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from models.data.decoding import budget, decode
from models.data.decoding.formats import FORMATS, ImageError
from models.data.images import list_notes, open_image
from models.names import make_readable

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 14, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_header(width: int, height: int) -> bytes:
    """The start of a grey 8-bit PNG: what a reader sees before it decodes anything."""
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


def save(folder, data: bytes, name: str = "x.png"):
    path = folder / name
    path.write_bytes(data)
    return path


def refused(path) -> str:
    """The message of the refusal, checked to be one sentence that names the file."""
    with pytest.raises(ImageError) as caught:
        open_image(path)
    message = str(caught.value)
    assert make_readable(path.name) in message and message.endswith(".") and "\n" not in message
    assert ". " not in message.replace(path.name, "")
    return message


PNG = encode(PICTURE, "PNG")
JPEG = encode(PICTURE, "JPEG")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"this is text", "not a picture"),
        (PNG[:8], "cut short"),
        (PNG[: len(PNG) // 2], "cut short"),
        (PNG[:60], "cut short"),
        (JPEG[: len(JPEG) * 2 // 3], "cut short"),
        (PNG[:60] + bytes(40) + PNG[100:], "damaged"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", "not a picture"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "not a picture"),
        (b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n", "not a picture"),
        (encode(PICTURE, "ICO"), "not a picture"),
    ],
    ids=["empty", "text", "signature", "half_png", "png_start", "half_jpeg", "hole", "eps", "svg", "pdf", "ico"],
)
def test_unusable_content_is_refused(tmp_path, data, words):
    assert words in refused(save(tmp_path, data))


def test_missing_files_and_folders_are_refused(tmp_path):
    assert "no file" in refused(tmp_path / "none.png")
    assert "no file" in refused(tmp_path / "zero\0byte.png")
    assert "no file" in refused(tmp_path / ("long" * 100))
    (tmp_path / "folder.png").mkdir()
    assert "not a file" in refused(tmp_path / "folder.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert "not a file" in refused(tmp_path / "pipe.png")


def test_files_over_the_byte_limit_are_refused(tmp_path):
    path = save(tmp_path, PNG)
    os.truncate(path, decode.MAX_FILE_BYTES)
    assert open_image(path).size == PICTURE.size
    os.truncate(path, decode.MAX_FILE_BYTES + 1)
    assert "at most 32 MB" in refused(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_opens_with_its_own_pixels(tmp_path, kind):
    lossy = kind in ("JPEG", "GIF", "AVIF")
    path = save(tmp_path, encode(PICTURE, kind, **({"lossless": True} if kind == "WEBP" else {})), "x.bin")
    opened = open_image(path)
    expected = np.asarray(Image.open(path).convert("RGB")) if lossy else PIXELS
    assert opened.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(opened), expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[65535, 32768, 257, 0]], np.uint16), [255, 128, 1, 0]),
        (np.array([[1, 0, 1, 0]], np.uint16), [0, 0, 0, 0]),  # nearly black, not white
        (np.array([[65535, 32768, 257, 0]], np.int32), [255, 128, 1, 0]),
        (np.array([[1, 0, 1, 0]], np.int32), [255, 0, 255, 0]),
        (np.array([[1000, 1100, 1200, 1100]], np.int32), [0, 128, 255, 128]),
        (np.array([[-(2**30), 0, 0, 2**30]], np.int32), [0, 128, 128, 255]),
        (np.array([[0.0, 129.0, 255.0, 0.0]], np.float32), [0, 129, 255, 0]),
        (np.array([[1000.0, np.nan, 2000.0, 1500.0]], np.float32), [0, 0, 255, 128]),
        (np.array([[0.5, 0.5, 0.5, 0.5]], np.float32), [128, 128, 128, 128]),
        (np.array([[7, 7, 7, 7]], np.int32), [255, 255, 255, 255]),
        (np.array([[1.0, 0.5, 0.0, 0.1]], np.float32), [255, 128, 0, 26]),
        (np.array([[65535.0, 32768.0, 0.0, 257.0]], np.float32), [255, 128, 0, 1]),
        (np.array([[-1.0, 0.0, 1.0, 1.0]], np.float32), [0, 128, 255, 255]),
        (np.array([[np.nan, np.inf, -np.inf, 1.0]], np.float32), [0, 0, 0, 255]),
        (np.array([[-3e38, 0.0, 0.0, 3e38]], np.float32), [0, 128, 128, 255]),
    ],
)
def test_deep_grey_is_scaled_to_8_bits(tmp_path, values, expected):
    for kind in ("PNG", "TIFF") if values.dtype == np.uint16 else ("TIFF",):
        opened = open_image(save(tmp_path, encode(Image.fromarray(values), kind)))
        assert opened.mode == "L"
        assert np.asarray(opened).tolist() == [expected]


def on_white(image: Image.Image) -> np.ndarray:
    rgba = np.asarray(image.convert("RGBA"), np.float64)
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


ALPHA = Image.fromarray(np.linspace(0, 255, 12 * 14, dtype=np.uint8).reshape(12, 14))
PALETTE = PICTURE.quantize(16)
TRANSPARENT = {
    "rgba": (Image.merge("RGBA", (*PICTURE.split(), ALPHA)), {}),
    "la": (Image.merge("LA", (PICTURE.convert("L"), ALPHA)), {}),
    "palette": (PALETTE, {"transparency": 3}),
    "palette_alpha": (PALETTE, {"transparency": bytes(range(0, 240, 15))}),
    "rgb_key": (PICTURE, {"transparency": tuple(int(v) for v in PIXELS[2, 3])}),
    "grey_key": (PICTURE.convert("L"), {"transparency": 99}),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparency_lies_on_white(tmp_path, name):
    image, options = TRANSPARENT[name]
    path = save(tmp_path, encode(image, "PNG", **options))
    opened = open_image(path)
    assert opened.mode == "RGB"
    with Image.open(path) as again:
        expected = on_white(again)
    np.testing.assert_allclose(np.asarray(opened), expected, atol=1)
    assert (expected == 255).all(axis=-1).any()  # something is transparent


def test_palettes_bits_and_printing_inks(tmp_path):
    opened = open_image(save(tmp_path, encode(PALETTE, "PNG")))
    np.testing.assert_array_equal(np.asarray(opened), np.asarray(PALETTE.convert("RGB")))

    bits = Image.fromarray(PIXELS[..., 0] > 127)
    opened = open_image(save(tmp_path, encode(bits, "PNG")))
    assert bits.mode == "1" and opened.mode == "L"
    np.testing.assert_array_equal(np.asarray(opened), 255 * (PIXELS[..., 0] > 127))

    ramp = Image.linear_gradient("L").resize((64, 64))
    inks = Image.merge("CMYK", (ramp, ramp.rotate(90), Image.new("L", (64, 64)), Image.new("L", (64, 64), 30)))
    opened = open_image(save(tmp_path, encode(inks, "JPEG", quality=100, subsampling=0)))
    assert opened.mode == "RGB"
    np.testing.assert_allclose(np.asarray(opened, int), np.asarray(inks.convert("RGB"), int), atol=8)


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})])
def test_animations_give_their_first_frame(tmp_path, kind, options):
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "lime", "blue")]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 3
    np.testing.assert_array_equal(np.asarray(open_image(save(tmp_path, data))), np.asarray(frames[0]))


def test_pictures_of_two_eyed_cameras_open(tmp_path):
    data = encode(PICTURE, "MPO", save_all=True, append_images=[Image.new("RGB", (5, 5))])
    path = save(tmp_path, data, "x.jpg")
    with Image.open(path) as image:
        assert image.format == "MPO"
    assert open_image(path).size == PICTURE.size


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(tmp_path, orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, encode(PICTURE, kind, exif=exif))
    opened = open_image(path)
    with Image.open(path) as image:
        expected = ImageOps.exif_transpose(image)
        assert (expected.size != PICTURE.size) == (orientation >= 5)
    np.testing.assert_array_equal(np.asarray(opened), np.asarray(expected))
    assert opened.getexif().get(0x0112, 1) == 1


def test_deep_grey_is_turned_upright_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.array([[0, 65535], [32768, 257]], np.uint16)
    opened = open_image(save(tmp_path, encode(Image.fromarray(values), "PNG", exif=exif)))
    np.testing.assert_array_equal(np.asarray(opened), [[128, 0], [1, 255]])


@pytest.mark.parametrize("size", [(1, 1), (4097, 5), (20000, 3), (3, 20000), (8192, 100)])
def test_every_pixel_is_kept(tmp_path, size):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    opened = open_image(save(tmp_path, encode(picture, "PNG")))
    np.testing.assert_array_equal(np.asarray(opened), np.asarray(picture))


@pytest.mark.parametrize("size", [(20_000, 20_000), (9_000, 9_000), (2**31 - 1, 2**31 - 1)])
def test_huge_pictures_are_refused_before_they_are_decoded(tmp_path, size):
    # The data would decode to nothing: an attempt ends in "damaged" instead.
    path = save(tmp_path, png_header(*size) + png_chunk(b"IDAT", zlib.compress(bytes(100))) + png_chunk(b"IEND", b""))
    tracemalloc.start()
    message = refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "save it smaller" in message and "pixels" in message
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
        assert "1600 x 1200 pixels (2 Mpx)" in refused(png)
    monkeypatch.setattr(decode, "MAX_PIXELS", 10_000)
    assert "save it smaller" in refused(jpeg)


@pytest.mark.parametrize(("size", "words"), [((16320, 12240), "cut short"), ((40000, 40000), "at most 256 Mpx")])
def test_jpegs_of_200_megapixels_are_decoded_at_a_fraction_too(tmp_path, size, words):
    """Only their header is here: whether the picture is refused for its size, or the decoder misses the rest."""
    data = bytearray(encode(Image.new("L", (16, 16)), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", *size[::-1])
    assert words in refused(save(tmp_path, bytes(data[:-3]), "x.jpg"))


@pytest.mark.parametrize("compressed", [True, False])
def test_text_bombs_are_refused(tmp_path, compressed):
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=compressed)
    path = save(tmp_path, encode(PICTURE, "PNG", pnginfo=info))
    if not compressed:  # 1 MB of plain text is no bomb
        assert open_image(path).size == PICTURE.size
        return
    assert path.stat().st_size < 10_000
    assert "damaged" in refused(path)


def opens_or_refuses(path) -> None:
    try:
        image = open_image(path)
    except ImageError as error:
        assert str(error).count("\n") == 0 and path.name in str(error)
    else:
        assert image.mode in ("RGB", "L") and image.width * image.height <= decode.MAX_PIXELS


STARTS = (
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"P6 ",
    b"RIFF\0\0\0\0WEBP",
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=200))
def test_random_bytes_only_raise_image_errors(tmp_path_factory, start, rest):
    opens_or_refuses(save(tmp_path_factory.getbasetemp(), start + rest, "random.png"))


EXIF = Image.Exif()
EXIF[0x0112] = 6
EXIF[0x010E] = "a description"
VALID = (
    PNG,
    encode(PICTURE, "PNG", exif=EXIF),
    encode(PALETTE, "PNG", transparency=3),
    encode(PICTURE, "JPEG", exif=EXIF),
    encode(PICTURE, "GIF"),
    encode(PICTURE, "TIFF", compression="tiff_lzw", exif=EXIF),
    encode(PICTURE, "WEBP", exif=EXIF),
    encode(PICTURE, "BMP"),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    data=st.sampled_from(VALID),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
    length=st.integers(1, 10_000),
)
def test_mutated_pictures_only_raise_image_errors(tmp_path_factory, data, changes, length):
    mutated = bytearray(data)
    for position, value in changes:
        mutated[position % len(mutated)] = value
    opens_or_refuses(save(tmp_path_factory.getbasetemp(), bytes(mutated[:length]), "mutated.png"))


def test_a_name_that_is_not_utf8_is_readable_in_the_message(tmp_path):
    path = tmp_path / os.fsdecode("사진.png".encode("cp949"))
    for content, words in (
        (b"", "사진.png is empty"),
        (b"hello", "사진.png is not a picture"),
        (None, "no file 사진.png"),
    ):
        path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
        with pytest.raises(ImageError, match=words):
            open_image(path)


def test_a_tiff_that_ends_early_shows_nothing_of_the_memory(tmp_path, caplog):
    """256 x 256 bits, of which eight bytes are in the file; libtiff leaves the rest of its buffer as it was."""
    for number, compression in ((2, "CCITT"), (3, "CCITT group 3"), (4, "CCITT group 4"), (7, "JPEG")):
        file = tiff({256: 256, 257: 256, 258: 1, 259: number, 262: 1, 273: 8, 278: 256, 279: 8})
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            message = refused(save(tmp_path, file, "x.tif"))
        assert f"{compression} compression" in message and "memory" not in message
        (record,) = caplog.records
        assert compression in record.getMessage() and "memory" in record.getMessage()


def test_two_reads_of_any_accepted_file_are_equal():
    """In processes whose memory is full of different bytes, so that a decoder that shows it is seen."""
    program = Path(__file__).with_name("picture_mutations.py")
    command = [sys.executable, program, "0", "2500"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    processes = [subprocess.Popen(command, env={**os.environ, "MALLOC_PERTURB_": p}, **pipes) for p in ("85", "170")]
    printed = [process.communicate()[0].splitlines() for process in processes]
    assert printed[0] == printed[1] and len(printed[0]) == 2500
    assert sum(" (33, 20) " in line or " (20, 33) " in line for line in printed[0]) > 400


def tiff(tags: dict[int, int | tuple[int, ...]], pixels: bytes = b"", order: str = "<") -> bytes:
    """A TIFF whose pixels begin at byte 8 and whose directory follows them."""
    pixels += bytes(-len(pixels) % 2)
    values, entries = b"", []
    base = 8 + len(pixels) + 2 + 12 * len(tags) + 4
    for tag, number in sorted(tags.items()):
        numbers = number if isinstance(number, tuple) else (number,)
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(packed) > 4:
            values, packed = values + packed, struct.pack(f"{order}I", base + len(values))
        entries.append(struct.pack(f"{order}HHI", tag, 4, len(numbers)) + packed)
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8 + len(pixels))
    return head + pixels + struct.pack(f"{order}H", len(tags)) + b"".join(entries) + bytes(4) + values


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({258: (8, 8, 8), 262: 6, 277: 3}, "YCbCr"),
        ({258: (32, 32, 32), 262: 2, 277: 3, 339: (3, 3, 3)}, "RGB, 3 bands of 32 floating-point bits"),
        ({258: (16,) * 5, 262: 2, 277: 5, 338: (0, 0)}, "5 bands of 16 bits"),
        ({258: (8,) * 7, 262: 1, 277: 7, 338: (0,) * 6}, "7 bands"),
        ({258: 64, 262: 1, 277: 1, 339: 3}, "64 floating-point bits"),
        ({258: (8, 8, 8), 262: 8, 277: 3}, "CIELab"),
        ({258: 8, 262: 1, 277: 1, 259: 34712}, "JPEG 2000 compression"),
        ({258: 8, 262: 1, 277: 1, 259: 60000}, "number 60000 compression"),
    ],
)
def test_unsupported_tiffs_say_what_they_are(tmp_path, tags, reason):
    file = tiff({256: 4, 257: 4, 259: 1, 273: 8, 278: 4, 279: 4096, **tags}, bytes(4096))
    message = refused(save(tmp_path, file, "x.tif"))
    assert "this kind of TIFF is not supported" in message and reason in message


@pytest.mark.parametrize("tags", [{50706: 1}, {254: 1, 330: 8}, {262: 32803}])
def test_raw_photographs_in_tiffs_are_called_so(tmp_path, tags):
    message = refused(save(tmp_path, tiff({256: 4, 257: 4, 258: 8, 262: 1, 273: 8, **tags}, bytes(16)), "x.dng"))
    assert "camera RAW" in message and "export it as JPEG or PNG" in message


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "lzma", "zstd"])
def test_tiffs_keep_their_pixels_in_every_compression(tmp_path, compression, order):
    for big_tiff in (False, True):
        data = encode(PICTURE, "TIFF", compression=compression, big_tiff=big_tiff)
        np.testing.assert_array_equal(np.asarray(open_image(save(tmp_path, data))), PIXELS)
    values = (np.arange(16).reshape(4, 4) * 4096).astype(f"{order}u2")
    file = tiff({256: 4, 257: 4, 258: 16, 259: 1, 262: 1, 273: 8, 278: 4, 279: 32}, values.tobytes(), order)
    expected = np.round(values.astype(float) / 257)
    np.testing.assert_array_equal(np.asarray(open_image(save(tmp_path, file))), expected)


def test_tiffs_without_all_their_strips_are_refused(tmp_path):
    whole = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 273: (8, 16), 278: 2, 279: (8, 8)}
    assert open_image(save(tmp_path, tiff(whole, bytes(range(16))))).getpixel((3, 3)) == 15
    assert "cut short" in refused(save(tmp_path, tiff({**whole, 273: 8, 279: 8}, bytes(16))))
    assert "cut short" in refused(save(tmp_path, tiff({**whole, 278: 0}, bytes(16))))
    assert "cut short" in refused(save(tmp_path, tiff({**whole, 256: 0}, bytes(16))))


def test_deep_grey_may_count_from_white_down(tmp_path):
    values = np.array([[0, 32768, 65535, 257]], "<u2")
    for bits, data in ((16, values.tobytes()), (32, values.astype("<f4").tobytes())):
        tags = {
            256: 4,
            257: 1,
            258: bits,
            259: 1,
            262: 0,
            273: 8,
            278: 1,
            279: len(data),
            339: 1 if bits == 16 else 3,
        }
        opened = open_image(save(tmp_path, tiff(tags, data)))
        assert np.asarray(opened).tolist() == [[255, 127, 0, 254]]


def test_unsigned_32_bits_are_not_taken_for_negative(tmp_path):
    data = np.array([[0, 2**31, 2**32 - 1, 2**30]], "<u4").tobytes()
    opened = open_image(
        save(tmp_path, tiff({256: 4, 257: 1, 258: 32, 259: 1, 262: 1, 273: 8, 278: 1, 279: 16}, data))
    )
    assert np.asarray(opened).tolist() == [[0, 128, 255, 64]]


def test_what_was_done_to_deep_grey_is_said(tmp_path):
    floats = open_image(save(tmp_path, encode(Image.fromarray(np.float32([[0, 255]])), "TIFF")))
    assert "from 0 to 255" in list_notes(floats)[0] and "floating-point" in list_notes(floats)[0]
    dark = open_image(save(tmp_path, encode(Image.fromarray(np.uint16([[0, 4095]])), "PNG")))
    assert "4095 of 65535" in list_notes(dark)[0]
    for plain in (np.uint16([[0, 65535]]), np.uint8([[0, 3]])):
        assert list_notes(open_image(save(tmp_path, encode(Image.fromarray(plain), "PNG")))) == ()


def test_16_bit_grey_from_a_pgm_is_scaled_by_its_maximum(tmp_path):
    opened = open_image(save(tmp_path, b"P5 2 1 1000\n" + np.array([500, 1000], ">u2").tobytes()))
    assert np.asarray(opened).tolist() == [[128, 255]]


def test_16_bit_grey_keeps_its_transparency(tmp_path):
    values = np.array([[5000, 0], [65535, 5000]], ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    chunks = (b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 0, 0, 0, 0)), (b"tRNS", struct.pack(">H", 5000))
    chunks += ((b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path = save(tmp_path, b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks))
    assert np.asarray(open_image(path)).tolist() == [[255, 0], [255, 255]]


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC; export it as JPEG or PNG"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "video; save one of its pictures"),
        (b"8BPS\0\1", "Photoshop; export it as JPEG or PNG"),
        (b"version https://git-lfs.github.com/spec/v1", "run git lfs pull"),
        (b"PK\x03\x04", "zip; unpack it first"),
    ],
)
def test_what_people_take_for_pictures_is_called_by_its_name(tmp_path, head, words):
    message = refused(save(tmp_path, head + bytes(40), "x.jpg"))
    assert "not a picture" in message and words in message


def test_a_file_that_may_not_be_read_is_said_to_be_one(tmp_path, monkeypatch):
    path = save(tmp_path, PNG)

    def refuse(self, *args, **options):
        raise PermissionError(13, "Permission denied", str(self))

    for method in ("open", "stat"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, refuse)
            message = refused(path)
        assert "may not be read" in message and str(tmp_path) not in message


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP", "AVIF"])
def test_metadata_are_never_unpacked(tmp_path, kind):
    """Tags that share their bytes: 60 kB that would become hundreds of MB."""
    count, size = 4000, 60_000 - 12 * 4000
    entries = b"".join(struct.pack("<HHII", 1000 + i, 7, size, 8 + 2 + 12 * count + 4) for i in range(count))
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4) + bytes(size)
    if kind == "TIFF":
        body = {256: 14, 257: 12, 258: (8, 8, 8), 259: 1, 262: 2, 273: 8, 277: 3, 278: 12, 279: 504}
        body |= dict.fromkeys(range(50_000, 50_400), tuple(range(10_000)))
        path = save(tmp_path, tiff(body, PIXELS.tobytes()))
    else:
        path = save(tmp_path, encode(PICTURE, kind, exif=b"Exif\0\0" + exif if kind == "JPEG" else exif))
    open_image(save(tmp_path, encode(PICTURE, kind), "plain"))  # what is imported on the way does not count
    tracemalloc.start()
    assert open_image(path).size == PICTURE.size
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * path.stat().st_size + 2**21


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_exif_block_that_is_cut_short_still_turns_the_picture(tmp_path, kind):
    exif = b"II*\0\x08\0\0\0" + struct.pack("<HHHIHH", 9, 0x0112, 3, 1, 6, 0)  # one entry, where it says nine
    path = save(tmp_path, encode(PICTURE, kind, exif=b"Exif\0\0" + exif if kind == "JPEG" else exif))
    assert open_image(path).size == PICTURE.size[::-1]


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
        assert "save it smaller" in refused(save(tmp_path, data, kind))


def test_a_tile_larger_than_the_picture_counts(tmp_path):
    tags = {256: 4, 257: 4, 258: 8, 259: 8, 262: 1, 322: 60_000, 323: 60_000, 324: 8, 325: 16}
    assert "save it smaller" in refused(save(tmp_path, tiff(tags, zlib.compress(bytes(16)))))


def test_scans_that_take_too_long_are_refused_unread(tmp_path, monkeypatch):
    path = save(tmp_path, encode(PICTURE, "JPEG", progressive=True), "x.jpg")
    open_image(path)
    monkeypatch.setattr(decode, "MAX_SCAN_PIXELS", 14 * 12 * 5)
    assert "scans" in refused(path)
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
    assert "too long" in refused(save(tmp_path, PNG))
