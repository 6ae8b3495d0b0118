"""The learning-rate range test: a short training at ever higher rates (Smith, "Cyclical Learning Rates", 2017).

``JOB`` runs it on a run directory and leaves result.json there.
"""

import math
from dataclasses import dataclass, replace

import torch

from analysis.errors import Cancelled
from models.data.dataset import Dataset
from models.determinism import reproducible
from models.devices import resolve_device
from models.runs.job import Job, Listener
from models.runs.queue import device_turn
from models.runs.stop import StopRequest
from models.runs.writer import RunWriter
from models.training.config import TrainingConfig
from models.training.metrics import RunningSums
from models.training.run import prepare_data
from models.training.setup import prepared
from models.training.steps import train_step

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
    steepest = min(slopes, key=lambda step: slopes[step], default=None)
    rates, suggestion = tuple(rate_at(step) for step in range(len(smoothed))), None
    if steepest is not None and slopes[steepest] < -LEAST_FALL * abs(smoothed[0]):
        suggestion = float(f"{rates[steepest]:.2g}")
    return RangeTest(rates, tuple(smoothed), suggestion)


def measure_losses(
    config: TrainingConfig, dataset: Dataset, device: str, writer: RunWriter, stop: StopRequest
) -> list[float]:
    """Trains at the rates of the test, and keeps nothing in the run directory.

    Returns:
        The loss of every step until it is no number any more.

    Raises:
        Cancelled: It was asked to stop.
        UserError: As for a training.
    """
    losses: list[float] = []
    with prepared(config, dataset, device, writer, stop) as found:
        meter, total = RunningSums(found.accelerator.device), found.total_steps
        epochs = math.ceil(total / found.feed.steps_per_epoch)
        writer.update(state="running", message="", step=0, total_steps=total, epoch=0, epochs=epochs)
        found.model.train()
        while len(losses) < total and (not losses or math.isfinite(losses[-1])):
            stop.check()
            step, before = len(losses), meter.sums["loss"].item()
            train_step(found, meter, step, rate_at(step, total))
            losses.append((meter.sums["loss"].item() - before) / len(found.feed.index(step)))
            writer.update(step=step + 1)
    return losses


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
            return read_losses(measure_losses(config, dataset, device, writer, stop))


JOB = Job(
    kind="range_test",
    read_config=TrainingConfig.from_dict,
    work=_test_rates,
    to_document=RangeTest.to_json,
    describe=lambda found: f"suggested learning rate: {found.suggestion}",
    stopped="Stopped before it was done.",
)
