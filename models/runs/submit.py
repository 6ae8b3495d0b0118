"""Runs as they are submitted: new ones at the end of the line, and broken-off ones that are taken up again."""

import hashlib
import json
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path, PurePath

from analysis.errors import UserError, explained
from models.access import viewer
from models.names import compose
from models.ordinary_files import mend, short_name
from models.runs.files import try_again, write_json
from models.runs.process import read_clock
from models.runs.run import BROKEN_OFF, Run, check_name, list_all_runs, read_run
from models.runs.status import MAX_COUNT

PLACES = ("data_root", "device", "trackers")
"""Settings of any kind of work that say where and with whose help, and not what."""


def next_name(root: str | Path, title: str) -> str:
    """The title, made fit for a folder name, with the first number that no run below ``root`` has.

    Nor a part of one, NAME-ARM-SEED, that has outlived the rest.
    """
    taken = [f"{run.name}-" for run in list_all_runs(root)]
    stem = re.sub(r"[^\w.-]+", "-", compose(Path(title).stem)).strip("._-")[:50] or "run"
    number = 1
    while any(name.startswith(f"{stem}-{number}-") for name in taken):
        number += 1
    return f"{stem}-{number}"


def check_new_name(root: str | Path, name: object) -> str:
    """The name itself, if a new run can have it: NAME-... is a part of the job NAME, if that is somebody else's.

    Raises:
        UserError: It can name no run, or belongs to somebody else's job.
    """
    larger = (run for run in list_all_runs(root) if run.kind != "training" and not run.is_own)
    if check_name(name).startswith(tuple(f"{run.name}-" for run in larger)):
        raise UserError(f"There is already a job whose parts are named like {name}; choose another name.")
    return str(name)


def create_run(
    root: str | Path, name: str, config: dict, kind: str = "training", noted: Mapping[str, object] | None = None
) -> Path:
    """Makes the directory of a new run, complete from the moment it is visible, in state "queued".

    Args:
        noted: More entries of status.json, beside whose it is.

    Raises:
        UserError: Bad name, a run of that name exists, or the root cannot be written to.
    """
    path = Path(root) / check_new_name(root, name)
    if path.exists():
        raise UserError(f"There is already a run named {name}; choose another name or delete it first.")
    with explained(f"The run {name} cannot be stored"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent, ignore_cleanup_errors=True) as scratch:
            new = Path(scratch) / name
            new.mkdir()
            write_json(new / "config.json", config)
            status = {"state": "queued", "kind": kind, "settings_sha256": hash_settings(config)}
            write_json(new / "status.json", status | viewer().sign() | dict(noted or {}) | place_last(path.parent))
            try_again(lambda: new.rename(path))
    return path


def place_last(root: Path) -> dict:
    """The entries of a status that put a run at the end of the line, also where the clock has been set back."""
    latest = max((run.status.get("submitted", 0) for run in list_all_runs(root)), default=0)
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


def _without_places(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_places(part) for name, part in value.items() if name not in PLACES}
    if isinstance(value, list):
        return [_without_places(part) for part in value]
    if isinstance(value, str) and PurePath(value).is_absolute():
        return PurePath(value).name
    return value
