"""What a file is follows from how it begins."""

import io
import os

import pytest
from PIL import Image

from models.data.decoding.formats import FORMATS, name_format, read_format


def box(brand: bytes, *others: bytes) -> bytes:
    body = b"ftyp" + brand + bytes(4) + b"".join(others)
    return (4 + len(body)).to_bytes(4, "big") + body + bytes(8)


@pytest.mark.parametrize("name", FORMATS)
def test_readable_pictures_are_known_by_32_bytes(name):
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7)).save(buffer, name)
    assert name_format(buffer.getvalue()[:32]) == name


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "F"])
def test_every_kind_of_netpbm_is_known(mode):
    buffer = io.BytesIO()
    Image.new(mode, (9, 7)).save(buffer, "PPM")
    assert name_format(buffer.getvalue()) == "PPM"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (box(b"heic"), "HEIC"),
        (box(b"hevx"), "HEIC"),
        (box(b"mif1", b"mif1", b"heic"), "HEIC"),
        (box(b"mif1"), "HEIC"),
        (box(b"msf1", b"hevc"), "HEIC"),
        (box(b"mif1", b"miaf", b"avif"), "AVIF"),
        (box(b"avis"), "AVIF"),
        (box(b"crx ", b"isom"), "camera RAW"),
        (box(b"isom", b"avc1"), "video"),
        (box(b"qt  "), "video"),
        (b"\x1a\x45\xdf\xa3webm", "video"),
        (b"RIFF\0\0\0\0AVI LIST", "video"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"II*\0\x10\0\0\0CR\x02\0", "camera RAW"),
        (b"FUJIFILMCCD-RAW 0201", "camera RAW"),
        (b"\xff\x0a\x10\x00", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"8BPS\0\1", "Photoshop"),
        (b"%PDF-1.7", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', "SVG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn -->\n<svg width="9">', "SVG"),
        (b"<!DOCTYPE html><title>404</title>", "web page"),
        (b"PK\x03\x04", "zip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "BMP"),
        (b"BMW is a car, no picture", None),
        (b"P5 is a netpbm", "PPM"),
        (b"P5X", None),
        (b"PK", None),
        (b"", None),
        (b"\xff\xd8", None),
        (b"hello", None),
    ],
)
def test_what_people_take_for_pictures_has_a_name(head, name):
    assert name_format(head) == name


def test_only_files_have_a_format(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"GIF89a")
    assert read_format(tmp_path / "x.txt") == "GIF"
    assert read_format(tmp_path) is read_format(tmp_path / "none") is None
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert read_format(tmp_path / "pipe") is None
