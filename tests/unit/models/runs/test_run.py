"""Run directories: the life of a run, its name, its kind and its state."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.errors import UserError
from models.runs import run as runs
from models.runs.files import write_json
from models.runs.process import record_process
from models.runs.run import check_name, delete_run, list_runs, read_run, request_stop
from models.runs.submit import create_run, next_name
from models.runs.writer import RunWriter, SilentWriter
from tests.sentences import check_sentence, refused


def test_life_of_a_run(tmp_path):
    path = create_run(tmp_path, "a", {"epochs": 2})
    run = read_run(tmp_path, "a")
    assert (run.state, run.config, run.metrics, run.result) == ("queued", {"epochs": 2}, [], None)
    with RunWriter(path) as writer:
        writer.update(state="running", step=3)
        writer.add_metrics({"kind": "step", "step": 3})
        run = read_run(tmp_path, "a")
        assert run.state == "running" and run.status["step"] == 3 and run.metrics == [{"kind": "step", "step": 3}]
        with refused():
            delete_run(tmp_path, "a")
        writer.update(state="finished", result={"epochs": 2})
    run = read_run(tmp_path, "a")
    assert run.state == "finished" and run.result == {"epochs": 2} and run.status["step"] == 3
    assert not run.has_model and run.log_tail == ""
    delete_run(tmp_path, "a")
    assert list_runs(tmp_path) == []


def test_a_run_is_deleted_whole_or_not_at_all(tmp_path, monkeypatch):
    path = create_run(tmp_path, "a", {})
    write_json(path / "status.json", {"state": "finished"})
    (path / "upload").mkdir()
    (path / "upload/a.zip").write_bytes(bytes(5000))
    assert read_run(tmp_path, "a").num_bytes == 5000 + sum(file.stat().st_size for file in path.glob("*.json"))
    before = {*path.rglob("*")}

    def refuse(*_):
        raise PermissionError(errno.EACCES, "no")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with refused("a", "no"):
            delete_run(tmp_path, "a")
    assert {*path.rglob("*")} == before
    with monkeypatch.context() as patch:  # the machine goes down before a file is removed
        patch.setattr(runs.shutil, "rmtree", lambda *_, **__: None)
        delete_run(tmp_path, "a")
    assert list_runs(tmp_path) == [] and not path.exists() and len([*tmp_path.iterdir()]) == 1
    write_json(create_run(tmp_path, "b", {}) / "status.json", {"state": "finished"})
    delete_run(tmp_path, "b")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("error", "message"), [(UserError("Too hot."), "Too hot."), (KeyError("x"), "KeyError: 'x'")]
)
def test_errors_leave_a_failed_run_with_the_reason(tmp_path, error, message):
    path = create_run(tmp_path, "a", {})
    with pytest.raises(type(error)), RunWriter(path):
        raise error
    run = read_run(tmp_path, "a")
    assert (run.state, run.message) == ("failed", message)


def test_names_are_numbered_and_fit_for_folders(tmp_path):
    assert next_name(tmp_path / "none", "traces") == "traces-1"
    create_run(tmp_path, "traces-1", {})
    assert next_name(tmp_path, "고양이-개.zip") == "고양이-개-1" and next_name(tmp_path, "💡") == "run-1"
    assert next_name(tmp_path, "traces") == "traces-2" and next_name(tmp_path, "/data/my set.zip") == "my-set-1"


def test_a_name_whose_parts_are_still_there_is_not_given_again(tmp_path):
    """A comparison was deleted and its arms were kept: another one of that number would find them in its way."""
    create_run(tmp_path, "arms-norm-1-batch-0", {})
    assert next_name(tmp_path, "arms-norm") == "arms-norm-2"
    create_run(tmp_path, "arms-norm-20-batch-0", {})
    assert next_name(tmp_path, "arms-norm") == "arms-norm-2"


def test_newest_first(tmp_path):
    for name in ("b", "c", "a"):
        create_run(tmp_path, name, {})
    assert [run.name for run in list_runs(tmp_path)] == ["a", "c", "b"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../a",
        "a/b",
        "a\\b",
        "/a",
        "-a",
        ".a",
        "a" * 65,
        "a\n",
        "_a",
        "a\ufffd",
        "a\u202eb",
        "a b",
        None,
        3,
    ],
)
def test_bad_names(tmp_path, name):
    for use in (check_name, lambda name: read_run(tmp_path, name), lambda name: create_run(tmp_path, name, {})):
        with refused():
            use(name)


def test_names_are_taken_once(tmp_path):
    assert check_name("fashion_mnist-1.b") == "fashion_mnist-1.b"
    create_run(tmp_path, "a", {})
    with refused("a"):
        create_run(tmp_path, "a", {})
    with refused("b"):
        read_run(tmp_path, "b")


@pytest.mark.parametrize(
    "process",
    [
        {"pid": os.getpid(), "created": 1.0},  # the number now belongs to somebody else
        {"pid": 2**31 - 1, "created": 1.0},
        {"pid": -1, "created": 1.0},
        {"pid": "x"},
        {"pid": os.getpid(), "created": None},
        {},
    ],
)
def test_a_process_that_is_gone_means_failed(tmp_path, process):
    path = create_run(tmp_path, "a", {})
    write_json(path / "status.json", {"state": "running"})
    write_json(path / "process.json", process)
    (path / "log.txt").write_text("epoch 1\nRuntimeError: CUDA out of memory\n")
    run = read_run(tmp_path, "a")
    assert run.state == "failed"
    check_sentence(run.message, "CUDA out of memory")


def test_a_real_process_alive_and_dead(tmp_path):
    path = create_run(tmp_path, "a", {})
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record_process(path, child.pid)
    assert read_run(tmp_path, "a").state == "queued"
    child.kill()
    child.wait()
    child.stdin.close()
    assert read_run(tmp_path, "a").state == "failed"


def test_a_run_never_started_is_failed_after_a_while(tmp_path):
    path = create_run(tmp_path, "a", {})
    status = json.loads((path / "status.json").read_text())
    asked = status.pop("asked")
    write_json(path / "status.json", status | {"asked": asked | {"seconds": asked["seconds"] - 3600}})
    assert read_run(tmp_path, "a").state == "failed"
    write_json(path / "status.json", status)  # by a version that noted the ordinary time only
    assert read_run(tmp_path, "a").state == "queued"
    write_json(path / "status.json", status | {"submitted": status["submitted"] - 3600 * 10**9})
    assert read_run(tmp_path, "a").state == "failed"


def test_stop_file(tmp_path):
    path = create_run(tmp_path, "a", {})
    request_stop(path)
    assert (path / "stop").exists()


def test_silent_writer_leaves_no_files(tmp_path):
    writer = SilentWriter(tmp_path / "a")
    writer.update(state="running")
    writer.add_metrics({"step": 1})
    assert not list(tmp_path.iterdir())


def test_the_kind_of_a_run_is_kept(tmp_path):
    create_run(tmp_path, "t", {})
    path = create_run(tmp_path, "e", {"models": ["a"]}, "evaluation")
    assert (read_run(tmp_path, "t").kind, read_run(tmp_path, "e").kind) == ("training", "evaluation")
    with RunWriter(path) as writer:
        writer.update(state="finished")
    run = read_run(tmp_path, "e")
    assert (run.kind, run.state, run.config) == ("evaluation", "finished", {"models": ["a"]})
    (path / "config.json").write_text("{")  # damage does not hide that it is there
    assert {run.name: run.state for run in list_runs(tmp_path)} == {"t": "queued", "e": "damaged"}


def test_runs_from_before_there_were_kinds_are_trainings(tmp_path):
    path = create_run(tmp_path, "a", {})
    write_json(path / "status.json", {"state": "finished", "submitted": 1})
    assert read_run(tmp_path, "a").kind == "training"


def test_the_document_of_a_run_is_read_when_asked_for(tmp_path):
    path = create_run(tmp_path, "a", {}, "evaluation")
    run = read_run(tmp_path, "a")
    assert run.document is None
    document = {"models": [{"model": "a", "curves": [1.5, None]}], "pairs": []}
    write_json(path / "result.json", document)
    assert run.document == document
    write_json(path / "result.json", document | {"pairs": [1]})
    assert run.document["pairs"] == [1]


def test_a_run_submitted_in_the_future_does_not_wait_forever(tmp_path):
    path = create_run(tmp_path, "a", {})
    write_json(path / "status.json", {"state": "queued", "submitted": 2**62})
    assert read_run(tmp_path, "a").state == "failed"


@pytest.mark.parametrize(
    ("told", "count"),
    [
        ({"splits": {"test": {"count": 500}}}, 500),
        ({"splits": {"test": {"count": "500"}}}, None),
        ({"splits": {"test": {"count": True}}}, None),
        ({"splits": {"test": 3}}, None),
        ({"splits": []}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_training_says_how_many_pictures_it_was_tested_with(tmp_path, told, count):
    path = create_run(tmp_path, "a", {})
    if told is not None:
        write_json(path / "data.json", told)
    assert read_run(tmp_path, "a").count_pictures("test") == count
