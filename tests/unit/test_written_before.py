"""What earlier versions wrote stays readable: runs, a resume point and a capsule of 30 November 2026.

``finished`` is three epochs of a tiny network on drawn shapes, ``stopped`` one of twelve; ``capsule.zip`` holds the
first.
"""

import shutil
from pathlib import Path

import pytest

from models.registry import Registry
from models.runs.run import Run, list_runs, read_run
from models.settings import build_config
from models.training.capsule import unpack_capsule
from models.training.config import TrainingConfig
from models.training.run import resume, train

WRITTEN = Path(__file__).parents[2] / "tests/written_before"
SHA256 = "a2cec7364c8c1da2c793c40133c4939420940b4387f0385a74f818879c5e3481"
"""Of the finished run's weights."""


@pytest.fixture
def runs(tmp_path) -> Path:
    """A copy of the runs."""
    return Path(shutil.copytree(WRITTEN, tmp_path / "runs", ignore=shutil.ignore_patterns("*.zip")))


def epochs(run: Run) -> list[dict]:
    """What was measured after each epoch."""
    return [line for line in run.metrics if line["kind"] == "epoch"]


def test_runs_are_listed_with_what_they_measured(runs):
    found = {run.name: run for run in list_runs(runs)}
    assert {name: (run.kind, run.state) for name, run in found.items()} == {
        "finished": ("training", "finished"),
        "stopped": ("training", "stopped"),
    }
    finished = found["finished"]
    assert finished.result["weights_sha256"] == SHA256
    assert finished.result_number("val_accuracy") == pytest.approx(5 / 18)
    assert [line["epoch"] for line in epochs(finished)] == [1, 2, 3]


def test_a_run_and_its_snapshots_are_models(runs):
    registry = Registry(runs)
    last, first = (registry.get(name).build().state_dict() for name in ("run/finished", "run/finished@0"))
    assert len(registry.get("run/finished").categories) == 6
    assert last.keys() == first.keys()
    assert not last["head.classifier.weight"].equal(first["head.classifier.weight"])


def test_a_stopped_training_goes_on_to_what_one_without_a_stop_reaches(runs):
    config = build_config(TrainingConfig, read_run(runs, "stopped").config)
    (before,) = epochs(read_run(runs, "stopped"))
    resumed = resume(runs / "stopped")
    straight = train(config, runs / "straight")
    lines = epochs(read_run(runs, "stopped"))
    assert lines[0] == before
    assert [line["epoch"] for line in lines] == list(range(1, 13))
    assert resumed.epochs == straight.epochs == 12
    # Its first epoch may have been computed on another processor, whose last bits differ.
    assert resumed.val_accuracy == pytest.approx(straight.val_accuracy, abs=0.15)


def test_a_capsule_opens_with_the_same_weights(tmp_path, runs):
    name = unpack_capsule(WRITTEN / "capsule.zip", tmp_path / "opened")
    opened = read_run(tmp_path / "opened", name)
    assert opened.is_opened
    assert (opened.path / "weights.safetensors").read_bytes() == (runs / "finished/weights.safetensors").read_bytes()
