"""Trains the arms of a larger job as ordinary runs beside it: each can be stopped, and goes on where it was."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from analysis.errors import Cancelled, UserError
from models.ordinary_files import mend, read_json
from models.runs.run import BROKEN_OFF, Run, check_name, delete_run, list_runs, read_run, request_stop
from models.runs.stop import StopRequest
from models.training.config import TrainingConfig
from models.training.recorder import MetricsListener
from models.training.run import resume, train

STOP_SECONDS = 0.2


def find_arm(config: TrainingConfig, run_dir: Path) -> Run | None:
    """The run of this very training, in whatever state, or None; also one so damaged that nobody can tell.

    A capsule with these settings is none: nobody here has seen it trained.

    Raises:
        UserError: The name cannot name a run, or there is another run of that name.
    """
    check_name(run_dir.name)
    run = next((run for run in list_runs(run_dir.parent) if run.name == run_dir.name), None)
    settings = None if run is None else _read_settings(run)
    if run is not None and (run.is_opened or (settings is not None and not _is_same(settings, config))):
        raise UserError(f"There is another run named {run.name}; delete it or choose another name.")
    return run


def train_arm(
    config: TrainingConfig, run_dir: Path, stop: StopRequest, on_metrics: MetricsListener | None = None
) -> Run:
    """Trains one arm; one that was broken off goes on, a finished one stays as it is, a damaged one begins anew.

    Args:
        stop: Of the job: whoever asks that to stop, stops the arm, which may still wait for its device.

    Raises:
        Cancelled: It was stopped.
        UserError: As for :func:`find_arm` and :func:`models.training.run.train`.
    """
    run = find_arm(config, run_dir)
    if run is not None and run.state == "finished":
        return run
    if run is not None and run.state == "damaged":
        delete_run(run_dir.parent, run.name)
    if stop.requested:
        raise Cancelled
    with _handed_on(stop, run_dir):
        if run is not None and run.state in BROKEN_OFF:
            result = resume(run_dir, on_metrics)
        else:
            result = train(config, run_dir, on_metrics)
    if result.state != "finished":
        raise Cancelled
    return read_run(run_dir.parent, run_dir.name)


def _read_settings(run: Run) -> dict | None:
    """What it was told, as far as that can be read: of a damaged run, another file may be the damaged one."""
    if run.state != "damaged":
        return run.config
    try:
        return read_json(run.path / "config.json", is_mended=True)
    except UserError:
        return None


def _is_same(settings: dict, config: TrainingConfig) -> bool:
    """Whether it is this training; what was written down before an option existed has its default."""
    try:
        return TrainingConfig.from_dict(settings) == TrainingConfig.from_dict(mend(config.to_dict()))
    except UserError:
        return False


@contextmanager
def _handed_on(stop: StopRequest, run_dir: Path) -> Iterator[None]:
    """Whoever asks the job to stop asks the arm that trains."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(STOP_SECONDS):
            if stop.requested and run_dir.exists():
                request_stop(run_dir)
                return

    watcher = threading.Thread(target=watch, name=f"stop {run_dir.name}", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
