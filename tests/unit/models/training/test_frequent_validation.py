"""Validation within epochs: what it costs, that it changes nothing, and that its numbers are those of the weights."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score

from models.checkpoints import load_run_model
from models.data.dataset import Split
from models.runs.run import read_run
from models.training import loop
from models.training.config import TrainingConfig
from models.training.frequent_validation import MAX_TIMES, SAMPLE, SPAN, pick_sample, plan_validations, share_right
from models.training.run import load_data, resume, train
from models.training.validate import assess
from tests.device import DEVICE
from tests.unit.models.training.test_resuming import Killed, break_off, die, saved_always, without_times  # noqa: F401

TINY = {
    "dataset": "shapes",
    "shapes": {"num_images": 200, "clutter": 0.0, "color": "by_class"},
    "model": {"channels": [8, 12]},
    "epochs": 3,
    "batch_size": 10,
    "device": DEVICE,
}
STEPS_PER_EPOCH = 14


def tiny(**options) -> TrainingConfig:
    return TrainingConfig.from_dict(TINY | options)


def sample_lines(run) -> list[tuple[int, float]]:
    return [(line["step"], line["sample_accuracy"]) for line in run.metrics if "sample_accuracy" in line]


# When, and at what cost.


@settings(max_examples=200)
@given(
    steps_per_epoch=st.integers(1, 5000),
    epochs=st.floats(0.01, 200),
    batch_size=st.integers(1, 1024),
    num_validation=st.integers(1, 20_000),
)
def test_the_cost_is_bounded(steps_per_epoch, epochs, batch_size, num_validation):
    total = max(1, round(steps_per_epoch * epochs))
    steps = plan_validations(total, steps_per_epoch, batch_size, num_validation)
    assert 0 in steps and len(steps) <= MAX_TIMES and all(0 <= step < total for step in steps)
    assert not [step for step in steps if step and step % steps_per_epoch == 0]  # everything is validated there
    # A fifth, where training on a picture is as much work as answering three; the very beginning comes on top.
    work = 3 * total * batch_size + -(-total // steps_per_epoch) * num_validation
    assert (len(steps) - 1) * min(num_validation, SAMPLE) <= work / 5


def test_steps_lie_at_equal_ratios():
    steps = sorted(plan_validations(20_000, 10**6, 100, 5000))
    assert steps[0] == 0 and len(steps) == MAX_TIMES
    ratios = [after / before for before, after in pairwise(steps[1:])]
    assert max(ratios) / min(ratios) < 1.02 and ratios[0] == pytest.approx(SPAN ** (1 / MAX_TIMES), rel=0.02)
    assert steps[1] == pytest.approx(20_000 / SPAN, rel=0.15) and steps[-1] == pytest.approx(
        20_000 / ratios[0], rel=0.02
    )


def test_a_training_too_short_for_anything_is_looked_at_once():
    assert plan_validations(1, 1, 2, 5000) == {0}
    assert plan_validations(3, 10, 2, 5000) == {0} and plan_validations(3, 10, 2, 1) == {0, 1, 2}


@settings(max_examples=60)
@given(st.integers(1, 3000))
def test_the_sample_is_spread_evenly(num):
    index = pick_sample(Split(torch.zeros(num, 1), torch.zeros(num, dtype=torch.int64)))
    assert len(index) == min(num, SAMPLE) == len(set(index.tolist()))
    gaps = [after - before for before, after in pairwise(index.tolist())]
    assert index[0] == 0 and (num == 1 or (index[-1] == num - 1 and max(gaps) - min(gaps) <= 1))


@settings(max_examples=40)
@given(num=st.integers(1, 40), classes=st.integers(2, 5), seed=st.integers(0, 10**6), data=st.data())
def test_share_right_is_that_of_scikit_learn(num, classes, seed, data):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num, classes, generator=generator)
    labels = torch.randint(classes, (num,), generator=generator)
    index = torch.tensor(data.draw(st.lists(st.integers(0, num - 1), min_size=1, unique=True)))
    expected = accuracy_score(labels[index], logits[index].argmax(1))
    assert share_right(logits, labels, index) == pytest.approx(expected)


# What it changes: nothing.

KINDS = {
    "plain": {},
    "draws": {"model": {"channels": [8, 12], "dropout": 0.3}, "augment": True},
    "bfloat16": {"precision": "bfloat16"},
    "parts, clipped": {"accumulate": 2, "clip_norm": 1.0, "l1": 1e-4},
    "adam, stopped early": {"optimizer": "adam", "learning_rate": 0.02, "patience": 1, "epochs": 6},
    "features": {"architecture": "transfer", "model": {}, "image_size": 32, "epochs": 2},
    "frozen, then not": {
        "architecture": "transfer",
        "model": {"mode": "frozen_then_unfrozen"},
        "image_size": 32,
        "max_steps": 8,
        "batch_size": 5,
        "augment": True,
        "learning_rate": 0.01,
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_those_without_it(tmp_path, kind):
    one, other = (train(tiny(**KINDS[kind], validate_often=often), tmp_path / str(often)) for often in (False, True))
    assert one.weights_sha256 == other.weights_sha256
    assert (one.val_accuracy, one.test_accuracy, one.epochs) == (
        other.val_accuracy,
        other.test_accuracy,
        other.epochs,
    )
    assert (
        not sample_lines(read_run(tmp_path, "False")) and len(sample_lines(read_run(tmp_path, "True"))) > one.epochs
    )


def leave_in_eval_mode(module, *arguments):
    found = assess(module, *arguments)
    module.eval()
    return found


def move_running_statistics(module, split, normalize, *arguments):
    module.train()(normalize(split.images))
    return assess(module, split, normalize, *arguments)


@pytest.mark.parametrize("careless", [leave_in_eval_mode, move_running_statistics])
def test_a_careless_validation_would_be_noticed(tmp_path, monkeypatch, careless):
    """Controls for the test above: the same comparison, with a validation that leaves traces."""
    expected = train(tiny(), tmp_path / "a").weights_sha256

    def assess_within(self, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(loop, "assess", careless)
            validate(self, *arguments)

    validate = loop.Trainer._validate_sample
    monkeypatch.setattr(loop.Trainer, "_validate_sample", assess_within)
    assert train(tiny(validate_often=True), tmp_path / "b").weights_sha256 != expected


# What it says.


def test_accuracies_are_those_of_the_weights_of_that_step(tmp_path, monkeypatch):
    """Against the kept weights of every step, answered by a loop over the pictures."""
    monkeypatch.setattr("models.training.frequent_validation.SAMPLE", 20)
    monkeypatch.setattr("models.training.recorder.MAX_SNAPSHOTS", 100)
    config = tiny(validate_often=True, snapshot_every=1, precision="float32")
    train(config, tmp_path / "a")
    run, validation = read_run(tmp_path, "a"), load_data(config).validation
    model, _, preprocessing = load_run_model(tmp_path / "a")
    index = torch.linspace(0, len(validation) - 1, 20, dtype=torch.float64).round().long().tolist()
    lines = sample_lines(run)
    assert [step for step, _ in lines] == sorted({step for step, _ in lines})
    assert {14, 28, 42} < {step for step, _ in lines} and lines[0][0] == 0 and len(lines) > 12
    for step, accuracy in lines:
        model.load_state_dict(load_file(tmp_path / "a" / "snapshots" / f"{step:07d}.safetensors"))
        with torch.no_grad():
            answers = [
                int(model.eval()(preprocessing.normalize(validation.images[i][None] / 255)).argmax()) for i in index
            ]
        assert accuracy == pytest.approx(accuracy_score(validation.labels[index], answers))


@pytest.mark.parametrize("at_step", [0, 1, 2, 13, 14, 15, 30, 41])
def test_a_broken_off_training_ends_with_the_same_lines(tmp_path, monkeypatch, saved_always, at_step):  # noqa: F811
    config = tiny(validate_often=True)
    train(config, tmp_path / "whole")
    break_off(monkeypatch, config, tmp_path / "a", at_step)
    resume(tmp_path / "a")
    assert without_times(read_run(tmp_path, "a").metrics) == without_times(read_run(tmp_path, "whole").metrics)


@pytest.mark.parametrize("how", ["stopped", "killed before", "killed after"])
def test_what_breaks_off_within_such_a_validation(tmp_path, monkeypatch, saved_always, how):  # noqa: F811
    config, calls = tiny(validate_often=True), []
    whole = train(config, tmp_path / "whole")
    validate = loop.Trainer._validate_sample

    def validate_and_break(self):
        calls.append(self.step)
        if len(calls) != 5:
            return validate(self)
        if how == "stopped":
            (tmp_path / "a" / "stop").touch()
        if how != "killed before":
            validate(self)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_validate_sample", validate_and_break)
        if how == "stopped":
            assert train(config, tmp_path / "a").state == "stopped"
        else:
            die(config, tmp_path / "a")
    assert 0 < calls[-1] < STEPS_PER_EPOCH
    assert resume(tmp_path / "a").weights_sha256 == whole.weights_sha256
    assert without_times(read_run(tmp_path, "a").metrics) == without_times(read_run(tmp_path, "whole").metrics)
