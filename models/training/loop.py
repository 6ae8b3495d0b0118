"""The training loop: data resident on the device, reports twice a second, and a state that survives being killed.

It knows the run directory only through its journal, and nothing of who reads there.
"""

import logging
import math
import time

from torch import Tensor

from analysis.errors import Cancelled
from analysis.network.health import measure_health, measure_norms
from models.data.dataset import Dataset, Split
from models.runs.stop import StopRequest
from models.runs.writer import RunWriter
from models.training.acceleration import agree_on
from models.training.config import TrainingConfig
from models.training.frequent_validation import pick_sample, plan_validations, share_right
from models.training.metrics import RunningSums, check_finite
from models.training.recorder import Journal, MetricsListener, load_best, pick_candidates, snapshot_steps
from models.training.resume import read_resume_point, refuse_resume_point
from models.training.setup import Prepared, choose_pictures, prepared
from models.training.steps import train_step
from models.training.validate import Assessment, assess
from models.training.warm_start import Start

REPORT_SECONDS = 0.5
HEALTH_PICTURES, HEALTH_VALUES = 256, 2**23
"""Validation pictures that dead channels are looked for on: at most so many, with so many input values together."""
log = logging.getLogger(__name__)
_RESULT = ("state", "val_accuracy", "test_accuracy", "seconds", "epochs", "weights_sha256")


def fit(
    config: TrainingConfig,
    dataset: Dataset,
    device: str,
    writer: RunWriter,
    stop: StopRequest,
    on_metrics: MetricsListener | None = None,
    start: Start | None = None,
) -> dict:
    """Trains, tests and saves, going on from the run's resume point if there is one.

    Args:
        device: "cpu", "cuda" or "mps".

    Returns:
        The fields of a TrainingResult other than its name.

    Raises:
        UserError: The loss is no longer a finite number, or what was saved before cannot be used.
        OSError: The run directory cannot be written.
    """
    try:
        with prepared(config, dataset, device, writer, stop, start) as found:
            return Trainer(found, on_metrics).run()
    except Cancelled:  # before the first step
        return dict.fromkeys(_RESULT) | {"state": "stopped", "seconds": 0.0, "epochs": 0}


class Trainer:
    """The loop of one training from its first step on, or from the one to go on from; :meth:`run` is called once."""

    def __init__(self, prepared: Prepared, on_metrics: MetricsListener | None = None):
        self.prepared, self.module = prepared, prepared.module
        self.config, self.accelerator, self.feed = prepared.config, prepared.accelerator, prepared.feed
        self.total_steps, self.validation = prepared.total_steps, prepared.validation
        config, accelerator, feed = self.config, self.accelerator, self.feed
        self.journal = Journal(
            prepared.writer,
            config.architecture,
            prepared.dataset,
            prepared.preprocessing,
            on_metrics,
            is_silent=not accelerator.is_main_process,
        )
        self.step, self.epoch = 0, 0
        self.val_accuracy: float | None = None
        self.best: dict | None = None
        self.seconds_before, self.meter = 0.0, RunningSums(accelerator.device)
        self.epochs = math.ceil(prepared.total_steps / feed.steps_per_epoch)
        self.journal.save_provenance(accelerator.device.type, accelerator.num_processes, accelerator.mixed_precision)
        self._go_on()
        self.snapshots = self._plan_snapshots() if config.snapshots else frozenset()
        # Within epochs, on a sample; the epochs' own validations tell the accuracy on it, too.
        self.sample: Tensor | None = None
        self.validated_steps: frozenset[int] = frozenset()
        if config.validate_often:
            self.sample = pick_sample(prepared.validation)
            self.validated_steps = plan_validations(
                prepared.total_steps, feed.steps_per_epoch, feed.batch_size, len(prepared.validation)
            )
        self.journal.save_examples()
        numbers = {"total_steps": prepared.total_steps, "epoch": self.epoch, "epochs": self.epochs}
        prepared.writer.update(state="running", message="", step=self.step, **numbers)
        if self.step == 0:
            self._keep_snapshot()

    def run(self) -> dict:
        """See :func:`fit`."""
        prepared, tested = self.prepared, None
        sha256: str | None
        try:
            self._train()
            if prepared.config.patience:
                self._take_best()
            sha256 = self.journal.save_model(prepared.module)
            self._keep_hard_examples()
            tested = self._assess(prepared.test)
            self.journal.save_test_examples(tested.logits)
        except Cancelled:
            sha256 = self.journal.save_model(prepared.module) if self.step else None
        return {
            "state": "finished" if tested else "stopped",
            "val_accuracy": self.val_accuracy if tested else None,
            "test_accuracy": tested.accuracy if tested else None,
            "seconds": self._seconds(),
            "epochs": self.epoch,
            "weights_sha256": sha256,
        }

    def _go_on(self) -> None:
        """Puts everything back to the last resume point, if there is one."""
        found = read_resume_point(self.prepared.writer.run_dir, self.module, self.prepared.optimizer)
        if found is None:
            self.journal.go_on(0, 0)
            return
        sums, progress = found
        self.step, self.epoch, self.val_accuracy = progress["step"], progress["epoch"], progress["val_accuracy"]
        self.best, self.seconds_before = progress["best"], progress["seconds"]
        try:
            self.meter.restore(sums, progress["meter_seconds"])
        except (KeyError, RuntimeError) as error:
            raise refuse_resume_point(self.prepared.writer.run_dir) from error
        since_epoch = self.step - self.epoch * self.feed.steps_per_epoch
        is_state = 0 <= since_epoch <= self.feed.steps_per_epoch and (since_epoch > 0) == (self.meter.count > 0)
        if not is_state or not 0 <= self.step <= self.total_steps:
            raise refuse_resume_point(self.prepared.writer.run_dir)
        if self.accelerator.scaler is not None and progress["scaler"]:
            self.accelerator.scaler.load_state_dict(progress["scaler"])
        self.journal.go_on(self.step, self.epoch)
        self.prepared.meet()  # before one of several processes saves the next one

    def _plan_snapshots(self) -> frozenset[int]:
        size, every = sum(tensor.nbytes for tensor in self.module.state_dict().values()), self.config.snapshot_every
        steps = snapshot_steps(self.total_steps, size, every)
        if not self.journal.is_silent:
            if not steps:
                log.warning("No weights are kept on the way: those of this network take %.0f MB.", size / 2**20)
            elif every and len(steps) < math.ceil(self.total_steps / every) + 1:
                log.warning("Weights are kept every %d steps: more often, they would be too many.", sorted(steps)[1])
        return steps

    def _is_over(self) -> bool:
        patience = self.config.patience
        is_patient = not patience or self.best is None or self.epoch - self.best["epoch"] < patience
        return self.epoch >= self.epochs or not is_patient

    def _train(self) -> None:
        """All epochs; a stop leaves a state to go on from, be it between two steps or in a validation."""
        while not self._is_over():
            try:
                self._train_epoch()
                self._finish_epoch()
            except Cancelled:
                self._save_resume_point()
                raise

    def _train_epoch(self) -> None:
        """What is left of an epoch, or of the steps."""
        self.prepared.model.train()
        end = min(self.total_steps, (self.epoch + 1) * self.feed.steps_per_epoch)
        while self.step < end:
            if self.prepared.must_stop():
                if self.meter.count:
                    self._report_step()
                raise Cancelled
            # Before a step and not after it: a training that goes on from here has yet to do it.
            if self.step in self.validated_steps:
                self._validate_sample()
            train_step(self.prepared, self.meter, self.step, self.prepared.rate(self.step))
            self.step += 1
            self._keep_snapshot()
            if self.meter.seconds_since_report >= REPORT_SECONDS:
                self._report_step()
            if self.step < end and self.journal.resume_points.is_due():
                self._save_resume_point()

    def _finish_epoch(self) -> None:
        """Measures, reports and saves; where it is stopped, nothing has changed."""
        metrics = self._measure()
        found = self._assess(self.validation)
        self.epoch += 1
        check_finite(found.loss, self.step, metrics["learning_rate"], self.accelerator.mixed_precision)
        self.val_accuracy = agree_on(self.accelerator, found.accuracy)
        if self.config.patience and (self.best is None or self.val_accuracy > self.best["val_accuracy"]):
            self.best = {"epoch": self.epoch, "val_accuracy": self.val_accuracy}
            self.journal.save_best(self.module)
        is_kept = self.journal.epochs.is_due() or self._is_over()
        layers = measure_norms(self.module) + (self._measure_health() if is_kept else [])
        self._report({"kind": "layers", "epoch": self.epoch, "step": self.step, "layers": layers})
        measured = {"val_loss": found.loss, "val_accuracy": self.val_accuracy}
        if self.sample is not None:
            measured["sample_accuracy"] = share_right(found.logits, self.validation.labels, self.sample)
        self._report({"kind": "epoch", **metrics, **measured, "class_accuracy": list(found.class_accuracy)})
        self.meter = RunningSums(self.accelerator.device)
        if is_kept:
            with self.journal.epochs.saving():
                self.journal.save_model(self.module)
                self.journal.save_predictions(found.logits)
                self._save_resume_point()

    def _validate_sample(self) -> None:
        if self.sample is None:
            return
        found = self._assess(self.validation.take(self.sample))
        self._report(
            {"kind": "sample", "epoch": self.epoch + 1, "step": self.step, "sample_accuracy": found.accuracy}
        )

    def _measure_health(self) -> list[dict]:
        """Dead and saturated channels of every activation, on some of the validation pictures."""
        images = self.validation.images
        count = min(HEALTH_PICTURES, max(1, HEALTH_VALUES // images[0].numel()))
        found = measure_health(self.prepared.approach.core, self.feed.normalize(images[:count]))
        return [layer.to_json() for layer in found]

    def _report_step(self) -> None:
        self._report({"kind": "step", **self._measure()})
        self.meter.mark_report()

    def _measure(self) -> dict:
        loss, accuracy = self.meter.read()
        # Not the optimiser's own: after a restart that has nothing left to train, it has none of the last step.
        rate = self.prepared.rate(self.step - 1) * self.prepared.optimizer.param_groups[0]["rate_factor"]
        if (bad_step := self.meter.bad_step) is not None:
            check_finite(math.nan, bad_step + 1, self.prepared.rate(bad_step), self.accelerator.mixed_precision)
        return {
            "epoch": math.ceil(self.step / self.feed.steps_per_epoch),
            "step": self.step,
            "train_loss": loss,
            "train_accuracy": accuracy,
            "learning_rate": rate,
            "samples_per_second": self.meter.samples_per_second * self.accelerator.num_processes,
            "seconds": self.meter.seconds,
        }

    def _report(self, metrics: dict) -> None:
        status = {"step": self.step, "epoch": metrics["epoch"]}
        if speed := metrics.get("samples_per_second"):
            left = (self.total_steps - self.step) * self.feed.batch_size / speed
            status |= {"samples_per_second": speed, "seconds_left": left}
            if self.config.trackers:
                numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
                self.accelerator.log(numbers, step=self.step)
        self.journal.report(metrics, status)

    def _assess(self, split: Split) -> Assessment:
        return assess(
            *(self.prepared.approach.core, split, self.feed.normalize),
            lambda logits, labels: self.prepared.loss(logits, labels, 0.0),
            self.feed.batch_size,
            self.prepared.check_stop,
        )

    def _keep_hard_examples(self) -> None:
        """Keeps the training pictures that the finished network finds hardest, as they are without augmentation."""
        index = pick_candidates(self.feed.split, self.config.seed, self.step * self.feed.batch_size)
        found = self._assess(self.feed.split.take(index))
        self.journal.save_hard_examples(choose_pictures(self.config, self.prepared.dataset), index, found.logits)

    def _keep_snapshot(self) -> None:
        if self.step in self.snapshots:
            self.journal.save_snapshot(self.module, self.step)

    def _save_resume_point(self) -> None:
        scaler = self.accelerator.scaler
        progress = {
            "step": self.step,
            "epoch": self.epoch,
            "val_accuracy": self.val_accuracy,
            "best": self.best,
            "seconds": self._seconds(),
            "meter_seconds": self.meter.seconds,
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        self.journal.save_resume_point(self.module, self.prepared.optimizer, self.meter.sums, progress)

    def _take_best(self) -> None:
        self.prepared.meet()  # one of several processes writes it
        load_best(self.prepared.writer.run_dir, self.module)
        self.journal.save_predictions(self._assess(self.validation).logits)
        if self.best is not None:
            self.val_accuracy = self.best["val_accuracy"]

    def _seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.prepared.started
