"""One call of a torch function on tensors with positions, and where it moves them: read off from coordinates."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.network.windows import UNKNOWN, Axis, Dims, Geometry


@dataclass(frozen=True)
class Call:
    """One call of a torch function on tensors with positions.

    Attributes:
        sources: The arguments with positions, each with the dimensions that these have in it.
        axes: What a cell sees that is computed from cells at the same place in all sources.
    """

    func: Callable
    args: tuple
    kwargs: dict
    sources: list[tuple[Tensor, Dims]]
    outputs: list[Tensor]
    axes: tuple[Axis, Axis]
    dims: Dims

    @property
    def source(self) -> Tensor:
        """The first one with positions, where a gate computed from the whole picture scales a feature map."""
        return self.sources[0][0]

    def get(self, name: str, index: int, default=None):
        """An argument given by keyword or by place."""
        return self.kwargs.get(name, self.args[index] if len(self.args) > index else default)


def iterate_tensors(value) -> Iterator[Tensor]:
    """The tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from iterate_tensors(item)
    elif isinstance(value, dict):
        yield from iterate_tensors(list(value.values()))


def replace_tensors(value, change: Callable[[Tensor], Tensor]):
    """The same nested lists, tuples and dictionaries with ``change(tensor)`` in place of each tensor."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return type(value)(replace_tensors(item, change) for item in value)
    if isinstance(value, dict):
        return {key: replace_tensors(item, change) for key, item in value.items()}
    return value


def list_coordinates(call: Call, axis: int) -> list[Tensor]:
    """What the call gives for the row or column number of every cell; NaN for all that has none."""
    places = {id(source): dims[axis] for source, dims in call.sources}

    def number(tensor: Tensor) -> Tensor:
        if id(tensor) in places:
            return count_cells(tensor, places[id(tensor)])
        if tensor.is_floating_point():
            return torch.full_like(tensor, math.nan, device=_find_device(tensor))
        # Which one of several grids a computed index takes is unknown without numbers; any tells the geometry.
        return torch.zeros_like(tensor, device="cpu") if tensor.is_meta else tensor

    args, kwargs = replace_tensors(call.args, number), replace_tensors(call.kwargs, number)
    return list(iterate_tensors(call.func(*args, **kwargs)))


def count_cells(tensor: Tensor, dim: int) -> Tensor:
    """The place along ``dim`` of every cell, in the shape and the memory layout of ``tensor``."""
    device = _find_device(tensor)
    counts = torch.arange(tensor.shape[dim], dtype=torch.float32, device=device)
    return torch.empty_like(tensor, dtype=torch.float32, device=device).copy_(counts.reshape(-1, *[1] * (-dim - 1)))


def _find_device(tensor: Tensor) -> torch.device:
    """Where to work with a tensor's coordinates: at its place, unless that has no numbers."""
    return torch.device("cpu") if tensor.is_meta else tensor.device


def fit_grid(call: Call, coordinates: list[Tensor]) -> Geometry | None:
    """The geometry of an output of ``call`` whose cells hold these row and column numbers of the source."""
    axes, dims = [], []
    for axis, places, before in zip(call.axes, coordinates, call.dims, strict=True):
        found = _find_grid(places, before)
        if found is None:
            return UNKNOWN
        dim, step, first, last = found
        axes.append(Axis(axis.stride * step, axis.low + first * axis.stride, axis.high + last * axis.stride))
        dims.append(dim)
    return Geometry((axes[0], axes[1]), (dims[0], dims[1])) if dims[0] != dims[1] else UNKNOWN


def _find_grid(places: Tensor, before: int) -> tuple[int, int, int, int] | None:
    """``(dim, step, first, last)`` so that cell ``q`` along ``dim`` holds numbers from q * step + first to + last."""
    grids = []
    for dim in range(-places.ndim, 0):
        steps = places.diff(dim=dim)
        steps = steps[~steps.isnan()]
        if len(steps) and steps[0] >= 1 and (steps == steps[0]).all():
            grids.append((int(steps[0]), dim))
    if not grids and (places.ndim < -before or places.shape[before] != 1):
        return None
    # Rows cut into bands have two grids, the bands and the rows of a band: the coarse one is the tighter.
    step, dim = max(grids, default=(1, before))
    counts = step * count_cells(places, dim)
    offsets = (places - counts)[~places.isnan()]
    return (dim, step, int(offsets.min()), int(offsets.max())) if len(offsets) else None
