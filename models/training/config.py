"""What a training is told."""

from dataclasses import field
from typing import Annotated

from pydantic import PlainValidator

from analysis.errors import UserError
from models.data.augment.augment import SHIFT_AUGMENTS, AugmentConfig
from models.data.datasets import DATASETS, OWN_PICTURES
from models.data.labels import check_corrections
from models.data.shapes import ShapesConfig
from models.devices import DEVICES
from models.networks.options import FROM_DATA
from models.networks.table import ARCHITECTURES
from models.settings import (
    Choice,
    Flag,
    Integer,
    Nested,
    Number,
    Stored,
    Text,
    build_config,
    check_choice,
    checked_dataclass,
    to_plain,
)
from models.training.optimization import LOSSES, OPTIMIZERS, SCHEDULES
from models.training.precision import PRECISIONS
from models.training.trackers import TRACKERS


def _check_options(model: object) -> object:
    if not isinstance(model, dict) or not model.keys().isdisjoint(FROM_DATA):
        raise UserError("model must be a table of options without num_classes, in_channels and image_size.")
    return model


def _read_augment(augment: object) -> object:
    if isinstance(augment, dict):
        return AugmentConfig.from_dict(augment)
    if not isinstance(augment, bool | AugmentConfig):
        raise UserError("augment must be true, false, or a table of strengths.")
    return augment


def _read_corrections(corrections: object) -> dict:
    checked = check_corrections(corrections)
    return {str(number): checked[number] for number in sorted(checked)}  # as text, which is what the keys of JSON are


def _read_trackers(trackers: object) -> tuple[str, ...]:
    if not isinstance(trackers, list | tuple):
        raise UserError(f"trackers must list names out of {', '.join(TRACKERS)}.")
    return tuple(dict.fromkeys(check_choice("Each of trackers", name, TRACKERS) for name in trackers))


@checked_dataclass
class TrainingConfig(Stored):
    """Everything that decides the outcome of a training, checked when it is made.

    Two are equal if they mean the same training, whether or not they name options that have their defaults.

    ``dataset`` is a key of ``DATASETS`` or the path of a folder or zip of own pictures; ``model`` holds the
    options of the architecture other than num_classes, in_channels and image_size, which the data decide;
    ``train_limit`` keeps only so many training pictures.

    ``learning_rate`` is the peak of the ``schedule``. ``weight_decay`` is the optimiser's (L2; decoupled for AdamW),
    ``l1`` the strength of an L1 penalty; both are on every trained value. ``clip_norm`` bounds the norm of each
    step's gradient. ``patience`` ends the training after so many epochs without a better validation accuracy, and the
    best epoch's weights are kept. ``augment`` says how much pictures are changed at random; True is what suits the
    data set. ``accumulate`` computes each batch in so many parts. ``label_noise`` gives so large
    a share of the training pictures a wrong class; ``corrections`` maps ids of pictures to their right class, or
    to None where they are left out. ``snapshots`` keeps weights on the way, every ``snapshot_every`` steps (None:
    often at first and then rarely), ``validate_often`` validates on a sample within epochs, too, ``trackers`` reports
    to others.

    ``start_from`` names the model whose weights the training starts with, and whose mean and std it keeps;
    ``max_steps`` takes the place of ``epochs``; ``shift_augment`` moves every picture at random, up to an eighth
    of its side, without changing which pictures a step sees. ``split_seed`` divides the data (and draws them,
    for shapes) where ``seed`` should not: a model that is trained further must not meet its test pictures.
    """

    dataset: Annotated[
        str,
        Text(
            "a name or the path of a folder or zip",
            min_length=1,
            help=f"{', '.join(DATASETS)}, or a folder or zip of pictures.",
        ),
    ] = "fashion_mnist"
    architecture: Annotated[str, Choice(ARCHITECTURES)] = "small_cnn"
    model: Annotated[dict, PlainValidator(_check_options)] = field(default_factory=dict)
    epochs: Annotated[int, Integer(1, 1000, help="")] = 5
    batch_size: Annotated[int, Integer(2, 8192, help="")] = 256
    optimizer: Annotated[str, Choice(OPTIMIZERS, help=", ".join(OPTIMIZERS))] = "sgd"
    learning_rate: Annotated[float, Number(1e-8, 100.0, help="Its peak.")] = 0.2
    schedule: Annotated[str, Choice(SCHEDULES, help=", ".join(SCHEDULES))] = "one_cycle"
    weight_decay: Annotated[float, Number(0.0, 10.0, help="L2.")] = 5e-4
    l1: Annotated[float, Number(0.0, 10.0, help="Strength of an L1 penalty.")] = 0.0
    loss: Annotated[str, Choice(LOSSES, help=", ".join(LOSSES))] = "cross_entropy"
    label_smoothing: Annotated[float, Number(0.0, 0.9, help="")] = 0.0
    clip_norm: Annotated[float | None, Number(1e-6, 1e6, help="Longest gradient.")] = None
    patience: Annotated[int | None, Integer(1, 1000, help="Stop after so many epochs without progress.")] = None
    accumulate: Annotated[int, Integer(1, 256, help="Compute each batch in so many parts.")] = 1
    precision: Annotated[str, Choice(PRECISIONS, help=", ".join(PRECISIONS))] = "auto"
    compile: Annotated[bool, Flag()] = False
    augment: Annotated[bool | AugmentConfig, PlainValidator(_read_augment)] = False
    label_noise: Annotated[float, Number(0.0, 1.0, help="Share of wrong labels.")] = 0.0
    corrections: Annotated[dict, PlainValidator(_read_corrections)] = field(default_factory=dict)
    seed: Annotated[int, Integer(0, 2**32 - 1, help="")] = 0
    device: Annotated[str, Choice(DEVICES)] = "auto"
    data_root: Annotated[str, Text("the path of a folder")] = "data"
    image_size: Annotated[
        int | None, Integer(8, 512, help="Side in pixels; if not given, that of --start-from or the data set's own.")
    ] = None
    shapes: Annotated[ShapesConfig, Nested(ShapesConfig)] = field(default_factory=ShapesConfig)
    train_limit: Annotated[int | None, Integer(1, 10**9, help="Use only so many training pictures.")] = None
    start_from: Annotated[
        str | None,
        Text(
            "the name of a model",
            help="Weights to begin with, run/NAME or fashion_cnn; its network's options if none are given.",
        ),
    ] = None
    max_steps: Annotated[int | None, Integer(1, 10**9, help="Instead of epochs.")] = None
    shift_augment: Annotated[
        str,
        Choice(SHIFT_AUGMENTS, help=f"Move each picture, up to an eighth of its side: {', '.join(SHIFT_AUGMENTS)}."),
    ] = "none"
    split_seed: Annotated[
        int | None, Integer(0, 2**32 - 1, help="Divides (and draws) the data instead of --seed.")
    ] = None
    snapshots: Annotated[bool, Flag(help="Keep weights on the way, for the time slider.")] = True
    snapshot_every: Annotated[int | None, Integer(1, 10**9, help="Keep them every so many steps.")] = None
    validate_often: Annotated[bool, Flag()] = False
    trackers: Annotated[tuple[str, ...], PlainValidator(_read_trackers)] = ()

    def __post_init__(self):
        if self.label_smoothing and not LOSSES[self.loss].allows_smoothing:
            raise UserError(f"label_smoothing needs probabilities, and the loss {self.loss} has none; use 0.")
        self._any_network()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrainingConfig) and self.to_dict() == other.to_dict()

    @property
    def data_seed(self) -> int:
        """What divides the data, and draws them."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def picture_size(self) -> int:
        """Side of the pictures in pixels: what was asked for, else what the network prefers, else the data set's."""
        if self.image_size is not None:
            return self.image_size
        config_class, _ = ARCHITECTURES[self.architecture]
        if config_class.image_size is None:
            return self.architecture_config(num_classes=2, in_channels=3, image_size=None).image_size
        return DATASETS.get(self.dataset, OWN_PICTURES).image_size

    def architecture_config(self, *, num_classes: int, in_channels: int, image_size: int | None):
        """The architecture's own configuration for data of this kind.

        Raises:
            UserError: An option that the architecture does not have, or a value that it refuses.
        """
        from_data = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
        config_class, _ = ARCHITECTURES[self.architecture]
        return build_config(config_class, {**self.model, **from_data})

    def _any_network(self):
        """The architecture's configuration for some data."""
        return self.architecture_config(num_classes=2, in_channels=3, image_size=self.picture_size)

    def to_dict(self) -> dict:
        """A JSON-ready dictionary; it names all options of the network, so that other defaults do not change it."""
        return super().to_dict() | {"model": to_plain(self._any_network().chosen)}
