"""Starts, stops and lists processes that work long. They outlive this one: all they share is the run directory.

``python -m lab.jobs RUN_DIR`` is such a process: it does the work of the run directory's kind.
"""

import importlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from analysis.errors import UserError, explained
from models.access import acting, viewer
from models.data.datasets import find_spec, full_path
from models.names import readable_path
from models.quotas import QUOTAS, Quota
from models.runs.changes import publish_run, rename_run, requeue_run, write_notes
from models.runs.files import open_to_add, try_again, write_json
from models.runs.job import Job
from models.runs.memory import keep_freed_memory
from models.runs.process import end_process, record_process
from models.runs.queue import LOCKS
from models.runs.room import Room, check_jobs, let_go
from models.runs.run import (
    UNFINISHED,
    Run,
    delete_run,
    list_all_runs,
    list_runs,
    read_run,
    remove_whole,
    request_stop,
)
from models.runs.status import ALLOWED
from models.runs.submit import create_run, next_name
from models.runs.worker import PRELOADED, PROJECT_ROOT, Launcher
from models.settings import check_choice
from models.terminal import printable_output
from models.training.config import TrainingConfig
from models.training.run import check_here

MAX_WAITING = 8
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}  # threads that spin while they wait would slow down the page
ENTRY = "lab.jobs"
"""This module, as a process is started with it."""
JOBS = {
    "training": "models.training.run",
    "evaluation": "lab.evaluation.run",
    "repair": "lab.comparisons.repair",
    "experiment": "lab.experiments.table",
    "arms": "lab.comparisons.run",
    "range_test": "models.training.lr_finder",
    "features": "lab.learning.compare_features",
    "trust": "lab.trust.over_set",
}
"""Kind of work -> the module whose ``JOB`` does it."""
FOR_VISITORS = ("training", "range_test")
"""What a visitor who may train can start; the others are the owner's."""


class JobManager:
    """Keeps no state of its own: managers one after the other, or several at once, see the same runs.

    What it reads and changes is what whoever asks may (:mod:`models.access`).
    """

    def __init__(self, runs_root: str | Path, quotas: Mapping[str, Quota] = QUOTAS):
        self.runs_root = Path(runs_root).resolve()
        self.quotas, self._room = quotas, Room()
        self._launching = threading.Lock()
        self._launcher: Launcher | None = None

    def warm_up(self) -> None:
        """Has the heavy libraries loaded by a process that later runs are forked from; returns at once.

        Runs start without it too, only seconds later.
        """
        with self._launching:
            if self._launcher is None:
                self._launcher = Launcher((*PRELOADED, ENTRY, *JOBS.values()), {**os.environ, **ENVIRONMENT})
            self._launcher.start()

    def close(self) -> None:
        """Ends what :meth:`warm_up` started; runs go on. A server that ends need not call it."""
        if self._launcher is not None:
            self._launcher.close()

    def start(self, config: TrainingConfig, name: str | None = None, is_upload: bool = False) -> str:
        """Starts a training process, which waits until its device is free.

        Args:
            name: The run's name; by default the data set's with the next free number.
            is_upload: Whether the data set is a file that may vanish: the run then keeps a copy.

        Returns:
            The run's name.

        Raises:
            UserError: No such data set, the name is bad or taken, too many runs wait, or the run cannot
                be stored or started.
        """
        find_spec(config.dataset)
        check_here(config)
        upload = "dataset" if is_upload else None
        return self.start_program("training", _with_full_paths(config).to_dict(), config.dataset, upload, name)

    def start_program(
        self,
        kind: str,
        config: dict,
        title: str,
        upload: str | None = None,
        name: str | None = None,
        seconds: float | None = None,
    ) -> str:
        """Starts a process that works long.

        Args:
            title: What the run's name is made from.
            upload: Key of ``config`` with the path of a file that may vanish: the run then keeps a copy.
            seconds: How long it was said to take, from a speed measured here.

        Returns:
            The run's name: ``title``, made fit for a folder name, with the next free number.

        Raises:
            UserError: The name is bad or taken, too many runs wait, or the run cannot be stored or started.
            UserError: Whoever asks may not start this, or has no room for it (:mod:`models.runs.room`).
        """
        _check_allowed(kind, config)
        with self._alone():
            name = name or next_name(self.runs_root, title)
            kept = self.runs_root / name / _kept_name(config[upload]) if upload else None
            self._check_queue()
            leaving = self._find_leaving(Path(config[upload]) if upload else None)
            settings = config | ({upload: readable_path(kept)} if kept else {})
            noted = {} if seconds is None else {"seconds_expected": seconds}
            run_dir = create_run(self.runs_root, name, settings, kind, noted | self._find_time())
            let_go(leaving)
            if kept:
                _keep(Path(config[upload]), kept)
            self._launch(run_dir)
        return name

    def resume(self, name: str) -> None:
        """Starts the process of a run again that ended before its work was done; it goes on where it was.

        Raises:
            UserError: No such run, it is still at work, has finished, too many runs wait, or the run cannot be
                stored or started.
            UserError: Whoever asks may not start this, or has no room for it (:mod:`models.runs.room`).
        """
        viewer().check("train")
        with self._alone():
            run = self.read(name).check_own()
            self._check_queue()
            leaving = self._find_leaving(besides=name)
            requeue_run(run, {ALLOWED: None, **self._find_time()})
            let_go(leaving)
            self._launch(run.path)

    def open_capsule(self, path: Path) -> str:
        """Makes a run out of a capsule; gives its name. See :func:`models.training.capsule.unpack_capsule`.

        Raises:
            UserError: It is none, or there is no room for it.
        """
        from models.training.capsule import unpack_capsule

        with self._alone():
            leaving = self._find_leaving(path)
            name = unpack_capsule(path, self.runs_root)
            let_go(leaving)
        return name

    def stop(self, name: str) -> None:
        """Asks a run to end within one step, keeping its model so far; nothing if it has ended.

        Raises:
            UserError: No such run, or its directory cannot be written.
        """
        run = self.read(name).check_own()
        if run.state in UNFINISHED:
            with explained(f"The run {name} cannot be told to stop"):
                request_stop(run.path)

    def kill(self, name: str) -> None:
        """Ends a run's process at once; its model stays that of the last epoch that was kept.

        Raises:
            UserError: No such run, or the process cannot be ended.
        """
        run = self.read(name).check_own()
        if run.state not in UNFINISHED or not end_process(run.path):
            return
        ended = {"state": "stopped", "message": "Killed; what it had written by then is kept."}
        with explained(f"The run {name} was killed, but that cannot be noted"):
            write_json(run.path / "status.json", {**self.read(name).status, **ended})

    def delete(self, name: str) -> None:
        """Removes a run that has ended, with its model. Raises UserError: no such run, or it is still at work."""
        with self._alone():
            delete_run(self.runs_root, name)

    def rename(self, old: str, new: str) -> None:
        """Gives a run that is not at work another name; see :func:`models.runs.changes.rename_run`.

        Raises:
            UserError: No such run, still at work, or the new name is bad or taken.
        """
        with self._alone():
            rename_run(self.runs_root, old, new)

    def write_notes(self, name: str, text: str) -> None:
        """Replaces what is noted about a run, :attr:`models.runs.run.Run.notes`.

        Raises:
            UserError: No such run, too long a text, or it cannot be written.
        """
        write_notes(self.runs_root, name, text)

    def publish(self, name: str, is_published: bool) -> None:
        """Shows a run to visitors, or no longer; see :func:`models.runs.changes.publish_run`.

        Raises:
            UserError: No such run, or whoever asks is a visitor.
        """
        publish_run(self.runs_root, name, is_published=is_published)

    def read(self, name: str) -> Run:
        """One run as it is now; UserError if there is none of that name."""
        return read_run(self.runs_root, name)

    def list_all(self) -> list[Run]:
        """The runs of everybody, newest first, to count them; to whom they are shown is up to whoever calls this."""
        return list_all_runs(self.runs_root)

    def list(self, *kinds: str) -> list[Run]:
        """All runs that whoever asks may see, or those of some kinds, newest first."""
        return [run for run in list_runs(self.runs_root) if not kinds or run.kind in kinds]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else starts or changes a run of this folder meanwhile, in this process or another."""
        lock = FileLock(self.runs_root / LOCKS / "starting.lock")
        with explained("The folder of the runs cannot be written"):
            try_again(lock.acquire)
        try:
            yield
        finally:
            lock.release()

    def _find_leaving(self, upload: Path | None = None, besides: str = "") -> Sequence[Run]:
        """See :meth:`models.runs.room.Room.find_leaving`; nothing leaves for what the owner starts."""
        if (quota := self.quotas.get(viewer().role)) is None:
            return []
        with explained("The upload cannot be stored with the run"):
            num_bytes = upload.stat().st_size if upload else 0
        return self._room.find_leaving(viewer(), quota, self.list_all(), num_bytes, besides)

    def _find_time(self) -> dict[str, float]:
        """The entry of a status that says how long whoever asks lets a job work."""
        quota = self.quotas.get(viewer().role)
        return {ALLOWED: quota.job_minutes} if quota else {}

    def _check_queue(self) -> None:
        who, runs = viewer(), self.list_all()
        if quota := self.quotas.get(who.role):
            check_jobs(who, quota, runs)
        # One of the unfinished is the one that runs. What visitors started keeps the owner from nothing.
        if sum(run.state in UNFINISHED and (run.starter.is_owner or not who.is_owner) for run in runs) > MAX_WAITING:
            raise UserError(f"{MAX_WAITING} jobs wait already; stop one or let one finish first.")

    def _launch(self, run_dir: Path) -> None:
        environment = {**os.environ, **ENVIRONMENT}
        try:
            if self._launcher is None or not self._launcher.launch(ENTRY, run_dir, environment):
                _start_process(run_dir, environment)
        except OSError as error:
            failed = {"state": "failed", "message": f"The process did not start ({error.strerror})."}
            with suppress(OSError):
                write_json(run_dir / "status.json", {**self.read(run_dir.name).status, **failed})
            raise UserError(failed["message"]) from error


def _start_process(run_dir: Path, environment: dict[str, str]) -> None:
    """Starts ``python -m lab.jobs RUN_DIR``, which loads all its libraries first."""
    with open_to_add(run_dir / "log.txt") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", ENTRY, str(run_dir)],
            cwd=PROJECT_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        record_process(run_dir, process.pid)
    except OSError:  # nobody could find it again
        process.kill()
        raise
    finally:
        # Collects the exit status, or the ended process would stay listed as a zombie.
        threading.Thread(target=process.wait, name=f"reap {run_dir.name}", daemon=True).start()


def _kept_name(upload: str) -> str:
    """Where an upload is kept inside the run directory: in a folder of its own, apart from the run's files."""
    return f"upload/{Path(upload).name}"


def _keep(upload: Path, kept: Path) -> None:
    try:
        kept.parent.mkdir()
        shutil.copyfile(upload, kept)
    except OSError as error:
        with suppress(OSError):
            remove_whole(kept.parent.parent)
        raise UserError(f"The upload cannot be stored with the run ({error.strerror}).") from error


def _check_allowed(kind: str, config: dict) -> None:
    """Raises UserError if a visitor asks for what is the owner's: other work, folders and trackers here."""
    who = viewer()
    who.check("train" if kind in FOR_VISITORS else "owner")
    if not who.is_owner and (not who.name or config.get("trackers") or Path(str(config.get("dataset"))).is_dir()):
        who.check("owner")


def _with_full_paths(config: TrainingConfig) -> TrainingConfig:
    """The same configuration for a process that works in another folder."""
    return replace(config, dataset=full_path(config.dataset), data_root=str(Path(config.data_root).resolve()))


def find_job(run_dir: Path) -> Job:
    """The entry of ``JOBS`` that works on a run directory.

    Raises:
        UserError: There is no such run, or it is of a kind that is not known here.
    """
    kind = read_run(run_dir.parent, run_dir.name).kind
    check_choice("The kind of work", kind, JOBS)
    job: Job = importlib.import_module(JOBS[kind]).JOB
    return job


def main(arguments: list[str]) -> int:
    """Does the work of the run directory named by the only argument, and prints how it went.

    Returns:
        The exit status: 0, 1 after an error that a person can mend, 2 after wrong arguments.
    """
    if len(arguments) != 1:
        print("usage: python -m lab.jobs RUN_DIR", file=sys.stderr)
        return 2
    keep_freed_memory()
    run_dir = Path(arguments[0]).resolve()
    with printable_output():
        try:
            job = find_job(run_dir)
            with acting(read_run(run_dir.parent, run_dir.name).starter):
                result = job.run(run_dir, job.listen)
        except UserError as error:
            print(error, file=sys.stderr)
            return 1
        print("stopped" if result is None else job.describe(result))
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
