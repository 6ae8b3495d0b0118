"""Where on the picture the cells of a feature map are drawn: each at the centre of what it looks at."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from analysis.network.geometry import GeometryMode
from analysis.network.geometry_calls import iterate_tensors
from analysis.network.hooks import find_tensor, trace_calls
from analysis.network.windows import WHOLE_PICTURE, Axis

SCALES = frozenset({"batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "normalize"})
"""Functions that scale what stands at a place by numbers from elsewhere, and leave it there."""


@dataclass(frozen=True)
class Spacing:
    """Evenly spaced centres of cells, along one axis of the picture: cell ``q`` lies at ``first + q * step`` pixels.

    Pixel ``p`` covers ``p - 0.5`` to ``p + 0.5``.
    """

    first: float
    step: float


Centres = tuple[Spacing, Spacing] | None
"""Of the rows and of the columns of a map; None where the windows are not known."""

_KNOWN: WeakKeyDictionary[nn.Module, dict[tuple, Centres]] = WeakKeyDictionary()
"""What was found, by layer and size of the picture: a ConvNeXt is followed in the time of several forwards."""


def find_centres(module: nn.Module, inputs: Tensor, layer: str) -> Centres:
    """Where the rows and the columns of a layer's feature map look: the centres of their receptive fields.

    What gates and norms bring from the whole picture moves no centre. Remembered as long as the module lives.

    Args:
        module: A network in eval mode; runs once for each layer and size.
        inputs: ``(1, C, H, W)``.
        layer: Name of a submodule with a feature map; of several calls the last one counts.

    Returns:
        None where the windows are not known, as after attention.
    """
    known = _KNOWN.setdefault(module, {})
    key = (layer, *inputs.shape[-2:])
    if key not in known:
        known[key] = _follow(module, inputs, layer)
    return known[key]


def _follow(module: nn.Module, inputs: Tensor, layer: str) -> Centres:
    found = None

    def keep(_name: str, output: object) -> None:
        nonlocal found
        if (cells := find_tensor(output)) is not None:
            found = mode.find(cells)

    inputs = inputs.detach().clone()
    part = module.get_submodule(layer)
    with torch.no_grad(), trace_calls([(layer, part)], end=keep), _CentreMode(inputs) as mode:
        module(inputs)
    if found is None or found.axes is None or found.dims != (-2, -1):
        return None
    rows, columns = map(_find_spacing, found.axes)
    return None if rows is None or columns is None else (rows, columns)


def spread_evenly(num_cells: int, size: int) -> Spacing:
    """The centres of cells that tile ``size`` pixels, which is how other tools enlarge a map."""
    return Spacing((size / num_cells - 1) / 2, size / num_cells)


def enlarge(cells: Tensor, size: tuple[int, int], centres: Centres) -> Tensor:
    """A map ``(..., h, w)`` drawn on a picture ``(..., H, W)``: bilinear between centres, constant outside them.

    Args:
        centres: Of its rows and columns; None spreads them evenly.
    """
    counts = cells.shape[-2:]
    rows, columns = centres or map(spread_evenly, counts, size)
    return _weigh(rows, counts[0], size[0]).to(cells) @ cells @ _weigh(columns, counts[1], size[1]).to(cells).T


def _weigh(row: Spacing, num_cells: int, size: int) -> Tensor:
    """``(size, num_cells)``: the share of each cell in each pixel."""
    places = ((torch.arange(size, dtype=torch.float64) - row.first) / row.step).clamp(0, num_cells - 1)
    return (1 - (places[:, None] - torch.arange(num_cells)).abs()).clamp(min=0)  # (size, 1) - (num_cells,)


def _find_spacing(axis: Axis) -> Spacing | None:
    centre = (axis.low + axis.high) / 2
    return Spacing(centre, axis.stride) if abs(centre) < float("inf") else None  # neither infinite nor NaN


class _CentreMode(GeometryMode):
    """Follows where cells are, whatever they are multiplied by.

    A number that has seen the whole picture (of squeeze and excitation, of a norm) widens a window without end, but
    does not move the cell.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs)
        for output in iterate_tensors(result):
            if getattr(func, "__name__", "") in SCALES and args[0] in self._known:
                self._known[output] = self._known[args[0]]
            if self._known.get(output) == WHOLE_PICTURE:
                del self._known[output]
        return result
