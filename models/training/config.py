"""What a training is told."""

from dataclasses import asdict, dataclass, field

from analysis.errors import UserError
from models.data.augment.augment import SHIFT_AUGMENTS, AugmentConfig
from models.data.datasets import DATASETS, OWN_PICTURES
from models.data.labels import check_corrections
from models.data.shapes import ShapesConfig
from models.devices import DEVICES
from models.networks.table import ARCHITECTURES
from models.settings import build_config, check_choice, check_flag, check_integer, check_number
from models.training.optimization import LOSSES, OPTIMIZERS, SCHEDULES
from models.training.precision import PRECISIONS
from models.training.trackers import TRACKERS

_NUMBERS = {
    "learning_rate": (1e-8, 100.0),
    "weight_decay": (0.0, 10.0),
    "l1": (0.0, 10.0),
    "label_smoothing": (0.0, 0.9),
    "label_noise": (0.0, 1.0),
}
_INTEGERS = {"epochs": (1, 1000), "batch_size": (2, 8192), "accumulate": (1, 256), "seed": (0, 2**32 - 1)}
_OPTIONAL_INTEGERS = {
    "image_size": (8, 512),
    "train_limit": (1, 10**9),
    "max_steps": (1, 10**9),
    "split_seed": (0, 2**32 - 1),
    "patience": (1, 1000),
    "snapshot_every": (1, 10**9),
}
_FLAGS = ("compile", "snapshots", "validate_often")
_CHOICES = {
    "architecture": ARCHITECTURES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "loss": LOSSES,
    "precision": PRECISIONS,
    "device": DEVICES,
    "shift_augment": SHIFT_AUGMENTS,
}


@dataclass(frozen=True, eq=False)
class TrainingConfig:
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

    dataset: str = "fashion_mnist"
    architecture: str = "small_cnn"
    model: dict = field(default_factory=dict)
    epochs: int = 5
    batch_size: int = 256
    optimizer: str = "sgd"
    learning_rate: float = 0.2
    schedule: str = "one_cycle"
    weight_decay: float = 5e-4
    l1: float = 0.0
    loss: str = "cross_entropy"
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    patience: int | None = None
    accumulate: int = 1
    precision: str = "auto"
    compile: bool = False
    augment: bool | AugmentConfig = False
    label_noise: float = 0.0
    corrections: dict = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"
    data_root: str = "data"
    image_size: int | None = None
    shapes: ShapesConfig = field(default_factory=ShapesConfig)
    train_limit: int | None = None
    start_from: str | None = None
    max_steps: int | None = None
    shift_augment: str = "none"
    split_seed: int | None = None
    snapshots: bool = True
    snapshot_every: int | None = None
    validate_often: bool = False
    trackers: tuple[str, ...] = ()

    def __post_init__(self):
        if not isinstance(self.dataset, str) or not self.dataset:
            raise UserError("dataset must be a name or the path of a folder or zip.")
        for name, choices in _CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        for name, bounds in _INTEGERS.items():
            check_integer(name, getattr(self, name), *bounds)
        for name, bounds in _NUMBERS.items():
            check_number(name, getattr(self, name), *bounds)
        for name, bounds in _OPTIONAL_INTEGERS.items():
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), *bounds)
        for name in _FLAGS:
            check_flag(name, getattr(self, name))
        if isinstance(self.augment, dict):
            object.__setattr__(self, "augment", AugmentConfig.from_dict(self.augment))
        if not isinstance(self.augment, bool | AugmentConfig):
            raise UserError("augment must be true, false, or a table of strengths.")
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, 1e-6, 1e6)
        if self.label_smoothing and not LOSSES[self.loss].allows_smoothing:
            raise UserError(f"label_smoothing needs probabilities, and the loss {self.loss} has none; use 0.")
        if not isinstance(self.data_root, str):
            raise UserError("data_root must be the path of a folder.")
        if not isinstance(self.shapes, ShapesConfig):
            object.__setattr__(self, "shapes", build_config(ShapesConfig, self.shapes))
        if self.start_from is not None and not isinstance(self.start_from, str):
            raise UserError("start_from must be the name of a model.")
        self._check_trackers()
        self._check_corrections()
        self._any_network()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrainingConfig) and self.to_dict() == other.to_dict()

    def _check_trackers(self) -> None:
        if not isinstance(self.trackers, list | tuple):
            raise UserError(f"trackers must list names out of {', '.join(TRACKERS)}.")
        for name in self.trackers:
            check_choice("Each of trackers", name, TRACKERS)
        object.__setattr__(self, "trackers", tuple(dict.fromkeys(self.trackers)))

    def _check_corrections(self) -> None:
        checked = check_corrections(self.corrections)
        # As text, which is what the keys of JSON are.
        object.__setattr__(self, "corrections", {str(number): checked[number] for number in sorted(checked)})

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
        if not isinstance(self.model, dict) or from_data.keys() & self.model.keys():
            raise UserError("model must be a table of options without num_classes, in_channels and image_size.")
        config_class, _ = ARCHITECTURES[self.architecture]
        return build_config(config_class, {**self.model, **from_data})

    def _any_network(self):
        """The architecture's configuration for some data."""
        return self.architecture_config(num_classes=2, in_channels=3, image_size=self.picture_size)

    def to_dict(self) -> dict:
        """A JSON-ready dictionary; it names all options of the network, so that other defaults do not change it."""
        values, network = asdict(self), self._any_network().chosen
        values["model"] = {name: list(v) if isinstance(v, tuple) else v for name, v in network.items()}
        values["trackers"] = list(self.trackers)
        return values

    @classmethod
    def from_dict(cls, values: object) -> "TrainingConfig":
        """The inverse of :meth:`to_dict`, for values from a file.

        Raises:
            UserError: An unknown name or a value out of range.
        """
        return build_config(cls, values)
