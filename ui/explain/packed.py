"""What the browser draws a grid of maps from: numbers, pictures and colours (``assets/explain/maps.js``)."""

import base64
import json
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from analysis.figures.drawing import draw_pixels
from analysis.figures.overlay import COLORMAPS, list_colors
from lab.session import Explanation
from ui.explain.grid import Cell
from ui.explain.sentences import SIGNS, describe
from ui.widgets.html import png_uri

SIDE, SMALL_SIDE = 512, 256
"""Most cells a side of a map that stands alone, and of one of several."""
LEVELS = 2**15 - 1


def pack_maps(cells: Sequence[Cell], sign: str) -> Markup:
    """The maps of a grid, those of a model on its picture, as JSON that the page does not show.

    Args:
        cells: Those that have a map, in the order in which the page numbers them.
        sign: What the browser shows if it was not told otherwise.
    """
    found = [(cell.key[2], cell.found) for cell in cells if cell.found is not None]
    side = SIDE if len(found) == 1 else SMALL_SIDE
    pictures = {model: each.pixels for model, each in found}
    document = {
        "sign": sign,
        "maps": [_pack_map(each, side) | {"model": model} for model, each in found],
        "pictures": {name: png_uri(draw_pixels(pixels, 1)) for name, pixels in pictures.items()},
        "palettes": {name: _encode(list_colors(name)) for name in COLORMAPS},
    }
    return Markup('<div class="packed" hidden data-packed="{}"></div>').format(json.dumps(document))


def _pack_map(found: Explanation, side: int) -> dict:
    """The signed sum over the channels in steps of its peak; what is said of it, and whether it fits, by sign."""
    summed = _shrink(found.attribution.values.double().sum(0).numpy(), side)  # (h, w)
    peak = float(np.abs(summed).max())
    steps = (summed / (peak or 1.0) * LEVELS).round().astype("<i2")
    says = {sign: describe(found, sign) for sign in SIGNS}
    return {
        "method": found.attribution.method,
        "values": _encode(steps),
        "peak": peak,
        "size": summed.shape,
        "says": {sign: sentence for sign, (sentence, _) in says.items()},
        "fits": {sign: fits for sign, (_, fits) in says.items()},
    }


def _shrink(values: NDArray, side: int) -> NDArray:
    """A map ``(H, W)`` with at most so many cells a side: means of what falls together."""
    import cv2

    factor = max(values.shape) / side
    if factor <= 1:
        return values
    height, width = (max(1, round(size / factor)) for size in values.shape)
    return np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA))


def _encode(values: NDArray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
