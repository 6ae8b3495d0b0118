"""Small pictures of every kind and compression with bytes changed: what becomes of each, as one line.

Run as a program it prints those lines for the mutations FIRST to LAST. Two processes whose freed memory is filled
with different bytes (``MALLOC_PERTURB_``) must print the same, or a decoder shows memory that it has never written.
"""

import hashlib
import io
import random
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[4]))

from models.data.decoding.formats import ImageError
from models.data.images import open_image

_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F")
TIFF_COMPRESSIONS = {
    **dict.fromkeys(("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate", "lzma", "zstd"), _MODES),
    # Libtiff's encoders corrupt memory with other modes.
    **dict.fromkeys(("group3", "group4", "tiff_ccitt"), ("1",)),
    "jpeg": ("RGB",),
}
_SIDES = (33, 20)


def make_pictures() -> list[bytes]:
    """The unchanged files, every kind that Pillow can write."""
    files = []
    for picture in map(_draw, _MODES):
        for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "PPM", "AVIF"):
            files += _encode(picture, kind)
        files += _encode(picture, "JPEG", progressive=True) + _encode(picture, "WEBP", lossless=True)
        for compression in (name for name, modes in TIFF_COMPRESSIONS.items() if picture.mode in modes):
            files += _encode(picture, "TIFF", compression=compression)
            files += _encode(picture, "TIFF", compression=compression, big_tiff=True)
            files += _encode(picture, "TIFF", compression=compression, tiffinfo={278: 8})  # 8 rows a strip
    return files


def _draw(mode: str) -> Image.Image:
    random_values = np.random.default_rng(0).integers(0, 256, (*_SIDES, 3), dtype=np.uint8)
    random_values[:10] = 90  # something to compress
    picture = Image.fromarray(random_values)
    if mode == "I;16":
        return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    if mode == "LAB":
        return Image.frombytes("LAB", picture.size, picture.tobytes())
    return picture.convert("L").convert(mode) if mode in ("LA", "I", "F") else picture.convert(mode)


def _encode(picture: Image.Image, kind: str, **options) -> list[bytes]:
    buffer = io.BytesIO()
    try:
        picture.save(buffer, kind, **options)
    except (OSError, ValueError, KeyError, RuntimeError):  # this kind cannot hold this mode
        return []
    return [buffer.getvalue()]


def mutate(data: bytes, seed: int) -> bytes:
    """A copy with some bytes changed, taken out, doubled or cut off at the end."""
    chance, changed = random.Random(seed), bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 2, 3, 8))):
        place = chance.randrange(len(changed))
        # Headers decide most, and they are short.
        place = min(place, chance.choice((16, 64, 256, len(changed))) - 1, len(changed) - 1)
        what = chance.randrange(4)
        if what == 0:
            changed[place] = chance.choice((0, 1, 2, 3, 4, 7, 8, 127, 128, 255))
        elif what == 1:
            changed[place] ^= 1 << chance.randrange(8)
        elif what == 2:
            changed[place] = chance.randrange(256)
        elif len(changed) > 40:
            length = chance.randrange(1, 9)
            changed[place : place + length] = (
                b"" if chance.random() < 0.5 else bytes(changed[place : place + length]) * 2
            )
    if chance.random() < 0.3:
        del changed[chance.randrange(8, len(changed) + 1) :]
    return bytes(changed)


def describe(path: Path) -> str:
    """The picture in a file as size, mode and a digest, or why it was refused."""
    try:
        image = open_image(path)
    except ImageError as error:
        return str(error)
    return f"{image.size} {image.mode} {hashlib.sha256(image.tobytes()).hexdigest()}"


def main(first: int, last: int) -> None:
    """Prints a line for each mutation."""
    pictures = make_pictures()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        for seed in range(first, last):
            path.write_bytes(mutate(pictures[seed % len(pictures)], seed))
            print(seed, describe(path))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
