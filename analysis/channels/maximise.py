"""A picture made from noise so that a class or a channel answers as much as it can."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.errors import Progress, UserError, no_progress
from analysis.network.hooks import preserved, watch_outputs
from analysis.network.receptive_field import check_channel

START = 0.1
"""Standard deviation of the noise that it begins with, before the sigmoid."""
SMOOTHNESS = 1.0
"""Exponent of the frequency that the steps of a frequency are divided by."""

Score = Callable[[nn.Module, Tensor], Tensor]
"""A network and its input ``(1, C, H, W)`` -> a number to be made large."""


@dataclass(frozen=True)
class Recipe:
    """How the picture is made.

    After Olah, Mordvintsev & Schubert, "Feature Visualization", Distill 2017: the picture is a sum of waves, whose
    low frequencies move fastest, which penalises high ones; before each step it is moved by a few pixels at random;
    and differences of neighbours cost something.

    Attributes:
        steps: Of Adam.
        rate: Its learning rate.
        jitter: Pixels that the picture is moved by, at most, each way.
        variation: What the mean squared difference of neighbouring pixels costs.
    """

    steps: int = 256
    rate: float = 0.05
    jitter: int = 8
    variation: float = 1.0


@dataclass(frozen=True, eq=False)
class Maximised:
    """What came of it.

    Attributes:
        pixels: ``(C, H, W)`` in [0, 1].
        before: The score of the noise.
        after: That of the picture, not moved.
        scores: Of every step, of the picture as it was moved.
    """

    pixels: Tensor
    before: float
    after: float
    scores: tuple[float, ...]


def score_class(target: int) -> Score:
    """The logit of a class."""
    return lambda module, inputs: module(inputs)[0, target]


def score_channel(layer: str, channel: int) -> Score:
    """The mean of a channel over the map of a layer, with ``#2`` for its second call."""

    def score(module: nn.Module, inputs: Tensor) -> Tensor:
        kept: list[Tensor] = []
        # A copy: the next layer may change the map in its place.
        with watch_outputs(module, [layer], lambda _, maps: kept.append(maps.clone())):
            module(inputs)
        return kept[0][0, check_channel(layer, channel, kept[0].shape[1])].mean()

    return score


def maximise(
    module: nn.Module,
    to_inputs: Callable[[Tensor], Tensor],
    shape: tuple[int, int, int],
    score: Score,
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Maximised:
    """Makes a picture from noise that a network's score is large for.

    Args:
        module: A network; left as it was found.
        to_inputs: Makes network input of pixels ``(1, C, H, W)`` in [0, 1], in a way that gradients go through.
        shape: Of the picture, ``(C, H, W)``.
        seed: Of the noise and of all moves.
        progress: Counts steps; may raise Cancelled.

    Raises:
        UserError: No gradient reaches the picture, or the score is no finite number.
    """
    recipe, generator = recipe or Recipe(), torch.Generator().manual_seed(seed)
    waves, scale = _start(shape, generator)
    optimizer = torch.optim.Adam([waves], lr=recipe.rate)
    scores: list[float] = []

    def draw() -> Tensor:
        spectrum = torch.view_as_complex(waves * scale[..., None])
        return torch.fft.irfft2(spectrum, s=shape[1:], norm="ortho").sigmoid()[None]  # (1, C, H, W)

    with preserved(module):
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        with torch.no_grad():
            before = float(score(module, to_inputs(draw())))
        for step in range(recipe.steps):
            progress(step, recipe.steps)
            with torch.enable_grad():
                pixels = draw()
                moves = torch.randint(-recipe.jitter, recipe.jitter + 1, (2,), generator=generator).tolist()
                reached = score(module, to_inputs(pixels.roll(moves, (2, 3))))
                if not reached.requires_grad or not math.isfinite(float(reached.detach())):
                    raise UserError("No picture can be made for this: no finite gradient reaches the pixels.")
                (waves.grad,) = torch.autograd.grad(recipe.variation * _vary(pixels) - reached.cpu(), [waves])
            optimizer.step()
            scores.append(float(reached.detach()))
        with torch.no_grad():
            pixels = draw()
            after = float(score(module, to_inputs(pixels)))
        progress(recipe.steps, recipe.steps)
    return Maximised(pixels[0].detach(), before, after, tuple(scores))


def _start(shape: tuple[int, int, int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random waves ``(C, H, W // 2 + 1, 2)``, real and imaginary, and their scales ``(H, W // 2 + 1)``."""
    channels, height, width = shape
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    frequency = (rows.square() + columns.square()).sqrt().clamp(min=1 / max(height, width))
    scale = frequency.pow(-SMOOTHNESS)
    scale = scale / scale.square().mean().sqrt()
    waves = START * torch.randn(channels, *scale.shape, 2, generator=generator)
    return waves.requires_grad_(), scale


def _vary(pixels: Tensor) -> Tensor:
    """The mean squared difference of neighbours, summed over both directions."""
    return sum(pixels.diff(dim=dim).square().mean() for dim in (2, 3))  # type: ignore[return-value]
