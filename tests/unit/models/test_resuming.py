"""A training that was broken off anywhere goes on to the same weights, to the bit, and the same records."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from models import journal
from models.errors import ModelsError
from models.resume_point import FILE, read_resume_point, save_resume_point
from models.runs import read_run, write_json
from models.trainer import Trainer
from models.training import TrainingConfig, resume, train

ROOT = Path(__file__).parents[3]
TINY = {
    "dataset": "shapes",
    "shapes": {"num_images": 200, "clutter": 0.0, "color": "by_class"},
    "model": {"channels": [8, 12], "dropout": 0.2},
    "epochs": 3,
    "batch_size": 20,
    "device": "cpu",
    "augment": True,
}


def tiny(**options) -> TrainingConfig:
    return TrainingConfig.from_dict(TINY | options)


class Killed(BaseException):
    """Ends a training in the middle as SIGKILL would: nothing of it gets to tidy up."""


def break_off(monkeypatch, config, run_dir, at_step: int) -> None:
    """Runs until ``at_step`` and leaves the run as a killed process would."""
    train_step = Trainer._train_step

    def step_or_die(self, index):
        if self.step == at_step:
            raise Killed
        train_step(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", step_or_die)
        with pytest.raises(Killed):
            train(config, run_dir)
    status = json.loads((run_dir / "status.json").read_text())
    write_json(run_dir / "status.json", status | {"state": "failed", "message": ""})


def without_times(metrics: list[dict]) -> list[dict]:
    timed = ("seconds", "samples_per_second")
    lines = [line for line in metrics if line["kind"] != "step"]  # those depend on the clock
    return [{name: value for name, value in line.items() if name not in timed} for line in lines]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    root = tmp_path_factory.mktemp("uninterrupted")
    result = train(tiny(), root / "whole")
    return result, without_times(read_run(root, "whole").metrics)


@pytest.mark.parametrize("at_step", [0, 1, 6, 7, 8, 13, 20])
def test_it_goes_on_from_any_step(tmp_path, monkeypatch, uninterrupted, at_step):
    expected, lines = uninterrupted
    monkeypatch.setattr(journal, "RESUME_SECONDS", 0.0)  # a resume point after every step
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
    monkeypatch.setattr(journal, "RESUME_SECONDS", 1e9)  # after every epoch only
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
def test_every_kind_of_training_goes_on_to_the_same_weights(tmp_path, monkeypatch, options):
    expected = train(tiny(**options), tmp_path / "whole")
    monkeypatch.setattr(journal, "RESUME_SECONDS", 0.0)
    break_off(monkeypatch, tiny(**options), tmp_path / "a", 10)
    result = resume(tmp_path / "a")
    assert result.weights_sha256 == expected.weights_sha256 and result.val_accuracy == expected.val_accuracy


def test_a_stopped_training_goes_on(tmp_path, uninterrupted):
    def stop_early(metrics):
        if metrics["epoch"] == 2:
            (tmp_path / "a" / "stop").touch()

    assert train(tiny(), tmp_path / "a", on_metrics=stop_early).state == "stopped"
    assert resume(tmp_path / "a").weights_sha256 == uninterrupted[0].weights_sha256


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
    command = [sys.executable, "-m", "models.training", str(tmp_path / "killed")]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "killed" / FILE).exists() and time.monotonic() < deadline:
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
    with pytest.raises(ModelsError, match="done is finished and cannot be resumed"):
        resume(tmp_path / "done")
    with pytest.raises(ModelsError, match="no run named nobody"):
        resume(tmp_path / "nobody")


def test_a_damaged_resume_point_is_a_failed_run_and_says_so(tmp_path, monkeypatch):
    break_off(monkeypatch, tiny(), tmp_path / "a", 9)
    path = tmp_path / "a" / FILE
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ModelsError, match="damaged, so the training cannot go on"):
        resume(tmp_path / "a")
    assert read_run(tmp_path, "a").state == "failed"


def test_other_data_are_not_trained_on(tmp_path, monkeypatch):
    break_off(monkeypatch, tiny(), tmp_path / "a", 9)
    changed = tiny().to_dict()
    changed["shapes"]["color"] = "fixed"
    write_json(tmp_path / "a" / "config.json", changed)
    with pytest.raises(ModelsError, match="data have changed"):
        resume(tmp_path / "a")


def test_a_resume_point_holds_all_there_is(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters())
    for _ in range(3):
        net(torch.randn(2, 3, 5, 5)).sum().backward()
        optimizer.step()
    save_resume_point(tmp_path, net, optimizer, {"loss": torch.tensor(2.5)}, {"step": 3})
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    fresh = torch.optim.Adam(other.parameters())
    meter, progress = read_resume_point(tmp_path, other, fresh)
    assert (meter["loss"].item(), progress) == (2.5, {"step": 3})
    for name, tensor in net.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
    for index, kept in optimizer.state_dict()["state"].items():
        for name, value in kept.items():
            assert torch.equal(fresh.state_dict()["state"][index][name], value)
    layout = {"memory_format": torch.channels_last}
    assert fresh.state_dict()["state"][0]["exp_avg"].is_contiguous(**layout)
    with pytest.raises(ModelsError, match="damaged"):
        read_resume_point(tmp_path, nn.Linear(2, 2), torch.optim.Adam([nn.Parameter(torch.zeros(1))]))
    assert read_resume_point(tmp_path / "elsewhere", other, fresh) is None
