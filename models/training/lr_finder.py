"""The learning-rate range test: a short training at ever higher rates (Smith, "Cyclical Learning Rates", 2017).

``python -m models.training.lr_finder RUN_DIR`` runs it on the config.json of a run directory and leaves result.json
there.
"""

import math
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from analysis.errors import Cancelled
from models.checkpoints import read_json
from models.determinism import reproducible
from models.devices import resolve_device
from models.runs.job import open_job, run_program
from models.runs.queue import device_turn
from models.runs.run import write_json
from models.runs.stop import StopRequest
from models.training.config import TrainingConfig
from models.training.loop import Trainer
from models.training.run import prepare_data

STEPS = 100
LOWEST, HIGHEST = 1e-6, 10.0
SMOOTHING = 0.9
"""Weight of what was before in the running mean of the loss."""
DIVERGED = 4.0
"""The test is over once the loss is so many times its lowest."""
LEAST_FALL = 1e-3
"""Share of the first loss by which it has to fall within two steps; less is noise."""
EDGE = 10
"""Steps at the beginning in which the running mean is not yet to be trusted."""


@dataclass(frozen=True)
class RangeTest:
    """Rates tried, the smoothed loss at each, and the suggested peak; None where the loss never fell."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float | None

    def to_json(self) -> dict:
        """``{rates, losses, suggestion}``."""
        return {"rates": list(self.rates), "losses": list(self.losses), "suggestion": self.suggestion}


def rate_at(step: int, steps: int = STEPS) -> float:
    """Rates rise by the same factor at every step, from ``LOWEST`` to ``HIGHEST``."""
    return LOWEST * (HIGHEST / LOWEST) ** (step / (steps - 1))


def read_losses(losses: list[float]) -> RangeTest:
    """Smooths the losses of the steps, cuts them off where they diverge, and suggests a rate.

    The suggestion is where the smoothed loss falls fastest over the logarithm of the rate: there a step gains most,
    and the loss is still far from rising.

    Args:
        losses: Of each step, at :func:`rate_at`; the last may be no finite numbers.
    """
    smoothed, mean = [], 0.0
    for step, loss in enumerate(losses):
        if not math.isfinite(loss):
            break
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed.append(mean / (1 - SMOOTHING ** (step + 1)))
        if smoothed[-1] > DIVERGED * min(smoothed):
            break
    slopes = {
        step: smoothed[step + 1] - smoothed[step - 1] for step in range(min(EDGE, len(smoothed)), len(smoothed) - 1)
    }
    steepest = min(slopes, key=slopes.get, default=None)
    falls = steepest is not None and slopes[steepest] < -LEAST_FALL * abs(smoothed[0])
    rates = tuple(rate_at(step) for step in range(len(smoothed)))
    return RangeTest(rates, tuple(smoothed), float(f"{rates[steepest]:.2g}") if falls else None)


class RangeTester(Trainer):
    """The steps of a training at the rates of the test; keeps nothing in the run directory."""

    keeps_records = False

    def measure(self) -> list[float]:
        """The loss of every step until it is no number any more; raises Cancelled if it was asked to stop."""
        losses: list[float] = []
        with self._accelerated():
            self._prepare()
            self.model.train()
            while self.step < self.total_steps and (not losses or math.isfinite(losses[-1])):
                self.stop.check()
                before = self.meter.sums["loss"].item()
                index = self.feed.index(self.step)
                self._train_step(index)
                losses.append((self.meter.sums["loss"].item() - before) / len(index))
                self.writer.update(step=self.step)
        return losses

    def _rate(self, step: int) -> float:
        return rate_at(step, self.total_steps)


def run_job(run_dir: Path) -> RangeTest | None:
    """Tests the rates for the training that the config.json of a run directory describes; the answer is result.json.

    Returns:
        What was found, or None if the run was stopped.

    Raises:
        UserError: The configuration or the data cannot be used; the run's state is then "failed".
    """
    with open_job(run_dir) as writer, StopRequest(run_dir) as stop:
        config = TrainingConfig.from_dict(read_json(run_dir / "config.json"))
        config = replace(config, max_steps=STEPS, snapshots=False, trackers=())
        device = resolve_device(config.device).type
        writer.update(device=device)
        losses = None
        with device_turn(run_dir, device, stop) as my_turn:
            if my_turn:
                with suppress(Cancelled), reproducible(config.seed), torch.enable_grad():
                    dataset = prepare_data(config, writer, stop)
                    losses = RangeTester(config, dataset, device, writer, stop).measure()
        if losses is None:
            writer.update(state="stopped", message="Stopped before it was done.")
            return None
        found = read_losses(losses)
        write_json(run_dir / "result.json", found.to_json())
        writer.update(state="finished", message="", seconds_left=0.0)
        return found


def main(arguments: list[str]) -> int:
    """Runs the config.json of the run directory named by the only argument; returns the exit status."""
    return run_program("models.training.lr_finder", arguments, run_job, _describe)


def _describe(found: RangeTest | None) -> str:
    return "stopped" if found is None else f"suggested learning rate: {found.suggestion}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
