"""Real training processes: they outlive their manager, queue, and end in the state they should."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from models.errors import ModelsError
from models.jobs import MAX_WAITING, PROJECT_ROOT, JobManager
from models.runs import find_process, load_run_model
from models.training import TrainingConfig

PATIENCE = 60


def long_config(**options) -> TrainingConfig:
    """A training that goes on until it is ended."""
    return TrainingConfig(
        dataset="shapes",
        shapes={"num_images": 200},
        model={"channels": [4, 4]},
        batch_size=20,
        device="cpu",
        **{"epochs": 1000, **options},
    )


def wait_for(condition, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}"
        time.sleep(0.05)


@pytest.fixture
def manager(tmp_path):
    manager = JobManager(tmp_path / "runs")
    yield manager
    for run in manager.list():
        manager.kill(run.name)


def is_training(manager: JobManager, name: str) -> bool:
    run = manager.read(name)
    assert run.state in ("queued", "preparing", "running"), run.message + run.log_tail
    return run.state == "running" and run.status["step"] > 0 and run.has_model


def test_a_training_outlives_its_manager_and_obeys_another(manager):
    script = (
        "import json, sys; from models.jobs import JobManager; from models.training import TrainingConfig; "
        "config = TrainingConfig.from_dict(json.loads(sys.argv[2])); "
        "print(JobManager(sys.argv[1]).start(config))"
    )
    arguments = [sys.executable, "-c", script, str(manager.runs_root), json.dumps(long_config().to_dict())]
    done = subprocess.run(arguments, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=PATIENCE)
    name = done.stdout.strip()
    assert name == "shapes-1", done.stderr
    wait_for(lambda: is_training(manager, name), "the first model")
    with pytest.raises(ModelsError, match="stop it first"):
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
def test_signals_from_outside(manager, number, state):
    name = manager.start(long_config(), "a")
    wait_for(lambda: is_training(manager, name), "the first model")
    pid = find_process(manager.read(name).path).pid
    os.kill(pid, number)
    wait_for(lambda: manager.read(name).state == state, state)
    run = manager.read(name)
    assert run.has_model
    load_run_model(run.path)
    wait_for(lambda: not psutil.pid_exists(pid), "the zombie to be collected")
    if state == "failed":
        assert "without saying why" in run.message
        manager.delete(name)


def test_queue_in_order_with_stop_and_kill(manager):
    first, second, third = (
        manager.start(long_config(epochs=n), name) for name, n in zip("abc", (1000, 2, 2), strict=True)
    )
    with pytest.raises(ModelsError, match="already a run named b"):
        manager.start(long_config(), "b")
    fourth = manager.start(long_config(), "d")
    wait_for(lambda: is_training(manager, first), "the first run")
    assert {manager.read(name).state for name in (second, third, fourth)} == {"queued"}
    manager.stop(fourth)
    wait_for(lambda: manager.read(fourth).state == "stopped", "the stop of a waiting run")
    assert not manager.read(fourth).has_model
    manager.kill(first)
    assert manager.read(first).state == "stopped" and manager.read(first).has_model
    for name in (second, third):
        wait_for(lambda name=name: manager.read(name).state == "finished", f"run {name}")
    started = [(manager.read(name).path / "model.json").stat().st_mtime for name in (second, third)]
    assert started == sorted(started)


def test_names_are_chosen_and_the_queue_is_bounded(manager, monkeypatch):
    monkeypatch.setattr(JobManager, "_launch", lambda self, run_dir: None)
    names = [manager.start(long_config()) for _ in range(MAX_WAITING + 1)]
    assert names == [f"shapes-{number}" for number in range(1, MAX_WAITING + 2)]
    with pytest.raises(ModelsError, match="8 jobs wait already"):
        manager.start(long_config())


def test_paths_are_made_independent_of_the_working_folder(manager, tmp_path, monkeypatch):
    monkeypatch.setattr(JobManager, "_launch", lambda self, run_dir: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my pets!").mkdir()
    name = manager.start(TrainingConfig(dataset="my pets!", data_root="data"))
    config = manager.read(name).config
    assert name == "my-pets-1" and config["dataset"] == str(tmp_path / "my pets!")
    assert config["data_root"] == str(tmp_path / "data")
    with pytest.raises(ModelsError, match="no data set or folder"):
        manager.start(TrainingConfig(dataset="nowhere"))


def test_problems_at_the_start(manager, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelsError, match="cannot be stored"):
        JobManager(tmp_path / "file").start(long_config())
    with pytest.raises(ModelsError, match="run name"):
        manager.start(long_config(), "../a")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(ModelsError, match="did not start"):
        manager.start(long_config(), "a")
    assert manager.read("a").state == "failed"
