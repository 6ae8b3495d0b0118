"""Jobs in processes of their own: they outlive the server, obey signals and the queue, and go on where they were."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from lab import jobs
from lab.jobs import PROJECT_ROOT, JobManager
from models.access import Viewer, acting
from models.checkpoints import load_run_model
from models.quotas import Quota
from models.runs import worker
from models.runs.process import find_process
from models.runs.run import UNFINISHED
from tests.sentences import refused
from tests.unit.lab.jobs.trainings import evaluation_of, long_config

PATIENCE = 60


def wait_for(condition, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    """What the page forks its runs from, loaded once."""
    first = JobManager(tmp_path_factory.mktemp("first"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "READY_SECONDS", PATIENCE)
        first.warm_up()
        yield first._launcher
        first.close()


@pytest.fixture
def warm(manager, launcher):
    """A manager whose runs begin at once."""
    manager._launcher = launcher
    return manager


def is_training(manager: JobManager, name: str) -> bool:
    run = manager.read(name)
    assert run.state in ("queued", "preparing", "running"), run.message + run.log_tail
    return run.state == "running" and run.status["step"] > 0 and run.has_model


def test_a_training_outlives_its_manager_and_obeys_another(manager):
    script = (
        "import json, sys; from lab.jobs import JobManager; "
        "from models.training.config import TrainingConfig; "
        "config = TrainingConfig.from_dict(json.loads(sys.argv[2])); "
        "print(JobManager(sys.argv[1]).start(config))"
    )
    arguments = [sys.executable, "-c", script, str(manager.runs_root), json.dumps(long_config().to_dict())]
    done = subprocess.run(arguments, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=PATIENCE)
    name = done.stdout.strip()
    assert name == "shapes-1", done.stderr
    wait_for(lambda: is_training(manager, name), "the first model")
    with refused(name, varies="queued|running"):
        manager.delete(name)
    manager.stop(name)
    wait_for(lambda: manager.read(name).state == "stopped", "the stop")
    load_run_model(manager.read(name).path)
    manager.stop(name)
    manager.kill(name)
    wait_for(lambda: find_process(manager.read(name).path) is None, "the end of the process")
    manager.delete(name)
    assert manager.list() == []


@pytest.mark.parametrize(
    ("number", "state"), [(signal.SIGTERM, "stopped"), (signal.SIGKILL, "failed")], ids=["term", "kill"]
)
def test_signals_from_outside(warm, number, state):
    name = warm.start(long_config(), "a")
    wait_for(lambda: is_training(warm, name), "the first model")
    pid = find_process(warm.read(name).path).pid
    os.kill(pid, number)
    wait_for(lambda: warm.read(name).state == state, state)
    run = warm.read(name)
    assert run.has_model
    load_run_model(run.path)
    wait_for(lambda: not psutil.pid_exists(pid), "the zombie to be collected")
    if state == "failed":
        assert "without saying why" in run.message
        warm.delete(name)


def test_a_run_found_after_a_restart_can_be_killed_with_its_children(manager, tmp_path, monkeypatch):
    (tmp_path / "parent.py").write_text(
        "import subprocess, sys, time\nfrom pathlib import Path\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "Path(sys.argv[1], 'child').write_text(str(child.pid))\ntime.sleep(600)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(jobs, "ENTRY", "parent")
    name = manager.start_program("experiment", {}, "a")
    path = manager.read(name).path
    wait_for(lambda: (path / "child").exists() and (path / "child").read_text(), "the child")
    child = psutil.Process(int((path / "child").read_text()))
    other = JobManager(manager.runs_root)
    with refused(name, varies="queued|running"):
        other.rename(name, "b")
    other.kill(name)
    run = other.read(name)
    assert run.state == "stopped" and run.message.startswith("Killed") and find_process(path) is None
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the end of the child")
    other.rename(name, "b")
    other.write_notes("b", "Too slow.")
    assert manager.read("b").notes == "Too slow."


def test_a_training_that_was_forked_equals_one_that_was_not(manager, monkeypatch):
    monkeypatch.setattr(jobs, "PRELOADED", ())
    monkeypatch.setattr(worker, "READY_SECONDS", PATIENCE)
    config = long_config(epochs=2)
    names = [manager.start(config, "subprocess")]
    manager.warm_up()
    manager.warm_up()
    try:
        names += [manager.start(config, name) for name in ("forked", "again")]
        commands = [" ".join(find_process(manager.read(name).path).cmdline()) for name in names[1:]]
        assert all("models.runs.worker" in command for command in commands)
        for name in names:
            wait_for(lambda name=name: manager.read(name).state not in UNFINISHED, f"the end of {name}")
    finally:
        manager.close()
    results = [manager.read(name).result for name in names]
    assert all(results), [manager.read(name).message for name in names]
    assert len({result["weights_sha256"] for result in results}) == 1
    assert len({result["test_accuracy"] for result in results}) == 1


def test_a_process_that_cannot_be_noted_is_ended(manager, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = {child.pid for child in psutil.Process().children()}
    monkeypatch.setattr(jobs, "record_process", refuse)
    with refused():
        manager.start(long_config(), "a")
    assert manager.read("a").state == "failed"
    wait_for(lambda: not {child.pid for child in psutil.Process().children()} - before, "the end")


def test_queue_in_order_with_stop_and_kill(warm):
    first, second, third = (
        warm.start(long_config(epochs=n), name) for name, n in zip("abc", (1000, 2, 2), strict=True)
    )
    with refused("b"):
        warm.start(long_config(), "b")
    fourth = warm.start(long_config(), "d")
    wait_for(lambda: is_training(warm, first), "the first run")
    assert {warm.read(name).state for name in (second, third, fourth)} == {"queued"}
    warm.stop(fourth)
    wait_for(lambda: warm.read(fourth).state == "stopped", "the stop of a waiting run")
    assert not warm.read(fourth).has_model
    warm.kill(first)
    assert warm.read(first).state == "stopped" and warm.read(first).has_model
    for name in (second, third):
        wait_for(lambda name=name: warm.read(name).state == "finished", f"run {name}")
    started = [(warm.read(name).path / "model.json").stat().st_mtime for name in (second, third)]
    assert started == sorted(started)


def test_a_visitors_job_ends_when_its_time_is_up_whoever_watches_and_can_go_on(warm):
    warm.quotas = {"train": Quota(job_minutes=0.01)}
    with acting(Viewer("ada", "train")):
        name = warm.start(long_config())
        wait_for(lambda: warm.read(name).state == "stopped", "the end of its time")
        assert "after 0.01 min" in warm.read(name).message
    warm.resume(name)
    wait_for(lambda: is_training(warm, name), "the model of a run that the owner lets go on")


def test_evaluations_of_an_upload_finish_and_resume_where_they_were_stopped(warm, upload):
    stopped = warm.start_program("evaluation", evaluation_of(upload), upload.name, upload="data")
    assert stopped == "my-garments-1"
    wait_for(lambda: warm.read(stopped).status.get("step", 0) >= 2, "two chunks")
    warm.stop(stopped)
    whole = warm.start_program("evaluation", evaluation_of(upload), upload.name, upload="data")
    assert whole == "my-garments-2"
    upload.unlink()  # both have a copy
    wait_for(lambda: warm.read(stopped).state == "stopped", "the stop")
    run = warm.read(stopped)
    assert run.kind == "evaluation" and run.document is None
    assert 2 <= run.status["step"] < run.status["total_steps"] == 10
    assert len(list(run.path.rglob("*.npz"))) >= run.status["step"]

    warm.resume(stopped)
    with refused(stopped, varies="queued|running"):
        warm.resume(stopped)
    for name in (stopped, whole):
        wait_for(lambda name=name: warm.read(name).state not in UNFINISHED, f"the end of {name}")
        ended = warm.read(name)
        assert ended.state == "finished", ended.message + ended.log_tail
        assert ended.config["data"] == str(ended.path / "upload" / upload.name)
        assert ended.result["seconds"] > 0 and not list(ended.path.rglob("*.npz"))
    resumed, document = warm.read(stopped).document, warm.read(whole).document
    assert resumed["models"] == document["models"]
    assert document["models"][0]["num_images"] == document["models"][0]["num_labelled"] == 320
    assert 0 < document["models"][0]["statistics"]["consistency"]["value"] < 1
    with refused(whole):
        warm.resume(whole)
    assert [run.name for run in warm.list("evaluation", "repair")] == [stopped, whole]
