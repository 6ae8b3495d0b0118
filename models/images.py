"""Opening pictures that come from anywhere: upright, 8-bit RGB or grey, bounded, or one clear error."""

import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from models.errors import ModelsError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Formats with a decoder in Pillow itself; leaves out EPS and others that start external programs.

MPO is opened by JPEG and has no entry of its own in Pillow's table.
"""
MAX_FILE_BYTES = 32 * 2**20
MAX_PIXELS = 64_000_000
MAX_SIDE = 4096
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")

_WHAT_WE_READ = "PNG, JPEG, WebP, GIF, BMP or TIFF"
_DECODER_ERRORS = (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, struct.error)


class ImageError(ModelsError):
    """The file is no picture this program can use; the message says why."""


def open_image(path: str | Path) -> Image.Image:
    """Opens one picture as upright RGB or L, whatever its mode, depth or orientation.

    The first frame of an animation, transparency on white, 16-bit data scaled to 8 bits. Pictures whose
    longer side exceeds ``MAX_SIDE`` pixels are reduced to it; all others keep every pixel.

    Args:
        path: A local file.

    Returns:
        A loaded ``PIL.Image`` in mode ``RGB`` or ``L``.

    Raises:
        ImageError: Not a readable picture, or too large to decode safely.
    """
    path = Path(path)
    name = path.name
    try:
        num_bytes = path.stat().st_size
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise ImageError(f"There is no file {name}.") from error
    if not path.is_file():
        raise ImageError(f"{name} is not a file.")
    if num_bytes == 0:
        raise ImageError(f"{name} is empty (0 bytes).")
    if num_bytes > MAX_FILE_BYTES:
        limit = MAX_FILE_BYTES // 2**20
        raise ImageError(f"{name} has {num_bytes / 2**20:.0f} MB; a picture may have at most {limit} MB.")
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            return _decode(image, name)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} has too many pixels to open safely; save it smaller.") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not a picture this program can read ({_WHAT_WE_READ}).") from error
    except MemoryError as error:
        raise ImageError(f"{name} needs more memory than is free; save it smaller.") from error
    except _DECODER_ERRORS as error:
        raise ImageError(f"{name} is damaged or cut short and cannot be read as a picture.") from error


def _decode(image: Image.Image, name: str) -> Image.Image:
    if image.width * image.height > MAX_PIXELS:
        image.draft("RGB", (MAX_SIDE, MAX_SIDE))  # JPEG decodes at 1/2, 1/4 or 1/8 size; others ignore it
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(
            f"{name} has {image.width} x {image.height} pixels ({image.width * image.height / 1e6:.0f} Mpx); "
            f"at most {MAX_PIXELS // 1_000_000} Mpx can be opened, so save it smaller."
        )
    image.load()
    image = ImageOps.exif_transpose(image)
    image = _to_8_bit(image)
    if max(image.size) > MAX_SIDE:
        scale = MAX_SIDE / max(image.size)
        size = tuple(max(1, round(side * scale)) for side in image.size)
        image = image.resize(size, Image.Resampling.LANCZOS)
    return image


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Any Pillow mode as ``RGB`` or ``L``."""
    if image.mode in ("RGB", "L"):
        # A colour key (tRNS) is transparency too.
        if "transparency" not in image.info:
            return image
        image = image.convert("RGBA")
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_scale_depth(np.asarray(image)))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def _scale_depth(values: np.ndarray) -> np.ndarray:
    """Grey values of 16 or 32 bits, or floating point, as uint8.

    Integers up to 65535 are taken as 16-bit, floats up to 1 as fractions; anything else by its own range.
    """
    is_float = values.dtype.kind == "f"
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if is_float and low >= 0 and high <= 1.0:
        white = 1.0
    elif low >= 0 and high <= 65535:
        white = 65535.0
    else:
        values, white = values - low, max(high - low, 1.0)
    return np.round(values * (255.0 / white)).astype(np.uint8)
