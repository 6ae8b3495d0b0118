"""Training a classifier from a configuration: in this process by :func:`train`, or with
``python -m models.training RUN_DIR`` as a process of its own that runs the config.json found there.
"""

import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from models.architectures import ARCHITECTURES
from models.augment import SHIFT_AUGMENTS
from models.data import DATASETS, OWN_PICTURES, load_dataset
from models.device_turn import device_turn
from models.devices import DEVICES, resolve_device
from models.errors import ModelsError
from models.reproducible import reproducible
from models.runs import RunWriter, SilentWriter, check_name, create_run, read_json, read_run
from models.shapes import ShapesConfig
from models.starting import read_start
from models.stopping import StopRequest
from models.trainer import OPTIMIZERS, MetricsListener, Trainer
from models.validation import build_config, check_choice, check_flag, check_integer, check_number


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the outcome of a training, checked when it is made.

    ``dataset`` is a key of ``DATASETS`` or the path of a folder or zip of own pictures; ``model`` holds the
    options of the architecture other than num_classes, in_channels and image_size, which the data decide;
    ``train_limit`` keeps only so many training pictures.

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
    weight_decay: float = 5e-4
    augment: bool = False
    label_smoothing: float = 0.0
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

    def __post_init__(self):
        if not isinstance(self.dataset, str) or not self.dataset:
            raise ModelsError("dataset must be a name or the path of a folder or zip.")
        check_choice("architecture", self.architecture, ARCHITECTURES)
        check_integer("epochs", self.epochs, 1, 1000)
        check_integer("batch_size", self.batch_size, 2, 8192)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_number("learning_rate", self.learning_rate, 1e-8, 100.0)
        check_number("weight_decay", self.weight_decay, 0.0, 10.0)
        check_flag("augment", self.augment)
        check_number("label_smoothing", self.label_smoothing, 0.0, 0.9)
        check_integer("seed", self.seed, 0, 2**32 - 1)
        check_choice("device", self.device, DEVICES)
        if not isinstance(self.data_root, str):
            raise ModelsError("data_root must be the path of a folder.")
        if self.image_size is not None:
            check_integer("image_size", self.image_size, 8, 256)
        if not isinstance(self.shapes, ShapesConfig):
            object.__setattr__(self, "shapes", build_config(ShapesConfig, self.shapes))
        if self.train_limit is not None:
            check_integer("train_limit", self.train_limit, 1, 10**9)
        if self.start_from is not None and not isinstance(self.start_from, str):
            raise ModelsError("start_from must be the name of a model.")
        if self.max_steps is not None:
            check_integer("max_steps", self.max_steps, 1, 10**9)
        check_choice("shift_augment", self.shift_augment, SHIFT_AUGMENTS)
        if self.split_seed is not None:
            check_integer("split_seed", self.split_seed, 0, 2**32 - 1)
        spec = DATASETS.get(self.dataset, OWN_PICTURES)
        self.architecture_config(num_classes=2, in_channels=3, image_size=self.image_size or spec.image_size)

    def architecture_config(self, *, num_classes: int, in_channels: int, image_size: int):
        """The architecture's own configuration for data of this kind.

        Raises:
            ModelsError: An option that the architecture does not have, or a value that it refuses.
        """
        from_data = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
        if not isinstance(self.model, dict) or from_data.keys() & self.model.keys():
            raise ModelsError("model must be a table of options without num_classes, in_channels and image_size.")
        config_class, _ = ARCHITECTURES[self.architecture]
        return build_config(config_class, {**self.model, **from_data})

    def to_dict(self) -> dict:
        """A JSON-ready dictionary."""
        values = asdict(self)
        values["model"] = {k: list(v) if isinstance(v, tuple) else v for k, v in self.model.items()}
        return values

    @classmethod
    def from_dict(cls, values: object) -> "TrainingConfig":
        """The inverse of :meth:`to_dict`, for values from a file.

        Raises:
            ModelsError: An unknown name or a value out of range.
        """
        return build_config(cls, values)


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended; accuracies in [0, 1], None where a stop came before they were measured."""

    run: str
    state: str
    val_accuracy: float | None
    test_accuracy: float | None
    seconds: float
    epochs: int
    weights_sha256: str | None


def train(config: TrainingConfig, run_dir: str | Path, on_metrics: MetricsListener | None = None) -> TrainingResult:
    """Trains a model and writes everything about it into a run directory.

    Waits until no other run beside it uses the same device. SIGTERM, Ctrl-C or a file named "stop" in the
    directory end it within one step, with the weights so far as the run's model. The same configuration on
    the same machine gives the same weights, bit for bit.

    Args:
        config: What to train.
        run_dir: A new directory, or one that :func:`models.runs.create_run` made.
        on_metrics: Told each line of metrics.jsonl as it is written.

    Raises:
        ModelsError: The run exists, the data cannot be used, the loss is no longer finite, or the disk is
            full; the run's state is then "failed".
    """
    run_dir = Path(run_dir)
    if int(os.environ.get("RANK", "0")) > 0:  # torchrun numbers its processes
        return _take_part(config, run_dir)
    if not run_dir.exists():
        create_run(run_dir.parent, run_dir.name, config.to_dict())
    state = read_run(run_dir.parent, run_dir.name).state
    if state != "queued":
        raise ModelsError(f"There is already a run named {run_dir.name}, and it is {state}; choose another name.")
    try:
        with RunWriter(run_dir) as writer, StopRequest(run_dir) as stop:
            result = _train_in_turn(config, writer, stop, on_metrics)
            outcome = {name: value for name, value in asdict(result).items() if name not in ("run", "state")}
            writer.update(state=result.state, result=outcome, message="", seconds_left=0.0)
            return result
    except OSError as error:
        raise ModelsError(f"The run cannot be written to {run_dir} ({error.strerror or error}).") from error


def _train_in_turn(config, writer: RunWriter, stop: StopRequest, on_metrics) -> TrainingResult:
    name = check_name(writer.run_dir.name)
    device = resolve_device(config.device).type
    writer.update(device=device)
    with device_turn(writer.run_dir, device, stop) as my_turn:
        if not my_turn:
            return TrainingResult(name, "stopped", None, None, 0.0, 0, None)
        # Inside, because loading a set may import libraries that draw random numbers.
        with reproducible(config.seed):
            return _load_and_fit(config, device, writer, stop, on_metrics)


def _take_part(config: TrainingConfig, run_dir: Path) -> TrainingResult:
    """The part of every process but the first: the same steps on other pictures, without the run's files."""
    device = resolve_device(config.device).type
    with StopRequest(run_dir) as stop, reproducible(config.seed):
        return _load_and_fit(config, device, SilentWriter(run_dir), stop, None)


def _load_and_fit(config, device: str, writer: RunWriter, stop: StopRequest, on_metrics) -> TrainingResult:
    writer.update(state="preparing")
    start = config.start_from and read_start(config.start_from, writer.run_dir.parent)
    dataset = load_dataset(
        config.dataset,
        data_root=config.data_root,
        seed=config.seed if config.split_seed is None else config.split_seed,
        image_size=config.image_size,
        shapes=config.shapes,
        progress=lambda fraction, message: writer.update(message=f"{message} ({fraction:.0%})"),
    )
    writer.update(skipped=list(dataset.skipped[:100]), message="")
    trainer = Trainer(config, dataset, device, writer, stop, on_metrics, start=start)
    return TrainingResult(writer.run_dir.name, **trainer.fit())


def main(arguments: list[str]) -> int:
    """Runs the config.json of the run directory named by the only argument; returns the exit status."""
    if len(arguments) != 1:
        print("usage: python -m models.training RUN_DIR", file=sys.stderr)
        return 2
    run_dir = Path(arguments[0]).resolve()
    try:
        with RunWriter(run_dir):  # a bad configuration is a failed run too
            config = TrainingConfig.from_dict(read_json(run_dir / "config.json"))
        result = train(config, run_dir, on_metrics=_print_epoch)
    except ModelsError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{result.state}: test accuracy {result.test_accuracy}, {result.seconds:.1f} s")
    return 0


def _print_epoch(metrics: dict) -> None:
    if metrics["kind"] == "epoch":
        print(
            f"epoch {metrics['epoch']}: train loss {metrics['train_loss']:.4f}, "
            f"validation accuracy {metrics['val_accuracy']:.2%}, "
            f"{metrics['samples_per_second']:.0f} images/s",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
