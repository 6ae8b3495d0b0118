"""Training a classifier from a configuration: in this process by :func:`train`, or with
``python -m models.training RUN_DIR`` as a process of its own that runs the config.json found there.
"""

import os
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from models.data import Dataset, Progress, load_dataset
from models.device_turn import POLL_SECONDS, device_turn
from models.devices import resolve_device
from models.errors import ModelsError
from models.journal import MetricsListener
from models.label_noise import apply_corrections
from models.precision import choose_precision
from models.reproducible import reproducible
from models.runs import (
    BROKEN_OFF,
    RunWriter,
    SilentWriter,
    check_name,
    create_run,
    read_json,
    read_run,
    record_process,
    request_stop,
    write_json,
)
from models.starting import read_start
from models.stopping import StopRequest
from models.trackers import check_installed
from models.trainer import Trainer
from models.training_config import TrainingConfig


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
    the same machine gives the same weights, bit for bit. A queued run that has a resume point goes on from it.

    Args:
        config: What to train.
        run_dir: A new directory, or one that :func:`models.runs.create_run` made.
        on_metrics: Told each line of metrics.jsonl as it is written.

    Raises:
        ModelsError: The run exists, the data cannot be used, the loss is no longer finite, or the disk is
            full; the run's state is then "failed".
    """
    run_dir = Path(run_dir)
    if _is_helper():
        return _take_part(config, run_dir)
    if not run_dir.exists():
        check_here(config)
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


def resume(run_dir: str | Path, on_metrics: MetricsListener | None = None) -> TrainingResult:
    """Goes on with a training that was stopped, killed or failed, from its last resume point or anew.

    The result is that of the uninterrupted training, to the last bit on the same machine.

    Args:
        run_dir: Of the training.
        on_metrics: Told each new line of metrics.jsonl as it is written.

    Raises:
        ModelsError: No such run, no training, at work, or finished; else as for :func:`train`.
    """
    run_dir = Path(run_dir)
    if not _is_helper():
        run = read_run(run_dir.parent, run_dir.name)
        if run.kind != "training" or run.state not in BROKEN_OFF:
            raise ModelsError(f"The run {run.name} is {run.state} and cannot be resumed.")
        (run_dir / "stop").unlink(missing_ok=True)
        write_json(run_dir / "status.json", {**run.status, "state": "queued", "message": ""})
        record_process(run_dir, os.getpid())
    return train(TrainingConfig.from_dict(read_json(run_dir / "config.json")), run_dir, on_metrics)


def check_here(config: TrainingConfig) -> None:
    """Raises ModelsError if this machine cannot train so: a device, a precision or a tracker that it lacks."""
    check_installed(config.trackers)
    choose_precision(config.precision, resolve_device(config.device).type)


def _is_helper() -> bool:
    """Whether this is one of several processes, and not the first: torchrun numbers them."""
    return int(os.environ.get("RANK", "0")) > 0


def _train_in_turn(config, writer: RunWriter, stop: StopRequest, on_metrics) -> TrainingResult:
    name = check_name(writer.run_dir.name)
    device = resolve_device(config.device).type
    writer.update(device=device)
    with device_turn(writer.run_dir, device, stop) as my_turn:
        if not my_turn:
            if int(os.environ.get("WORLD_SIZE", "1")) > 1:
                request_stop(writer.run_dir)  # the others, if a signal reached only this process
                Trainer(config, None, device, writer, stop).decline()
            return TrainingResult(name, "stopped", None, None, 0.0, 0, None)
        # Inside, because loading a set may import libraries that draw random numbers.
        with reproducible(config.seed):
            return _load_and_fit(config, device, writer, stop, on_metrics)


def _take_part(config: TrainingConfig, run_dir: Path) -> TrainingResult:
    """The part of every process but the first: the same steps on other pictures, without the run's files."""
    device = resolve_device(config.device).type
    with StopRequest(run_dir) as stop, reproducible(config.seed):
        wait_for_turn(run_dir, stop)
        return _load_and_fit(config, device, SilentWriter(run_dir), stop, None)


def wait_for_turn(run_dir: Path, stop: StopRequest) -> None:
    """Returns when the run no longer waits for its device, or is asked to end.

    Only the first process stands in the queue. The others must not wait for it where processes meet: they would give
    up after half an hour.
    """
    while not stop.requested:
        with suppress(ModelsError):  # the first process has not made it yet
            if read_run(run_dir.parent, run_dir.name).state != "queued":
                return
        time.sleep(POLL_SECONDS)


def _load_and_fit(config, device: str, writer: RunWriter, stop: StopRequest, on_metrics) -> TrainingResult:
    start = config.start_from and read_start(config.start_from, writer.run_dir.parent)
    trainer = Trainer(config, prepare_data(config, writer), device, writer, stop, on_metrics, start=start)
    return TrainingResult(writer.run_dir.name, **trainer.fit())


def prepare_data(config: TrainingConfig, writer: RunWriter) -> Dataset:
    """:func:`load_data`, with the run's status saying how far it is and which files were left out."""
    writer.update(state="preparing")
    dataset = load_data(config, lambda fraction, message: writer.update(message=f"{message} ({fraction:.0%})"))
    writer.update(skipped=list(dataset.skipped[:100]), message="")
    return dataset


def load_data(config: TrainingConfig, progress: Progress | None = None) -> Dataset:
    """The data of a training, with the corrections it asks for.

    Raises:
        ModelsError: They cannot be used.
    """
    dataset = load_dataset(
        config.dataset,
        data_root=config.data_root,
        seed=config.seed if config.split_seed is None else config.split_seed,
        image_size=config.picture_size,
        shapes=config.shapes,
        progress=progress,
    )
    return _correct(dataset, config.corrections)


def _correct(dataset: Dataset, corrections: dict) -> Dataset:
    """The data with pictures relabelled or left out, in whichever split they are."""
    if not corrections:
        return dataset
    splits = {
        name: apply_corrections(getattr(dataset, name), corrections, len(dataset.categories))
        for name in ("train", "validation", "test")
    }
    return replace(dataset, **splits)


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
