"""Jobs of every kind: their names, settings and queue, which can go on, and a sentence where something cannot."""

import errno
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from analysis.errors import UserError
from lab import jobs
from lab.jobs import JOBS, MAX_WAITING, JobManager, find_job, main
from models.runs.files import write_json
from models.runs.job import Job
from models.runs.run import read_run
from models.runs.submit import create_run
from models.training.config import TrainingConfig
from tests.sentences import refused
from tests.unit.lab.jobs.trainings import evaluation_of, long_config


def test_full_disk_is_told_and_leaves_other_runs_intact(idle, monkeypatch):
    good = idle.start_program("evaluation", {}, "a")
    bad = idle.start_program("evaluation", {}, "a")
    end(idle, bad, "stopped", step=3)

    def write(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write)
        for action in (
            lambda: idle.start_program("evaluation", {}, "b"),
            lambda: idle.start(long_config()),
            lambda: idle.resume(bad),
            lambda: idle.stop(good),
            lambda: idle.write_notes(bad, "full"),
        ):
            with refused("No space left on device"):
                action()
        assert {run.name: run.state for run in idle.list()} == {good: "queued", bad: "stopped"}
    idle.resume(bad)
    assert idle.read(bad).status["step"] == 3


def test_names_are_chosen_and_the_queue_is_bounded(manager, monkeypatch):
    monkeypatch.setattr(JobManager, "_launch", lambda self, run_dir: None)
    names = [manager.start(long_config()) for _ in range(MAX_WAITING + 1)]
    assert names == [f"shapes-{number}" for number in range(1, MAX_WAITING + 2)]
    with refused("8"):
        manager.start(long_config())


def test_paths_are_made_independent_of_the_working_folder(manager, tmp_path, monkeypatch):
    monkeypatch.setattr(JobManager, "_launch", lambda self, run_dir: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my pets!").mkdir()
    name = manager.start(TrainingConfig(dataset="my pets!", data_root="data"))
    config = manager.read(name).config
    assert name == "my-pets-1" and config["dataset"] == str(tmp_path / "my pets!")
    assert config["data_root"] == str(tmp_path / "data")
    with refused():
        manager.start(TrainingConfig(dataset="nowhere"))


def test_problems_at_the_start(manager, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with refused():
        JobManager(tmp_path / "file").start(long_config())
    with refused():
        manager.start(long_config(), "../a")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with refused():
        manager.start(long_config(), "a")
    assert manager.read("a").state == "failed"


@pytest.fixture
def idle(manager, monkeypatch):
    """A manager whose processes never start; what would have been started is listed in ``idle.launched``."""
    launched = manager.launched = []
    monkeypatch.setattr(JobManager, "_launch", lambda _, path: launched.append((path.name, find_job(path).kind)))
    return manager


@pytest.mark.parametrize("kind", JOBS)
def test_every_kind_has_its_job(kind, tmp_path):
    assert find_job(create_run(tmp_path, "a", {}, kind)).kind == kind


def test_a_job_that_succeeds_is_described(tmp_path, monkeypatch, capsys):
    run_dir, seen = create_run(tmp_path, "a", {"epochs": 2}), []
    job = Job(kind="sum", read_config=seen.append, work=lambda *_: 12, describe="result {}".format, to_document=None)
    monkeypatch.setattr(jobs, "find_job", lambda run_dir: job)
    assert main([str(tmp_path / "x" / ".." / "a")]) == 0
    assert seen == [{"epochs": 2}] and capsys.readouterr() == ("result 12\n", "")
    assert read_run(tmp_path, "a").state == "finished" and not (run_dir / "result.json").exists()


def test_wrong_arguments_and_unknown_runs_are_one_line(tmp_path, capsys):
    assert main([]) == main(["x", "y"]) == 2
    assert capsys.readouterr() == ("", "usage: python -m lab.jobs RUN_DIR\n" * 2)
    create_run(tmp_path, "a", {}, "cooking")
    for name, words in (("a", "must be one of training, evaluation"), ("b", "no run named b")):
        assert main([str(tmp_path / name)]) == 1
        out, err = capsys.readouterr()
        assert out == "" and words in err and err.count("\n") == 1


def test_a_program_gets_its_settings_and_its_own_copy_of_an_upload(idle, upload):
    config = evaluation_of(upload)
    name = idle.start_program("evaluation", config, "of a_model & more", upload="data")
    assert name == "of-a_model-more-1" and idle.launched == [(name, "evaluation")]
    run = idle.read(name)
    copied = run.path / "upload" / upload.name
    assert copied.read_bytes() == upload.read_bytes() and copied != upload
    assert run.config == config | {"data": str(copied)}
    assert config["data"] == str(upload)
    assert (run.kind, run.state) == ("evaluation", "queued")
    other = idle.start_program("repair", config, "of a_model & more")
    assert other == "of-a_model-more-2"
    assert idle.read(other).config == config and not (idle.read(other).path / "upload" / upload.name).exists()


def test_an_upload_that_has_vanished_leaves_no_run(idle, tmp_path):
    with refused():
        idle.start_program("evaluation", evaluation_of(tmp_path / "gone.zip"), "a", upload="data")
    assert idle.list() == [] and idle.launched == []


def test_runs_are_listed_by_kind_and_share_one_queue(idle):
    names = [idle.start_program(kind, {}, kind) for kind in ("evaluation", "repair", "experiment", "repair")]
    create_run(idle.runs_root, "t", {})
    assert [run.name for run in idle.list()] == ["t", *reversed(names)]
    assert [run.name for run in idle.list("repair")] == ["repair-2", "repair-1"]
    assert [run.name for run in idle.list("training", "experiment")] == ["t", "experiment-1"]
    assert idle.list("cooking") == []
    for _ in range(MAX_WAITING + 1 - 5):
        idle.start_program("evaluation", {}, "more")
    with refused("8"):
        idle.start_program("evaluation", {}, "more")
    with refused("8"):
        idle.start(long_config())


def end(manager: JobManager, name: str, state: str, **values) -> None:
    path = manager.runs_root / name / "status.json"
    write_json(path, json.loads(path.read_text()) | {"state": state, **values})


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_a_resumed_run_is_queued_again_and_keeps_its_progress(idle, state):
    name = idle.start_program("experiment", {"seed": 3}, "a")
    path = idle.read(name).path
    (path / "stop").touch()
    write_json(path / "process.json", {"pid": 2**31 - 1, "created": 1.0})
    end(idle, name, state, step=4, message="Enough.", device="cuda")
    before = idle.read(name).status
    idle.resume(name)
    run = idle.read(name)
    assert (run.state, run.message, run.kind, run.config) == ("queued", "", "experiment", {"seed": 3})
    assert run.status["step"] == 4 and run.status["device"] is None
    assert run.status["submitted"] > before["submitted"]
    assert not (path / "stop").exists()
    assert idle.launched == [(name, "experiment")] * 2


@pytest.mark.parametrize("state", ["queued", "finished", "damaged"])
def test_runs_that_have_not_ended_early_cannot_be_resumed(idle, state):
    name = idle.start_program("evaluation", {}, "a")
    end(idle, name, state)
    with refused(name, state):
        idle.resume(name)
    assert len(idle.launched) == 1


def test_of_two_servers_that_resume_a_run_at_once_one_starts_it_and_the_other_is_refused(idle):
    names = [idle.start_program("evaluation", {}, "a") for _ in range(8)]
    idle.launched.clear()
    for name in names:
        end(idle, name, "stopped")
    managers = [idle, type(idle)(idle.runs_root)]
    together = threading.Barrier(2)

    def resume_all(manager: JobManager) -> list[str]:
        def resume(name: str) -> str:
            together.wait()
            try:
                manager.resume(name)
            except UserError as error:
                return str(error)
            return ""

        return [resume(name) for name in names]

    with ThreadPoolExecutor(2) as pool:
        said = list(zip(*pool.map(resume_all, managers), strict=True))
    assert [sorted(map(bool, both)) for both in said] == [[False, True]] * 8
    assert sorted(name for name, _ in idle.launched) == names


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_trainings_go_on_also_where_no_state_was_saved_yet(idle, state):
    """They begin anew then, as the command line has it."""
    create_run(idle.runs_root, "t", {"epochs": 3})
    end(idle, "t", state, step=4)
    idle.resume("t")
    assert (idle.read("t").state, idle.read("t").status["step"]) == ("queued", 4)
    assert idle.launched == [("t", "training")]


def test_finished_and_unknown_runs_cannot_be_resumed(idle):
    create_run(idle.runs_root, "t", {})
    end(idle, "t", "finished")
    with refused("t"):
        idle.resume("t")
    with refused("nothing"):
        idle.resume("nothing")
    with refused():
        idle.resume("../t")
    assert idle.launched == []


def test_a_program_that_does_not_start_is_failed_and_can_be_tried_again(manager, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(tmp_path / "no-python"))
        with refused():
            manager.start_program("experiment", {}, "a")
    assert (manager.read("a-1").state, manager.read("a-1").kind) == ("failed", "experiment")
    launched = []
    monkeypatch.setattr(JobManager, "_launch", lambda self, run_dir: launched.append(run_dir.name))
    manager.resume("a-1")
    assert launched == ["a-1"]


@pytest.mark.parametrize("kind", JOBS)
def test_bad_settings_are_a_failed_run_of_every_kind(kind, tmp_path, capsys):
    assert main([str(create_run(tmp_path, "job", {"colour": 1}, kind))]) == 1
    run, (out, err) = read_run(tmp_path, "job"), capsys.readouterr()
    assert (run.state, out, err) == ("failed", "", f"{run.message}\n")


@pytest.mark.parametrize("kind", JOBS)
def test_every_kind_of_job_says_that_the_disk_is_full(kind, tmp_path, monkeypatch, capsys):
    """Its own files, written from the first moment on, are what cannot be written."""
    run_dir = create_run(tmp_path, "job", {}, kind)

    def refuse(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("models.runs.files.write_bytes", refuse)
    assert main([str(run_dir)]) == 1
    err = capsys.readouterr().err
    assert "cannot be written" in err and "No space left" in err and err.count("\n") == 1
