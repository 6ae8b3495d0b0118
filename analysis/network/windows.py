"""The window of a cell: which input pixels it looks at, along each axis of a feature map."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

Size = tuple[int, int]
"""Rows and columns."""


def find_size(maps: Tensor) -> Size:
    """Rows and columns of pictures or maps ``(..., H, W)``."""
    height, width = maps.shape[-2:]
    return height, width


@dataclass(frozen=True)
class Axis:
    """Cell ``q`` looks at the input pixels from ``q * stride + low`` to ``q * stride + high``.

    Both ends are infinite where a cell looks at the whole picture, and NaN where its window is not fixed.
    """

    stride: int
    low: float
    high: float

    def slide(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> "Axis":
        """The axis after a window of this shape slides over it."""
        return Axis(
            self.stride * stride,
            self.low - padding * self.stride,
            self.high + (dilation * (kernel - 1) - padding) * self.stride,
        )


Dims = tuple[int, int]
"""Which dimensions of a tensor, counted from the end, are rows and columns."""


@dataclass(frozen=True)
class Geometry:
    """Both axes of a tensor, and which of its dimensions (counted from the end) they are.

    ``axes`` is None for a tensor without positions that has seen the whole picture, such as pooled features.
    """

    axes: tuple[Axis, Axis] | None
    dims: Dims = (-2, -1)

    @property
    def stride(self) -> int | None:
        """Input pixels per cell, if the same both ways."""
        if self.axes is None or self.axes[0].stride != self.axes[1].stride:
            return None
        return self.axes[0].stride

    @property
    def receptive_field(self) -> float | None:
        """Side of the larger extent in input pixels: infinite for the whole picture, None if it is not fixed."""
        if self.axes is None:
            return math.inf
        sides = [axis.high - axis.low + 1 for axis in self.axes]
        return None if any(map(math.isnan, sides)) else max(sides)


WHOLE_PICTURE = Geometry(axes=None)
UNKNOWN = None
"""Positions were mixed in a way that leaves no grid to follow, as attention does."""


def pair(value: int | Sequence[int]) -> Size:
    """Rows and columns of a setting that may be one number for both."""
    first, *rest = value if isinstance(value, (tuple, list)) else (value,)
    return first, (rest or [first])[0]


def merge(geometries: list[Geometry | None]) -> Geometry | None:
    """The union of the windows; a partner without a grid leaves the grid and makes the windows unknown."""
    local = [(g.axes, g.dims) for g in geometries if g is not UNKNOWN and g.axes is not None]
    if not local:
        return UNKNOWN if UNKNOWN in geometries else WHOLE_PICTURE
    if len({(dims, rows.stride, columns.stride) for (rows, columns), dims in local}) > 1:
        return UNKNOWN

    def unite(along: tuple[Axis, ...]) -> Axis:
        low, high = min(axis.low for axis in along), max(axis.high for axis in along)
        if WHOLE_PICTURE in geometries:
            low, high = -math.inf, math.inf
        if UNKNOWN in geometries or any(math.isnan(axis.low) for axis in along):
            low = high = math.nan
        return Axis(along[0].stride, low, high)

    rows, columns = map(unite, zip(*(axes for axes, _ in local), strict=True))
    return Geometry((rows, columns), local[0][1])
