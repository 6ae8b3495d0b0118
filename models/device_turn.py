"""One training at a time on each device, first come first served, without a scheduler process.

Each process waits for its own turn: nobody alive may have asked earlier, and the device's file lock must be
free. The operating system releases the lock when its holder dies, however that happens.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from models.runs import list_runs, submission_order
from models.stopping import StopRequest

POLL_SECONDS = 0.3


@contextmanager
def device_turn(run_dir: Path, device: str, stop: StopRequest) -> Iterator[bool]:
    """Waits until the device is free for this run, and keeps it for the length of the ``with`` block.

    Yields:
        True when it is this run's turn, False if it was asked to stop before.
    """
    folder = run_dir.parent / ".locks"
    folder.mkdir(exist_ok=True)
    with (folder / f"{device}.lock").open("a+b") as lock:
        while not stop.requested:
            if _is_first(run_dir, device) and _try_lock(lock):
                yield True
                return
            time.sleep(POLL_SECONDS)
        yield False


def _is_first(run_dir: Path, device: str) -> bool:
    """Whether no other waiting run was submitted earlier for this device."""
    # A process that has only just been started has not said yet which device it waits for.
    rivals = (device, None)
    runs = list_runs(run_dir.parent)
    waiting = [run for run in runs if run.state == "queued" and run.status.get("device") in rivals]
    return not waiting or min(waiting, key=submission_order).name == run_dir.name


def _try_lock(file: IO[bytes]) -> bool:
    """Takes an exclusive lock that lasts until the file is closed, if nobody else has it."""
    try:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
