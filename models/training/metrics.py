"""Running sums of an epoch, kept on the device so that adding to them does not wait for it."""

import math
import time
from collections.abc import Mapping

import torch
from torch import Tensor

from analysis.errors import UserError

NEVER = 2**62
_CAUSES = {
    "fp16": "the loss may have left the range of half precision; use bfloat16 or float32, or a smaller learning rate"
}


class RunningSums:
    """Loss, correct answers and pictures since the epoch began, and the first step with a loss that is no number."""

    def __init__(self, device: torch.device):
        self.sums = {
            "loss": torch.zeros((), dtype=torch.float32, device=device),
            "correct": torch.zeros((), dtype=torch.int64, device=device),
            "bad_step": torch.full((), NEVER, dtype=torch.int64, device=device),
            "count": torch.zeros((), dtype=torch.int64),
        }
        self.started = self.reported = time.perf_counter()

    def restore(self, sums: Mapping[str, Tensor], seconds: float) -> None:
        """Goes on from what was saved of :attr:`sums`, and from so many seconds of work."""
        for name, own in self.sums.items():
            own.copy_(sums[name])
        self.started = time.perf_counter() - seconds

    def add(self, losses: Tensor, logits: Tensor, labels: Tensor, step: int) -> None:
        """Adds a batch: losses ``(B,)``, logits ``(B, K)``, labels ``(B,)``, computed at ``step`` (from 0)."""
        loss = losses.sum()
        self.sums["loss"] += loss
        self.sums["correct"] += (logits.argmax(1) == labels).sum()
        self.sums["count"] += len(labels)
        bad = torch.where(loss.isfinite(), NEVER, step)
        self.sums["bad_step"].copy_(torch.minimum(self.sums["bad_step"], bad))

    def read(self) -> tuple[float, float]:
        """Mean loss and accuracy so far; at least one batch was added."""
        return self.sums["loss"].item() / self.count, self.sums["correct"].item() / self.count

    @property
    def bad_step(self) -> int | None:
        """The first step whose loss was not finite, from 0; None if there is none."""
        step = int(self.sums["bad_step"])
        return None if step == NEVER else step

    @property
    def count(self) -> int:
        """Pictures that this process has seen."""
        return int(self.sums["count"])

    def mark_report(self) -> None:
        """Starts the time until the next report anew."""
        self.reported = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the epoch began."""
        return time.perf_counter() - self.started

    @property
    def seconds_since_report(self) -> float:
        """Since the last report, or the beginning."""
        return time.perf_counter() - self.reported

    @property
    def samples_per_second(self) -> float:
        """Of this process."""
        return self.count / max(self.seconds, 1e-9)


def check_finite(loss: float, step: int, learning_rate: float, precision: str) -> None:
    """Raises UserError with the likely cause unless the loss is a finite number.

    Args:
        loss: Of a step or of the validation pictures.
        step: From 1.
        precision: "no", "bf16" or "fp16".
    """
    if not math.isfinite(loss):
        too_fast = f"most likely its learning rate of {learning_rate:.3g} is too high; use a smaller learning rate"
        cause = _CAUSES.get(precision, f"{too_fast}, or clip the gradients")
        raise UserError(f"The loss stopped being a finite number at step {step}: {cause}.")
