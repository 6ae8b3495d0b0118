"""Opening pictures: every kind becomes upright 8-bit RGB or grey, and everything else one clear sentence."""

import io
import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from models.data.decoding import decode
from models.data.decoding.formats import FORMATS, ImageError
from models.data.images import open_image
from tests.sentences import refused
from tests.unit.models.data.made_pictures import JPEG, PICTURE, PIXELS, PNG, check_refused, encode, save, tiff


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"this is text",
        PNG[:8],
        PNG[: len(PNG) // 2],
        PNG[:60],
        JPEG[: len(JPEG) * 2 // 3],
        PNG[:60] + bytes(40) + PNG[100:],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n",
        encode(PICTURE, "ICO"),
    ],
    ids=["empty", "text", "signature", "half_png", "png_start", "half_jpeg", "hole", "eps", "svg", "pdf", "ico"],
)
def test_unusable_content_is_refused(tmp_path, data):
    check_refused(save(tmp_path, data))


def test_missing_files_and_folders_are_refused(tmp_path):
    check_refused(tmp_path / "none.png")
    check_refused(tmp_path / "zero\0byte.png")
    check_refused(tmp_path / ("long" * 100))
    (tmp_path / "folder.png").mkdir()
    check_refused(tmp_path / "folder.png")
    os.mkfifo(tmp_path / "pipe.png")
    check_refused(tmp_path / "pipe.png")


def test_files_over_the_byte_limit_are_refused(tmp_path):
    path = save(tmp_path, PNG)
    os.truncate(path, decode.MAX_FILE_BYTES)
    assert open_image(path).size == PICTURE.size
    os.truncate(path, decode.MAX_FILE_BYTES + 1)
    check_refused(path, "32 MB")


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_opens_with_its_own_pixels(tmp_path, kind):
    lossy = kind in ("JPEG", "GIF", "AVIF")
    path = save(tmp_path, encode(PICTURE, kind, **({"lossless": True} if kind == "WEBP" else {})), "x.bin")
    opened = open_image(path)
    expected = np.asarray(Image.open(path).convert("RGB")) if lossy else PIXELS
    assert opened.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(opened), expected)


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


@pytest.mark.parametrize("size", [(1, 1), (4097, 5), (20000, 3), (3, 20000), (8192, 100)])
def test_every_pixel_is_kept(tmp_path, size):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    opened = open_image(save(tmp_path, encode(picture, "PNG")))
    np.testing.assert_array_equal(np.asarray(opened), np.asarray(picture))


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


@settings(max_examples=150)
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


@settings(max_examples=300)
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
    for content in (
        b"",
        b"hello",
        None,
    ):
        path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
        with refused(error=ImageError):
            open_image(path)


def test_two_reads_of_any_accepted_file_are_equal():
    """In processes whose memory is full of different bytes, so that a decoder that shows it is seen."""
    program = Path(__file__).with_name("picture_mutations.py")
    command = [sys.executable, program, "0", "2500"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    processes = [subprocess.Popen(command, env={**os.environ, "MALLOC_PERTURB_": p}, **pipes) for p in ("85", "170")]
    printed = [process.communicate()[0].splitlines() for process in processes]
    assert printed[0] == printed[1] and len(printed[0]) == 2500
    assert sum(" (33, 20) " in line or " (20, 33) " in line for line in printed[0]) > 400


@pytest.mark.parametrize(
    "head",
    [
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"\0\0\0\x18ftypisom\0\0\0\0isommp42",
        b"8BPS\0\1",
        b"version https://git-lfs.github.com/spec/v1",
        b"PK\x03\x04",
    ],
)
def test_what_people_take_for_pictures_is_called_by_its_name(tmp_path, head):
    check_refused(save(tmp_path, head + bytes(40), "x.jpg"))


def test_a_file_that_may_not_be_read_is_said_to_be_one(tmp_path, monkeypatch):
    path = save(tmp_path, PNG)

    def refuse(self, *args, **options):
        raise PermissionError(13, "Permission denied", str(self))

    for method in ("open", "stat"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, refuse)
            message = check_refused(path)
        assert str(tmp_path) not in message


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
