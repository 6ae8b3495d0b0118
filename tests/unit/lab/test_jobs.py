"""Real processes: they outlive their manager, queue, go on, and end in the state they should."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from lab import jobs
from lab.jobs import JOBS, MAX_WAITING, PROJECT_ROOT, JobManager, find_job, main
from models.access import Viewer, acting
from models.checkpoints import load_run_model
from models.quotas import Quota
from models.runs import worker
from models.runs.files import write_json
from models.runs.job import Job
from models.runs.process import find_process
from models.runs.run import UNFINISHED, read_run
from models.runs.submit import create_run
from models.training.config import TrainingConfig
from tests.device import DEVICE
from tests.sentences import refused

PATIENCE = 60


def long_config(**options) -> TrainingConfig:
    """A training that goes on until it is ended."""
    return TrainingConfig(
        dataset="shapes",
        shapes={"num_images": 200},
        model={"channels": [4, 4]},
        batch_size=20,
        device=DEVICE,
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


# Programs other than the training.


@pytest.fixture
def upload(tmp_path):
    """A zip of 320 pictures in folders named after two garments: ten chunks of an evaluation."""
    path, rng = tmp_path / "uploads" / "my garments!.zip", np.random.default_rng(0)
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(320):
            pixels = np.kron(rng.integers(256, size=(7, 7)), np.ones((4, 4))).astype(np.uint8)
            picture = io.BytesIO()
            Image.fromarray(pixels).save(picture, format="PNG")
            archive.writestr(f"{('bag', 'sneaker')[number % 2]}/{number:03}.png", picture.getvalue())
    return path


def evaluation_of(data, **options) -> dict:
    """The config.json of an evaluation."""
    fixed = {"models": ["fashion_cnn"], "data": str(data), "device": DEVICE, "threads": 1}
    return fixed | {"boundary": "circular", "shifts": 32} | options


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
