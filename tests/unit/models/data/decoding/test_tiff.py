"""TIFFs of every kind, and deep grey: right pixels, or what keeps them from being read."""

import logging
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from models.data.images import list_notes, open_image
from tests.unit.models.data.made_pictures import PICTURE, PIXELS, check_refused, encode, png_chunk, save, tiff


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


def test_deep_grey_is_turned_upright_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.array([[0, 65535], [32768, 257]], np.uint16)
    opened = open_image(save(tmp_path, encode(Image.fromarray(values), "PNG", exif=exif)))
    np.testing.assert_array_equal(np.asarray(opened), [[128, 0], [1, 255]])


def test_a_tiff_that_ends_early_shows_nothing_of_the_memory(tmp_path, caplog):
    """256 x 256 bits, of which eight bytes are in the file; libtiff leaves the rest of its buffer as it was."""
    for number, compression in ((2, "CCITT"), (3, "CCITT group 3"), (4, "CCITT group 4"), (7, "JPEG")):
        file = tiff({256: 256, 257: 256, 258: 1, 259: number, 262: 1, 273: 8, 278: 256, 279: 8})
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            check_refused(save(tmp_path, file, "x.tif"), compression)
        (record,) = caplog.records
        assert compression in record.getMessage() and "memory" in record.getMessage()


@pytest.mark.parametrize(
    "tags",
    [
        {258: (8, 8, 8), 262: 6, 277: 3},
        {258: (32, 32, 32), 262: 2, 277: 3, 339: (3, 3, 3)},
        {258: (16,) * 5, 262: 2, 277: 5, 338: (0, 0)},
        {258: (8,) * 7, 262: 1, 277: 7, 338: (0,) * 6},
        {258: 64, 262: 1, 277: 1, 339: 3},
        {258: (8, 8, 8), 262: 8, 277: 3},
        {258: 8, 262: 1, 277: 1, 259: 34712},
        {258: 8, 262: 1, 277: 1, 259: 60000},
    ],
    ids=str,
)
def test_unsupported_tiffs_say_what_they_are(tmp_path, tags):
    file = tiff({256: 4, 257: 4, 259: 1, 273: 8, 278: 4, 279: 4096, **tags}, bytes(4096))
    check_refused(save(tmp_path, file, "x.tif"))


@pytest.mark.parametrize("tags", [{50706: 1}, {254: 1, 330: 8}, {262: 32803}])
def test_raw_photographs_in_tiffs_are_called_so(tmp_path, tags):
    check_refused(save(tmp_path, tiff({256: 4, 257: 4, 258: 8, 262: 1, 273: 8, **tags}, bytes(16)), "x.dng"))


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
    check_refused(save(tmp_path, tiff({**whole, 273: 8, 279: 8}, bytes(16))))
    check_refused(save(tmp_path, tiff({**whole, 278: 0}, bytes(16))))
    check_refused(save(tmp_path, tiff({**whole, 256: 0}, bytes(16))))


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


def test_a_tile_larger_than_the_picture_counts(tmp_path):
    tags = {256: 4, 257: 4, 258: 8, 259: 8, 262: 1, 322: 60_000, 323: 60_000, 324: 8, 325: 16}
    check_refused(save(tmp_path, tiff(tags, zlib.compress(bytes(16)))))
