"""What people do to runs that are there: take one up again, give it another name, write notes about it."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from analysis.errors import UserError, explained
from models.access import viewer
from models.ordinary_files import read_json
from models.runs.files import try_again, write_bytes, write_json
from models.runs.run import BROKEN_OFF, MAX_NOTES, PUBLISHED, Run, read_idle_run, read_run
from models.runs.submit import check_new_name, check_settings, place_last


def requeue_run(run: Run, noted: Mapping[str, object] | None = None) -> None:
    """Puts a run that was broken off back to "queued", at the end of the line; its progress is kept.

    What a visitor has started stays theirs; else it is that of the owner's browser which takes it up.

    Args:
        noted: Entries of status.json that change.

    Raises:
        UserError: It has not been broken off, its settings have changed, or its directory cannot be written.
    """
    if run.state not in BROKEN_OFF:
        raise UserError(f"The run {run.name} is {run.state} and cannot be resumed.")
    check_settings(run)
    again = {"state": "queued", "message": "", "device": None, **place_last(run.path.parent), **(noted or {})}
    if run.starter.is_owner:
        again |= viewer().sign()
    with explained(f"The run {run.name} cannot be resumed"):
        (run.path / "stop").unlink(missing_ok=True)
        (run.path / "process.json").unlink(missing_ok=True)
        write_json(run.path / "status.json", {**run.status, **again})


def rename_run(root: str | Path, old: str, new: str) -> None:
    """Gives a run that is not at work another name, in one step.

    Paths inside the run's own config.json follow. What others say about the run does not: configurations with
    ``start_from`` "run/OLD", links, and the arms of a repair bench, which are runs of their own named OLD-ARM.

    Raises:
        UserError: No such run, still at work, the new name is bad or taken, or the disk refuses.
    """
    root = Path(root).resolve()
    run = read_idle_run(root, old)
    target = root / check_new_name(root, new)
    if os.path.lexists(target):
        raise UserError(f"There is already a run named {new}; choose another name or delete it first.")
    config = {} if run.state == "damaged" else read_json(run.path / "config.json")
    paths = f"{run.path}{os.sep}", f"{target}{os.sep}"
    moved = {name: _with_paths_moved(value, *paths) for name, value in config.items()}
    try:
        if moved != config:
            write_json(run.path / "config.json", moved)
        try_again(lambda: run.path.rename(target))
    except OSError as error:
        if run.path.is_dir() and moved != config:
            with suppress(OSError):
                write_json(run.path / "config.json", config)
        raise UserError(f"The run {old} cannot be renamed ({error.strerror}).") from error


def write_notes(root: str | Path, name: str, text: str) -> None:
    """Replaces the notes of a run, also while it works; an empty text removes them.

    Raises:
        UserError: No such run, no text or too much of it, or the disk refuses.
    """
    run = read_run(root, name).check_own()
    if not isinstance(text, str) or len(text) > MAX_NOTES:
        raise UserError(f"Notes are a text of at most {MAX_NOTES:,} characters.")
    with explained(f"The notes of {name} cannot be stored"):
        if text.strip():
            write_bytes(run.path / "notes.txt", text.encode(errors="replace"))
        else:
            (run.path / "notes.txt").unlink(missing_ok=True)


def publish_run(root: str | Path, name: str, *, is_published: bool = True) -> None:
    """Shows a run to all visitors, or no longer: its settings, curves, notes, pictures and model, but no files.

    Raises:
        UserError: No such run, whoever asks is a visitor, or the disk refuses.
    """
    run = read_run(root, name)
    viewer().check("owner")
    with explained(f"The run {name} cannot be changed"):
        if is_published:
            write_bytes(run.path / PUBLISHED, b"")
        else:
            (run.path / PUBLISHED).unlink(missing_ok=True)


def _with_paths_moved(value: object, old: str, new: str) -> object:
    """The same JSON value, where texts that begin with one path begin with another."""
    if isinstance(value, dict):
        return {name: _with_paths_moved(part, old, new) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_paths_moved(part, old, new) for part in value]
    return new + value.removeprefix(old) if isinstance(value, str) and value.startswith(old) else value
