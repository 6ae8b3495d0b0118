"""What a training needs before its first step: the network, its optimiser, and the data as it takes them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from analysis.errors import Cancelled, UserError, is_out_of_memory
from models.data.augment.augment import SHIFT_AUGMENTS, augment, default_config
from models.data.datasets import Dataset, Split
from models.data.labels import apply_corrections, corrupt
from models.networks.table import ARCHITECTURES
from models.runs.run import RunWriter
from models.runs.stop import StopRequest
from models.training.batches import Augment, Feed, Normalize
from models.training.cuda_graphs import forget_passes, record_passes
from models.training.finetuning import find_approach
from models.training.optimization import LOSSES, OPTIMIZERS, SCHEDULES
from models.training.precision import choose_precision
from models.training.random_streams import Purpose, derive_seed, draw_generator
from models.training.recorder import MetricsListener
from models.training.trackers import check_installed, close_trackers, open_trackers
from models.training.warm_start import Start, adopt_weights

if TYPE_CHECKING:
    from models.training.config import TrainingConfig


MEETING_TIMEOUT = timedelta(weeks=1)
"""How long processes wait for each other."""
_INDIVISIBLE = "A batch of {size} cannot be divided among {processes} processes; use larger batches or more pictures."


class PreparedTraining:
    """A network and data, ready to be trained inside ``with self._accelerated():``.

    Args:
        config: What to train.
        dataset: The data that it names; None where there is only something to :meth:`decline`.
        device: "cpu", "cuda" or "mps".
        writer: Of the run.
        stop: Whether somebody asked it to end.
        on_metrics: Told each line of metrics.
        start: Weights to begin with.
    """

    def __init__(
        self,
        config: "TrainingConfig",
        dataset: Dataset | None,
        device: str,
        writer: RunWriter,
        stop: StopRequest,
        on_metrics: MetricsListener | None = None,
        start: Start | None = None,
    ):
        self.config, self.dataset, self.device = config, dataset, device
        self.writer, self.stop, self.on_metrics = writer, stop, on_metrics
        self.start = start

    @contextmanager
    def _accelerated(self) -> Iterator[None]:
        """Accelerate keeps its settings for the whole process; they are dropped again afterwards."""
        from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
        from accelerate.state import AcceleratorState

        _, model_class = ARCHITECTURES[self.config.architecture]
        trackers = self.config.trackers
        check_installed(trackers)
        run_dir = self.writer.run_dir
        approach = find_approach(model_class)
        self.accelerator = Accelerator(
            kwargs_handlers=[
                DistributedDataParallelKwargs(find_unused_parameters=approach.freezes),
                # The first process may stand in the queue for days while the others wait where processes meet; they
                # need no patience of their own, as torchrun ends them all if one fails.
                InitProcessGroupKwargs(timeout=MEETING_TIMEOUT),
            ],
            cpu=self.device == "cpu",
            mixed_precision=choose_precision(self.config.precision, self.device, half_on_cpu=approach.half_on_cpu),
            log_with=list(trackers) or None,
            project_dir=run_dir if trackers else None,
        )
        self.model = nn.Module()  # until there is another
        try:
            open_trackers(self.accelerator, trackers, run_dir, self.config.to_dict())
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                "The device has too little memory for this training; use a smaller batch, accumulate gradients over "
                "parts of it, or use smaller pictures or a smaller network."
            ) from error
        finally:
            forget_passes(self.model)
            self.accelerator.free_memory()
            close_trackers(self.accelerator)
            AcceleratorState._reset_state(reset_partial_state=True)

    def _prepare_network(self, augments: dict[Purpose, Augment]) -> None:
        config, accelerator = self.config, self.accelerator
        module = self._build()
        self.approach = find_approach(type(module))(module, augments=bool(augments))
        self.module = self.approach.module
        self._load_start()
        groups = self.approach.list_groups(config.learning_rate)
        optimizer = OPTIMIZERS[config.optimizer](groups, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.module.to(accelerator.device)
        self.model, self.optimizer = accelerator.prepare(self.approach.core, optimizer)
        self.torch_optimizer = optimizer  # Accelerate's looks for packages and signatures at every step
        # Takes away the half precision that is now inside every call: only training steps are meant to be in it.
        accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        if config.compile:  # last, for Accelerate exchanges the method that a compiled network calls
            self.model = torch.compile(self.model)
        self.loss = LOSSES[config.loss].per_picture
        self.schedule = SCHEDULES[config.schedule]

    def _prepare_data(self, augments: dict[Purpose, Augment]) -> None:
        config, accelerator = self.config, self.accelerator
        self.feed = Feed(
            self._feed(choose_pictures(config, self.dataset)),
            _same if self.approach.takes_features else Normalize(self.preprocessing, accelerator.device),
            config.seed,
            augments,
            config.batch_size,
            accelerator.process_index,
            accelerator.num_processes,
        )
        self.total_steps = config.max_steps or self.feed.steps_per_epoch * config.epochs
        self._check_batches()
        self.validation, self.test = self._feed(self.dataset.validation), self._feed(self.dataset.test)

    def _check_batches(self) -> None:
        """Raises UserError if the data leave a process without a picture, or batch normalisation one value."""
        size, parts, processes = self.feed.batch_size, self.config.accumulate, self.feed.num_processes
        smallest = self.feed.smallest_part(parts)
        if smallest < 1:
            raise UserError(_INDIVISIBLE.format(size=size, processes=processes))
        if smallest > 1:  # two pictures are two values, however small their maps
            return
        self.approach.before_step(self.total_steps - 1, self.total_steps)  # when as much is trained as ever
        found = find_single_value(self.approach.core.train(), self.feed.normalize(self.feed.split.images[:1]))
        if found:
            divided = f" in {parts} parts" * (parts > 1) + f" on {processes} processes" * (processes > 1)
            raise UserError(
                f"Batch normalisation needs at least 2 values at a time, but a batch of {size}{divided} gives the "
                f"layer {found} 1 picture with 1 position; use larger batches, fewer parts, more or larger pictures, "
                "or another normalisation."
            )

    def _build(self) -> nn.Module:
        config, dataset = self.config, self.dataset
        _, model_class = ARCHITECTURES[config.architecture]
        torch.manual_seed(derive_seed(config.seed, Purpose.WEIGHTS))
        return model_class(
            config.architecture_config(
                num_classes=len(dataset.categories),
                in_channels=dataset.in_channels,
                image_size=dataset.image_size,
            )
        ).to(memory_format=torch.channels_last)

    def _load_start(self) -> None:
        """Weights to start with, and the mean and std that they are used to."""
        own = self.dataset.preprocessing()
        if self.start is not None:
            self.preprocessing = self.start.adapt(own)
            self.writer.update(new_weights=adopt_weights(self.module, self.start.load_weights()))
            return
        self.preprocessing = self.approach.adapt(own)

        def tell(done: int, total: int) -> None:
            self.stop.check()
            self.writer.update(message=f"Downloading weights ({done / max(total, 1):.0%})")

        is_stopped = False
        try:
            self.approach.load(tell)
        except Cancelled:
            is_stopped = True
        if self._any(is_stopped):
            raise Cancelled

    def _feed(self, split: Split) -> Split:
        """A split on the device, as the trained part of the network takes it."""

        def tell(done: int, total: int) -> None:
            self.writer.update(message=f"Computing features ({done / total:.0%})")

        def is_stopped() -> bool:
            return self.stop.requested

        device = self.accelerator.device
        split = Split(split.images.to(device), split.labels.to(device), split.ids)
        found = self.approach.feed(split, self.preprocessing, self.writer.run_dir.parent, tell, is_stopped)
        if self._any(found is None):
            raise Cancelled
        return found

    def decline(self) -> None:
        """Tells the other processes, if there are some, which wait for this one, that there will be no training."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return
        with self._accelerated(), suppress(Cancelled):
            self._start_together(False)

    def _start_together(self, ready: bool) -> None:
        if self._any(not ready):
            raise Cancelled
        size, processes = self.config.batch_size, self.accelerator.num_processes
        if size < processes:
            raise UserError(_INDIVISIBLE.format(size=size, processes=processes))

    def _meet(self) -> None:
        """Waits until all processes are here; Accelerate's own way needs a GPU for each where there is one at all."""
        self._any(False)

    def _can_record(self) -> bool:
        config, accelerator = self.config, self.accelerator
        is_simple = accelerator.num_processes == config.accumulate == 1 and not config.compile
        return accelerator.device.type == "cuda" and is_simple and not self.approach.freezes

    def _record_passes(self) -> None:
        from accelerate import AutocastKwargs

        images, _ = self.feed.batch(self.feed.index(0), 0)
        record_passes(self.model.train(), images, self.accelerator.autocast(AutocastKwargs(cache_enabled=False)))

    def _any(self, flag: bool) -> bool:
        """Whether it is so in one of the processes; all of them have to ask."""
        if self.accelerator.num_processes == 1:
            return flag
        asked = torch.tensor(float(flag), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, reduction="sum").item())

    def _list_augments(self) -> dict[Purpose, Augment]:
        wanted = self.config.augment
        if isinstance(wanted, bool):
            wanted = default_config(self.dataset.augmentations if wanted else ())
        found = {
            Purpose.AUGMENT: wanted and (lambda images, generator: augment(images, wanted, generator)),
            Purpose.SHIFT: SHIFT_AUGMENTS[self.config.shift_augment],
        }
        return {purpose: change for purpose, change in found.items() if change}


def choose_pictures(config: "TrainingConfig", dataset: Dataset) -> Split:
    """The training pictures, as many and with as many wrong labels as the configuration wants."""
    split = dataset.train
    if config.train_limit is not None and config.train_limit < len(split):
        generator = draw_generator(config.seed, Purpose.LIMIT)
        split = split.take(torch.randperm(len(split), generator=generator)[: config.train_limit].sort().values)
    if config.label_noise:
        seed = derive_seed(config.seed, Purpose.LABEL_NOISE)
        split = replace(split, labels=corrupt(split.labels, config.label_noise, len(dataset.categories), seed))
        split = apply_corrections(split, config.corrections)  # once more: what was put right is not made wrong again
    return split


@torch.no_grad()
def find_single_value(module: nn.Module, inputs: Tensor) -> str | None:
    """The first batch normalisation that would meet a single value per channel, and so could not be trained.

    Args:
        module: In the mode in which it is trained; left in eval mode.
        inputs: As many pictures as the smallest batch has.

    Returns:
        The layer's name, or None.
    """
    found: list[str] = []
    layers = [(name, part) for name, part in module.named_modules() if isinstance(part, _BatchNorm) and part.training]
    handles = [
        part.register_forward_pre_hook(
            lambda part, args, name=name: found.append(name) if args[0].numel() == args[0].shape[1] else None
        )
        for name, part in layers
    ]
    try:
        module.eval()(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return next(iter(found), None)


def _same(features: Tensor) -> Tensor:
    return features
