"""The training loop: data resident on the device, one-cycle learning rate, reports twice a second.

It knows the run directory only through its writer, and nothing of who reads there.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from models.architectures import ARCHITECTURES
from models.augment import SHIFT_AUGMENTS, augment
from models.checkpoints import describe_model, pack_weights
from models.data import Dataset, Split
from models.errors import ModelsError
from models.runs import RunWriter, write_bytes, write_json
from models.starting import Start, adopt_weights
from models.stopping import StopRequest

if TYPE_CHECKING:
    from models.training import TrainingConfig

MetricsListener = Callable[[dict], None]

REPORT_SECONDS = 0.5
WARM_UP = 0.25
"""Share of all steps in which the learning rate rises."""

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda parameters, **options: torch.optim.SGD(parameters, momentum=0.9, nesterov=True, **options),
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def one_cycle(step: int, total_steps: int) -> float:
    """Learning rate of a step (from 0) as a fraction of its peak: a linear rise, then a linear fall.

    Smith and Topin, "Super-Convergence", 2018, without the change of momentum.
    """
    position = (step + 1) / (total_steps + 1)
    return min(position / WARM_UP, (1 - position) / (1 - WARM_UP))


class Trainer:
    """One training of one model; :meth:`fit` may be called once."""

    def __init__(
        self,
        config: "TrainingConfig",
        dataset: Dataset,
        device: str,
        writer: RunWriter,
        stop: StopRequest,
        on_metrics: MetricsListener | None = None,
        start: Start | None = None,
    ):
        self.config, self.dataset, self.device = config, dataset, device
        self.writer, self.stop, self.on_metrics = writer, stop, on_metrics
        self.start = start
        own = dataset.preprocessing()
        self.preprocessing = start.adapt(own) if start else own

    def fit(self) -> dict:
        """Trains, tests and saves; returns the fields of a TrainingResult other than its name.

        Raises:
            ModelsError: The loss is no longer a finite number.
            OSError: The run directory cannot be written.
        """
        with self._accelerated():
            self._prepare()
            started, epoch, val_accuracy, stopped = time.perf_counter(), 0, None, False
            while self.step < self.total_steps and not stopped:
                stopped = not self._train_epoch(epoch + 1)
                if not stopped:
                    val_accuracy = self._finish_epoch(epoch + 1)
                    epoch += 1
            sha256 = self._save() if self.step else None
            test_accuracy = None if stopped else self._evaluate(self.test)[1]
            return {
                "state": "stopped" if stopped else "finished",
                "val_accuracy": None if stopped else val_accuracy,
                "test_accuracy": test_accuracy,
                "seconds": time.perf_counter() - started,
                "epochs": epoch,
                "weights_sha256": sha256,
            }

    @contextmanager
    def _accelerated(self) -> Iterator[None]:
        """Accelerate keeps its settings for the whole process; they are dropped again afterwards."""
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

        on_cuda = self.device == "cuda"
        precision = ("bf16" if torch.cuda.is_bf16_supported() else "fp16") if on_cuda else "no"
        self.accelerator = Accelerator(cpu=self.device == "cpu", mixed_precision=precision)
        try:
            yield
        finally:
            self.accelerator.free_memory()
            self.accelerator.end_training()
            AcceleratorState._reset_state(reset_partial_state=True)

    def _prepare(self) -> None:
        config, dataset = self.config, self.dataset
        _, model_class = ARCHITECTURES[config.architecture]
        model = model_class(
            config.architecture_config(
                num_classes=len(dataset.categories),
                in_channels=dataset.in_channels,
                image_size=dataset.image_size,
            )
        ).to(memory_format=torch.channels_last)
        if self.start is not None:
            self.writer.update(new_weights=adopt_weights(model, self.start.load_weights()))
        optimizer = OPTIMIZERS[config.optimizer](
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.loss = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
        self.generator = torch.Generator().manual_seed(config.seed)
        # Its own, so that the order of the pictures is the same with and without random shifts.
        self.shift_generator = torch.Generator().manual_seed(config.seed + 1)
        self.train = self._to_device(_limit(dataset.train, config.train_limit, self.generator))
        self.validation, self.test = self._to_device(dataset.validation), self._to_device(dataset.test)
        self.mean, self.std = (
            torch.tensor(values, device=self.accelerator.device).view(-1, 1, 1)
            for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        self.batch_size = min(config.batch_size, len(self.train))
        self.steps_per_epoch = len(self.train) // self.batch_size
        self.total_steps = config.max_steps or self.steps_per_epoch * config.epochs
        self.step = 0
        epochs = math.ceil(self.total_steps / self.steps_per_epoch)
        self.writer.update(state="running", step=0, total_steps=self.total_steps, epoch=0, epochs=epochs)

    def _train_epoch(self, epoch: int) -> bool:
        """One pass over the train set, or what is left of the steps; False if it was asked to stop on the way."""
        self.model.train()
        self.meter = _Meter(self.accelerator.device)
        order = torch.randperm(len(self.train), generator=self.generator)
        num_steps = min(self.steps_per_epoch, self.total_steps - self.step)
        for start in range(0, num_steps * self.batch_size, self.batch_size):
            if self._must_stop():
                if self.meter.count:
                    self._report_step(epoch)
                return False
            # Each process takes its share of the batch; with one process that is all of it.
            share = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
            self._train_step(order[start : start + self.batch_size][share])
            if self.meter.seconds_since_report >= REPORT_SECONDS:
                self._report_step(epoch)
        return True

    def _train_step(self, index: Tensor) -> None:
        index = index.to(self.accelerator.device)
        images, labels = self.train.images[index], self.train.labels[index]
        if self.config.augment:
            images = augment(images, self.dataset.augmentations, self.generator)
        images = augment(images, SHIFT_AUGMENTS[self.config.shift_augment], self.shift_generator)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * one_cycle(self.step, self.total_steps)
        self.optimizer.zero_grad()
        with self.accelerator.autocast():
            logits = self.model(self._normalize(images))
            loss = self.loss(logits.float(), labels)
        self.accelerator.backward(loss)
        self.optimizer.step()
        self.step += 1
        self.meter.add(loss.detach(), logits.detach(), labels)

    def _finish_epoch(self, epoch: int) -> float:
        """Measures, saves and reports; returns the validation accuracy."""
        metrics = self._measured(epoch)
        val_loss, val_accuracy = self._evaluate(self.validation)
        _check_finite(val_loss, self.step)
        self._save()
        measured = {"val_loss": val_loss, "val_accuracy": val_accuracy}
        self._report({"kind": "epoch", **metrics, **measured})
        return val_accuracy

    def _report_step(self, epoch: int) -> None:
        self._report({"kind": "step", **self._measured(epoch)})
        self.meter.mark_report()

    def _measured(self, epoch: int) -> dict:
        loss, accuracy = self.meter.means()
        _check_finite(loss, self.step)
        return {
            "epoch": epoch,
            "step": self.step,
            "train_loss": loss,
            "train_accuracy": accuracy,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "samples_per_second": self.meter.samples_per_second * self.accelerator.num_processes,
            "seconds": self.meter.seconds,
        }

    def _report(self, metrics: dict) -> None:
        if not self.accelerator.is_main_process:
            return
        speed = metrics["samples_per_second"]
        self.writer.add_metrics(metrics)
        self.writer.update(
            step=self.step,
            epoch=metrics["epoch"],
            samples_per_second=speed,
            seconds_left=(self.total_steps - self.step) * self.batch_size / speed,
        )
        if self.on_metrics:
            self.on_metrics(metrics)

    @torch.no_grad()
    def _evaluate(self, split: Split) -> tuple[float, float]:
        """Mean loss and accuracy over a whole split."""
        self.model.eval()
        sums = torch.zeros(2, dtype=torch.float64)
        for start in range(0, len(split), self.batch_size):
            labels = split.labels[start : start + self.batch_size]
            logits = self.model(self._normalize(split.images[start : start + self.batch_size])).float()
            loss = nn.functional.cross_entropy(logits, labels, reduction="sum")
            correct = (logits.argmax(1) == labels).sum()
            sums += torch.tensor([loss.item(), correct.item()], dtype=torch.float64)
        mean_loss, accuracy = (sums / len(split)).tolist()
        return mean_loss, accuracy

    def _save(self) -> str:
        """Writes the model as it is now; returns the SHA-256 of the weights file."""
        model = self.accelerator.unwrap_model(self.model)
        data, sha256 = pack_weights(model)
        if self.accelerator.is_main_process:
            run_dir = self.writer.run_dir
            description = describe_model(model, self.config.architecture, self.dataset.categories, self.preprocessing)
            write_bytes(run_dir / "weights.safetensors", data)
            write_json(run_dir / "model.json", description)
        return sha256

    def _must_stop(self) -> bool:
        if self.accelerator.num_processes == 1:
            return self.stop.requested
        # All processes leave the loop at the same step, or the others would wait forever.
        asked = torch.tensor(float(self.stop.requested), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, reduction="sum").item())

    def _normalize(self, images: Tensor) -> Tensor:
        scaled = (images.float() / 255 - self.mean) / self.std
        return scaled.contiguous(memory_format=torch.channels_last)

    def _to_device(self, split: Split) -> Split:
        device = self.accelerator.device
        return Split(split.images.to(device), split.labels.to(device))


class _Meter:
    """Running sums of an epoch, kept on the device so that adding to them does not wait for it."""

    def __init__(self, device: torch.device):
        self.loss, self.correct = torch.zeros((), device=device), torch.zeros((), device=device)
        self.count = 0
        self.started = self.reported = time.perf_counter()

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        self.loss += loss * len(labels)
        self.correct += (logits.argmax(1) == labels).sum()
        self.count += len(labels)

    def means(self) -> tuple[float, float]:
        return self.loss.item() / self.count, self.correct.item() / self.count

    def mark_report(self) -> None:
        self.reported = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    @property
    def seconds_since_report(self) -> float:
        return time.perf_counter() - self.reported

    @property
    def samples_per_second(self) -> float:
        return self.count / max(self.seconds, 1e-9)


def _limit(split: Split, limit: int | None, generator: torch.Generator) -> Split:
    if limit is None or limit >= len(split):
        return split
    index = torch.randperm(len(split), generator=generator)[:limit].sort().values
    return Split(split.images[index], split.labels[index])


def _check_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise ModelsError(f"The loss stopped being a finite number by step {step}; use a smaller learning rate.")
