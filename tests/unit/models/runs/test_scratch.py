"""Folders that go with the process, or are removed by the next one."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from models.runs.scratch import PREFIX, open_scratch, sweep_scratch


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """Stands for the system's folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_what_a_killed_process_has_left_is_removed_and_nothing_else(folder):
    pid = os.fork()
    if not pid:
        kept = open_scratch("boxes-")
        os._exit(len(kept.name) and 9)  # without an end that cleans up
    os.waitpid(pid, 0)
    (left,) = folder.iterdir()
    (left / "uploads").mkdir()
    (left / "uploads" / "picture.png").write_bytes(b"x")
    mine = open_scratch()
    others = [folder / f"{PREFIX}of-an-earlier-version", folder / "another-programs"]
    for other in others:
        other.mkdir()
    (others[1] / "process.json").write_text(json.dumps({"pid": pid}), encoding="utf-8")
    (folder / f"{PREFIX}link").symlink_to(left)
    assert (
        sweep_scratch() == [left]
        and not left.exists()
        and Path(mine.name).is_dir()
        and all(other.is_dir() for other in others)
    )
    assert sweep_scratch() == []
    mine.cleanup()
    assert not Path(mine.name).exists()


def test_a_folder_is_made_also_where_its_note_cannot_be(monkeypatch):
    def refuse(*_):
        raise OSError

    monkeypatch.setattr("models.runs.scratch.record_process", refuse)
    with open_scratch() as path:
        assert not [*Path(path).iterdir()] and sweep_scratch() == []
