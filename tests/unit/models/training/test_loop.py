"""What the settings of a training do to the weights, each against an identity or a bound."""

import json
import logging
from datetime import timedelta
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from analysis.network.health import measure_health
from models.checkpoints import load_run_model
from models.data.dataset import Split
from models.data.datasets import load_dataset
from models.runs.files import write_json
from models.runs.run import read_run
from models.training import loop, recorder
from models.training import setup as training_setup
from models.training.acceleration import accelerated
from models.training.batches import Feed
from models.training.config import TrainingConfig
from models.training.recorder import BEST
from models.training.resume import RESUME_FILE
from models.training.run import load_data, resume, train
from tests.device import DEVICE
from tests.sentences import check_sentence
from tests.unit.models.training.test_resuming import Killed

TINY = {
    "dataset": "shapes",
    "shapes": {"num_images": 200, "clutter": 0.0, "color": "by_class"},
    "model": {"channels": [8, 12]},
    "epochs": 3,
    "batch_size": 20,
    "device": DEVICE,
    "precision": "float32",
}
PLAIN = {"model": {"channels": [8, 12], "norm": "none"}, "weight_decay": 0.0, "schedule": "constant"}


def tiny(**options) -> TrainingConfig:
    return TrainingConfig.from_dict(TINY | options)


def weights_at(run_dir, step: int) -> dict[str, torch.Tensor]:
    return load_file(run_dir / "snapshots" / f"{step:07d}.safetensors")


def distance(one: dict, other: dict) -> float:
    return sum((one[name] - other[name]).double().square().sum().item() for name in one) ** 0.5


def magnitude(run_dir) -> float:
    return sum(tensor.abs().sum().item() for tensor in load_file(run_dir / "weights.safetensors").values())


def epoch_lines(run_dir) -> list[dict]:
    return [line for line in read_run(run_dir.parent, run_dir.name).metrics if line["kind"] == "epoch"]


@pytest.fixture(scope="module")
def data():
    return load_dataset("shapes", data_root="", seed=0, shapes=tiny().shapes)


def test_early_stopping_keeps_the_best_epoch(tmp_path):
    # So high a constant rate makes accuracies go up and down.
    config = tiny(patience=2, epochs=30, learning_rate=0.3, schedule="constant", batch_size=10)
    result = train(config, tmp_path / "a")
    found = [line["val_accuracy"] for line in epoch_lines(tmp_path / "a")]
    best = int(np.argmax(found))  # the first of equals
    assert result.epochs == len(found) == best + 1 + 2 < 30
    assert result.val_accuracy == found[best]
    # Weights, predictions and the test accuracy are all of that epoch.
    steps_per_epoch = epoch_lines(tmp_path / "a")[0]["step"]
    assert found[best] > found[-1]
    model, _, preprocessing = load_run_model(tmp_path / "a")
    examples = load_file(tmp_path / "a" / "examples.safetensors")
    with torch.no_grad():
        logits = model(preprocessing.normalize(examples["images"].float() / 255))
    predictions = load_file(tmp_path / "a" / "predictions.safetensors")["logits"]
    torch.testing.assert_close(predictions, logits, rtol=1e-4, atol=1e-4)
    assert (logits.argmax(1) == examples["labels"]).float().mean().item() == pytest.approx(found[best])
    again = train(
        tiny(**dict(config.to_dict(), patience=None, max_steps=(best + 1) * steps_per_epoch)), tmp_path / "b"
    )
    assert again.weights_sha256 == result.weights_sha256
    assert again.test_accuracy == result.test_accuracy
    assert not {path.name for path in (tmp_path / "a").iterdir()} & {BEST, RESUME_FILE}


def test_patience_that_never_runs_out_still_keeps_the_best_epoch(tmp_path):
    result = train(tiny(patience=1000, epochs=6, learning_rate=0.3, schedule="constant"), tmp_path / "a")
    found = [line["val_accuracy"] for line in epoch_lines(tmp_path / "a")]
    assert len(found) == result.epochs == 6 and result.val_accuracy == max(found)


def test_an_early_stop_that_was_killed_before_the_end_comes_to_the_same(tmp_path, monkeypatch):
    config = tiny(patience=1, epochs=30, learning_rate=0.3, schedule="constant")
    whole = train(config, tmp_path / "whole")

    def die(self):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_take_best", die)
        with pytest.raises(Killed):
            train(config, tmp_path / "a")
    status = json.loads((tmp_path / "a" / "status.json").read_text())
    write_json(tmp_path / "a" / "status.json", status | {"state": "failed"})
    again = resume(tmp_path / "a")
    assert (again.weights_sha256, again.epochs) == (whole.weights_sha256, whole.epochs)
    assert (again.val_accuracy, again.test_accuracy) == (whole.val_accuracy, whole.test_accuracy)


def test_clipping_bounds_the_first_update(tmp_path):
    """With Nesterov momentum m the first update is (1 + m) times rate times gradient."""
    clip, rate = 0.05, 0.1
    train(tiny(**PLAIN, clip_norm=clip, learning_rate=rate, max_steps=1), tmp_path / "a")
    train(tiny(**PLAIN, learning_rate=rate, max_steps=1), tmp_path / "free")
    clipped = distance(weights_at(tmp_path / "a", 0), weights_at(tmp_path / "a", 1))
    free = distance(weights_at(tmp_path / "free", 0), weights_at(tmp_path / "free", 1))
    assert free > 2 * clipped
    assert clipped == pytest.approx(1.9 * rate * clip, rel=1e-3)
    # Only the length changes, not the direction.
    start = weights_at(tmp_path / "a", 0)
    for name, tensor in weights_at(tmp_path / "a", 1).items():
        expected = (weights_at(tmp_path / "free", 1)[name] - start[name]) * (clipped / free)
        torch.testing.assert_close(tensor - start[name], expected, rtol=0.02, atol=1e-6)


def test_clipping_bounds_every_update_and_the_reported_gradients(tmp_path):
    clip, rate = 0.05, 0.1
    train(tiny(**PLAIN, clip_norm=clip, learning_rate=rate, max_steps=14, accumulate=2), tmp_path / "a")
    for step in range(14):
        moved = distance(weights_at(tmp_path / "a", step), weights_at(tmp_path / "a", step + 1))
        assert 0 < moved <= 10 * rate * clip * 1.001  # 10 = 1 / (1 - m): the sum of all earlier gradients
    for line in read_run(tmp_path, "a").metrics:
        if line["kind"] == "layers":
            norms = [layer["gradient_norm"] for layer in line["layers"] if "gradient_norm" in layer]
            assert sum(norm**2 for norm in norms) ** 0.5 <= clip * 1.001


def test_a_clip_that_no_gradient_reaches_changes_nothing(tmp_path):
    runs = [train(tiny(**options), tmp_path / name) for name, options in (("a", {}), ("b", {"clip_norm": 1e6}))]
    assert runs[0].weights_sha256 == runs[1].weights_sha256


def test_l1_makes_weights_small(tmp_path):
    for name, strength in (("none", 0.0), ("weak", 1e-3), ("strong", 1e-2)):
        train(tiny(**PLAIN, l1=strength, learning_rate=0.05, epochs=5), tmp_path / name)
    none, weak, strong = (magnitude(tmp_path / name) for name in ("none", "weak", "strong"))
    assert strong < weak < none and strong < 0.7 * none


def test_l1_is_the_gradient_of_the_magnitudes(tmp_path):
    """After one step the only difference is 1.9 x rate x strength x sign(w)."""
    rate, strength = 0.1, 0.01
    train(tiny(**PLAIN, learning_rate=rate, max_steps=1), tmp_path / "none")
    train(tiny(**PLAIN, learning_rate=rate, max_steps=1, l1=strength, accumulate=1), tmp_path / "l1")
    start, plain = weights_at(tmp_path / "l1", 0), weights_at(tmp_path / "none", 1)
    for name, tensor in weights_at(tmp_path / "l1", 1).items():
        expected = plain[name] - 1.9 * rate * strength * start[name].sign()
        torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("parts", [2, 3, 20])
def test_a_batch_in_parts_is_the_whole_batch(tmp_path, parts):
    """Without batch normalisation, whose statistics are those of a part; 3 parts of 20 are of different sizes."""
    options = {**PLAIN, "learning_rate": 0.05, "max_steps": 8}
    train(tiny(**options), tmp_path / "whole")
    train(tiny(**options, accumulate=parts), tmp_path / "parts")
    whole, found = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert distance(whole, weights_at(tmp_path / "whole", 0)) > 0.01
    for name, tensor in whole.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6)
    counts = [read_run(tmp_path, name).status["step"] for name in ("whole", "parts")]
    assert counts == [8, 8]


def test_more_parts_than_pictures_are_as_many_as_there_are(tmp_path):
    results = [train(tiny(**PLAIN, max_steps=3, accumulate=parts), tmp_path / f"p{parts}") for parts in (20, 256)]
    assert results[0].weights_sha256 == results[1].weights_sha256


@pytest.fixture
def seen(monkeypatch):
    """The training pictures of every Feed that is made."""
    splits = []

    class Listening(Feed):
        def __init__(self, split, *arguments):
            splits.append(Split(split.images.cpu(), split.labels.cpu(), split.ids))
            super().__init__(split, *arguments)

    monkeypatch.setattr(training_setup, "Feed", Listening)
    return splits


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_exactly_the_share_of_the_labels_is_wrong(tmp_path, data, seen, share):
    train(tiny(label_noise=share, max_steps=1), tmp_path / "a")
    (split,) = seen
    assert torch.equal(split.ids, data.train.ids) and torch.equal(split.images, data.train.images)
    assert (split.labels != data.train.labels).sum().item() == round(share * len(data.train))
    # What is measured with keeps its right labels.
    examples = load_file(tmp_path / "a" / "examples.safetensors")
    assert torch.equal(examples["labels"], data.validation.labels)


def test_wrong_labels_are_among_the_pictures_that_are_used(tmp_path, data, seen):
    train(tiny(label_noise=0.5, train_limit=50, max_steps=1), tmp_path / "a")
    train(tiny(train_limit=50, max_steps=1), tmp_path / "b")
    noisy, clean = seen
    assert len(noisy) == 50 and torch.equal(noisy.ids, clean.ids)
    assert (noisy.labels != clean.labels).sum().item() == 25
    places = [data.train.ids.tolist().index(number) for number in clean.ids.tolist()]
    assert torch.equal(clean.labels, data.train.labels[places]) and places == sorted(set(places))


def test_corrections_reach_the_right_pictures_of_every_split(data):
    splits = ("train", "validation", "test")
    relabelled, dropped = {}, []
    for name in splits:
        split = getattr(data, name)
        relabelled[int(split.ids[1])] = (int(split.labels[1]) + 2) % 6
        dropped.append(int(split.ids[4]))
    config = tiny(corrections={str(number): label for number, label in (relabelled | dict.fromkeys(dropped)).items()})
    corrected = load_data(config)
    for name in splits:
        before, after = getattr(data, name), getattr(corrected, name)
        expected = {
            number: relabelled.get(number, label)
            for number, label in zip(before.ids.tolist(), before.labels.tolist(), strict=True)
            if number not in dropped
        }
        assert dict(zip(after.ids.tolist(), after.labels.tolist(), strict=True)) == expected
        kept = torch.tensor([number not in dropped for number in before.ids.tolist()])
        assert torch.equal(after.images, before.images[kept]) and len(after) == len(before) - 1


def test_corrections_are_trained_on(tmp_path, data, seen):
    number, wrong = int(data.train.ids[0]), (int(data.train.labels[0]) + 1) % 6
    shown = int(data.validation.ids[0])
    train(tiny(corrections={str(number): wrong, str(shown): None}, max_steps=1), tmp_path / "a")
    (split,) = seen
    assert split.labels[split.ids == number].tolist() == [wrong]
    assert shown not in load_file(tmp_path / "a" / "examples.safetensors")["ids"].tolist()
    assert json.loads((tmp_path / "a" / "config.json").read_text())["corrections"] == {
        str(min(number, shown)): wrong if number < shown else None,
        str(max(number, shown)): wrong if number > shown else None,
    }


def test_the_svm_loss_trains(tmp_path):
    result = train(tiny(loss="svm", learning_rate=0.02, epochs=6), tmp_path / "a")
    lines = epoch_lines(tmp_path / "a")
    assert result.test_accuracy > 0.5 and lines[-1]["train_loss"] < 0.5 * lines[0]["train_loss"]


def test_label_smoothing_is_not_part_of_what_is_measured(tmp_path):
    """Validation losses of smoothed and plain trainings are to be compared; only the training loss is smoothed."""
    still = {"learning_rate": 1e-8, "max_steps": 7, "weight_decay": 0.0}
    for name, smoothing in (("plain", 0.0), ("smooth", 0.5)):
        train(tiny(**still, label_smoothing=smoothing), tmp_path / name)
    plain, smooth = (epoch_lines(tmp_path / name)[-1] for name in ("plain", "smooth"))
    assert smooth["val_loss"] == pytest.approx(plain["val_loss"], rel=1e-4)
    assert smooth["train_loss"] != pytest.approx(plain["train_loss"], rel=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_compiling_is_an_option_that_leaves_no_trace_in_the_names(tmp_path, monkeypatch, precision):
    """With the backend that compiles nothing, for a machine without a compiler; all around it is the real thing."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    train(tiny(compile=True, max_steps=2, precision=precision), tmp_path / "a")
    train(tiny(max_steps=2, precision=precision), tmp_path / "b")
    compiled, plain = (load_file(tmp_path / name / "weights.safetensors") for name in "ab")
    assert compiled.keys() == plain.keys()
    assert all(torch.equal(compiled[name], tensor) for name, tensor in plain.items())


def test_a_network_trained_in_half_precision_is_measured_in_float32(tmp_path):
    result = train(tiny(precision="bfloat16"), tmp_path / "a")
    assert result.weights_sha256 != train(tiny(), tmp_path / "b").weights_sha256
    model, _, preprocessing = load_run_model(tmp_path / "a")
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    examples = load_file(tmp_path / "a" / "examples.safetensors")
    with torch.no_grad():
        logits = model(preprocessing.normalize(examples["images"].float() / 255))
    predictions = load_file(tmp_path / "a" / "predictions.safetensors")["logits"]
    torch.testing.assert_close(predictions, logits, rtol=1e-4, atol=1e-4)
    assert json.loads((tmp_path / "a" / "environment.json").read_text())["precision"] == "bf16"


def layer_lines(run_dir) -> list[dict]:
    return [line for line in read_run(run_dir.parent, run_dir.name).metrics if line["kind"] == "layers"]


def channels(line: dict) -> dict[str, tuple]:
    """What a line says about the channels of each activation."""
    fields = ("dead", "saturated", "channels")
    return {each["name"]: tuple(each[key] for key in fields) for each in line["layers"] if "channels" in each}


def test_dead_and_saturated_channels_are_those_of_the_network_on_validation_pictures(tmp_path, data, monkeypatch):
    monkeypatch.setattr(loop, "HEALTH_PICTURES", 20)
    options = {"model": {"channels": [8, 12], "activation": "tanh", "norm": "none"}, "learning_rate": 0.5}
    train(tiny(**options), tmp_path / "a")
    model, _, preprocessing = load_run_model(tmp_path / "a")
    pixels = preprocessing.normalize(data.validation.images[:20].float() / 255)
    expected = {each.name: (each.dead, each.saturated, each.channels) for each in measure_health(model, pixels)}
    found = channels(layer_lines(tmp_path / "a")[-1])
    assert found == expected and [each[2] for each in found.values()] == [8, 12]


def test_a_network_whose_channels_died_says_so(tmp_path):
    # A step that is far too long leaves every unit below zero.
    train(tiny(model={"channels": [8, 12], "norm": "none"}, learning_rate=20.0, max_steps=1), tmp_path / "a")
    dead = [each[0] for each in channels(layer_lines(tmp_path / "a")[-1]).values()]
    assert sum(dead) > 3


def test_looking_for_dead_channels_changes_nothing(tmp_path, monkeypatch):
    options = {"model": {"channels": [8, 12], "dropout": 0.3}, "augment": True, "clip_norm": 1.0}
    monkeypatch.setattr(recorder, "EPOCH_SECONDS", 0.0)
    monkeypatch.setattr("models.training.recorder.LONGER", 0)
    watched = train(tiny(**options), tmp_path / "a")
    assert all(channels(line) for line in layer_lines(tmp_path / "a"))
    monkeypatch.setattr(loop, "measure_health", lambda module, inputs: [])
    assert train(tiny(**options), tmp_path / "b").weights_sha256 == watched.weights_sha256
    assert not any(channels(line) for line in layer_lines(tmp_path / "b"))


def test_dead_channels_are_looked_for_where_an_epoch_is_kept_and_on_few_values(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(recorder, "EPOCH_SECONDS", 1e9)  # the first and the last epoch
    monkeypatch.setattr(loop, "HEALTH_VALUES", 5 * 3 * 32 * 32 + 1)
    monkeypatch.setattr(loop, "measure_health", lambda module, inputs: seen.append(inputs.shape) or [])
    train(tiny(), tmp_path / "a")
    assert seen == [(5, 3, 32, 32)] * 2


def test_weights_are_kept_every_so_many_steps(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        train(tiny(snapshot_every=5), tmp_path / "a")
    kept = [int(path.stem) for path in sorted((tmp_path / "a" / "snapshots").iterdir())]
    assert kept == [0, 5, 10, 15, 20, 21] and not caplog.messages


@pytest.mark.parametrize(
    ("bounds", "kept"), [({"MAX_SNAPSHOTS": 4}, [0, 10, 20, 21]), ({"MAX_SNAPSHOT_BYTES": 100}, [])], ids=str
)
def test_what_is_not_kept_is_said(tmp_path, monkeypatch, caplog, bounds, kept):
    for name, value in bounds.items():
        monkeypatch.setattr(recorder, name, value)
    with caplog.at_level(logging.WARNING):
        train(tiny(snapshot_every=5), tmp_path / "a")
    folder = tmp_path / "a" / "snapshots"
    assert [int(path.stem) for path in sorted(folder.glob("*"))] == kept
    check_sentence(*caplog.messages)


def test_processes_wait_for_each_other_as_long_as_a_queue_may_last(tmp_path):
    """The first one stands in the line for its device; PyTorch would end the others after half an hour."""
    (tmp_path / "a").mkdir()
    with accelerated(tiny(), "cpu", tmp_path / "a") as accelerator:
        assert accelerator.init_handler.timeout >= timedelta(days=7)
