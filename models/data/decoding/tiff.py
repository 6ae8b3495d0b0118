"""The first directory of a TIFF, read before any decoder: what is refused and why, and a copy with little else.

Libtiff ends some compressions early without an error and leaves the rest of its buffer as it was, which may be
anything that this process had in memory. Only those that fill every strip or say that they could not go to it.
"""

import logging
import re
import struct
from dataclasses import dataclass, field
from math import ceil

from PIL import TiffImagePlugin as tags

from models.data.decoding.formats import ImageError, refuse_damaged, refuse_format

_COMPRESSIONS = {1: "none", 5: "LZW", 8: "deflate", 32773: "PackBits", 32946: "deflate", 34925: "LZMA", 50000: "ZSTD"}
"""Those whose decoders fail unless they fill every strip."""
_REFUSED = {
    2: "CCITT",
    3: "CCITT group 3",
    4: "CCITT group 4",
    6: "JPEG",
    7: "JPEG",
    32766: "NeXT",
    32771: "CCITT",
    32809: "ThunderScan",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv",
    34712: "JPEG 2000",
    34887: "LERC",
    50001: "WebP",
    50002: "JPEG XL",
}
_COLOURS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK"}
_REFUSED_COLOURS = {4: "mask", 6: "YCbCr", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32844: "LogL", 32845: "LogLuv"}
_RAW_COLOURS = (32803, 34892)
_SAMPLE_FORMATS = {1: "", 2: " signed", 3: " floating-point", 5: " complex", 6: " complex"}

_STRUCT_CODES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_FEW = 16
_SUBFILE, _DNG = 254, 50706
_ORIENTATION = 274
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=\"|>)([0-9])")
_KEPT = (
    *(tags.IMAGEWIDTH, tags.IMAGELENGTH, tags.BITSPERSAMPLE, tags.COMPRESSION, tags.PHOTOMETRIC_INTERPRETATION),
    *(tags.FILLORDER, tags.STRIPOFFSETS, tags.SAMPLESPERPIXEL, tags.ROWSPERSTRIP, tags.STRIPBYTECOUNTS),
    *(tags.PLANAR_CONFIGURATION, tags.PREDICTOR, tags.COLORMAP, tags.TILEWIDTH, tags.TILELENGTH, tags.TILEOFFSETS),
    *(tags.TILEBYTECOUNTS, tags.EXTRASAMPLES, tags.SAMPLEFORMAT),
)
_OF_CHUNKS = (tags.STRIPOFFSETS, tags.STRIPBYTECOUNTS, tags.TILEOFFSETS, tags.TILEBYTECOUNTS)
_MOST_VALUES = {**dict.fromkeys(_OF_CHUNKS, 2**17), tags.COLORMAP: 3 * 2**16}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Directory:
    """The tags of one directory; nothing but their places is read before it is asked for.

    Attributes:
        order: ``<`` or ``>``.
        entries: Tag -> its type, its number of values, and where they begin.
    """

    data: bytes = field(repr=False)
    order: str
    entries: dict[int, tuple[int, int, int]]

    def numbers(self, tag: int, *default: int) -> tuple[int, ...]:
        """The whole numbers of a tag.

        Raises:
            struct.error: They are of another type, too many, or lie outside the file.
        """
        if tag not in self.entries:
            return default
        kind, count, place = self.entries[tag]
        if kind not in _STRUCT_CODES or not 0 < count <= _MOST_VALUES.get(tag, _FEW):
            raise struct.error(f"tag {tag}: {count} values of type {kind}")
        return struct.unpack_from(f"{self.order}{count}{_STRUCT_CODES[kind]}", self.data, place)


@dataclass(frozen=True)
class Tiff:
    """A TIFF that may be decoded.

    Attributes:
        data: The same pixels with a directory of what decoding needs, and no other.
        kind: In words, for example "3 bands of 16 bits".
        bits: Of one sample.
        is_white_zero: Whether 0 is white.
        is_unsigned: Whether the samples are whole numbers from 0.
        orientation: As in EXIF.
        chunk_bytes: The largest strip or tile, decoded.
    """

    data: bytes = field(repr=False)
    kind: str
    bits: int
    is_white_zero: bool
    is_unsigned: bool
    orientation: int
    chunk_bytes: int


def read_directory(data: bytes) -> Directory:
    """The first directory of a TIFF, or of EXIF data, which are one.

    Raises:
        struct.error: It is cut short.
    """
    order = ">" if data.startswith(b"MM") else "<"
    is_big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    (start,) = struct.unpack_from(f"{order}Q", data, 8) if is_big else struct.unpack_from(f"{order}I", data, 4)
    count_code, entry, inline = ("Q", "HHQ", 8) if is_big else ("H", "HHI", 4)
    (count,) = struct.unpack_from(order + count_code, data, start)
    start += struct.calcsize(order + count_code)
    header = struct.Struct(order + entry)
    size = header.size + inline
    entries: dict[int, tuple[int, int, int]] = {}
    count = min(count, 2**16, max(0, len(data) - start) // size)  # EXIF data are often cut short
    for position in range(start, start + count * size, size):
        tag, kind, number = header.unpack_from(data, position)
        place = position + header.size
        if number * struct.calcsize(_STRUCT_CODES.get(kind, "Q")) > inline:
            (place,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, place)
        entries.setdefault(tag, (kind, number, place))
    return Directory(data, order, entries)


def check_tiff(data: bytes, name: str) -> Tiff:
    """Reads what a TIFF says of itself. Raises ImageError: a kind that is not supported, or damaged."""
    try:
        directory = read_directory(data)
        _refuse_raw(directory, name)
        return _check(directory, name)
    except (struct.error, OverflowError, IndexError) as error:
        raise refuse_damaged(name) from error


def refuse_tiff(name: str, kind: str) -> ImageError:
    """The refusal of what no decoder takes, with ``kind`` as the reason."""
    return ImageError(f"{name}: this kind of TIFF is not supported ({kind}); export it as PNG or JPEG.")


def _refuse_raw(directory: Directory, name: str) -> None:
    is_small_twin = directory.numbers(_SUBFILE, 0)[0] & 1 and tags.SUBIFD in directory.entries
    if is_small_twin or _DNG in directory.entries or _find_colour(directory) in _RAW_COLOURS:
        raise refuse_format(name, "camera RAW")


def _find_colour(directory: Directory) -> int:
    return directory.numbers(tags.PHOTOMETRIC_INTERPRETATION, 0)[0]


def _check(directory: Directory, name: str) -> Tiff:
    (width,), (height,) = directory.numbers(tags.IMAGEWIDTH, 0), directory.numbers(tags.IMAGELENGTH, 0)
    compression, colour = directory.numbers(tags.COMPRESSION, 1)[0], _find_colour(directory)
    if compression not in _COMPRESSIONS:
        what = _REFUSED.get(compression, f"number {compression}")
        _log.warning("refused a TIFF: its %s compression could show what is in this process's memory", what)
        raise refuse_tiff(name, f"{what} compression")
    if colour not in _COLOURS:
        raise refuse_tiff(name, f"{_REFUSED_COLOURS.get(colour, f'number {colour}')} colours")
    if not width or not height:
        raise refuse_damaged(name)
    samples, bits = directory.numbers(tags.SAMPLESPERPIXEL, 1)[0], directory.numbers(tags.BITSPERSAMPLE, 1)
    sample_format = directory.numbers(tags.SAMPLEFORMAT, 1)[0]
    chunk_bytes, chunks = _measure_chunks(directory, width, height, samples, max(bits))
    bands = f"{samples} bands" if samples > 1 else "one band"
    return Tiff(
        data=_rewrite(directory, chunks),
        kind=f"{_COLOURS[colour]}, {bands} of {bits[0]}{_SAMPLE_FORMATS.get(sample_format, '')} bits",
        bits=bits[0],
        is_white_zero=colour == 0,
        is_unsigned=sample_format == 1,
        orientation=find_orientation(directory.data),
        chunk_bytes=chunk_bytes,
    )


def _measure_chunks(directory: Directory, width: int, height: int, samples: int, bits: int) -> tuple[int, int]:
    """Bytes of a strip or tile, and how many of them the picture has; fewer in the file are a struct.error."""
    is_tiled = tags.TILEOFFSETS in directory.entries and tags.STRIPOFFSETS not in directory.entries
    if is_tiled:
        (across,), (down,) = directory.numbers(tags.TILEWIDTH, 0), directory.numbers(tags.TILELENGTH, 0)
    else:
        across, down = width, min(height, directory.numbers(tags.ROWSPERSTRIP, height)[0])
    if not across or not down:
        raise struct.error("no rows in a strip")
    is_planar = directory.numbers(tags.PLANAR_CONFIGURATION, 1)[0] == 2
    chunks = ceil(width / across) * ceil(height / down) * (samples if is_planar else 1)
    for tag in (tags.TILEOFFSETS, tags.TILEBYTECOUNTS) if is_tiled else (tags.STRIPOFFSETS, tags.STRIPBYTECOUNTS):
        if chunks > _MOST_VALUES[tag] or (tag in directory.entries and directory.entries[tag][1] < chunks):
            raise struct.error(f"tag {tag}: fewer values than {chunks}")
    return down * ceil(across * (1 if is_planar else samples) * bits / 8), chunks


def _rewrite(directory: Directory, chunks: int) -> bytes:
    """The file with a directory of its own at the end: no metadata, no second picture, no more strips than it has.

    Decoders would read all of that, whatever it costs: tags that share their bytes multiply a small file.
    """
    order, entries, values = directory.order, [], b""
    data = directory.data + bytes(-len(directory.data) % 2)
    for tag in sorted(_KEPT):
        numbers = directory.numbers(tag)
        if not numbers:
            continue
        numbers = numbers[:chunks] if tag in _OF_CHUNKS else numbers
        kind = 3 if max(numbers) < 2**16 and tag not in _OF_CHUNKS else 4
        packed = struct.pack(f"{order}{len(numbers)}{_STRUCT_CODES[kind]}", *numbers)
        if len(packed) > 4:
            place = struct.pack(f"{order}I", len(data) + len(values))
            values, packed = values + packed + bytes(-len(packed) % 2), place
        entries.append(struct.pack(f"{order}HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0"))
    head = data[:2] + struct.pack(f"{order}HI", 42, len(data) + len(values))
    ending = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    # A BigTIFF's header is 8 bytes longer; those stay where they are, and nothing points to them.
    return head + data[8:] + values + ending


def find_orientation(exif: bytes, xmp: bytes = b"") -> int:
    """How a picture is to be turned, 1 to 8 as EXIF counts; 1, which is not at all, where nothing says so."""
    exif = exif.removeprefix(b"Exif\0\0")
    try:
        found = read_directory(exif).numbers(_ORIENTATION)
    except struct.error:
        found = ()
    if found:
        return found[0]
    match = _XMP_ORIENTATION.search(xmp)
    return int(match[1]) if match else 1
