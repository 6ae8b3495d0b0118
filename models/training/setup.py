"""What a training needs before its first step: the network, its optimiser, and the data as it takes them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from analysis.errors import Cancelled
from models.data.augment.augment import SHIFT_AUGMENTS, augment, default_config
from models.data.dataset import Dataset, Split
from models.data.labels import apply_corrections, corrupt
from models.data.preprocessing import Preprocessing
from models.networks.table import ARCHITECTURES
from models.runs.stop import StopRequest
from models.runs.writer import RunWriter
from models.training.acceleration import accelerated, any_process, start_together
from models.training.batches import Augment, Feed, Normalize, check_batches
from models.training.config import TrainingConfig
from models.training.cuda_graphs import forget_passes, record_passes
from models.training.finetuning import WholeNetwork, find_approach
from models.training.optimization import LOSSES, OPTIMIZERS, SCHEDULES
from models.training.random_streams import Purpose, derive_seed, draw_generator
from models.training.warm_start import Start, adopt_weights

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer


@dataclass(frozen=True)
class Prepared:
    """A network and its data, ready to be trained; :func:`prepared` makes it.

    Attributes:
        started: When the preparation began, by ``time.perf_counter``.
        approach: How such a network is trained; has the network itself.
        model: What is trained of it, as the accelerator runs it.
        optimizer: As the accelerator has it, for loss scales.
        torch_optimizer: The same without Accelerate, which looks for packages and signatures at every step.
        validation: Pictures, or features, as the trained part of the network takes them.
        test: The same of the test pictures.
    """

    config: TrainingConfig
    dataset: Dataset
    writer: RunWriter
    stop: StopRequest
    started: float
    accelerator: "Accelerator"
    approach: WholeNetwork
    model: nn.Module
    optimizer: "AcceleratedOptimizer"
    torch_optimizer: torch.optim.Optimizer
    preprocessing: Preprocessing
    feed: Feed
    total_steps: int
    validation: Split
    test: Split

    @property
    def module(self) -> nn.Module:
        """The network; what is saved."""
        return self.approach.module

    @property
    def loss(self) -> Callable[[Tensor, Tensor, float], Tensor]:
        """Of each picture, from logits ``(N, K)``, labels and label smoothing."""
        return LOSSES[self.config.loss].per_picture

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return self.config.learning_rate * SCHEDULES[self.config.schedule](step, self.total_steps)

    def must_stop(self) -> bool:
        """Whether somebody asked for it; all processes have to ask, so that they leave the loop at the same step."""
        return any_process(self.accelerator, self.stop.requested)

    def check_stop(self) -> None:
        """Raises Cancelled where the processes :meth:`must_stop`."""
        if self.must_stop():
            raise Cancelled

    def meet(self) -> None:
        """Waits until all processes are here; Accelerate's own way needs a GPU for each where there is one at all."""
        any_process(self.accelerator, False)


@contextmanager
def prepared(
    config: TrainingConfig,
    dataset: Dataset,
    device: str,
    writer: RunWriter,
    stop: StopRequest,
    start: Start | None = None,
) -> Iterator[Prepared]:
    """A training up to its first step, for as long as it is needed.

    Args:
        device: "cpu", "cuda" or "mps".

    Raises:
        Cancelled: Somebody asked for the end on the way.
        UserError: The network, the data and this machine do not go together.
    """
    with accelerated(config, device, writer.run_dir) as accelerator:
        start_together(config, accelerator, True)
        found = _prepare(config, dataset, writer, stop, start, accelerator)
        try:
            if _can_record(found):
                _record_passes(found)
            yield found
        finally:
            forget_passes(found.model)


def _prepare(
    config: TrainingConfig,
    dataset: Dataset,
    writer: RunWriter,
    stop: StopRequest,
    start: Start | None,
    accelerator: "Accelerator",
) -> Prepared:
    started = time.perf_counter()
    augments = _list_augments(config, dataset)
    module = _build(config, dataset)
    approach = find_approach(type(module))(module, augments=bool(augments))
    preprocessing = _load_start(dataset, writer, stop, start, accelerator, approach)
    groups = approach.list_groups(config.learning_rate)
    optimizer = OPTIMIZERS[config.optimizer](groups, lr=config.learning_rate, weight_decay=config.weight_decay)
    module.to(accelerator.device)
    model, accelerated_optimizer = accelerator.prepare(approach.core, optimizer)
    # Takes away the half precision that is now inside every call: only training steps are meant to be in it.
    accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    if config.compile:  # last, for Accelerate exchanges the method that a compiled network calls
        model = torch.compile(model)

    def feed(split: Split) -> Split:
        """A split on the device, as the trained part of the network takes it."""

        def tell(done: int, total: int) -> None:
            writer.update(message=f"Computing features ({100 * done / total:.0f} %)")

        device = accelerator.device
        split = Split(split.images.to(device), split.labels.to(device), split.ids)
        found = approach.feed(split, preprocessing, writer.run_dir.parent, tell, lambda: stop.requested)
        if any_process(accelerator, found is None) or found is None:
            raise Cancelled
        return found

    pictures = Feed(
        feed(choose_pictures(config, dataset)),
        _same if approach.takes_features else Normalize(preprocessing, accelerator.device),
        config.seed,
        augments,
        config.batch_size,
        accelerator.process_index,
        accelerator.num_processes,
    )
    total_steps = config.max_steps or pictures.steps_per_epoch * config.epochs
    if pictures.smallest_part(config.accumulate) == 1:
        approach.before_step(total_steps - 1, total_steps)  # when as much is trained as ever
    check_batches(pictures, config.accumulate, approach.core)
    return Prepared(
        config=config,
        dataset=dataset,
        writer=writer,
        stop=stop,
        started=started,
        accelerator=accelerator,
        approach=approach,
        model=model,
        optimizer=accelerated_optimizer,
        torch_optimizer=optimizer,
        preprocessing=preprocessing,
        feed=pictures,
        total_steps=total_steps,
        validation=feed(dataset.validation),
        test=feed(dataset.test),
    )


def _list_augments(config: TrainingConfig, dataset: Dataset) -> dict[Purpose, Augment]:
    wanted = config.augment
    if isinstance(wanted, bool):
        wanted = default_config(dataset.augmentations if wanted else ())
    found = {Purpose.SHIFT: SHIFT_AUGMENTS[config.shift_augment]}
    if wanted:
        found = {Purpose.AUGMENT: lambda images, generator: augment(images, wanted, generator), **found}
    return {purpose: change for purpose, change in found.items() if change}


def _build(config: TrainingConfig, dataset: Dataset) -> nn.Module:
    _, model_class = ARCHITECTURES[config.architecture]
    torch.manual_seed(derive_seed(config.seed, Purpose.WEIGHTS))
    return model_class(
        config.architecture_config(
            num_classes=len(dataset.categories), in_channels=dataset.in_channels, image_size=dataset.image_size
        )
    ).to(memory_format=torch.channels_last)


def _load_start(
    dataset: Dataset,
    writer: RunWriter,
    stop: StopRequest,
    start: Start | None,
    accelerator: "Accelerator",
    approach: WholeNetwork,
) -> Preprocessing:
    """Puts in the weights to start with; gives the mean and std that they are used to."""
    own = dataset.preprocessing()
    if start is not None:
        adapted = start.adapt(own)
        writer.update(new_weights=adopt_weights(approach.module, start.load_weights()))
        return adapted
    adapted = approach.adapt(own)

    def tell(done: int, total: int) -> None:
        stop.check()
        writer.update(message=f"Downloading weights ({100 * done / max(total, 1):.0f} %)")

    is_stopped = False
    try:
        approach.load(tell)
    except Cancelled:
        is_stopped = True
    if any_process(accelerator, is_stopped):
        raise Cancelled
    return adapted


def _can_record(found: Prepared) -> bool:
    config, accelerator = found.config, found.accelerator
    is_simple = accelerator.num_processes == config.accumulate == 1 and not config.compile
    return accelerator.device.type == "cuda" and is_simple and not found.approach.freezes


def _record_passes(found: Prepared) -> None:
    from accelerate import AutocastKwargs

    images, _ = found.feed.batch(found.feed.index(0), 0)
    record_passes(found.model.train(), images, found.accelerator.autocast(AutocastKwargs(cache_enabled=False)))


def choose_pictures(config: TrainingConfig, dataset: Dataset) -> Split:
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


def _same(features: Tensor) -> Tensor:
    return features
