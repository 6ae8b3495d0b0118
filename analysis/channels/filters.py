"""The filters of a network as pictures, and in a word what those of the first layer look for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.network.layers import Layer

DEAD = 0.01
"""A filter whose norm is below this share of the largest one's is dead: it adds next to nothing."""
MOST = 0.5
"""Share of the energy that decides what a filter is called."""
_SIDE = 32
"""Of the spectrum that directions are measured in; kernels are padded with zeros to it."""
DIRECTIONS = ("horizontal", "rising", "vertical", "falling")
"""Of the line that an edge filter looks for, every 45 degrees anticlockwise from the row."""


@dataclass(frozen=True)
class FilterWord:
    """What a filter of the first layer looks for.

    Attributes:
        chroma: Share of its energy in differences between the colours, against their mean.
        flat: Share of that part's energy (of the larger of the two) in its mean over the window.
        coherence: How much of the rest of it runs in one direction, 0 to 1.
        angle: Of the line that it looks for, in degrees from the row, anticlockwise, in [0, 180).
        is_dead: Whether it is next to nothing.
    """

    chroma: float
    flat: float
    coherence: float
    angle: float
    is_dead: bool

    @property
    def word(self) -> str:
        """Dead; colour or brightness, where it is the same all over; else an edge or a spot, of colour or not."""
        if self.is_dead:
            return "dead"
        if self.flat >= MOST:
            return "colour" if self.chroma >= MOST else "brightness"
        kind = "colour " if self.chroma >= MOST else ""
        is_edge = self.coherence >= MOST
        return f"{DIRECTIONS[round(self.angle / 45) % 4]} {kind}edge" if is_edge else f"{kind}spot"


def find_filters(module: nn.Module, shape: tuple[int, int, int]) -> Tensor | None:
    """``(N, C, h, w)`` on the CPU, of the first layer that multiplies with weights.

    Of a network that begins with a linear layer, these are its templates, as large as the picture.

    Args:
        shape: Of its input, ``(C, H, W)``.

    Returns:
        None where they are no pictures.
    """
    first = next((part for part in module.modules() if isinstance(part, nn.Conv2d | nn.Linear)), None)
    if first is None or (isinstance(first, nn.Linear) and first.in_features != math.prod(shape)):
        return None
    weights = first.weight.detach().float().cpu().clone()
    return weights if isinstance(first, nn.Conv2d) else weights.unflatten(1, shape)


def find_kernels(module: nn.Module, layers: Sequence[Layer], name: str, channel: int) -> tuple[str, Tensor] | None:
    """The kernels of a channel, of the nearest convolution with as many channels: the layer itself or before it.

    Returns:
        Its name, and ``(C, h, w)``, one kernel for each channel that it reads; None where there is no such one.
    """
    place = next(place for place, layer in enumerate(layers) if layer.name == name)
    for layer in reversed(layers[: place + 1]):
        part = module.get_submodule(layer.name.split("#")[0]) if layer.output_shape else None
        if isinstance(part, nn.Conv2d) and part.out_channels == layers[place].output_shape[0]:
            return layer.name, part.weight.detach()[channel].float().cpu().clone()
    return None


def describe_filters(filters: Tensor) -> tuple[FilterWord, ...]:
    """What each filter looks for, by where its energy (the sum of its squared weights) is.

    The energy is divided in two orthogonal parts: the mean of the colours, and what each colour differs from it. The
    larger one is divided again, into its mean over the window and the rest; the direction of the rest is that of its
    power spectrum, whose second circular moment is the coherence (1 for a grating, 0 for a ring).

    Args:
        filters: ``(N, 1 or 3, h, w)``.
    """
    filters = filters.detach().double().cpu()
    energy = filters.square().sum((1, 2, 3))  # (N,)
    mean = filters.mean(1, keepdim=True).expand_as(filters)
    chroma = _share((filters - mean).square().sum((1, 2, 3)), energy)
    part = torch.where((chroma >= MOST)[:, None, None, None], filters - mean, mean)
    level = part.mean((2, 3), keepdim=True)
    flat = _share(level.square().sum((1, 2, 3)) * part[0, 0].numel(), part.square().sum((1, 2, 3)))
    coherence, angle = _find_direction(part - level)
    is_dead = energy.sqrt() <= DEAD * energy.max().sqrt()
    columns = (each.tolist() for each in (chroma, flat, coherence, angle, is_dead))
    return tuple(FilterWord(*row) for row in zip(*columns, strict=True))


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole.clamp(min=torch.finfo(whole.dtype).tiny), 0.0)


def _find_direction(filters: Tensor) -> tuple[Tensor, Tensor]:
    """Coherence ``(N,)`` and the angle ``(N,)`` in degrees of filters ``(N, C, h, w)`` whose mean is zero."""
    side = max(_SIDE, *filters.shape[-2:])
    power = torch.fft.fft2(filters, s=(side, side)).abs().square().sum(1)  # (N, side, side)
    rows, columns = torch.meshgrid(*(torch.fft.fftfreq(side, dtype=torch.float64),) * 2, indexing="ij")
    # Within a disc: the corners of the square would count as diagonal.
    power = power * ((rows.square() + columns.square()).sqrt() < 0.5)
    moment = (power * torch.exp(2j * torch.atan2(-rows, columns))).sum((1, 2))  # rows count downwards
    total = power.sum((1, 2))
    # The line runs across the direction in which the filter changes.
    return _share(moment.abs(), total), (torch.rad2deg(moment.angle()) / 2 + 90) % 180
