"""Opening pictures: every kind becomes upright 8-bit RGB or grey, and everything else one clear sentence."""

import io
import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from models import images
from models.images import ImageError, open_image

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
    assert path.name in message and message.endswith(".") and "\n" not in message
    assert ". " not in message.replace(path.name, "")
    return message


PNG = encode(PICTURE, "PNG")
JPEG = encode(PICTURE, "JPEG")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"this is text", "not a picture"),
        (PNG[:8], "not a picture"),
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
    os.truncate(path, images.MAX_FILE_BYTES)
    assert open_image(path).size == PICTURE.size
    os.truncate(path, images.MAX_FILE_BYTES + 1)
    assert "at most 32 MB" in refused(path)


@pytest.mark.parametrize("kind", images.FORMATS)
def test_every_format_opens_with_its_own_pixels(tmp_path, kind):
    lossy = kind in ("JPEG", "GIF")
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
        (np.array([[1, 0, 1, 0]], np.int32), [0, 0, 0, 0]),
        (np.array([[-(2**30), 0, 0, 2**30]], np.int32), [0, 128, 128, 255]),
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


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1, 1), (1, 1)),
        ((4096, 5), (4096, 5)),
        ((20000, 3), (4096, 1)),
        ((3, 20000), (1, 4096)),
        ((8192, 100), (4096, 50)),
    ],
)
def test_long_sides_are_reduced_to_the_limit(tmp_path, size, expected):
    opened = open_image(save(tmp_path, encode(Image.new("RGB", size, (9, 99, 199)), "PNG")))
    assert opened.size == expected
    assert opened.getpixel((0, 0)) == (9, 99, 199)


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


def test_large_jpegs_are_decoded_at_reduced_size(tmp_path, monkeypatch):
    image = Image.linear_gradient("L").resize((1600, 1200)).convert("RGB")
    jpeg, png = save(tmp_path, encode(image, "JPEG"), "x.jpg"), save(tmp_path, encode(image, "PNG"))
    monkeypatch.setattr(images, "MAX_PIXELS", 1_000_000)
    monkeypatch.setattr(images, "MAX_SIDE", 400)
    opened = open_image(jpeg)
    assert opened.size == (400, 300)
    np.testing.assert_allclose(np.asarray(opened, int), np.asarray(image.resize((400, 300)), int), atol=6)
    assert "1600 x 1200 pixels (2 Mpx)" in refused(png)
    monkeypatch.setattr(images, "MAX_PIXELS", 10_000)
    assert "save it smaller" in refused(jpeg)


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
        assert image.mode in ("RGB", "L") and max(image.size) <= images.MAX_SIDE


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
