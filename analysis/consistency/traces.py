"""The class probability of one picture along a path of one-pixel shifts, and numbers that sum it up.

The diagonal trace is that of Zhang, "Making Convolutional Networks Shift-Invariant Again", 2019, the one-pixel
jitter that of Azulay and Weiss, "Why do deep convolutional networks generalize so poorly to small image
transformations?", 2018. Which windows are cut from which square is decided by :mod:`analysis.consistency.protocols`.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from analysis.consistency.design import Framing, Settings
from analysis.consistency.protocols import PROTOCOLS
from analysis.errors import Progress, UserError, no_progress
from analysis.network.chunks import run_in_chunks
from analysis.network.hooks import preserved
from analysis.network.predict import predict
from analysis.shift.move import Extended

PATHS = {
    "diag33": "Diagonal (Zhang 2019): 33 windows of 224 at (k, k) within 256",
    "aw": "One-pixel jitter (Azulay & Weiss 2018): 9 windows of 224 within 234",
}
"""The protocols whose shifts form a path, with the sizes of the source; other inputs keep 32/224, or 10 pixels."""
CHUNK = 16
"""Windows per forward pass."""


@dataclass(frozen=True)
class Trace:
    """What a network says at S places of a path, each one pixel from the next; probabilities in [0, 1].

    Attributes:
        shifts: S pairs (dx, dy) in network-input pixels.
        probabilities: S probabilities of that class.
        rivals: S largest probabilities of any other class.
        predictions: S predicted classes.
        changes: S - 1 absolute changes of the probability of the class predicted at the first of two places.
    """

    shifts: tuple[tuple[int, int], ...]
    target: int
    probabilities: tuple[float, ...]
    rivals: tuple[float, ...]
    predictions: tuple[int, ...]
    changes: tuple[float, ...]

    @property
    def mean_probability(self) -> float:
        """Of the target over the path."""
        return statistics.fmean(self.probabilities)

    @property
    def total_variation(self) -> float:
        """Sum of the absolute differences of neighbouring probabilities."""
        return sum(abs(b - a) for a, b in zip(self.probabilities, self.probabilities[1:], strict=False))

    @property
    def std(self) -> float:
        """Standard deviation of the probability over the path."""
        return statistics.pstdev(self.probabilities)

    @property
    def amplitude(self) -> float:
        """Largest minus smallest probability."""
        return max(self.probabilities) - min(self.probabilities)

    @property
    def hit_rate(self) -> float:
        """Share of the places where the target is predicted."""
        return statistics.fmean(prediction == self.target for prediction in self.predictions)

    @property
    def change_rate(self) -> float:
        """Share of the one-pixel steps that change the predicted class: P(top-1 change) of Azulay and Weiss."""
        steps = zip(self.predictions, self.predictions[1:], strict=False)
        return statistics.fmean(a != b for a, b in steps)

    @property
    def mean_absolute_change(self) -> float:
        """MAC of Azulay and Weiss: mean of ``changes``."""
        return statistics.fmean(self.changes)

    def to_json(self) -> dict:
        """The attributes and the numbers in ``SUMMARY``."""
        lists = {name: list(getattr(self, name)) for name in ("probabilities", "rivals", "predictions", "changes")}
        numbers = {name: getattr(self, name) for name in SUMMARY}
        return {"shifts": [list(shift) for shift in self.shifts], "target": self.target} | lists | numbers


SUMMARY = (
    "mean_probability",
    "total_variation",
    "std",
    "amplitude",
    "hit_rate",
    "change_rate",
    "mean_absolute_change",
)
"""The numbers of a trace that are averaged over pictures."""


def plan_trace(name: str, settings: Settings) -> tuple[Framing, tuple[tuple[int, int], ...]]:
    """How a picture is framed, and the path of shifts (dx, dy) over it.

    Args:
        name: A key of ``PATHS``.
        settings: Of the model; its ``window`` decides how far the path goes.

    Raises:
        UserError: No such path.
    """
    if name not in PATHS:
        raise UserError(f"There is no path called {name}; there are {', '.join(PATHS)}.")
    protocol = PROTOCOLS[name]
    design = protocol.design(["picture"], settings)
    path = design.shifts[0, np.unique(design.pairs)]
    return protocol.frame(settings), tuple((dx, dy) for dx, dy in path.tolist())


def diagonal_trace(
    module: nn.Module,
    picture: Extended,
    shifts: Sequence[tuple[int, int]],
    *,
    target: int | None = None,
    progress: Progress = no_progress,
) -> Trace:
    """Follows one class along a path of shifts.

    Args:
        picture: Network input (normalised, on the module's device) with the surroundings that the path needs.
        shifts: At least two (dx, dy), such as :func:`plan_trace` gives.
        target: The class; None takes the one predicted without a shift.

    Raises:
        UserError: Fewer than two shifts, no such class, or the picture is too small for the path.
    """
    if len(shifts) < 2:
        raise UserError("A trace needs at least two shifts.")
    windows = [picture.window(dx, dy) for dx, dy in shifts]
    with preserved(module):
        if target is None:
            target = int(predict(module, picture.window(0, 0)[None]).argmax())
        parts = run_in_chunks(lambda part: predict(module, torch.stack(list(part))), windows, CHUNK, progress)
        probabilities = torch.cat([found for _, found in parts])
    return follow(probabilities, shifts, target)


def follow(probabilities: torch.Tensor, shifts: Sequence[tuple[int, int]], target: int) -> Trace:
    """The trace of one class in the probabilities ``(S, K)`` of a path; :func:`diagonal_trace` says more."""
    if not 0 <= target < probabilities.shape[1]:
        raise UserError(f"There is no class {target}; the model knows the classes 0 to {probabilities.shape[1] - 1}.")
    probabilities = probabilities.double()
    predictions = probabilities.argmax(1)
    others = probabilities.clone()
    others[:, target] = 0
    confidences = probabilities.gather(1, predictions[:, None])[:, 0]  # (S,)
    changes = probabilities[1:].gather(1, predictions[:-1, None])[:, 0] - confidences[:-1]  # (S - 1,)
    return Trace(
        shifts=tuple((int(dx), int(dy)) for dx, dy in shifts),
        target=target,
        probabilities=tuple(probabilities[:, target].tolist()),
        rivals=tuple(others.amax(1).tolist()),
        predictions=tuple(predictions.tolist()),
        changes=tuple(changes.abs().tolist()),
    )


def summarize_traces(traces: Sequence[Mapping]) -> dict[str, float]:
    """Means over pictures of the numbers in ``SUMMARY``, and the median of the amplitudes.

    Args:
        traces: What :meth:`Trace.to_json` gives for each picture.

    Raises:
        UserError: No trace.
    """
    if not traces:
        raise UserError("There is no trace to sum up.")
    means = {name: statistics.fmean(trace[name] for trace in traces) for name in SUMMARY}
    return {**means, "median_amplitude": statistics.median(trace["amplitude"] for trace in traces)}
