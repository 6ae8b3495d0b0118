"""What a file is by how it begins, never by its name: pictures that can be read, and what people take for some."""

import re
from pathlib import Path

from analysis.errors import UserError


class ImageError(UserError):
    """The file is no picture this program can use; the message says why."""


FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
"""Formats with a decoder in Pillow itself; leaves out EPS and others that start external programs.

MPO is opened by JPEG and has no entry of its own in Pillow's table.
"""
PICTURES = (*FORMATS, "HEIC", "JPEG XL", "JPEG 2000", "camera RAW", "Photoshop", "OpenEXR", "DICOM", "FITS")
"""What counts as a picture among other files; of those that cannot be read, opening them says why not."""
_WHAT_WE_READ = "PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF"
HEAD_BYTES = 512
"""How much of a file :func:`name_format` looks at; 32 bytes are enough for all but drawings (SVG)."""

# Where the mark stands, the mark, the name. The first that fits counts: CR2 is a TIFF with a mark of its own.
_MARKS = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (8, b"WEBPVP8", "WEBP"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"CR\x02", "camera RAW"),
    (0, b"FUJIFILMCCD-RAW", "camera RAW"),
    (0, b"IIRO", "camera RAW"),
    (0, b"IIRS", "camera RAW"),
    (0, b"MMOR", "camera RAW"),
    (0, b"IIU\0", "camera RAW"),
    (0, b"FOVb", "camera RAW"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL \r\n\x87\n", "JPEG XL"),
    (4, b"jP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\0\0\1\0", "icon"),
    (0, b"icns", "icon"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"qoif", "QOI"),
    (0, b"DDS ", "DDS"),
    (128, b"DICM", "DICOM"),
    (0, b"SIMPLE  =", "FITS"),
    (8, b"AVI LIST", "video"),
    (0, b"\x1a\x45\xdf\xa3", "video"),
    (0, b"\0\0\1\xba", "video"),
    (0, b"\0\0\1\xb3", "video"),
    (4, b"moov", "video"),
    (4, b"mdat", "video"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"\0\x05\x16\x07", "AppleDouble"),
    (0, b"version https://git-lfs", "Git LFS pointer"),
)
_BRANDS = {
    "AVIF": (b"avif", b"avis"),
    "HEIC": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"),
    "camera RAW": (b"crx ",),
}
"""What an ISO media file (``ftyp``) says that it holds, in the order of search; all others are videos."""
_GENERAL_BRANDS = (b"mif1", b"msf1", b"miaf", b"MiHB", b"MiHE", b"MiPr", b"heif")
"""Of a still picture in this container, whatever its compression; HEIC unless the list after it says more."""
_ADVICE = {
    "SVG": "draw it into a PNG first",
    "PDF": "export its picture as JPEG or PNG",
    "video": "save one of its pictures as JPEG or PNG",
    "web page": "save the picture itself, not the page around it",
    "zip": "unpack it first",
    "AppleDouble": "choose the picture of the same name without the dot",
    "Git LFS pointer": "run git lfs pull",
}
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_NETPBM = re.compile(rb"P[1-6f][\s#]")


def name_format(head: bytes) -> str | None:
    """Names what a file is by its first bytes: an entry of ``FORMATS`` if it can be read, such as "JPEG" or "AVIF".

    Args:
        head: The first ``HEAD_BYTES`` bytes, or as many as there are.

    Returns:
        Of what cannot be read a name for the user, such as "HEIC" or "video"; None for everything unknown.
    """
    head = bytes(head[:HEAD_BYTES])
    for offset, mark, name in _MARKS:
        if head.startswith(mark, offset):
            return name
    if head[4:8] == b"ftyp":
        return _name_brand(head)
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if _NETPBM.match(head):
        return "PPM"
    return _name_markup(head)


def read_format(path: str | Path) -> str | None:
    """:func:`name_format` of a file; None also where there is none, or it cannot be read."""
    path = Path(path)
    if not path.is_file():  # a pipe would be waited for
        return None
    try:
        with path.open("rb") as file:
            return name_format(file.read(HEAD_BYTES))
    except OSError:
        return None


def refuse_format(name: str, kind: str | None) -> ImageError:
    """The refusal of a file whose format, of :func:`name_format`, cannot be read: what it is, and what to do."""
    if kind is None:
        return ImageError(f"{name} is not a picture this program can read ({_WHAT_WE_READ}).")
    advice = _ADVICE.get(kind, "export it as JPEG or PNG")
    return ImageError(f"{name} is not a picture this program can read: its format is {kind}; {advice}.")


def refuse_damaged(name: str) -> ImageError:
    """The refusal of a file that begins like a picture and does not go on like one."""
    return ImageError(f"{name} is damaged or cut short and cannot be read as a picture.")


def _name_brand(head: bytes) -> str:
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[i : i + 4] for i in range(16, length - 3, 4))]
    for name, own in _BRANDS.items():
        if brands[0] in own:
            return name
    if brands[0] not in _GENERAL_BRANDS:
        return "video"
    return next((name for name, own in _BRANDS.items() if set(own) & set(brands)), "HEIC")


def _name_markup(head: bytes) -> str | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not text.startswith(b"<"):
        return None
    if text.startswith((b"<!doctype html", b"<html")):
        return "web page"
    return "SVG" if b"<svg" in text or b"<!doctype svg" in text else None
