"""Which process works on a run, whether it is still alive, and when it was last heard of.

The clock of the operating system may be set while a process lives. So moments are those of a clock that nobody sets,
together with the start of the system that they count from; where a system does not tell its starts apart, the
ordinary clock has to do.
"""

import os
import shutil
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

from analysis.errors import UserError
from models.ordinary_files import read_end, read_json
from models.runs.files import write_json

LOG_TAIL_BYTES = 4000
FULL_DISK_BYTES = 2**20
KILL_SECONDS = 10
LAUNCH_SECONDS = 60
"""How long a run may stay without a process while that is being started."""
CREATED_SECONDS = 5
"""How far two looks at the ordinary clock's moment of a process's start may be apart."""
SILENT_SECONDS = 15
"""A process that has been silent for longer is said to be; at work, they report twice a second or at each step."""
_UNITS = ((3600, "h"), (60, "min"), (1, "s"))


def read_clock() -> dict:
    """This moment, for :func:`seconds_since` in whichever process."""
    boot = _read_boot()
    return {"boot": boot, "seconds": time.monotonic()} if boot else {"time": time.time()}


def seconds_since(moment: object) -> float | None:
    """How long ago a moment of :func:`read_clock` is; None if that was before the system started, or is no moment."""
    now = read_clock()
    if not isinstance(moment, dict) or moment.get("boot") != now.get("boot"):
        return None
    name = "seconds" if "boot" in now else "time"
    then = moment.get(name)
    is_number = isinstance(then, int | float) and not isinstance(then, bool)
    return abs(now[name] - then) if is_number else None


def record_process(run_dir: Path, pid: int) -> None:
    """Notes in process.json which process works on a run, so that no later one of its number is taken for it.

    Raises:
        OSError: The file cannot be written.
        psutil.Error: There is no such process.
    """
    write_json(run_dir / "process.json", {"pid": pid, **_identify(pid)})


def find_process(run_dir: Path) -> psutil.Process | None:
    """The living process that works on a run, or None."""
    try:
        noted = read_json(run_dir / "process.json")
        process = psutil.Process(noted["pid"])
        if "ticks" in noted:
            same = {"boot": noted["boot"], "ticks": noted["ticks"]} == _identify(process.pid)
        else:  # by a system, or by a version, that notes no more
            same = abs(process.create_time() - noted["created"]) < CREATED_SECONDS
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (UserError, psutil.Error, KeyError, TypeError, ValueError, OverflowError):
        return None


def end_process(run_dir: Path) -> bool:
    """Ends the process that works on a run, with its children, at once.

    Returns:
        Whether there was one; this very process is none.

    Raises:
        UserError: It cannot be ended.
    """
    process = find_process(run_dir)
    if process is None or process.pid == os.getpid():
        return False
    try:
        for member in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                member.kill()
    except psutil.NoSuchProcess:
        return False
    except psutil.Error as error:
        raise UserError(f"The process of the run {run_dir.name} cannot be ended ({error}).") from error
    deadline = time.monotonic() + KILL_SECONDS
    # Not process.wait: a dead process stays listed where nobody collects it.
    while find_process(run_dir) is not None:
        if time.monotonic() > deadline:
            raise UserError(f"The process of the run {run_dir.name} has not ended after {KILL_SECONDS} s; try again.")
        time.sleep(0.01)
    return True


def is_abandoned(run_dir: Path, status: dict) -> bool:
    """Whether an unfinished run has no process, and none that is only about to start."""
    if find_process(run_dir) is not None:
        return False
    return (run_dir / "process.json").exists() or not _is_launching(status)


def find_cause_of_death(run_dir: Path) -> str:
    """Why the process of a run may have ended that has not said so itself."""
    try:
        if shutil.disk_usage(run_dir).free < FULL_DISK_BYTES:
            return "The process ended without saying why; the disk that holds the runs is full."
    except OSError:
        pass
    lines = read_end(run_dir / "log.txt", LOG_TAIL_BYTES).decode(errors="replace").strip().splitlines()
    last = f" Its last line was: {lines[-1][:300]}" if lines else ""
    return f"The process ended without saying why; it was killed or ran out of memory.{last}"


def describe_silence(run_dir: Path, status: dict) -> str:
    """Since when a process at work has not been heard of, in a few words; empty where it has just been.

    Args:
        run_dir: Of a run that is preparing or running.
    """
    silent = seconds_since(status.get("heard"))
    if silent is None or silent < SILENT_SECONDS:
        return ""
    process = find_process(run_dir)
    try:
        is_suspended = process is not None and process.status() == psutil.STATUS_STOPPED
    except psutil.Error:
        is_suspended = False
    return f"{'suspended, ' if is_suspended else ''}last heard of {_describe_age(silent)} ago"


def _describe_age(seconds: float) -> str:
    """In the largest unit of which there is at least one; seconds in tens, so that the text rests in between."""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds >= size)
    count = int(seconds // size)
    return f"{count - count % 10 if unit == 's' else count} {unit}"


def _is_launching(status: dict) -> bool:
    """Whether a run was submitted so recently that its process need not be there yet."""
    if "asked" in status:
        age = seconds_since(status["asked"])
    else:  # by a version that noted no more
        age = abs(time.time_ns() - status["submitted"]) / 1e9 if "submitted" in status else None
    return age is not None and age < LAUNCH_SECONDS


def _identify(pid: int) -> dict:
    """What no other process of this number has: the moment of its start."""
    boot, ticks = _read_boot(), _read_ticks(pid)
    if boot and ticks is not None:
        return {"boot": boot, "ticks": ticks}
    return {"created": psutil.Process(pid).create_time()}


@cache
def _read_boot() -> str | None:
    """A name for the system's latest start that no other has; only Linux gives one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def _read_ticks(pid: int) -> int | None:
    """When a process started, in the kernel's ticks since the system did."""
    try:
        fields = Path(f"/proc/{int(pid)}/stat").read_bytes().rpartition(b") ")[2].split()
        return int(fields[19])  # the 22nd, and the name in brackets was the second
    except (OSError, ValueError, IndexError):
        return None
