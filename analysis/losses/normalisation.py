"""Batch, layer, instance and group normalisation: one sum over four different sets of cells, and its way back."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.errors import UserError

EPS = 1e-5
"""What PyTorch adds to the variance."""


@dataclass(frozen=True)
class Normalisation:
    """Which cells are averaged together: ``groups(C, groups)`` sets of channels, of all pictures or of each."""

    title: str
    about: str
    groups: Callable[[int, int], int]
    over_batch: bool = False


NORMALISATIONS = {
    "batch": Normalisation(
        "Batch", "each channel, over all pictures", lambda channels, groups: channels, over_batch=True
    ),
    "layer": Normalisation("Layer", "each picture, over all channels", lambda channels, groups: 1),
    "instance": Normalisation("Instance", "each channel of each picture", lambda channels, groups: channels),
    "group": Normalisation("Group", "each group of channels of each picture", lambda channels, groups: groups),
}
"""Name -> normalisation; Wu & He, "Group Normalization", 2018, figure 2."""


@dataclass(frozen=True, eq=False)
class Normalised:
    """Every step of a normalisation of ``x (N, C, ...)``; all of its shape.

    Attributes:
        mean: Of the set that each cell belongs to.
        variance: Of the same, divided by the number of cells.
        normalised: ``(x - mean) / sqrt(variance + eps)``.
        scaled: ``gain * normalised + shift``, with one of each for a channel.
    """

    mean: Tensor
    variance: Tensor
    normalised: Tensor
    scaled: Tensor


@dataclass(frozen=True, eq=False)
class Gradients:
    """How a loss changes with the input ``(N, C, ...)``, the gain ``(C,)`` and the shift ``(C,)``."""

    inputs: Tensor
    gain: Tensor
    shift: Tensor


def find_sets(kind: str, shape: tuple[int, ...], groups: int = 1) -> Tensor:
    """The number, from 0 on, of the set that each cell of ``(N, C, ...)`` is averaged with.

    Raises:
        UserError: There is no such normalisation, or the groups do not divide the channels.
    """
    if kind not in NORMALISATIONS:
        raise UserError(f"There is no normalisation called {kind[:40]}; there are {', '.join(NORMALISATIONS)}.")
    entry, channels = NORMALISATIONS[kind], shape[1]
    number = entry.groups(channels, groups)
    if number < 1 or channels % number:
        raise UserError(f"{channels} channels cannot be shared out evenly among {number} groups.")
    of_channels = torch.arange(channels) // (channels // number)  # (C,)
    of_pictures = torch.zeros(shape[0], dtype=torch.long) if entry.over_batch else torch.arange(shape[0]) * number
    sets = of_pictures[:, None] + of_channels  # (N, C)
    return sets.reshape(shape[0], channels, *(1,) * (len(shape) - 2)).expand(shape)


def normalise(
    kind: str,
    x: Tensor,
    gain: Tensor | None = None,
    shift: Tensor | None = None,
    *,
    groups: int = 1,
    eps: float = EPS,
) -> Normalised:
    """Normalises ``x (N, C, ...)`` with statistics of its own, as in training.

    Args:
        gain: ``(C,)``, 1 if not given; often called gamma.
        shift: ``(C,)``, 0 if not given; often called beta.

    Raises:
        UserError: As :func:`find_sets`.
    """
    sets = find_sets(kind, tuple(x.shape), groups)
    mean = _average(x, sets)
    variance = _average((x - mean).square(), sets)
    normalised = (x - mean) / (variance + eps).sqrt()
    scaled = normalised if gain is None else normalised * _along_channels(gain, x)
    return Normalised(mean, variance, normalised, scaled if shift is None else scaled + _along_channels(shift, x))


def go_back(
    kind: str, x: Tensor, upstream: Tensor, gain: Tensor | None = None, *, groups: int = 1, eps: float = EPS
) -> Gradients:
    """The gradients, by the formulas of Ioffe & Szegedy, "Batch Normalization", 2015, section 3.

    Put together, with ``g = gain * upstream`` and averages over each set, they are
    ``(g - average(g) - normalised * average(g * normalised)) / sqrt(variance + eps)``.

    Args:
        upstream: How the loss changes with ``scaled``, of the shape of ``x``.
    """
    steps = normalise(kind, x, groups=groups, eps=eps)
    sets = find_sets(kind, tuple(x.shape), groups)
    g = upstream if gain is None else upstream * _along_channels(gain, x)
    inner = g - _average(g, sets) - steps.normalised * _average(g * steps.normalised, sets)
    others = [dim for dim in range(x.ndim) if dim != 1]
    return Gradients(
        inner / (steps.variance + eps).sqrt(), (upstream * steps.normalised).sum(others), upstream.sum(others)
    )


def _average(x: Tensor, sets: Tensor) -> Tensor:
    """For each cell, the mean of its set."""
    number, flat = int(sets.max()) + 1, sets.flatten()
    sums = x.new_zeros(number).index_add(0, flat, x.flatten())
    return (sums / flat.bincount(minlength=number))[sets]


def _along_channels(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(1, -1, *(1,) * (x.ndim - 2))
