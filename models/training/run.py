"""Training a classifier from a configuration: :func:`train`, or ``JOB`` on a run directory that has one."""

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from analysis.errors import Cancelled, MessageProgress, UserError
from models.data.dataset import Dataset
from models.data.datasets import find_spec, load_dataset
from models.data.duplicates import find_near_duplicates
from models.data.labels import apply_corrections
from models.determinism import reproducible
from models.devices import resolve_device
from models.ordinary_files import read_json
from models.runs.changes import requeue_run
from models.runs.job import Job, Listener, ignore, open_job
from models.runs.process import find_process
from models.runs.queue import device_turn
from models.runs.run import Run, check_name, read_run
from models.runs.stop import StopRequest
from models.runs.submit import create_run
from models.runs.writer import RunWriter, SilentWriter
from models.training.acceleration import decline
from models.training.config import TrainingConfig
from models.training.loop import fit
from models.training.precision import choose_precision
from models.training.recorder import MetricsListener, forget_way
from models.training.setup import choose_pictures
from models.training.trackers import check_installed
from models.training.warm_start import find_start

log = logging.getLogger(__name__)


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
    A run that waits in another process is that one's.

    Args:
        run_dir: A new directory, or one that :func:`models.runs.submit.create_run` made.

    Raises:
        UserError: The run exists, the data cannot be used, the loss is no longer finite, or the disk is
            full; the run's state is then "failed".
    """
    run_dir = Path(run_dir)
    if _is_helper():
        return _take_part(config, run_dir)
    if not run_dir.exists():
        check_here(config)
        create_run(run_dir.parent, run_dir.name, config.to_dict())
    run = read_run(run_dir.parent, run_dir.name)
    if run.state == "queued" and TrainingConfig.from_dict(read_json(run_dir / "config.json")) != config:
        raise _taken(run, "waits for its turn")
    return JOB.run(run_dir, on_metrics or ignore)


def resume(run_dir: str | Path, on_metrics: MetricsListener | None = None) -> TrainingResult:
    """Goes on with a training that was stopped, killed or failed, from its last resume point or anew.

    The result is that of the uninterrupted training, to the last bit on the same machine.

    Raises:
        UserError: No such run, no training, at work, or finished; else as for :func:`train`.
    """
    run_dir = Path(run_dir)
    if not _is_helper():
        run = read_run(run_dir.parent, run_dir.name)
        if run.kind != "training":
            raise UserError(f"The run {run.name} is no training and cannot be resumed like one.")
        requeue_run(run)
    return train(TrainingConfig.from_dict(read_json(run_dir / "config.json")), run_dir, on_metrics)


def check_here(config: TrainingConfig) -> None:
    """Raises UserError if this machine cannot train so: a device, a precision or a tracker that it lacks."""
    check_installed(config.trackers)
    choose_precision(config.precision, resolve_device(config.device).type)


def _is_helper() -> bool:
    """Whether this is one of several processes, and not the first: torchrun numbers them."""
    return int(os.environ.get("RANK", "0")) > 0


def _taken(run: Run, problem: str) -> UserError:
    return UserError(f"There is already a run named {run.name}, and it {problem}; choose another name.")


def _train_in_turn(config, writer: RunWriter, stop: StopRequest, on_metrics) -> TrainingResult:
    name = check_name(writer.run_dir.name)
    device = resolve_device(config.device).type
    writer.update(device=device)
    with device_turn(writer.run_dir, device, stop) as my_turn:
        if not my_turn:
            decline(config, device, writer.run_dir)
            return _stopped_early(name)
        # Inside, because loading a set may import libraries that draw random numbers.
        with reproducible(config.seed):
            return _load_and_fit(config, device, writer, stop, on_metrics)


def _take_part(config: TrainingConfig, run_dir: Path) -> TrainingResult:
    """The part of every process but the first: the same steps on other pictures, without the run's files."""
    device = resolve_device(config.device).type
    with StopRequest(run_dir) as stop, reproducible(config.seed):
        return _load_and_fit(config, device, SilentWriter(run_dir), stop, None)


def _load_and_fit(config, device: str, writer: RunWriter, stop: StopRequest, on_metrics) -> TrainingResult:
    start = config.start_from and find_start(config.start_from, writer.run_dir.parent)
    try:
        dataset = prepare_data(config, writer, stop)
        if find_spec(config.dataset).check_duplicates and not _is_helper():
            # A label that is wrong on purpose is no finding.
            used = choose_pictures(replace(config, label_noise=0.0), dataset)
            _warn_of_copies(replace(dataset, train=used), writer, stop)
    except Cancelled:
        decline(config, device, writer.run_dir)
        return _stopped_early(writer.run_dir.name)
    return TrainingResult(writer.run_dir.name, **fit(config, dataset, device, writer, stop, on_metrics, start))


def _stopped_early(name: str) -> TrainingResult:
    """The result of a training that was stopped before there was anything to train."""
    return TrainingResult(name, "stopped", None, None, 0.0, 0, None)


def prepare_data(config: TrainingConfig, writer: RunWriter, stop: StopRequest) -> Dataset:
    """:func:`load_data`, with the run's status saying how far it is and which files were left out.

    Raises:
        Cancelled: Somebody asked for it on the way.
        UserError: As for :func:`load_data`.
    """

    def tell(fraction: float, message: str) -> None:
        # The file of an earlier stop may still be there, which the first process is about to remove.
        if stop.signalled if _is_helper() else stop.requested:
            raise Cancelled
        writer.update(message=f"{message} ({100 * fraction:.0f} %)")

    writer.update(state="preparing")
    dataset = load_data(config, tell)
    writer.update(skipped=list(dataset.skipped[:100]), warning="\n".join(dataset.warnings), message="")
    if not _is_helper():
        _warn(dataset.warnings)
    return dataset


def _warn_of_copies(dataset: Dataset, writer: RunWriter, stop: StopRequest) -> None:
    """Says in the log and in the run's status if pictures of two splits or classes are almost the same."""

    def tell(fraction: float, message: str) -> None:
        stop.check()
        writer.update(message=f"{message} ({100 * fraction:.0f} %)")

    found = find_near_duplicates(dataset, progress=tell).warn(dataset)
    _warn(found)
    writer.update(message="", warning="\n".join((*dataset.warnings, *found)))


def _warn(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        log.warning("%s", sentence)


def load_data(config: TrainingConfig, progress: MessageProgress | None = None) -> Dataset:
    """The data of a training, with the corrections it asks for. Raises UserError: they cannot be used."""
    dataset = load_dataset(
        config.dataset,
        data_root=config.data_root,
        seed=config.data_seed,
        image_size=config.picture_size,
        shapes=config.shapes,
        progress=progress,
    )
    return _correct(dataset, config.corrections)


def _correct(dataset: Dataset, corrections: dict) -> Dataset:
    """The data with pictures relabelled or left out, in whichever split they are."""
    if not corrections:
        return dataset
    splits: dict[str, Any] = {
        name: apply_corrections(getattr(dataset, name), corrections, len(dataset.categories))
        for name in ("train", "validation", "test")
    }
    return replace(dataset, **splits)


class _TrainingJob(Job[TrainingConfig, TrainingResult]):
    """A job that looks whose run it is, and tidies up."""

    def run(self, run_dir: Path, listen: Listener = ignore) -> TrainingResult:
        """See :meth:`models.runs.job.Job.run`; a run that does not wait for this very process is left alone."""
        run = read_run(run_dir.parent, run_dir.name)
        if run.state != "queued":
            raise _taken(run, f"is {run.state}")
        process = find_process(run_dir)
        if process is not None and process.pid != os.getpid():
            raise _taken(run, "waits for its turn")
        result = super().run(run_dir, listen)
        assert result is not None  # there is one after a stop too
        if result.state == "finished":  # not before everybody can see it: until then it may have to go on
            with open_job(run_dir):
                forget_way(run_dir)
        return result


def _summarize(result: TrainingResult) -> dict:
    outcome = {name: value for name, value in asdict(result).items() if name not in ("run", "state")}
    return {"state": result.state, "result": outcome}


def _print_epoch(metrics: dict) -> None:
    if metrics["kind"] == "epoch":
        print(
            f"epoch {metrics['epoch']}: train loss {metrics['train_loss']:.4f}, "
            f"validation accuracy {metrics['val_accuracy']:.2%}, "
            f"{metrics['samples_per_second']:.0f} images/s",
            flush=True,
        )


JOB = _TrainingJob(
    kind="training",
    read_config=TrainingConfig.from_dict,
    work=_train_in_turn,
    to_document=None,
    summarize=_summarize,
    describe=lambda result: f"{result.state}: test accuracy {result.test_accuracy}, {result.seconds:.1f} s",
    listen=_print_epoch,
)
