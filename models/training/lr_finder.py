"""The learning-rate range test: a short training at ever higher rates (Smith, "Cyclical Learning Rates", 2017).

``JOB`` runs it on a run directory and leaves result.json there.
"""

import math
from dataclasses import dataclass, replace

import torch

from analysis.errors import Cancelled
from models.determinism import reproducible
from models.devices import resolve_device
from models.runs.job import Job, Listener
from models.runs.queue import device_turn
from models.runs.run import RunWriter
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


def _test_rates(config: TrainingConfig, writer: RunWriter, stop: StopRequest, listen: Listener) -> RangeTest:
    """Tests the rates for this training, in turn with the other runs on the device."""
    config = replace(config, max_steps=STEPS, snapshots=False, trackers=())
    device = resolve_device(config.device).type
    writer.update(device=device)
    with device_turn(writer.run_dir, device, stop) as my_turn:
        if not my_turn:
            raise Cancelled
        with reproducible(config.seed), torch.enable_grad():
            dataset = prepare_data(config, writer, stop)
            return read_losses(RangeTester(config, dataset, device, writer, stop).measure())


JOB = Job(
    kind="range_test",
    read_config=TrainingConfig.from_dict,
    work=_test_rates,
    to_document=RangeTest.to_json,
    describe=lambda found: f"suggested learning rate: {found.suggestion}",
    stopped="Stopped before it was done.",
)
