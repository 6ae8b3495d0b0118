"""What a method is asked and what it answers, and how it works: watched, stopped and in chunks that can be halved."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.errors import Progress, UserError
from analysis.network.chunks import halve, unless_too_large

SMALLEST_DIFFERENCE = 1.0
"""In logits: the gap of a smaller difference is a share of this one, as a share of nearly nothing says nothing."""


@dataclass(frozen=True)
class Question:
    """Which part of ``inputs`` speaks for the class ``target``?

    Attributes:
        module: a classifier in eval mode, its parameters frozen. In a contrast its scores are what they exceed that
            of the class ``versus`` by, so that a method that asks it for the score of ``target`` need not know.
        inputs: ``(1, C, H, W)``, normalised; a copy that requires gradients.
        target: index of the class whose logit is explained.
        layer: name of the feature map of the methods that need one, empty for the others.
        seed: of all random numbers, which come from generators of the method's own.
        baseline: ``(1, C, H, W)``, normalised: the picture without evidence. None: zero, the mean colour.
        versus: index of the class that ``target`` is compared with, None for the logit alone.
        chunk: pictures per pass; None: what suits the method.
        copied: the copy of ``module`` with an activation in each module (:mod:`analysis.attribution.rewriting`),
            without the contrast; None where the method needs none.
    """

    module: nn.Module
    inputs: Tensor
    target: int
    layer: str
    progress: Progress
    seed: int
    baseline: Tensor | None = None
    versus: int | None = None
    chunk: int | None = None
    copied: nn.Module | None = None

    @property
    def start(self) -> Tensor:
        """The baseline ``(1, C, H, W)``, on the device of the input and of its type."""
        return torch.zeros_like(self.inputs) if self.baseline is None else self.baseline.detach().to(self.inputs)

    def score(self, pictures: Tensor) -> Tensor:
        """``(N,)``: what is explained, of other pictures; without gradients."""
        with torch.no_grad():
            return self.module(pictures)[:, self.target]

    def generator(self) -> torch.Generator:
        """Random numbers that repeat for the seed, on the CPU."""
        return torch.Generator().manual_seed(self.seed)


@dataclass(frozen=True)
class Evidence:
    """What a method found.

    Attributes:
        values: The map ``(1, C, H, W)``.
        completeness_gap: See :func:`measure_gap`; None where the method does not claim to add up.
        placement: ``centres`` or ``even``, of cells of a feature map; None without one.
    """

    values: Tensor
    completeness_gap: float | None = None
    placement: str | None = None


def measure_gap(total: float, difference: float) -> float:
    """How far a map is from adding up: its sum less the difference of the scores, without sign.

    As a share of the difference, or of ``SMALLEST_DIFFERENCE`` where that is larger.
    """
    return abs(total - difference) / max(abs(difference), SMALLEST_DIFFERENCE)


@contextmanager
def watched(question: Question, total: int) -> Iterator[Callable[[Tensor], Tensor]]:
    """Gives the forward function for captum, which reports progress in pictures before every chunk.

    Args:
        total: How many pictures there will be at most.
    """
    done = 0

    def forward(inputs: Tensor) -> Tensor:
        nonlocal done
        question.progress(min(done, total), total)
        done += len(inputs)
        return question.module(inputs)

    question.progress(0, total)
    yield forward
    question.progress(total, total)


def in_halves(question: Question, run: Callable[[int], Evidence], chunk: int) -> Evidence:
    """Calls ``run(chunk)``, and again with half the chunk as long as the device has too little memory.

    Args:
        chunk: Pictures per pass where the question names no number.
    """
    chunk = chunk if question.chunk is None else question.chunk
    require(chunk >= 1, "A chunk needs at least 1 image.")
    while (found := unless_too_large(run, chunk)) is None:
        chunk = halve(chunk)
    return found


@contextmanager
def contrasted(module: nn.Module, versus: int | None) -> Iterator[nn.Module]:
    """Inside, the scores of ``module`` are what they exceed that of the class ``versus`` by; None changes nothing."""

    def subtract(_module: nn.Module, _inputs: tuple, output: Tensor) -> Tensor:
        return output - output[:, versus : versus + 1]  # type: ignore[operator]

    with nullcontext() if versus is None else module.register_forward_hook(subtract):
        yield module


def draw_noise(question: Question, count: int, generator: torch.Generator) -> Tensor:
    """``(count, C, H, W)`` of the standard normal distribution, the same however many are drawn at a time."""
    drawn = [torch.randn(question.inputs.shape, generator=generator) for _ in range(count)]
    return torch.cat(drawn).to(question.inputs)


def find_range(inputs: Tensor) -> Tensor:
    """How far the largest value of a picture is from its smallest."""
    return inputs.max() - inputs.min()


def split(items: Sequence[int], chunk: int) -> Iterator[Sequence[int]]:
    """Parts of ``chunk`` items."""
    return (items[first : first + chunk] for first in range(0, len(items), chunk))


def each(numbers: Tensor, inputs: Tensor) -> Tensor:
    """``(N,)`` as ``(N, 1, 1, 1)``, where the input is and of its type."""
    return numbers.to(inputs)[:, None, None, None]


def require(condition: bool, sentence: str) -> None:
    """Raises UserError with the sentence unless the condition holds."""
    if not condition:
        raise UserError(sentence)
