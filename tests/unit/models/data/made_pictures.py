"""Pictures and files that are made by hand for tests of opening them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from models.data.decoding.formats import ImageError
from models.data.images import open_image
from models.names import make_readable
from tests.sentences import refused

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 14, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def save(folder, data: bytes, name: str = "x.png"):
    path = folder / name
    path.write_bytes(data)
    return path


def check_refused(path, *facts: object) -> str:
    """What is said, checked to be one sentence that names the file."""
    with refused(*facts, error=ImageError) as caught:
        open_image(path)
    message = str(caught.value)
    assert make_readable(path.name) in message and message.endswith(".") and "\n" not in message
    assert ". " not in message.replace(path.name, "")
    return message


PNG = encode(PICTURE, "PNG")
JPEG = encode(PICTURE, "JPEG")


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
