"""Runs whose files are damaged, odd, endless or out of reach, and full disks: always a state and a sentence."""

import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from analysis.errors import UserError
from models.ordinary_files import read_json
from models.runs import process as run_process
from models.runs import run as runs
from models.runs import writer as run_writer
from models.runs.files import append_line, overwrite_json, read_lines, write_json
from models.runs.run import delete_run, list_runs, read_run
from models.runs.status import ENTRIES
from models.runs.submit import create_run
from models.runs.writer import RunWriter
from tests.sentences import check_sentence, refused
from tests.unit.models.runs.full_disk import refuse

FILES = (
    "config.json",
    "status.json",
    "process.json",
    "metrics.jsonl",
    "log.txt",
    "notes.txt",
    "result.json",
    "model.json",
    "weights.safetensors",
)


def test_half_a_line_spoils_no_other(tmp_path):
    path = tmp_path / "lines.jsonl"
    assert read_lines(path) == []
    append_line(path, {"a": 1})
    append_line(path, {"a": 2})
    assert path.read_bytes() == b'{"a": 1}\n{"a": 2}\n'
    path.write_bytes(path.read_bytes()[:-4])
    append_line(path, {"a": 3})
    append_line(path, {"a": 4})
    assert read_lines(path) == [{"a": 1}, {"a": 3}, {"a": 4}]
    assert read_lines(path, 9) == [{"a": 1}]


def test_root_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with refused():
        create_run(tmp_path / "file" / "runs", "a", {})
    assert list_runs(tmp_path / "file") == list_runs(tmp_path / "none") == []


@pytest.mark.parametrize("name", ["config.json", "status.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"{" * 100_000, None])
def test_damage_is_a_state(tmp_path, name, content):
    create_run(tmp_path, "good", {})
    path = create_run(tmp_path, "bad", {}) / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    states = {run.name: run.state for run in list_runs(tmp_path)}
    assert states == {"good": "queued", "bad": "damaged"}
    assert read_run(tmp_path, "bad").message
    delete_run(tmp_path, "bad")


@pytest.mark.parametrize(
    "status",
    [
        {"state": "dancing"},
        {"state": ["running"]},
        {},
        {"state": "finished", "submitted": "x", "result": 3, "message": 5},
    ],
)
def test_odd_values_in_the_status(tmp_path, status):
    path = create_run(tmp_path, "a", {})
    write_json(path / "status.json", status)
    (run,) = list_runs(tmp_path)
    assert run.state == ("finished" if status.get("state") == "finished" else "damaged")
    assert run.result is None


def test_half_written_metrics(tmp_path):
    path = create_run(tmp_path, "a", {})
    (path / "metrics.jsonl").write_bytes(b'{"step": 1}\nnonsense\n[1]\n\xff\n{"step": 2}\n{"step": 3, "lo')
    assert read_run(tmp_path, "a").metrics == [{"step": 1}, {"step": 2}]


def test_other_folders_and_links_are_no_runs(tmp_path):
    outside = tmp_path / "outside"
    path = create_run(outside, "real", {})
    root = tmp_path / "runs"
    create_run(root, "a", {})
    (root / "b").symlink_to(path)
    (root / "photos").mkdir()
    (root / "photos" / "1.png").write_text("")
    (root / "notes.txt").write_text("")
    assert [run.name for run in list_runs(root)] == ["a"]
    with pytest.raises(UserError):
        delete_run(root, "photos")
    with pytest.raises(UserError):
        delete_run(root, "b")


@pytest.mark.parametrize("content", [b"", b'{"models": [', b"[1]", b"\xff\xfe"])
def test_a_broken_document_says_so(tmp_path, content):
    path = create_run(tmp_path, "a", {}, "evaluation")
    (path / "result.json").write_bytes(content)
    with refused("a/result.json"):
        read_run(tmp_path, "a").document  # noqa: B018


def test_a_document_may_be_large_but_not_endless(tmp_path, monkeypatch):
    path = create_run(tmp_path, "a", {}, "evaluation")
    document = {"rows": ["x" * 1000] * 3000}
    write_json(path / "result.json", document)
    assert read_run(tmp_path, "a").document == document
    monkeypatch.setattr(runs, "MAX_RESULT_BYTES", 2000)
    with refused("a/result.json"):
        read_run(tmp_path, "a").document  # noqa: B018


ODD_VALUES = [None, True, -1, 1.5, 10**400, "x", [], [[]], {}, {"a": {}}, "\u0000" * 10]


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: repr(value)[:12])
def test_a_page_can_ask_any_run_for_anything(tmp_path, value):
    names = [*ENTRIES, "metrics", "other"]
    path = create_run(tmp_path, "a", dict.fromkeys(names, value))
    for state in ("running", "finished"):
        write_json(path / "status.json", dict.fromkeys(names, value) | {"state": state})
        write_json(path / "process.json", {"pid": value, "created": value})
        (run,) = list_runs(tmp_path)
        assert run.state == ("failed" if state == "running" else state)
        assert 0 <= run.fraction_done <= 1 and isinstance(run.kind, str) and isinstance(run.message, str)
        assert isinstance(run.device, str | None) and isinstance(run.result, dict | None)
        assert run.result_number("a") is None
        f"{run.status.get('epoch', 0)} {run.status.get('seconds_left', 0):.0f}"
    delete_run(tmp_path, "a")


def test_numbers_of_a_result_are_finite(tmp_path):
    path = create_run(tmp_path, "a", {})
    assert read_run(tmp_path, "a").result_number("test_accuracy") is None
    result = '{"test_accuracy": 0.5, "seconds": NaN, "epochs": "3", "loss": 1e999}'
    (path / "status.json").write_text(f'{{"state": "finished", "result": {result}}}')
    run = read_run(tmp_path, "a")
    assert run.result_number("test_accuracy") == 0.5
    assert [run.result_number(name) for name in ("seconds", "epochs", "loss")] == [None, None, None]


def test_files_that_are_none_are_damage_and_nobody_waits_for_them(tmp_path):
    create_run(tmp_path, "good", {})
    for name in FILES:
        path = create_run(tmp_path, f"pipe-{name}", {})
        (path / name).unlink(missing_ok=True)
        os.mkfifo(path / name)
        path = create_run(tmp_path, f"folder-{name}", {})
        (path / name).unlink(missing_ok=True)
        (path / name).mkdir()
        path = create_run(tmp_path, f"loop-{name}", {})
        (path / name).unlink(missing_ok=True)
        (path / name).symlink_to(name)
    (tmp_path / "file").write_text("")
    runs = {run.name: run for run in list_runs(tmp_path)}
    assert len(runs) == 1 + 3 * len(FILES) and runs["good"].state == "queued"
    for run in runs.values():
        assert (run.metrics, run.log_tail, run.notes, run.has_model) == ([], "", "", False)
        with pytest.raises(UserError) if run.name.endswith("result.json") else nullcontext():
            assert run.document is None
        is_broken = run.name.split("-")[-1] in ("config.json", "status.json")
        assert (run.state == "damaged") == is_broken, run.name
        assert bool(run.message) == (run.state != "queued")


def test_a_folder_nobody_may_look_into_hides_no_other(tmp_path, monkeypatch):
    create_run(tmp_path, "good", {})
    shut = create_run(tmp_path, "shut", {})

    def refusing(original):
        def call(path, *arguments, **options):
            if Path(path).parent == shut:
                raise PermissionError(13, "Permission denied")
            return original(path, *arguments, **options)

        return call

    monkeypatch.setattr(
        Path, "stat", refusing(Path.stat)
    )  # the superuser, who runs many tests, may look into anything
    monkeypatch.setattr(os, "open", refusing(os.open))
    monkeypatch.setattr(os, "lstat", refusing(os.lstat))
    runs = {run.name: run for run in list_runs(tmp_path)}
    assert {name: run.state for name, run in runs.items()} == {"good": "queued", "shut": "damaged"}
    assert "Permission denied" in runs["shut"].message
    assert (runs["shut"].metrics, runs["shut"].notes, runs["shut"].has_model) == ([], "", False)


def test_metrics_of_any_size_are_bounded(tmp_path, monkeypatch):
    path = create_run(tmp_path, "a", {})
    with (path / "metrics.jsonl").open("wb") as file:
        file.truncate(100 * 2**20)  # zeros that take no room on the disk
    append_line(path / "metrics.jsonl", {"step": 1})
    assert read_run(tmp_path, "a").metrics == [{"step": 1}]
    append_line(path / "metrics.jsonl", {"step": 2})
    assert read_run(tmp_path, "a").metrics == [{"step": 1}, {"step": 2}]


def test_the_log_is_read_from_its_end(tmp_path):
    path = create_run(tmp_path, "a", {})
    with (path / "log.txt").open("wb") as file:
        file.truncate(100 * 2**20)
        file.seek(0, os.SEEK_END)
        file.write(b"the end")
    assert read_run(tmp_path, "a").log_tail.endswith("the end") and len(read_run(tmp_path, "a").log_tail) == 4000


def test_a_full_disk_is_noted_where_the_status_lies(tmp_path, monkeypatch):
    """It has no room for another file; and what is noted stays true when it has again."""
    for name, at in (("a", "write_json"), ("b", "record_process")):
        path = create_run(tmp_path, name, {})
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
            patch.setattr(run_writer, "write_json", refuse)
            patch.setattr(run_writer, at, refuse)
            with RunWriter(path) as writer:
                writer.update(state="running")
        run = read_run(tmp_path, name)
        assert run.state == "failed" and "No space left" in run.message and run.status["submitted"]


def test_what_does_not_fit_in_its_place_leaves_the_file_as_it_was(tmp_path):
    write_json(tmp_path / "a", {"step": 1})
    with pytest.raises(OSError, match="No space left"):
        overwrite_json(tmp_path / "a", {"step": 1, "message": "x" * 100_000})
    assert read_json(tmp_path / "a") == {"step": 1}
    overwrite_json(tmp_path / "a", {})
    assert read_json(tmp_path / "a") == {}


def test_the_cause_is_not_lost_when_the_disk_is_full(tmp_path, monkeypatch):
    path = create_run(tmp_path, "a", {})
    monkeypatch.setattr(run_writer, "overwrite_json", refuse)
    with pytest.raises(ValueError, match="the cause"), RunWriter(path):
        monkeypatch.setattr(run_writer, "write_json", refuse)
        raise ValueError("the cause")
    write_json(path / "process.json", {"pid": 2**31 - 1, "created": 1.0})
    monkeypatch.setattr(run_process.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    run = read_run(tmp_path, "a")
    assert run.state == "failed"
    check_sentence(run.message)
