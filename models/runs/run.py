"""The run directory: the one interface between a process that works long and whoever watches it.

``<runs_root>/<name>/`` holds config.json, status.json, process.json, metrics.jsonl, model.json,
weights.safetensors, log.txt, notes.txt where somebody wrote some, and a file named stop once somebody asks for
that, or published once visitors
may see it; result.json instead of metrics and model where the run is no training (an experiment also has
measurements.jsonl). A training also has what :mod:`models.training.recorder` keeps, and corrections.json where its
labels were corrected. Small files are replaced by renaming, so a reader sees the old or the new content; whatever is
broken all the same shows as "damaged".
"""

import os
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from analysis.errors import UserError, explained
from models.access import Viewer, viewer, whose
from models.ordinary_files import is_ordinary, read_end, read_json, read_start, short_name
from models.runs.files import GrowingLines, try_again, write_bytes
from models.runs.process import (
    LOG_TAIL_BYTES,
    describe_silence,
    find_cause_of_death,
    find_process,
    is_abandoned,
)
from models.runs.status import as_number, clean_status

AT_WORK = ("preparing", "running")
UNFINISHED = ("queued", *AT_WORK)
BROKEN_OFF = ("stopped", "failed")
STATES = (*UNFINISHED, "finished", "stopped", "failed", "damaged")
NAME_PATTERN = re.compile(r"[^\W_][\w.-]{0,63}")
"""Letters of any language; three bytes each at most in all that are in use, so that a name fits a file system."""
MAX_METRICS_BYTES = 16 * 2**20
MAX_RESULT_BYTES = 64 * 2**20
MAX_NOTES = 4000
PUBLISHED = "published"
DELETED = ".deleted-"
"""How folders beside the runs begin that were runs: they are gone, also while their files cannot be removed yet."""

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
    def owner(self) -> str | None:
        """The name of the browser that has started it; None: no browser has."""
        return self.status.get("owner")

    @property
    def starter(self) -> Viewer:
        """Who has started it; its process may do what they may."""
        return whose(self.status)

    @property
    def is_own(self) -> bool:
        """Whether whoever asks may change it, and take it away."""
        return viewer().owns(self.owner)

    @property
    def is_published(self) -> bool:
        """Whether visitors may see it."""
        return os.path.lexists(self.path / PUBLISHED)

    @property
    def is_shown(self) -> bool:
        """Whether whoever asks may see it."""
        return self.is_own or self.is_published

    def check_own(self) -> "Run":
        """The run itself. Raises UserError: whoever asks may at most look at it."""
        if not self.is_own:
            raise UserError(f"The run {self.name} is here to be looked at; only whoever started it can do this.")
        return self

    @property
    def is_stopping(self) -> bool:
        """Whether somebody has asked it to stop, and it has not yet."""
        return self.state in UNFINISHED and (self.path / "stop").exists()

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

    def count_pictures(self, split: str) -> int | None:
        """How many pictures a training had in "train", "validation" or "test"; None where it has not noted that."""
        path = self.path / "data.json"
        try:
            count = _read_splits(path, path.lstat().st_mtime_ns)[split]["count"]
        except (OSError, UserError, KeyError, TypeError, AttributeError):  # not noted, or damaged
            return None
        return count if type(count) is int and count > 0 else None

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
    def num_bytes(self) -> int:
        """Of all its files."""
        total = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                with suppress(OSError):  # it has been replaced since
                    total += Path(folder, name).lstat().st_size
        return total

    @property
    def notes(self) -> str:
        """What somebody noted about this run, at most ``MAX_NOTES`` characters."""
        return read_start(self.path / "notes.txt", 4 * MAX_NOTES).decode(errors="replace")[:MAX_NOTES]

    @property
    def log_tail(self) -> str:
        """The last 4,000 bytes that the process printed, as text."""
        return read_end(self.path / "log.txt", LOG_TAIL_BYTES).decode(errors="replace")


@lru_cache(maxsize=500)
def _read_splits(path: Path, changed: int) -> dict[str, Any]:
    """What a data.json, last changed at that time in ns, says of its splits, but for which pictures they are."""
    splits = read_json(path, MAX_RESULT_BYTES)["splits"]
    return {name: {"count": split["count"]} for name, split in splits.items()}


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


def list_runs(root: str | Path) -> list[Run]:
    """The runs below ``root`` that whoever asks may see, newest first; see :func:`list_all_runs`."""
    return [run for run in list_all_runs(root) if run.is_shown]


def list_all_runs(root: str | Path) -> list[Run]:
    """All runs, newest first, for what concerns everybody, as the queue; no content of a run makes it fail."""
    root = Path(root)
    try:
        names = [entry.name for entry in os.scandir(root) if _is_run(root / entry.name)]
    except OSError:
        return []
    runs = [_read(root / name) for name in names]
    return sorted(runs, key=submission_order, reverse=True)


def read_run(root: str | Path, name: str) -> Run:
    """One run. Raises UserError: not a run name, or there is no such run that whoever asks may see."""
    path = Path(root) / check_name(name)
    run = _read(path) if _is_run(path) else None
    if run is None or not run.is_shown:
        raise UserError(f"There is no run named {name}.")
    return run


def read_idle_run(root: str | Path, name: str) -> Run:
    """A run that nobody works on and that is one's own. Raises UserError: there is none such, or it is at work."""
    run = read_run(root, name).check_own()
    if run.state in UNFINISHED:
        raise UserError(f"The run {name} is still {run.state}; stop it first.")
    if run.state == "damaged" and find_process(run.path) is not None:
        raise UserError(f"A process still works on the run {name}; wait until it has ended.")
    return run


def submission_order(run: Run) -> tuple[int, str]:
    """A sort key: first submitted, first in line."""
    return (run.status.get("submitted", 0), run.name)


def delete_run(root: str | Path, name: str) -> None:
    """Removes a run and its model for good, all of it or nothing.

    Raises:
        UserError: No such run, still at work, or the disk refuses.
    """
    run = read_idle_run(root, name)
    with explained(f"The run {name} cannot be deleted"):
        remove_whole(run.path)


def remove_whole(path: Path) -> None:
    """Takes a run directory away in one step, whatever happens meanwhile; then its files, and those left before.

    Raises:
        OSError: Nothing was done.
    """
    try_again(lambda: path.rename(path.with_name(f"{DELETED}{secrets.token_hex(8)}")))
    for gone in path.parent.glob(f"{DELETED}*"):
        shutil.rmtree(gone, ignore_errors=True)


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
