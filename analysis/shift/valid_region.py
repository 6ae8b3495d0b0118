"""Which cells of a feature map see neither padding nor invented pixels, before and after a shift."""

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn

from analysis.network.geometry import GeometryMode
from analysis.network.hooks import watch_outputs
from analysis.network.layers import Layer
from analysis.network.windows import Axis
from analysis.shift.features import LANCZOS_SIZE

Axes = tuple[Axis, Axis]
Extent = tuple[tuple[float, float], tuple[float, float]]
"""First and last row, first and last column of the pixels that are real; the last before the first: none."""


def trace_axes(module: nn.Module, inputs: Tensor, layers: Collection[Layer]) -> dict[str, Axes]:
    """Where the cells of each layer look, rows then columns, from one forward pass.

    Layers without a fixed window, such as attention, are left out.

    Args:
        inputs: ``(N, C, H, W)``; only the first picture is used.
    """
    inputs = inputs[:1].detach().clone()
    wanted = {layer.name for layer in layers}
    found: dict[str, Axes] = {}

    def record(name: str, output: Tensor) -> None:
        geometry = mode.find(output)
        if geometry is not None and geometry.axes is not None and geometry.dims == (-2, -1):
            found[name] = geometry.axes

    with watch_outputs(module, wanted, record), GeometryMode(inputs) as mode, torch.no_grad():
        module(inputs)
    return found


def find_valid_cells(
    axes: Axes, cells: tuple[int, int], is_real: Tensor, dx: float, dy: float, *, circular: bool
) -> Tensor:
    """The cells ``q`` whose window, and that of their source ``q - d / s``, hold nothing but the picture.

    There the map of the shifted picture must be the shifted map, whatever the padding, unless a stride
    comes between. A source between cells is interpolated, so the windows of all its taps count.

    Args:
        axes: See :func:`trace_axes`.
        cells: ``(h, w)``, the size of the map.
        is_real: ``(H, W)`` bool: the pixels of the shifted picture that were not invented; a rectangle.
        circular: Whether maps wrap around, so that a source may lie on the other side.

    Returns:
        ``(h, w)`` bool.
    """
    height, width = is_real.shape
    before = (0, height - 1), (0, width - 1)
    return find_seeing_cells(axes, cells, before, _measure_extent(is_real), dx, dy, circular=circular)


def find_seeing_cells(
    axes: Axes, cells: tuple[int, int], before: Extent, now: Extent, dx: float, dy: float, *, circular: bool
) -> Tensor:
    """:func:`find_valid_cells` of a picture of any extent, in pixels from the corner of the map's first cell.

    Args:
        before: The real pixels before the shift.
        now: The real pixels after it.
    """
    rows, columns = (_find_along(*along, circular) for along in zip(axes, cells, before, now, (dy, dx), strict=True))
    return rows[:, None] & columns  # (h, 1) and (w,): (h, w)


def _measure_extent(is_real: Tensor) -> Extent:
    places = (is_real.any(dim=1 - dim).nonzero().flatten().tolist() for dim in range(2))
    rows, columns = ((found[0], found[-1]) if found else (0, -1) for found in places)
    return rows, columns


def _find_along(
    axis: Axis, num_cells: int, before: tuple[float, float], now: tuple[float, float], distance: float, circular: bool
) -> Tensor:
    cells = torch.arange(num_cells, dtype=torch.float64)
    if now[1] < now[0] or math.isinf(axis.low):
        return torch.zeros(num_cells, dtype=torch.bool)
    sources = cells - distance / axis.stride
    if circular:
        sources = sources % num_cells
    first, last = sources, sources
    if not (distance / axis.stride).is_integer():
        first, last = sources.floor() - (LANCZOS_SIZE - 1), sources.floor() + LANCZOS_SIZE
    return (
        (cells * axis.stride + axis.low >= now[0])
        & (cells * axis.stride + axis.high <= now[1])
        & (first >= 0)
        & (last <= num_cells - 1)
        & (first * axis.stride + axis.low >= before[0])
        & (last * axis.stride + axis.high <= before[1])
    )
