"""The training loop: data resident on the device, reports twice a second, and a state that survives being killed.

It knows the run directory only through its journal, and nothing of who reads there.
"""

import math
import time
from contextlib import nullcontext

import torch
from torch import Tensor

from models.assessment import Assessment, assess
from models.data import Split
from models.journal import Journal, load_best, snapshot_steps
from models.layer_norms import measure_norms
from models.optimization import add_l1_gradients
from models.random_streams import Purpose, derive_seed, seed_generators
from models.resume_point import read_resume_point
from models.running_sums import RunningSums, check_finite
from models.training_setup import PreparedTraining, Stopped

REPORT_SECONDS = 0.5
_RESULT = ("state", "val_accuracy", "test_accuracy", "seconds", "epochs", "weights_sha256")


class Trainer(PreparedTraining):
    """One training of one model; :meth:`fit` may be called once."""

    keeps_records = True

    def fit(self) -> dict:
        """Trains, tests and saves, going on from the run's resume point if there is one.

        Returns:
            The fields of a TrainingResult other than its name.

        Raises:
            ModelsError: The loss is no longer a finite number, or what was saved before cannot be used.
            OSError: The run directory cannot be written.
        """
        with self._accelerated():
            try:
                self._start_together(True)
                self._prepare()
            except Stopped:
                return dict.fromkeys(_RESULT) | {"state": "stopped", "seconds": 0.0, "epochs": 0}
            stopped = False
            while not self._is_over() and not stopped:
                stopped = not self._train_epoch()
                if stopped:
                    self._save_resume_point()
                else:
                    self._finish_epoch()
            if not stopped and self.config.patience:
                self._take_best()
            sha256 = self.journal.save_model(self.module) if self.step else None
            if not stopped:
                self.journal.forget_way()
            return {
                "state": "stopped" if stopped else "finished",
                "val_accuracy": None if stopped else self.val_accuracy,
                "test_accuracy": None if stopped else self._assess(self.test).accuracy,
                "seconds": self._seconds(),
                "epochs": self.epoch,
                "weights_sha256": sha256,
            }

    def _prepare(self) -> None:
        """Everything until the first step, or the one to go on from."""
        config, accelerator = self.config, self.accelerator
        self.started = time.perf_counter()
        augments = self._list_augments()
        self._prepare_network(augments)
        self._prepare_data(augments)
        self.journal = Journal(
            self.writer,
            config.architecture,
            self.dataset,
            self.preprocessing,
            self.on_metrics,
            is_silent=not (accelerator.is_main_process and self.keeps_records),
        )
        self.step, self.epoch, self.val_accuracy, self.best = 0, 0, None, None
        self.seconds_before, self.meter = 0.0, RunningSums(accelerator.device)
        self.journal.save_provenance(self.device)
        self._go_on()
        size = sum(tensor.numel() * tensor.element_size() for tensor in self.module.state_dict().values())
        self.snapshots = snapshot_steps(self.total_steps, size) if config.snapshots else frozenset()
        self.journal.save_examples()
        epochs = math.ceil(self.total_steps / self.feed.steps_per_epoch)
        numbers = {"step": self.step, "total_steps": self.total_steps, "epoch": self.epoch, "epochs": epochs}
        self.writer.update(state="running", message="", **numbers)
        if self.step == 0:
            self._keep_snapshot()

    def _go_on(self) -> None:
        """Puts everything back to the last resume point, if there is one."""
        found = read_resume_point(self.writer.run_dir, self.module, self.optimizer)
        if found is None:
            self.journal.go_on(0, 0)
            return
        sums, progress = found
        self.step, self.epoch, self.val_accuracy = progress["step"], progress["epoch"], progress["val_accuracy"]
        self.best, self.seconds_before = progress["best"], progress["seconds"]
        self.meter.restore(sums, progress["meter_seconds"])
        if self.accelerator.scaler is not None and progress["scaler"]:
            self.accelerator.scaler.load_state_dict(progress["scaler"])
        self.journal.go_on(self.step, self.epoch)
        self.accelerator.wait_for_everyone()  # before one of several processes saves the next one

    def _is_over(self) -> bool:
        patience = self.config.patience
        is_patient = not patience or self.best is None or self.epoch - self.best["epoch"] < patience
        return self.step >= self.total_steps or not is_patient

    def _train_epoch(self) -> bool:
        """What is left of an epoch, or of the steps; False if it was asked to stop on the way."""
        self.model.train()
        end = min(self.total_steps, (self.epoch + 1) * self.feed.steps_per_epoch)
        while self.step < end:
            if self._must_stop():
                if self.meter.count:
                    self._report_step()
                return False
            self._train_step(self.feed.index(self.step))
            if self.step in self.snapshots:
                self._keep_snapshot()
            if self.meter.seconds_since_report >= REPORT_SECONDS:
                self._report_step()
            if self.step < end and self.journal.is_resume_point_due():
                self._save_resume_point()
        return True

    def _train_step(self, index: Tensor) -> None:
        config, accelerator = self.config, self.accelerator
        seed = derive_seed(config.seed, Purpose.FORWARD, self.step, accelerator.process_index)
        seed_generators(accelerator.device, seed)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(self.step) * group["rate_factor"]
        self.approach.before_step(self.step, self.total_steps)
        self.module.zero_grad()  # Accelerate's looks the signature up first
        parts = index.chunk(config.accumulate)
        for number, part in enumerate(parts):
            is_last = number == len(parts) - 1
            with nullcontext() if is_last else accelerator.no_sync(self.model):
                self._add_gradients(part, number)
        if config.clip_norm is not None:  # in half precision this takes the loss scale out of the gradients
            accelerator.clip_grad_norm_(self.module.parameters(), config.clip_norm)
        elif config.l1:
            accelerator.unscale_gradients(self.optimizer)
        if config.l1:
            add_l1_gradients(self.module.parameters(), config.l1)
        self.optimizer.step()
        self.step += 1

    def _add_gradients(self, index: Tensor, part: int) -> None:
        inputs, labels = self.feed.batch(index, self.step, part)
        with self.accelerator.autocast():
            logits = self.model(inputs)
        losses = self.loss(logits.float(), labels, self.config.label_smoothing)
        # Gradients are averaged over processes, whose shares of a batch may differ by a picture.
        self.accelerator.backward(losses.sum() * (self.accelerator.num_processes / self.feed.batch_size))
        self.meter.add(losses.detach(), logits.detach(), labels, self.step)

    def _finish_epoch(self) -> None:
        """Measures, saves and reports."""
        self.epoch += 1
        metrics = self._measure()
        found = self._assess(self.validation)
        check_finite(found.loss, self.step, metrics["learning_rate"], self.accelerator.mixed_precision)
        self.val_accuracy = self._agree_on(found.accuracy)
        if self.config.patience and (self.best is None or self.val_accuracy > self.best["val_accuracy"]):
            self.best = {"epoch": self.epoch, "val_accuracy": self.val_accuracy}
            self.journal.save_best(self.module)
        is_kept = self.journal.is_epoch_due() or self._is_over()
        if is_kept:
            self.journal.save_model(self.module)
            self.journal.save_predictions(found.logits)
        self._report({"kind": "layers", "epoch": self.epoch, "step": self.step, "layers": measure_norms(self.module)})
        measured = {"val_loss": found.loss, "val_accuracy": self.val_accuracy}
        self._report({"kind": "epoch", **metrics, **measured, "class_accuracy": list(found.class_accuracy)})
        self.meter = RunningSums(self.accelerator.device)
        if is_kept:
            self._save_resume_point()

    def _report_step(self) -> None:
        self._report({"kind": "step", **self._measure()})
        self.meter.mark_report()

    def _measure(self) -> dict:
        loss, accuracy = self.meter.read()
        rate = self.optimizer.param_groups[0]["lr"]
        if (bad_step := self.meter.bad_step) is not None:
            check_finite(math.nan, bad_step + 1, self._rate(bad_step), self.accelerator.mixed_precision)
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
            *(self.approach.core, split, self.feed.normalize),
            lambda logits, labels: self.loss(logits, labels, 0.0),
            self.feed.batch_size,
        )

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
        self.journal.save_resume_point(self.module, self.optimizer, self.meter.sums, progress)

    def _take_best(self) -> None:
        self.accelerator.wait_for_everyone()  # one of several processes writes it
        load_best(self.writer.run_dir, self.module)
        self.journal.save_predictions(self._assess(self.validation).logits)
        self.val_accuracy = self.best["val_accuracy"]

    def _agree_on(self, value: float) -> float:
        """That of the first process: running statistics, and so accuracies, differ a little between several."""
        if self.accelerator.num_processes == 1:
            return value
        from accelerate.utils import broadcast

        return broadcast(torch.tensor(value, dtype=torch.float64, device=self.accelerator.device)).item()

    def _seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.started

    def _rate(self, step: int) -> float:
        return self.config.learning_rate * self.schedule(step, self.total_steps)

    def _must_stop(self) -> bool:
        # All processes leave the loop at the same step, or the others would wait forever.
        return self._any(self.stop.requested)
