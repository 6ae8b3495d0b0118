"""One training at a time on each device, first come first served, without a scheduler process; visitors come last.

Each process waits for its own turn: nobody alive may be before it in the line, and the device's file lock must be
free. The operating system releases the lock when its holder dies, however that happens.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from filelock import FileLock, Timeout

from models.runs.files import try_again
from models.runs.run import AT_WORK, Run, list_all_runs, read_run, submission_order
from models.runs.status import ALLOWED
from models.runs.stop import StopRequest

POLL_SECONDS = 0.3
LOCKS = ".locks"
"""The folder, beside the runs, of the locks that processes share."""
_held: ContextVar[frozenset[str]] = ContextVar("held", default=frozenset())
"""The devices of whoever asks, as far as it has them already."""


@contextmanager
def device_turn(run_dir: Path, device: str, stop: StopRequest) -> Iterator[bool]:
    """Waits until the device is free for this run, and keeps it for the length of the ``with`` block.

    A part of a job that has the device, a run of its own, need not wait.

    Yields:
        True when it is this run's turn, False if it was asked to stop before.
    """
    if device in _held.get():
        yield not stop.requested
        return
    folder = run_dir.parent / LOCKS
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / f"{device}.lock")
    while not stop.requested:
        # The lock first: to ask for it costs next to nothing, to read all runs does.
        with suppress(Timeout):
            try_again(lambda: lock.acquire(blocking=False))
        try:
            if lock.is_locked and _is_first(run_dir, device):
                if (minutes := read_run(run_dir.parent, run_dir.name).status.get(ALLOWED)) is not None:
                    stop.allow(minutes)
                before = _held.set(_held.get() | {device})
                try:
                    yield True
                finally:
                    _held.reset(before)
                return
        finally:
            lock.release()
        time.sleep(POLL_SECONDS)
    yield False


def queue_place(run: Run, runs: Sequence[Run]) -> int | None:
    """The place of a waiting run in the line for its device: 1 is next, None where it does not wait.

    Args:
        runs: All of them, as :func:`models.runs.run.list_all_runs` gives them.
    """
    if run.state != "queued":
        return None
    return 1 + sum(
        other.state == "queued" and may_meet(other, run) and line_order(other) < line_order(run) for other in runs
    )


def jobs_before(run: Run, runs: Sequence[Run]) -> int:
    """How many runs have to end before a waiting one begins, with the one that is at work; 0 if it does not wait."""
    place = queue_place(run, runs)
    if place is None:
        return 0
    # However many runs report the device as theirs (a bench and its arm do): they are one job.
    return place - 1 + any(other.state in AT_WORK and may_meet(other, run) for other in runs)


def line_order(run: Run) -> tuple[bool, int, str]:
    """A sort key: who is first in line. Visitors stand behind the owner, however many they are."""
    return (not run.starter.is_owner, *submission_order(run))


def _is_first(run_dir: Path, device: str) -> bool:
    """Whether no other waiting run is before this one in the line for the device."""
    runs = list_all_runs(run_dir.parent)
    waiting = [run for run in runs if run.state == "queued" and run.device in (device, None)]
    return not waiting or min(waiting, key=line_order).name == run_dir.name


def may_meet(one: Run, other: Run) -> bool:
    """Whether both want the same device; a process just started has not said yet which one it waits for."""
    return one.device is None or other.device is None or one.device == other.device
