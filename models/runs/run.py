"""The run directory: the one interface between a process that works long and whoever watches it.

``<runs_root>/<name>/`` holds config.json, status.json, process.json, metrics.jsonl, model.json,
weights.safetensors, log.txt, notes.txt where somebody wrote some, and a file named stop once somebody asks for
that; result.json instead of metrics and model where the run is no training (an experiment also has
measurements.jsonl). A training also has what :mod:`models.training.recorder` keeps, and corrections.json where its
labels were corrected. Small files are replaced by renaming, so a reader sees the old or the new content; whatever is
broken all the same shows as "damaged".
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from analysis.errors import UserError
from models.ordinary_files import is_ordinary, mend, read_end, read_json, read_start, short_name
from models.runs.files import GrowingLines, try_again, write_bytes, write_json
from models.runs.process import (
    LOG_TAIL_BYTES,
    describe_silence,
    find_cause_of_death,
    find_process,
    is_abandoned,
    read_clock,
)
from models.runs.status import MAX_COUNT, as_number, clean_status

AT_WORK = ("preparing", "running")
UNFINISHED = ("queued", *AT_WORK)
BROKEN_OFF = ("stopped", "failed")
STATES = (*UNFINISHED, "finished", "stopped", "failed", "damaged")
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_METRICS_BYTES = 16 * 2**20
MAX_RESULT_BYTES = 64 * 2**20
MAX_NOTES = 4000
PLACES = ("data_root", "device", "trackers")
"""Settings of any kind of work that say where and with whose help, and not what."""

_metrics = GrowingLines(MAX_METRICS_BYTES)


@dataclass(frozen=True)
class Run:
    """What the files of one run said when they were read; ``metrics`` are read when asked for.

    ``status`` has no value of the wrong kind in it (:mod:`models.runs.status`); entries may be missing.
    """

    name: str
    path: Path
    state: str
    message: str = ""
    config: dict = field(default_factory=dict)
    status: dict = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What kind of work this is: "training", or another key of ``lab.jobs.JOBS``."""
        return self.status.get("kind", "training")

    @property
    def device(self) -> str | None:
        """The device it works on or waits for; None before its process has said so."""
        return self.status.get("device")

    @property
    def fraction_done(self) -> float:
        """How much of its steps a run has made, in [0, 1]."""
        return min(1.0, self.status.get("step", 0) / max(1, self.status.get("total_steps", 0)))

    @property
    def document(self) -> dict | None:
        """The content of result.json, what a run that is no training found; None before there is any.

        Raises:
            UserError: It is damaged.
        """
        path = self.path / "result.json"
        return read_json(path, MAX_RESULT_BYTES) if os.path.lexists(path) else None

    @property
    def is_opened(self) -> bool:
        """Whether it came as a capsule, somebody else's word (:mod:`models.training.foreign_runs`)."""
        return "capsule" in self.status

    @property
    def silence(self) -> str:
        """Since when its process at work has not been heard of: "last heard of 20 s ago"; mostly empty."""
        return describe_silence(self.path, self.status) if self.state in AT_WORK else ""

    @property
    def result(self) -> dict | None:
        """val_accuracy, test_accuracy, seconds, epochs and weights_sha256 of an ended run, or None."""
        return self.status.get("result")

    def result_number(self, name: str) -> float | None:
        """One number of :attr:`result`; None where there is none of that name that is finite."""
        return as_number((self.result or {}).get(name))

    @property
    def has_model(self) -> bool:
        """Whether :func:`models.checkpoints.load_run_model` can be expected to work, also before the end."""
        return all(is_ordinary(self.path / name) for name in ("model.json", "weights.safetensors"))

    @property
    def metrics(self) -> list[dict]:
        """The lines of metrics.jsonl, oldest first, without broken ones; ``kind`` is "step", "epoch" or "layers".

        Cheap to ask for again: only what was added since is read. Of a very long file only the end is kept.
        """
        return _metrics.read(self.path / "metrics.jsonl")

    @property
    def notes(self) -> str:
        """What somebody noted about this run, at most ``MAX_NOTES`` characters."""
        return read_start(self.path / "notes.txt", 4 * MAX_NOTES).decode(errors="replace")[:MAX_NOTES]

    @property
    def log_tail(self) -> str:
        """The last 4,000 bytes that the process printed, as text."""
        return read_end(self.path / "log.txt", LOG_TAIL_BYTES).decode(errors="replace")


def check_name(name: object) -> str:
    """The name itself, if it can name a run.

    Raises:
        UserError: Empty, too long, or with characters that do not belong into a folder name.
    """
    if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
        raise UserError(
            "A run name has 1 to 64 letters, digits, dots, dashes or underscores, and starts with a letter or digit."
        )
    return name


def next_name(root: str | Path, title: str) -> str:
    """The title, made fit for a folder name, with the first number that no run below ``root`` has.

    Nor a part of one, NAME-ARM-SEED, that has outlived the rest.
    """
    taken = [f"{run.name}-" for run in list_runs(root)]
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(title).stem).strip("._-")[:50] or "run"
    number = 1
    while any(name.startswith(f"{stem}-{number}-") for name in taken):
        number += 1
    return f"{stem}-{number}"


def list_runs(root: str | Path) -> list[Run]:
    """All runs below ``root``, newest first; never fails because of what a run contains."""
    root = Path(root)
    try:
        names = [entry.name for entry in os.scandir(root) if _is_run(root / entry.name)]
    except OSError:
        return []
    runs = [_read(root / name) for name in names]
    return sorted(runs, key=submission_order, reverse=True)


def read_run(root: str | Path, name: str) -> Run:
    """One run. Raises UserError: not a run name, or there is no such run."""
    path = Path(root) / check_name(name)
    if not _is_run(path):
        raise UserError(f"There is no run named {name}.")
    return _read(path)


def read_idle_run(root: str | Path, name: str) -> Run:
    """A run that nobody works on. Raises UserError: there is no such run, or it is still at work."""
    run = read_run(root, name)
    if run.state in UNFINISHED:
        raise UserError(f"The run {name} is still {run.state}; stop it first.")
    if run.state == "damaged" and find_process(run.path) is not None:
        raise UserError(f"A process still works on the run {name}; wait until it has ended.")
    return run


def submission_order(run: Run) -> tuple[int, str]:
    """A sort key: first submitted, first in line."""
    return (run.status.get("submitted", 0), run.name)


def create_run(root: str | Path, name: str, config: dict, kind: str = "training") -> Path:
    """Makes the directory of a new run, complete from the moment it is visible, in state "queued".

    Raises:
        UserError: Bad name, a run of that name exists, or the root cannot be written to.
    """
    path = Path(root) / check_name(name)
    if path.exists():
        raise UserError(f"There is already a run named {name}; choose another name or delete it first.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent, ignore_cleanup_errors=True) as scratch:
            new = Path(scratch) / name
            new.mkdir()
            write_json(new / "config.json", config)
            status = {"state": "queued", "kind": kind, "settings_sha256": hash_settings(config)}
            write_json(new / "status.json", status | place_last(path.parent))
            try_again(lambda: new.rename(path))
    except OSError as error:
        raise UserError(f"The run {name} cannot be stored ({error.strerror}).") from error
    return path


def place_last(root: Path) -> dict:
    """The entries of a status that put a run at the end of the line, also where the clock has been set back."""
    latest = max((run.status.get("submitted", 0) for run in list_runs(root)), default=0)
    return {"submitted": min(max(time.time_ns(), latest + 1), MAX_COUNT), "asked": read_clock()}


def hash_settings(config: Mapping) -> str:
    """SHA-256 of the settings of any kind of work, but for ``PLACES``; of a full path only the last part counts."""
    return hashlib.sha256(json.dumps(_without_places(mend(dict(config))), sort_keys=True).encode()).hexdigest()


def check_settings(run: Run) -> None:
    """Raises UserError if a run's config.json is no longer what it was submitted with, where that was noted."""
    noted = run.status.get("settings_sha256")
    if noted is not None and noted != hash_settings(run.config):
        raise UserError(
            f"The settings in {short_name(run.path / 'config.json')} have changed since this run began, so it cannot "
            "go on; put them back, or start it anew."
        )


def take_up_run(path: Path, config: dict, kind: str) -> None:
    """Makes a new run, or takes one up again of the same kind and configuration that was broken off.

    Raises:
        UserError: There is another run of that name, or as for :func:`create_run`.
    """
    if not path.exists():
        create_run(path.parent, path.name, config, kind)
        return
    run = read_run(path.parent, path.name)
    if (run.kind, run.config) != (kind, mend(config)) or run.state not in BROKEN_OFF:
        raise UserError(f"There is already a run named {run.name}, and it is {run.state}; choose another name.")
    check_settings(run)
    (path / "stop").unlink(missing_ok=True)


def delete_run(root: str | Path, name: str) -> None:
    """Removes a run and its model for good.

    Raises:
        UserError: No such run, still at work, or its files cannot be removed.
    """
    run = read_idle_run(root, name)
    try:
        shutil.rmtree(run.path)
    except OSError as error:
        raise UserError(f"The run {name} cannot be deleted ({error.strerror}).") from error


def request_stop(run_dir: Path) -> None:
    """Asks the training process to end; it looks at every step."""
    write_bytes(run_dir / "stop", b"")


def _is_run(path: Path) -> bool:
    if not NAME_PATTERN.fullmatch(path.name):
        return False
    try:
        is_own = path.is_dir() and not path.is_symlink()
        return is_own and ((path / "config.json").is_file() or (path / "status.json").is_file())
    except OSError:  # a folder that nobody may look into must not hide the others
        return True


def _read(path: Path) -> Run:
    try:
        config = read_json(path / "config.json", is_mended=True)
        status = clean_status(read_json(path / "status.json"))
    except UserError as error:
        return Run(path.name, path, "damaged", str(error))
    state = status.get("state")
    if state not in STATES:
        problem = f"{short_name(path / 'status.json')} has no known state."
        return Run(path.name, path, "damaged", problem, config, status)
    message = status.get("message", "")
    if state in UNFINISHED and is_abandoned(path, status):
        # It may have ended properly between the two looks.
        status = _read_status_again(path, status)
        state, message = status["state"], status.get("message", "")
        if state in UNFINISHED:
            state, message = "failed", find_cause_of_death(path)
    return Run(path.name, path, state, message, config, status)


def _read_status_again(path: Path, status: dict) -> dict:
    try:
        newer = clean_status(read_json(path / "status.json"))
    except UserError:
        return status
    return newer if newer.get("state") in STATES else status


def _without_places(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_places(part) for name, part in value.items() if name not in PLACES}
    if isinstance(value, list):
        return [_without_places(part) for part in value]
    if isinstance(value, str) and PurePath(value).is_absolute():
        return PurePath(value).name
    return value
