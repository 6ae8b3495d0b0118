"""An attribution as a picture: colours over the image, or alone, and a line around the strongest part."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from analysis.errors import UserError

COLORMAPS = {
    "inferno": "COLORMAP_INFERNO",
    "viridis": "COLORMAP_VIRIDIS",
    "magma": "COLORMAP_MAGMA",
    "cividis": "COLORMAP_CIVIDIS",
    "bone": "COLORMAP_BONE",
}
"""Colour map -> its name in OpenCV. The first is the default; all grow steadily brighter, so none is a rainbow."""

SIGNS: dict[str, Callable[[NDArray], NDArray]] = {
    "absolute": np.abs,
    "positive": lambda values: values.clip(min=0),
    "negative": lambda values: (-values).clip(min=0),
    "signed": lambda values: values,
}
"""Which part of the attribution is shown -> the part taken of the sum over the channels."""

DIVERGING = {0.0: (33, 102, 172), 0.5: (247, 247, 247), 1.0: (178, 24, 43)}
"""Blue - white - red for ``signed``: position in [0, 1] -> RGB, linear in between. Zero is white."""

PERCENTILE = 99.5
"""Of the magnitudes; it gets the strongest colour, so that a few extreme pixels do not darken the rest."""

CONTOUR_SMOOTHING = 0.02
"""Standard deviation, as a share of the longer side, of the Gaussian that the contour is taken after."""


def measure_scale(*values: Tensor, sign: str = "absolute") -> float:
    """Returns the value that gets the strongest colour: the 99.5th percentile of the magnitudes shown.

    Of several maps, the largest of theirs: hand it as ``scale`` to each picture to compare them. If the
    percentile is zero (fewer than 0.5 % of the pixels count), the maximum. Zero if all maps are.

    Args:
        *values: attributions ``(C, H, W)``; the channels are summed.
    """
    return max(_strongest(np.abs(_reduce(map_values, sign))) for map_values in values)


@dataclass(frozen=True)
class Concentration:
    """Where a map is strong.

    Attributes:
        area: Smallest share of the pixels that holds half of the map.
        row, column: Of the ninth of the picture that holds most of it, 0 to 2.
        share: Of the map that this ninth holds.
    """

    area: float
    row: int
    column: int
    share: float


def find_concentration(values: Tensor, sign: str = "absolute") -> Concentration | None:
    """Where the magnitudes of the part shown of an attribution ``(C, H, W)`` are; None if all of them are zero."""
    shown = np.abs(_reduce(values, sign))  # (H, W)
    if not shown.any():
        return None
    shown = shown / shown.max()  # so that no sum overflows
    reached = np.cumsum(np.sort(shown, axis=None)[::-1])  # (H * W,)
    area = (int(np.searchsorted(reached, reached[-1] / 2)) + 1) / shown.size
    ninths = [[part.sum() for part in np.array_split(rows, 3, axis=1)] for rows in np.array_split(shown, 3)]
    row, column = divmod(int(np.argmax(ninths)), 3)
    return Concentration(area, row, column, float(ninths[row][column] / shown.sum()))


@dataclass(frozen=True)
class Region:
    """A connected part of a map's strongest pixels.

    Attributes:
        left, top, width, height: Of the box around it, in pixels.
        area: Its share of the picture.
        mass: Its share of the magnitudes shown.
        row, column: The centre of its magnitudes.
    """

    left: int
    top: int
    width: int
    height: int
    area: float
    mass: float
    row: float
    column: float


def find_regions(values: Tensor, sign: str = "absolute", share: float = 0.1) -> list[Region]:
    """The connected parts of what the line of :func:`render_overlay` encloses, the one with most of the map first.

    Args:
        values: Attribution ``(C, H, W)``.
        share: Of the pixels, as of the line.
    """
    import cv2

    magnitudes = np.abs(_reduce(values, sign))
    total = magnitudes.sum()
    if magnitudes.min() == magnitudes.max():
        return []
    count, parts, boxes, _ = cv2.connectedComponentsWithStats(_find_strong(magnitudes, share))
    regions = []
    for number in range(1, count):
        inside = np.where(parts == number, magnitudes, 0.0)
        mass = inside.sum()
        rows, columns = (inside.sum(axis) @ np.arange(inside.shape[1 - axis]) / (mass or 1.0) for axis in (1, 0))
        left, top, width, height, area = map(int, boxes[number])
        regions.append(Region(left, top, width, height, area / magnitudes.size, float(mass / total), rows, columns))
    return sorted(regions, key=lambda region: -region.mass)


def render_overlay(
    pixels: Tensor,
    values: Tensor,
    *,
    opacity: float = 0.5,
    colormap: str = "inferno",
    sign: str = "absolute",
    contour_share: float = 0.1,
    size: int | None = None,
    scale: float | None = None,
) -> NDArray[np.uint8]:
    """Blends the colours of an attribution over its image and outlines the strongest part.

    The channels of the attribution are summed, ``sign`` picks a part, and the result is divided by
    ``scale`` and cut off at 1. An attribution that is the same everywhere gives the plain image back.

    Args:
        pixels: image ``(1 or 3, H, W)`` in [0, 1].
        values: attribution ``(C, H, W)``, finite, any magnitude.
        opacity: of the colours, 0 to 1.
        colormap: key in ``COLORMAPS``; ``signed`` uses blue - white - red instead.
        sign: key in ``SIGNS``.
        contour_share: share of the pixels inside the line, those of largest magnitude after smoothing by
            2 % of the longer side; 0 for no line.
        size: longer side of the result in pixels, the image's own if None. Pixels are enlarged as
            squares, never smoothed.
        scale: magnitude of the strongest colour, see ``measure_scale``; the map's own if None.

    Returns:
        ``(H', W', 3)`` RGB.

    Raises:
        UserError: sizes differ, values are not finite, or a name is unknown.
    """
    image = _to_rgb(pixels)
    shown = _reduce(values, sign)
    if shown.shape != image.shape[:2]:
        raise UserError(f"A map of {shown.shape} cannot be laid over an image of {image.shape[:2]} pixels.")
    base = _resize(image, size)
    if shown.min() == shown.max():
        return base
    colors = _resize(_colorize(shown, colormap, sign, scale), size)
    # In float: rounding once, at the end, keeps opacity 0 and 1 exact.
    blend = (1 - opacity) * base.astype(np.float32) + opacity * colors.astype(np.float32)
    return _draw_contour(blend.round().astype(np.uint8), np.abs(shown), contour_share, size)


def render_map(
    values: Tensor,
    *,
    colormap: str = "inferno",
    sign: str = "absolute",
    size: int | None = None,
    scale: float | None = None,
) -> NDArray[np.uint8]:
    """Draws an attribution ``(C, H, W)`` alone, with the arguments and the result of ``render_overlay``.

    A map of zeros has the colour of zero everywhere.
    """
    return _resize(_colorize(_reduce(values, sign), colormap, sign, scale), size)


def list_colors(colormap: str) -> NDArray[np.uint8]:
    """The colours of a colour map, ``(256, 3)`` RGB. Raises UserError: there is none of that name."""
    import cv2

    if colormap not in COLORMAPS:
        raise UserError(f"There is no colour map called {colormap}; choose one of {', '.join(COLORMAPS)}.")
    levels = np.arange(256, dtype=np.uint8)[:, None]  # (256, 1)
    colored = cv2.applyColorMap(levels, getattr(cv2, COLORMAPS[colormap]))  # (256, 1, 3)
    return np.asarray(cv2.cvtColor(colored, cv2.COLOR_BGR2RGB), np.uint8)[:, 0]


def _reduce(values: Tensor, sign: str) -> NDArray[np.float64]:
    """Sums the channels (attributions add up) and takes the part asked for: ``(H, W)``."""
    if sign not in SIGNS:
        raise UserError(f"There is no sign called {sign}; choose one of {', '.join(SIGNS)}.")
    # In float64, float32 values of any magnitude can be added and divided without overflow.
    summed = values.detach().cpu().double().sum(0).numpy()
    if not np.isfinite(summed).all():
        raise UserError("The attribution has values that are not finite and cannot be drawn.")
    return SIGNS[sign](summed)


def _strongest(magnitudes: NDArray[np.float64]) -> float:
    return float(np.percentile(magnitudes, PERCENTILE)) or float(magnitudes.max())


def _colorize(shown: NDArray, colormap: str, sign: str, scale: float | None) -> NDArray[np.uint8]:
    colors = list_colors(colormap)
    scale = _strongest(np.abs(shown)) if scale is None else scale
    relative = (shown / scale).clip(-1, 1) if scale > 0 else np.zeros_like(shown)
    if sign == "signed":
        levels_by_channel = zip(*DIVERGING.values(), strict=True)
        channels = [np.interp((relative + 1) / 2, [*DIVERGING], levels) for levels in levels_by_channel]
        return np.stack(channels, axis=-1).round().astype(np.uint8)
    return colors[(255 * relative).round().astype(np.uint8)]  # (H, W, 3)


def _draw_contour(
    picture: NDArray[np.uint8], magnitudes: NDArray, share: float, size: int | None
) -> NDArray[np.uint8]:
    """Draws a white line with a dark rim, visible on any colour, around the ``share`` strongest pixels."""
    import cv2

    if share <= 0:
        return picture
    mask = _resize(_find_strong(magnitudes, share), size)
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    width = max(1, round(max(picture.shape) / 300))
    drawn = np.ascontiguousarray(picture)
    cv2.drawContours(drawn, contours, -1, (0, 0, 0), 3 * width)
    cv2.drawContours(drawn, contours, -1, (255, 255, 255), width)
    return drawn


def _find_strong(magnitudes: NDArray, share: float) -> NDArray[np.uint8]:
    """1 at the ``share`` strongest pixels ``(H, W)`` of what is left after smoothing by ``CONTOUR_SMOOTHING``.

    The raw map of a gradient method would be outlined pixel by pixel.
    """
    import cv2

    sigma = CONTOUR_SMOOTHING * max(magnitudes.shape)
    smooth = cv2.GaussianBlur(magnitudes, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return ((smooth >= np.quantile(smooth, 1 - min(share, 1))) & (smooth > 0)).astype(np.uint8)


def _to_rgb(pixels: Tensor) -> NDArray[np.uint8]:
    """``(1 or 3, H, W)`` in [0, 1] -> ``(H, W, 3)`` in 0..255."""
    if pixels.ndim != 3 or len(pixels) not in (1, 3):
        raise UserError(f"An image needs 1 or 3 channels (C, H, W), not {tuple(pixels.shape)}.")
    levels = (255 * pixels.detach().cpu().float().clamp(0, 1)).round().byte()
    return np.ascontiguousarray(levels.expand(3, -1, -1).permute(1, 2, 0).numpy())


def _resize(picture: NDArray[np.uint8], size: int | None) -> NDArray[np.uint8]:
    """Brings the longer side to ``size``: whole pixels when enlarging, averages when shrinking."""
    import cv2

    height, width = picture.shape[:2]
    if size is None or size == max(height, width):
        return picture
    factor = size / max(height, width)
    target = (max(1, round(width * factor)), max(1, round(height * factor)))
    method = cv2.INTER_NEAREST if factor > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, target, interpolation=method), np.uint8)
