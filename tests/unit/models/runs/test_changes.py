"""Going on, renaming and noting: only what is not at work changes its name, and nothing leaves the root."""

import os
from pathlib import Path

import pytest

from models.runs.changes import rename_run, requeue_run, write_notes
from models.runs.files import write_json
from models.runs.run import MAX_NOTES, list_runs, read_run
from models.runs.submit import create_run
from models.runs.writer import RunWriter
from tests.sentences import refused


@pytest.fixture
def ended(tmp_path):
    """A stopped run whose config.json names files of its own and of others."""
    path = tmp_path / "a"
    own = {"dataset": f"{path}/upload/x.zip", "others": [f"{path}x/y", {"deep": f"{path}/z"}], "epochs": 3}
    create_run(tmp_path, "a", own)
    write_json(path / "status.json", {"state": "stopped", "step": 3, "submitted": 5})
    return path


def test_a_renamed_run_is_the_same_run(ended, tmp_path):
    (ended / "weights.safetensors").write_bytes(b"w")
    rename_run(tmp_path, "a", "b.2")
    run = read_run(tmp_path, "b.2")
    assert [found.name for found in list_runs(tmp_path)] == ["b.2"]
    assert (run.state, run.status["step"]) == ("stopped", 3)
    assert (run.path / "weights.safetensors").read_bytes() == b"w"
    new = tmp_path / "b.2"
    assert run.config == {
        "dataset": f"{new}/upload/x.zip",
        "others": [f"{ended}x/y", {"deep": f"{new}/z"}],
        "epochs": 3,
    }


@pytest.mark.parametrize("new", ["", "..", "../b", "b/c", "/b", ".b", "b" * 65, None])
def test_no_name_leads_out_of_the_root(ended, tmp_path, new):
    with refused():
        rename_run(tmp_path, "a", new)
    with refused():
        rename_run(tmp_path, new, "b")
    assert read_run(tmp_path, "a").config["dataset"] == f"{ended}/upload/x.zip"


def test_names_that_are_taken_and_runs_at_work(ended, tmp_path):
    create_run(tmp_path, "queued", {})
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for new in ("a", "queued", "empty", "link"):
        with refused(new):
            rename_run(tmp_path, "a", new)
    with refused("queued"):
        rename_run(tmp_path, "queued", "b")
    with refused("c"):
        rename_run(tmp_path, "c", "b")
    with RunWriter(tmp_path / "queued"):
        (tmp_path / "queued" / "status.json").write_text("{")
        with refused():
            rename_run(tmp_path, "queued", "b")


def test_a_rename_that_fails_changes_nothing(ended, tmp_path, monkeypatch):
    def refuse(self, target):
        raise PermissionError(13, "Permission denied")

    before = read_run(tmp_path, "a").config
    monkeypatch.setattr(Path, "rename", refuse)
    with refused("a", "Permission denied"):
        rename_run(tmp_path, "a", "b")
    assert read_run(tmp_path, "a").config == before and not (tmp_path / "b").exists()


def test_damaged_runs_can_be_renamed_as_they_are(ended, tmp_path):
    (ended / "config.json").write_text("{")
    rename_run(tmp_path, "a", "b")
    assert read_run(tmp_path, "b").state == "damaged" and (tmp_path / "b" / "config.json").read_text() == "{"


def test_notes_are_kept_and_removed(tmp_path):
    path = create_run(tmp_path, "a", {})
    assert read_run(tmp_path, "a").notes == ""
    text = "Größer, 更大 <b>\n" + "é" * (MAX_NOTES - 20)
    write_notes(tmp_path, "a", text)  # also while it waits or works
    assert read_run(tmp_path, "a").notes == text
    write_notes(tmp_path, "a", "\ud800 half a character")
    assert read_run(tmp_path, "a").notes == "? half a character"
    write_notes(tmp_path, "a", "  \n")
    assert read_run(tmp_path, "a").notes == "" and not (path / "notes.txt").exists()
    for bad in ("x" * (MAX_NOTES + 1), None, 3):
        with refused("4,000"):
            write_notes(tmp_path, "a", bad)
    with refused("b"):
        write_notes(tmp_path, "b", "x")


def test_notes_of_any_content_are_bounded(tmp_path):
    path = create_run(tmp_path, "a", {})
    (path / "notes.txt").write_bytes(b"\xff" * 100_000)
    assert read_run(tmp_path, "a").notes == "\ufffd" * MAX_NOTES
    (path / "notes.txt").unlink()
    os.mkfifo(path / "notes.txt")
    assert read_run(tmp_path, "a").notes == ""


def test_a_run_goes_on_at_the_end_of_the_line(ended, tmp_path):
    (ended / "stop").touch()
    write_json(ended / "process.json", {"pid": 1, "created": 1.0})
    requeue_run(read_run(tmp_path, "a"))
    run = read_run(tmp_path, "a")
    assert (run.state, run.status["step"], run.device) == ("queued", 3, None)
    assert run.status["submitted"] > 5 and not (ended / "stop").exists()
    with refused("a"):
        requeue_run(run)
