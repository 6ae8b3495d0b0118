"""One picture in the hands of its decoder: bounded, upright, 8 bits a sample, or one clear error."""

import re
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from analysis.errors import Progress, no_progress
from models.data.decoding.budget import MAX_BYTES, ROOM, Watched, count_bytes
from models.data.decoding.depth import Depth, to_8_bit
from models.data.decoding.formats import FORMATS, HEAD_BYTES, ImageError, name_format, refuse_damaged, refuse_format
from models.data.decoding.jpeg import read_segments
from models.data.decoding.tiff import Tiff, check_tiff, find_orientation, refuse_tiff
from models.names import make_readable

MAX_FILE_BYTES = 32 * 2**20
MAX_PIXELS = 64_000_000
MAX_JPEG_PIXELS = 256_000_000
"""Of a JPEG before it is decoded at a fraction of its size."""
MAX_SCAN_PIXELS = 2_500_000_000
"""Pixels times scans of a JPEG: a decoder goes through all of them in each scan, however little it holds."""

TAKEN_WHOLE = {"AVIF": 2_000_000, "WEBP": 8_000_000, "TIFF": 20_000_000}
"""Formats whose decoders take a file in one piece, some of them with the interpreter's lock held -> pixels that they
read in about a quarter of a second."""

_DECODER_ERRORS = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, RuntimeError, struct.error)
_FRACTIONS = {2: "half", 4: "a quarter", 8: "an eighth"}
_EXIF_ITEM = re.compile(rb"(infe.{4}(?:.{2}|.{4}).{2})Exif", re.DOTALL)
"""Where an AVIF says that it has EXIF data, which must not count for its orientation, and costs much to read."""
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass
class _Source:
    """A file, prepared for the one decoder that may read it."""

    name: str
    format: str
    data: bytes = field(repr=False)
    orientation: int = 1
    scans: int = 1
    tiff: Tiff | None = None


@dataclass
class Header:
    """A picture of which no more is read so far, with what it was made of."""

    image: Image.Image
    source: _Source
    file: Watched

    @property
    def num_pixels(self) -> int:
        """What the picture says it has, and no decoder makes more of it."""
        return self.image.width * self.image.height

    @property
    def is_taken_whole(self) -> bool:
        """Whether its decoder would be busy for long with all of it at once, so that nothing could end it."""
        return self.num_pixels > TAKEN_WHOLE.get(self.source.format, self.num_pixels)


@contextmanager
def read_header(path: Path, progress: Progress = no_progress) -> Iterator[Header]:
    """Opens a picture without decoding it; errors in the block become sentences too.

    Raises:
        ImageError: Not a readable picture.
    """
    name, data = make_readable(path.name), _read(path)
    with _plain_errors(name), warnings.catch_warnings(action="ignore"):
        source = _prepare(data, name)
        del data
        file = Watched(source.data, source.name, progress)
        with _open(file, source) as image:
            yield Header(image, source, file)


def _read(path: Path) -> bytes:
    name = make_readable(path.name)
    try:
        num_bytes = _measure_file(path)
        if num_bytes > MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES // 2**20
            raise ImageError(f"{name} has {num_bytes / 2**20:.0f} MB; a picture may have at most {limit} MB.")
        with path.open("rb") as file:
            return file.read(num_bytes)
    except PermissionError as error:
        raise ImageError(f"{name} may not be read by this program; change its permissions.") from error
    except OSError as error:
        raise ImageError(f"{name} cannot be read: {error.strerror}.") from error


def _measure_file(path: Path) -> int:
    """Its bytes; an ImageError for all that is not a file, such as a pipe that would be waited for."""
    try:
        found = path.stat()
    except PermissionError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise ImageError(f"There is no file {make_readable(path.name)}.") from error
    if not stat.S_ISREG(found.st_mode):
        raise ImageError(f"{make_readable(path.name)} is not a file.")
    if found.st_size == 0:
        raise ImageError(f"{make_readable(path.name)} is empty (0 bytes).")
    return found.st_size


@contextmanager
def _plain_errors(name: str) -> Iterator[None]:
    """Decoders raise almost anything; a visitor gets one sentence."""
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} has too many pixels to open safely; save it smaller.") from error
    except MemoryError as error:
        raise ImageError(f"{name} needs more memory than is free; save it smaller.") from error
    except _DECODER_ERRORS as error:
        raise refuse_damaged(name) from error


def _prepare(data: bytes, name: str) -> _Source:
    """Finds out what a file is, and leaves out what decoders need not see."""
    kind = name_format(data[:HEAD_BYTES])
    if kind not in FORMATS:
        raise refuse_format(name, kind)
    if kind == "TIFF":
        tiff = check_tiff(data, name)
        return _Source(name, kind, tiff.data, tiff.orientation, tiff=tiff)
    if kind == "JPEG":
        jpeg = read_segments(data, name)
        return _Source(name, kind, jpeg.data, find_orientation(jpeg.exif, jpeg.xmp), jpeg.scans)
    if kind == "AVIF":
        data = _EXIF_ITEM.sub(rb"\1none", data)
    return _Source(name, kind, data)


def _open(file: Watched, source: _Source) -> Image.Image:
    """Only the header is read. JPEGs are opened without Pillow's own limit: they have a higher one."""
    if source.format == "JPEG":
        return JpegImageFile(file)
    try:
        return Image.open(file, formats=[source.format])
    except UnidentifiedImageError as error:
        if source.tiff is not None:
            raise refuse_tiff(source.name, source.tiff.kind) from error
        raise


def decode(header: Header, least_side: int | None = None) -> Image.Image:
    """The picture itself; see :func:`models.data.images.open_image`."""
    image, source, file = header.image, header.source, header.file
    full = image.size
    reduction, num_bytes = plan(header, least_side)
    notes = []
    if reduction > 1:
        image.draft(None, (image.width // reduction, image.height // reduction))
        if least_side is None:
            notes.append(
                f"It was decoded at {_FRACTIONS[reduction]} of its size, {image.width} x {image.height} pixels, "
                f"because all {full[0]} x {full[1]} take more memory than one picture may."
            )
    with ROOM.lend(num_bytes, file.check):
        image.load()
        image = _turn_upright(image, source)
        image, note = to_8_bit(image, _find_depth(source, image), file.check)
    image.info = {"notes": (*notes, note) if note else tuple(notes)}  # and nothing that the file says
    return image


def plan(header: Header, least_side: int | None = None) -> tuple[int, int]:
    """At which fraction of its size to decode a picture, if it is a JPEG, and the bytes that this takes.

    Raises:
        ImageError: It is too large at any.
    """
    image, source, pixels = header.image, header.source, header.num_pixels
    is_jpeg = source.format == "JPEG"
    if is_jpeg and pixels * source.scans > MAX_SCAN_PIXELS:
        raise ImageError(f"{source.name} has {source.scans} scans, which take too long to decode; save it again.")
    chunk_bytes = source.tiff.chunk_bytes if source.tiff else 0
    enough = 1
    if is_jpeg and least_side is not None:
        enough = max(1, min(image.size) // least_side)
    limit = MAX_JPEG_PIXELS if is_jpeg else MAX_PIXELS
    for reduction in (1, 2, 4, 8) if is_jpeg else (1,):
        num_bytes = count_bytes(image, reduction=reduction, scans=source.scans, chunk_bytes=chunk_bytes)
        fits = pixels <= min(MAX_PIXELS * reduction**2, limit) and num_bytes <= MAX_BYTES
        if fits and (2 * reduction > enough or reduction == 8):
            return reduction, num_bytes
    most = min(limit, MAX_BYTES * pixels // num_bytes)
    raise ImageError(
        f"{source.name} has {image.width} x {image.height} pixels ({_count(pixels)}); "
        f"at most {_count(most)} of its kind can be opened, so save it smaller."
    )


def _turn_upright(image: Image.Image, source: _Source) -> Image.Image:
    """A picture of its own: the one that was opened goes, with its file and all that its decoder holds."""
    orientation = source.orientation
    if source.format not in ("JPEG", "TIFF"):  # others say it after they are opened
        xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
        exif = image.info.get("exif") or _read_old_exif(image.info.get("Raw profile type exif"))
        orientation = find_orientation(exif, xmp.encode() if isinstance(xmp, str) else xmp)
    upright = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image.copy()
    image.close()
    return upright


def _read_old_exif(text: str | None) -> bytes:
    """EXIF data as ImageMagick puts them into a PNG."""
    try:
        return bytes.fromhex("".join((text or "").split("\n")[3:]))
    except ValueError:
        return b""


def _find_depth(source: _Source, image: Image.Image) -> Depth:
    """Whole numbers of 16 bits by their full range, all other deep grey by its own."""
    if source.tiff is None:
        return Depth(None if image.mode == "F" else 65535)
    white = 2**source.tiff.bits - 1 if image.mode.startswith("I;16") else None
    return Depth(white, source.tiff.is_white_zero, source.tiff.is_unsigned)


def _count(pixels: int) -> str:
    """So many pixels in words; millions from one on."""
    return f"{pixels:,} px" if pixels < 1e6 else f"{pixels / 1e6:,.0f} Mpx"
