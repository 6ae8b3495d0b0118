"""A training that was broken off anywhere goes on to the same weights, to the bit, and the same records."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save
from torch import nn

from lab.jobs import JobManager
from models.ordinary_files import read_json
from models.runs import changes as run_changes
from models.runs.files import write_json
from models.runs.process import record_process
from models.runs.run import read_run
from models.runs.submit import create_run
from models.runs.writer import RunWriter
from models.training import loop, recorder
from models.training.config import TrainingConfig
from models.training.resume import RESUME_FILE, read_resume_point, save_resume_point
from models.training.run import resume, train
from tests.device import DEVICE
from tests.sentences import refused

ROOT = Path(__file__).parents[4]
TINY = {
    "dataset": "shapes",
    "shapes": {"num_images": 200, "clutter": 0.0, "color": "by_class"},
    "model": {"channels": [8, 12], "dropout": 0.2},
    "epochs": 3,
    "batch_size": 20,
    "device": DEVICE,
    "augment": True,
}


def tiny(**options) -> TrainingConfig:
    return TrainingConfig.from_dict(TINY | options)


class Killed(BaseException):
    """Ends a training in the middle as SIGKILL would: nothing of it gets to tidy up."""


def break_off(monkeypatch, config, run_dir, at_step: int) -> None:
    """Runs until ``at_step`` and leaves the run as a killed process would."""
    train_step = loop.train_step

    def step_or_die(prepared, meter, step, rate):
        if step == at_step:
            raise Killed
        train_step(prepared, meter, step, rate)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", step_or_die)
        die(config, run_dir)


def die(config, run_dir) -> None:
    """Runs until something kills it, and leaves what is left then."""
    with pytest.raises(Killed):
        train(config, run_dir)
    status = json.loads((run_dir / "status.json").read_text())
    write_json(run_dir / "status.json", status | {"state": "failed", "message": ""})


@pytest.fixture
def saved_always(monkeypatch):
    """There is a resume point after every step."""
    monkeypatch.setattr(recorder, "RESUME_SECONDS", 0.0)
    monkeypatch.setattr(recorder, "LONGER", 0)


def without_times(metrics: list[dict]) -> list[dict]:
    """The lines without what depends on the clock: lines of steps, and which epochs were kept and looked at."""
    timed = ("seconds", "samples_per_second")
    lines = [
        {name: value for name, value in line.items() if name not in timed}
        for line in metrics
        if line["kind"] != "step"
    ]
    for line in lines:
        if line["kind"] == "layers":
            line["layers"] = [layer for layer in line["layers"] if "weight_norm" in layer]
    return lines


def without_gradients(lines: list[dict]) -> list[dict]:
    """The same without the gradients of the last step, which a resume point does not hold."""
    return [
        line | {"layers": [layer | {"gradient_norm": None} for layer in line["layers"]]} if "layers" in line else line
        for line in lines
    ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    root = tmp_path_factory.mktemp("uninterrupted")
    result = train(tiny(), root / "whole")
    return result, without_times(read_run(root, "whole").metrics)


@pytest.mark.parametrize("at_step", [0, 1, 6, 7, 8, 13, 20])
def test_it_goes_on_from_any_step(tmp_path, monkeypatch, uninterrupted, saved_always, at_step):
    expected, lines = uninterrupted
    break_off(monkeypatch, tiny(), tmp_path / "a", at_step)
    result = resume(tmp_path / "a")
    assert (result.weights_sha256, result.val_accuracy, result.test_accuracy, result.epochs) == (
        expected.weights_sha256,
        expected.val_accuracy,
        expected.test_accuracy,
        expected.epochs,
    )
    assert without_times(read_run(tmp_path, "a").metrics) == lines
    assert read_run(tmp_path, "a").state == "finished"


def test_it_goes_on_from_an_older_resume_point_and_takes_back_the_lines_since(tmp_path, monkeypatch, uninterrupted):
    monkeypatch.setattr(recorder, "RESUME_SECONDS", 1e9)  # after every epoch only
    break_off(monkeypatch, tiny(), tmp_path / "a", 19)
    assert resume(tmp_path / "a").weights_sha256 == uninterrupted[0].weights_sha256
    assert without_times(read_run(tmp_path, "a").metrics) == uninterrupted[1]


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam", "learning_rate": 0.01},
        {"optimizer": "adamw", "learning_rate": 0.01, "schedule": "cosine", "l1": 1e-4, "clip_norm": 1.0},
        {"patience": 1, "epochs": 6, "loss": "svm", "learning_rate": 0.05},
        {"accumulate": 3, "schedule": "constant"},
        {"precision": "bfloat16"},
    ],
)
def test_every_kind_of_training_goes_on_to_the_same_weights(tmp_path, monkeypatch, saved_always, options):
    expected = train(tiny(**options), tmp_path / "whole")
    break_off(monkeypatch, tiny(**options), tmp_path / "a", 10)
    result = resume(tmp_path / "a")
    assert result.weights_sha256 == expected.weights_sha256 and result.val_accuracy == expected.val_accuracy


def test_a_stopped_training_goes_on(tmp_path, uninterrupted):
    def stop_early(metrics):
        if metrics["epoch"] == 2:
            (tmp_path / "a" / "stop").touch()

    assert train(tiny(), tmp_path / "a", on_metrics=stop_early).state == "stopped"
    assert resume(tmp_path / "a").weights_sha256 == uninterrupted[0].weights_sha256


def stop_in_assessment(monkeypatch, config, run_dir, number: int):
    """Trains and asks for a stop while the network is assessed for the ``number``-th time."""
    assess, calls = loop.assess, []

    def assess_and_stop(*arguments):
        calls.append(1)
        if len(calls) == number:
            (run_dir / "stop").touch()
        return assess(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "assess", assess_and_stop)
        return train(config, run_dir)


@pytest.mark.parametrize(
    ("number", "epochs"), [(1, 0), (2, 1), (3, 2), (4, 3)], ids=["first", "second", "last validation", "test"]
)
def test_a_stop_in_a_validation_or_the_test_is_heard_and_goes_on_to_the_same(
    tmp_path, monkeypatch, uninterrupted, number, epochs
):
    expected, lines = uninterrupted
    stopped = stop_in_assessment(monkeypatch, tiny(), tmp_path / "a", number)
    assert (stopped.state, stopped.epochs, stopped.test_accuracy) == ("stopped", epochs, None)
    run = read_run(tmp_path, "a")
    assert run.state == "stopped" and run.has_model and run.status["step"] <= 7 * min(number, 3)
    assert [line["epoch"] for line in run.metrics if line["kind"] == "epoch"] == list(range(1, epochs + 1))
    result = resume(tmp_path / "a")
    assert (result.weights_sha256, result.test_accuracy) == (expected.weights_sha256, expected.test_accuracy)
    assert without_gradients(without_times(read_run(tmp_path, "a").metrics)) == without_gradients(lines)


@pytest.mark.parametrize("number", [-2, -1], ids=["the best epoch's validation", "test"])
def test_a_stop_after_early_stopping_goes_on_to_the_best_epoch(tmp_path, monkeypatch, number):
    config = tiny(patience=1, epochs=8, learning_rate=0.3, schedule="constant")
    whole = train(config, tmp_path / "whole")
    # Every epoch's validation, then those of the best and the test.
    stopped = stop_in_assessment(monkeypatch, config, tmp_path / "a", whole.epochs + 3 + number)
    assert (stopped.state, stopped.epochs) == ("stopped", whole.epochs)
    again = resume(tmp_path / "a")
    assert (again.weights_sha256, again.epochs) == (whole.weights_sha256, whole.epochs)
    assert (again.val_accuracy, again.test_accuracy) == (whole.val_accuracy, whole.test_accuracy)


def kill_in_test(patch) -> None:
    assess = loop.Trainer._assess

    def assess_or_die(self, split):
        if split is self.prepared.test:
            raise Killed
        return assess(self, split)

    patch.setattr(loop.Trainer, "_assess", assess_or_die)


def kill_before_finished(patch) -> None:
    update = RunWriter.update

    def update_or_die(self, **values):
        if values.get("state") == "finished":
            raise Killed
        update(self, **values)

    patch.setattr(RunWriter, "update", update_or_die)


@pytest.mark.parametrize("kill", [kill_in_test, kill_before_finished])
def test_a_kill_after_the_last_step_leaves_what_is_needed_to_finish(tmp_path, monkeypatch, uninterrupted, kill):
    expected, lines = uninterrupted
    with monkeypatch.context() as patch:
        kill(patch)
        die(tiny(), tmp_path / "a")
    assert (tmp_path / "a" / RESUME_FILE).exists()
    result = resume(tmp_path / "a")
    assert (result.weights_sha256, result.test_accuracy) == (expected.weights_sha256, expected.test_accuracy)
    assert without_times(read_run(tmp_path, "a").metrics) == lines
    assert not (tmp_path / "a" / RESUME_FILE).exists()


def test_a_run_that_is_resumed_stands_at_the_end_of_the_line(tmp_path, monkeypatch):
    break_off(monkeypatch, tiny(), tmp_path / "a", 9)
    before = read_run(tmp_path, "a").status["submitted"]
    create_run(tmp_path, "other", {})
    record_process(tmp_path / "other", os.getpid())
    seen = []

    def look(*arguments):
        seen.extend(read_run(tmp_path, name).status["submitted"] for name in ("other", "a"))
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("models.training.run.fit", look)
        patch.setattr("models.runs.queue._is_first", lambda run_dir, device: True)
        with pytest.raises(Killed):
            resume(tmp_path / "a")
    assert before < seen[0] < seen[1]


def test_a_directory_that_cannot_be_written_is_said_in_words(tmp_path, monkeypatch):
    break_off(monkeypatch, tiny(), tmp_path / "a", 9)

    def full(path, values):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_changes, "write_json", full)
    with refused("a", "No space left on device"):
        resume(tmp_path / "a")


def test_kill_9_and_the_command_line(tmp_path, uninterrupted):
    """The whole way round: a real process, a real signal, and the command that goes on."""
    config = tiny(epochs=60)
    expected = train(config, tmp_path / "whole").weights_sha256
    environment = os.environ | {"CONVSCOPE_RUNS_ROOT": str(tmp_path)}
    (tmp_path / "killed").mkdir()
    write_json(tmp_path / "killed" / "config.json", config.to_dict())
    write_json(
        tmp_path / "killed" / "status.json", {"state": "queued", "kind": "training", "submitted": time.time_ns()}
    )
    command = [sys.executable, "-m", "lab.jobs", str(tmp_path / "killed")]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "killed" / RESUME_FILE).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    finally:
        process.wait(30)
    assert read_run(tmp_path, "killed").state == "failed"
    found = subprocess.run(
        [sys.executable, "cli.py", "resume", "killed", "--json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    document = json.loads(found.stdout)
    assert document["weights_sha256"] == expected and document["run"] == "killed"
    assert set(document) == {"run", "val_accuracy", "test_accuracy", "seconds", "epochs", "weights_sha256"}


def test_what_cannot_be_resumed(tmp_path):
    train(tiny(epochs=1), tmp_path / "done")
    with refused("done"):
        resume(tmp_path / "done")
    with refused("nobody"):
        resume(tmp_path / "nobody")
    create_run(tmp_path, "votes", {}, "evaluation")
    with refused("votes"):
        resume(tmp_path / "votes")


def test_a_damaged_resume_point_is_a_failed_run_and_says_so(tmp_path, monkeypatch):
    break_off(monkeypatch, tiny(), tmp_path / "a", 9)
    path = tmp_path / "a" / RESUME_FILE
    path.write_bytes(path.read_bytes()[:-50])
    with refused():
        resume(tmp_path / "a")
    assert read_run(tmp_path, "a").state == "failed"


def test_a_resume_point_without_a_part_or_with_another_is_damaged(tmp_path, monkeypatch, saved_always):
    """As somebody leaves it who edits it by hand."""
    break_off(monkeypatch, tiny(patience=2), tmp_path / "a", 17)
    path = tmp_path / "a" / RESUME_FILE
    with safe_open(path, "pt") as file:
        progress = json.loads(file.metadata()["progress"])
    tensors = load(path.read_bytes())
    sums = [key for key in tensors if key.startswith("meter.")]
    assert progress["best"] and len(sums) == 4
    odd = ({"best": {}}, {"step": -1}, {"step": 10**9}, {"step": 2.5}, {"epoch": 7}, {"seconds": math.nan})
    changes = [({name: progress[name] for name in progress if name != without}, tensors) for without in progress]
    changes += [(progress | change, tensors) for change in odd]
    changes += [(progress, {key: tensors[key] for key in tensors if key != without}) for without in sums]
    changes += [(progress, tensors | {"meter.count": odd}) for odd in (torch.tensor(0), torch.zeros(3))]
    for parts, kept in changes:
        path.write_bytes(save(kept, {"progress": json.dumps(parts)}))
        with refused():
            resume(tmp_path / "a")


def test_other_data_are_not_trained_on(tmp_path, monkeypatch):
    break_off(monkeypatch, tiny(), tmp_path / "a", 9)
    path = tmp_path / "a" / "data.json"
    write_json(path, read_json(path) | {"sha256": "0" * 64})
    with refused():
        resume(tmp_path / "a")


def test_a_training_does_not_go_on_with_other_settings(tmp_path, monkeypatch, uninterrupted):
    """Or it would say that it was trained with what it was not."""
    break_off(monkeypatch, tiny(), tmp_path / "a", 9)
    config = tiny().to_dict()
    before = read_run(tmp_path, "a")
    for change in ({"learning_rate": 0.1}, {"epochs": 4}, {"shapes": config["shapes"] | {"color": "fixed"}}):
        write_json(tmp_path / "a" / "config.json", config | change)
        with refused("a/config.json"):
            resume(tmp_path / "a")
        with refused("a/config.json"):
            JobManager(tmp_path).resume("a")
        assert read_run(tmp_path, "a").status == before.status
    write_json(tmp_path / "a" / "config.json", config | {"data_root": "elsewhere"})  # says where, not what
    assert resume(tmp_path / "a").weights_sha256 == uninterrupted[0].weights_sha256


def test_a_run_that_notes_no_settings_goes_on(tmp_path, monkeypatch, uninterrupted):
    """It was begun by a version that noted none."""
    break_off(monkeypatch, tiny(), tmp_path / "a", 9)
    status = read_json(tmp_path / "a" / "status.json")
    del status["settings_sha256"]
    write_json(tmp_path / "a" / "status.json", status)
    assert resume(tmp_path / "a").weights_sha256 == uninterrupted[0].weights_sha256


def test_a_resume_point_holds_all_there_is(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters())
    for _ in range(3):
        net(torch.randn(2, 3, 5, 5)).sum().backward()
        optimizer.step()
    parts = {
        "step": 3,
        "epoch": 0,
        "val_accuracy": None,
        "best": None,
        "seconds": 1.5,
        "meter_seconds": 0,
        "scaler": {},
    }
    save_resume_point(tmp_path, net, optimizer, {"loss": torch.tensor(2.5)}, parts)
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    fresh = torch.optim.Adam(other.parameters())
    meter, progress = read_resume_point(tmp_path, other, fresh)
    assert (meter["loss"].item(), progress) == (2.5, parts)
    for name, tensor in net.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    for index, kept in optimizer.state_dict()["state"].items():
        for name, value in kept.items():
            assert torch.equal(fresh.state_dict()["state"][index][name], value)
    layout = {"memory_format": torch.channels_last}
    assert fresh.state_dict()["state"][0]["exp_avg"].is_contiguous(**layout)
    with refused():
        read_resume_point(tmp_path, nn.Linear(2, 2), torch.optim.Adam([nn.Parameter(torch.zeros(1))]))
    assert read_resume_point(tmp_path / "elsewhere", other, fresh) is None
