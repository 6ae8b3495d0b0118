"""The segments of a JPEG, read before any decoder: how much work it is, and a copy without metadata."""

import re
import struct
from dataclasses import dataclass, field

from models.data.decoding.formats import refuse_damaged

MAX_SEGMENTS = 4096
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd8\x01]")
"""Begins a segment; all others that may stand between the bytes of the picture mean nothing here."""
_SCAN, _END = 0xDA, 0xD9
_METADATA = {*range(0xE1, 0xEE), 0xEF, 0xFE}
"""All but JFIF's and Adobe's marks, which say how colours are coded."""
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


@dataclass(frozen=True)
class Jpeg:
    """A JPEG that may be decoded.

    Attributes:
        data: The same picture without metadata, which Pillow would read, whatever that costs.
        scans: How many times a decoder goes through the whole picture.
        exif: What it carries of EXIF.
        xmp: And of XMP.
    """

    data: bytes = field(repr=False)
    scans: int
    exif: bytes
    xmp: bytes


def read_segments(data: bytes, name: str) -> Jpeg:
    """Follows the segments of the first picture in a file. Raises ImageError: there are far too many."""
    position, kept, scans, first_scan = 2, [data[:2]], 0, len(data)
    metadata: dict[bytes, bytes] = {}
    for _ in range(MAX_SEGMENTS):
        marker = _MARKER.search(data, position)
        if marker is None or data[marker.start() + 1] == _END:
            break
        start, code = marker.start(), data[marker.start() + 1]
        position = start + 2 + _length(data, start)
        if code == _SCAN:
            scans, first_scan = scans + 1, min(first_scan, start)
        elif not scans:
            if code not in _METADATA:
                kept.append(data[start:position])
            for head in (_EXIF, _XMP):
                if data.startswith(head, start + 4):
                    metadata[head] = metadata.get(head, b"") + data[start + 4 + len(head) : position]
    else:
        raise refuse_damaged(name)
    return Jpeg(b"".join([*kept, data[first_scan:]]), scans, metadata.get(_EXIF, b""), metadata.get(_XMP, b""))


def _length(data: bytes, start: int) -> int:
    try:
        return max(2, struct.unpack_from(">H", data, start + 2)[0])
    except struct.error:
        return 2
