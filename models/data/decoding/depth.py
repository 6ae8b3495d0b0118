"""Pixels of any mode as 8-bit RGB or grey, some rows at a time: a second full copy may not fit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_BAND_PIXELS = 2**22
_TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
_DARK = 4096
"""Values of 16 bits that stay below come out nearly black; those of a 12-bit camera do."""


@dataclass(frozen=True)
class Depth:
    """What the values of deep grey mean.

    Attributes:
        white: The value of white; None takes the picture's own range, from black to white.
        is_white_zero: Whether they count from white down.
        is_unsigned: Whether those of 32 bits begin at 0.
    """

    white: int | None = None
    is_white_zero: bool = False
    is_unsigned: bool = False


def to_8_bit(image: Image.Image, depth: Depth, check: Callable[[], None]) -> tuple[Image.Image, str]:
    """Any Pillow mode as ``RGB`` or ``L``, transparency on white.

    Args:
        check: Called between bands; may raise.

    Returns:
        The picture, and a sentence about what was done to its values, or an empty one.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return _scale(image, depth, check)
    if image.mode in _TRANSPARENT or "transparency" in image.info:  # a colour key (tRNS) is transparency too
        return _lay_on_white(image, check), ""
    if image.mode in ("RGB", "L"):
        return image, ""
    return image.convert("L" if image.mode == "1" else "RGB"), ""


def _bands(image: Image.Image, check: Callable[[], None]) -> Iterator[tuple[tuple[int, int, int, int], Image.Image]]:
    """The picture as rows that fit into little memory, each with its box."""
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        check()
        box = (0, top, image.width, min(top + rows, image.height))
        yield box, image.crop(box)


def _lay_on_white(image: Image.Image, check: Callable[[], None]) -> Image.Image:
    result = Image.new("RGB", image.size)
    for box, band in _bands(image, check):
        white = Image.new("RGBA", band.size, "white")
        result.paste(Image.alpha_composite(white, band.convert("RGBA")).convert("RGB"), box)
    return result


def _scale(image: Image.Image, depth: Depth, check: Callable[[], None]) -> tuple[Image.Image, str]:
    """Grey values of 16 or 32 bits, or floating point; what is no number is black."""
    low, high = _find_range(image, depth, check)
    # What holds one value only has no range of its own: a fraction is what it says.
    first, span = (low, high - low) if high > low else (0.0, 1.0)
    if depth.white:
        first, span = 0.0, depth.white
    clear = image.info.get("transparency")
    result = Image.new("L", image.size)
    for box, band in _bands(image, check):
        values = _read_values(band, depth).astype(np.float64)
        fractions = np.clip((values - first) / span, 0, 1)
        fractions = 1 - fractions if depth.is_white_zero else fractions
        grey = np.round(255 * np.where(np.isfinite(values), fractions, 0)).astype(np.uint8)
        if isinstance(clear, int):
            grey[values == clear] = 255
        result.paste(Image.fromarray(grey), box)
    return result, _describe(image.mode, depth, low, high)


def _read_values(band: Image.Image, depth: Depth) -> NDArray:
    values = np.asarray(band)
    return values.view(np.uint32) if depth.is_unsigned and values.dtype == np.int32 else values


def _find_range(image: Image.Image, depth: Depth, check: Callable[[], None]) -> tuple[float, float]:
    ranges = []
    for _, band in _bands(image, check):
        values = _read_values(band, depth)
        values = values[np.isfinite(values)]
        if values.size:
            ranges.append((float(values.min()), float(values.max())))
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else (0.0, 0.0)


def _describe(mode: str, depth: Depth, low: float, high: float) -> str:
    if depth.white is None:
        kind = "floating-point" if mode == "F" else "32-bit"
        return f"Its {kind} values from {low:g} to {high:g} were scaled by their own range."
    if 0 < high < _DARK < depth.white:
        return f"Its values reach only {high:g} of {depth.white}: nearly black, unless you stretch its range first."
    return ""
