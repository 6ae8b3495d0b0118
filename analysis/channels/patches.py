"""Which part of a picture a cell of a feature map answers to."""

from dataclasses import dataclass

from analysis.attribution.placement import Centres, spread_evenly
from analysis.network.layers import Layer, MapLayer
from analysis.network.receptive_field import find_window
from analysis.network.windows import Size


@dataclass(frozen=True)
class Frame:
    """The part of a picture that a cell looks at.

    Attributes:
        box: First row, first column, and the ends behind the last ones, cut off at the picture's border.
        centre: Row and column of the middle of what the cell looks at, in pixels; it may lie beyond the border.
        is_wide: Whether that is most of the picture, or not known, so that its centre says more than its border.
    """

    box: tuple[int, int, int, int]
    centre: tuple[float, float]
    is_wide: bool


def frame_cell(layer: Layer, centres: Centres, cell: Size, size: Size) -> Frame:
    """What a cell of a layer looks at: its receptive field, as far as it is inside the picture.

    Args:
        centres: Of :func:`analysis.attribution.placement.find_centres`; None spreads the cells evenly.
        cell: Row and column.
        size: Rows and columns of the picture.
    """
    rows, columns = centres or map(spread_evenly, layer.output_shape[1:], size)
    centre = rows.first + cell[0] * rows.step, columns.first + cell[1] * columns.step
    if not isinstance(layer, MapLayer) or (window := find_window(layer, cell)).centre is None:
        return Frame((0, 0, *size), centre, True)
    top, left, bottom, right = window.clip(size)
    # A window in the padding alone: the nearest pixels.
    top, left = min(top, size[0] - 1), min(left, size[1] - 1)
    box = top, left, max(bottom, top + 1), max(right, left + 1)
    return Frame(box, centre, 2 * (box[2] - box[0]) * (box[3] - box[1]) > size[0] * size[1])
