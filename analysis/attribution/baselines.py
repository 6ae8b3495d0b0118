"""Pictures without evidence, that methods compare with: a table."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

BLUR = 1 / 16
"""Standard deviation of the blur, as a share of the shorter side."""


@dataclass(frozen=True)
class Baseline:
    """A picture without evidence.

    Attributes:
        explanation: in plain words, what it makes of evidence.
        make: of ``(pixels (C, H, W) in [0, 1], mean colour (C, 1, 1), generator)``, pixels like them.
    """

    name: str
    title: str
    explanation: str
    make: Callable[[Tensor, Tensor, torch.Generator], Tensor]


def blur(pixels: Tensor) -> Tensor:
    """Smoothed by a Gaussian of ``BLUR`` of the shorter side, mirrored at the borders."""
    sigma = BLUR * min(pixels.shape[-2:])
    radius = min(int(3 * sigma + 0.5), min(pixels.shape[-2:]) - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=pixels.dtype)
    kernel = (-(offsets**2) / (2 * sigma**2)).exp()
    kernel = (kernel / kernel.sum())[None, None]
    rows = F.conv2d(F.pad(pixels[:, None], (radius,) * 4, mode="reflect"), kernel[:, :, :, None])
    return F.conv2d(rows, kernel[:, :, None, :])[:, 0]


_TABLE = (
    Baseline(
        "mean",
        "The mean colour",
        "Zero after the normalisation. Where your picture has that colour, nothing is attributed.",
        lambda pixels, mean, generator: mean.expand_as(pixels).clone(),
    ),
    Baseline(
        "black",
        "Black",
        "Bright pixels get more than dark ones; what is black gets nothing.",
        lambda pixels, mean, generator: torch.zeros_like(pixels),
    ),
    Baseline(
        "blur",
        "The picture, blurred",
        "Colours stay, details go: what is attributed is detail.",
        lambda pixels, mean, generator: blur(pixels),
    ),
    Baseline(
        "noise",
        "Noise",
        "Every value at random: no colour is neutral, but the network may see something in it.",
        lambda pixels, mean, generator: torch.rand(pixels.shape, generator=generator).to(pixels),
    ),
)
BASELINES: dict[str, Baseline] = {baseline.name: baseline for baseline in _TABLE}


def make_baseline(name: str, pixels: Tensor, mean: Tensor, seed: int = 0) -> Tensor:
    """The baseline of a picture, in pixels ``(C, H, W)``.

    Args:
        name: Key in ``BASELINES``.
        pixels: ``(C, H, W)`` in [0, 1], on the CPU.
        mean: ``(C,)``, the colour that the normalisation puts at zero.
    """
    generator = torch.Generator().manual_seed(seed)
    return BASELINES[name].make(pixels, mean.to(pixels)[:, None, None], generator)
