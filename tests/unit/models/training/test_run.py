"""Training through the real loop, on tiny data: reproducible, tidy, and clear about what goes wrong."""

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.checkpoints import load_run_model
from models.data.datasets import load_dataset
from models.data.shapes import ShapesConfig
from models.ordinary_files import read_json
from models.runs import files as run_files
from models.runs.process import record_process
from models.runs.run import read_run, request_stop
from models.runs.submit import create_run
from models.training import loop
from models.training import run as training
from models.training.config import TrainingConfig
from models.training.foreign_runs import plan_again
from models.training.optimization import OPTIMIZERS, one_cycle
from models.training.run import resume, train
from tests.device import DEVICE
from tests.sentences import refused

TINY = {
    "dataset": "shapes",
    "shapes": {"num_images": 200, "clutter": 0.0, "color": "by_class"},
    "model": {"channels": [8, 12]},
    "epochs": 3,
    "batch_size": 20,
    "device": DEVICE,
}


def tiny(**options) -> TrainingConfig:
    return TrainingConfig.from_dict(TINY | options)


def test_same_seed_same_bytes_and_nothing_else_changes(tmp_path):
    torch.manual_seed(7)
    state = (torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
    flags = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        signal.getsignal(signal.SIGTERM),
        torch.is_grad_enabled(),
    )
    first = train(tiny(augment=True), tmp_path / "a")
    assert torch.equal(torch.random.get_rng_state(), state[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state[1:]
    assert flags == (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        signal.getsignal(signal.SIGTERM),
        torch.is_grad_enabled(),
    )
    torch.manual_seed(8)
    second = train(tiny(augment=True), tmp_path / "b")
    third = train(tiny(augment=True, seed=1), tmp_path / "c")
    assert first.weights_sha256 == second.weights_sha256 != third.weights_sha256
    data = (tmp_path / "a" / "weights.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == first.weights_sha256


def test_what_a_finished_run_leaves(tmp_path):
    heard = []
    config = tiny(epochs=4)
    result = train(config, tmp_path / "a", on_metrics=heard.append)
    run = read_run(tmp_path, "a")
    assert (run.state, result.state, result.run, result.epochs) == ("finished", "finished", "a", 4)
    assert TrainingConfig.from_dict(run.config) == config
    assert run.result["test_accuracy"] == result.test_accuracy > 0.5
    assert run.status["step"] == run.status["total_steps"] == 4 * 7
    assert run.metrics == heard
    epochs = [line for line in run.metrics if line["kind"] == "epoch"]
    assert [line["epoch"] for line in epochs] == [1, 2, 3, 4]
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"] and epochs[-1]["val_accuracy"] == result.val_accuracy

    model, categories, preprocessing = load_run_model(tmp_path / "a")
    data = load_dataset("shapes", data_root="", seed=0, shapes=config.shapes)
    with torch.no_grad():
        logits = model(preprocessing.normalize(data.test.images.float() / 255))
    accuracy = (logits.argmax(1) == data.test.labels).float().mean().item()
    assert accuracy == pytest.approx(result.test_accuracy) and categories == data.categories


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns(tmp_path, optimizer):
    rate = {"sgd": 0.2}.get(optimizer, 0.01)
    options = {"label_smoothing": 0.1, "train_limit": 100, "weight_decay": 1e-4}
    result = train(tiny(optimizer=optimizer, learning_rate=rate, epochs=6, **options), tmp_path / "a")
    assert result.test_accuracy > 0.5
    assert read_run(tmp_path, "a").status["total_steps"] == 6 * 5


def test_max_steps_takes_the_place_of_epochs(tmp_path):
    result = train(tiny(max_steps=10, epochs=1), tmp_path / "a")
    run = read_run(tmp_path, "a")
    assert (run.status["step"], run.status["total_steps"], run.status["epochs"], result.epochs) == (10, 10, 2, 2)
    rates = [line["learning_rate"] for line in run.metrics if line["kind"] == "epoch"]
    assert result.state == "finished" and rates[-1] < rates[0]
    by_steps, by_epochs = train(tiny(max_steps=14), tmp_path / "b"), train(tiny(epochs=2), tmp_path / "c")
    assert by_steps.weights_sha256 == by_epochs.weights_sha256


def test_training_goes_on_from_another_model(tmp_path):
    train(tiny(), tmp_path / "base")
    # So small a rate changes nothing that can be seen: the weights are those of the start.
    still = {"learning_rate": 1e-8, "weight_decay": 0.0, "max_steps": 1, "start_from": "run/base", "seed": 5}
    train(tiny(**still, split_seed=0), tmp_path / "same")
    base, copy = load_run_model(tmp_path / "base"), load_run_model(tmp_path / "same")
    for name, parameter in base[0].named_parameters():
        torch.testing.assert_close(dict(copy[0].named_parameters())[name], parameter, rtol=1e-5, atol=1e-6)
    assert copy[2] == base[2]
    assert read_run(tmp_path, "same").status["new_weights"] == []

    changed = {"channels": [8, 12], "head": "flatten", "pooling": "blur", "padding_mode": "circular"}
    train(tiny(**still, split_seed=0, model=changed), tmp_path / "changed")
    assert read_run(tmp_path, "changed").status["new_weights"] == ["head.classifier.bias", "head.classifier.weight"]
    # Other test pictures were drawn for another seed, but the mean and std are those the weights know.
    train(tiny(**still), tmp_path / "other")
    assert load_run_model(tmp_path / "other")[2].mean == base[2].mean

    with refused("features.1.conv.weight"):
        train(tiny(**still, model={"channels": [8, 16]}), tmp_path / "misfit")
    assert read_run(tmp_path, "misfit").state == "failed"
    with refused("nobody"):
        train(tiny(start_from="run/nobody"), tmp_path / "orphan")


def test_random_shifts_do_not_change_which_pictures_a_step_sees(tmp_path, monkeypatch):
    seen = []
    train_step = loop.train_step

    def note(prepared, meter, step, rate):
        seen.append(prepared.feed.index(step))
        train_step(prepared, meter, step, rate)

    monkeypatch.setattr(loop, "train_step", note)
    options = {"max_steps": 12}
    hashes = [
        train(tiny(**options, **more), tmp_path / name).weights_sha256
        for name, more in [
            ("plain", {}),
            ("blur", {"model": {"channels": [8, 12], "pooling": "blur"}}),
            ("circular", {"shift_augment": "circular"}),
            ("zero", {"shift_augment": "zero"}),
        ]
    ]
    assert len(set(hashes)) == 4 and len(seen) == 48
    for number in range(12):
        assert all(torch.equal(seen[number], seen[number + 12 * arm]) for arm in (1, 2, 3))


def test_a_residual_network_trains(tmp_path):
    options = {"builder": "resnet18", "padding_mode": "circular", "pooling": "aps"}
    train(tiny(architecture="resnet", model=options, max_steps=1, learning_rate=1e-3), tmp_path / "a")
    model = load_run_model(tmp_path / "a")[0]
    assert model.config.pooling == "aps" and model.config.image_size == 32


def test_stop_file_ends_within_a_step_and_leaves_a_model(tmp_path):
    def stop_early(metrics):
        if metrics["epoch"] == 2:
            (tmp_path / "a" / "stop").touch()

    result = train(tiny(epochs=50), tmp_path / "a", on_metrics=stop_early)
    run = read_run(tmp_path, "a")
    assert run.state == result.state == "stopped" and run.has_model
    assert run.status["step"] == 14 and result.epochs == 2 and result.test_accuracy is None
    load_run_model(tmp_path / "a")


def test_a_stop_while_data_are_prepared_is_heard(tmp_path, monkeypatch):
    load, told = training.load_data, []

    def load_and_tell(config, progress):
        progress(0.1, "Reading pictures")
        request_stop(tmp_path / "a")
        told.append(1)
        progress(0.2, "Reading pictures")
        told.append(2)
        return load(config, progress)

    with monkeypatch.context() as patch:
        patch.setattr(training, "load_data", load_and_tell)
        result = train(tiny(), tmp_path / "a")
    run = read_run(tmp_path, "a")
    assert (result.state, run.state, result.epochs, result.weights_sha256) == ("stopped", "stopped", 0, None)
    assert told == [1] and not run.has_model
    assert resume(tmp_path / "a").state == "finished"


def test_a_stop_while_weights_are_downloaded_is_heard(tmp_path, monkeypatch):
    told = []

    def download(net, progress):
        progress(1, 10)
        request_stop(tmp_path / "a")
        told.append(1)
        progress(2, 10)
        told.append(2)

    monkeypatch.setattr("models.training.finetuning.load_backbone_weights", download)
    options = {"architecture": "transfer", "model": {"backbone": "efficientnet_lite0"}, "image_size": 64}
    assert train(tiny(**options), tmp_path / "a").state == read_run(tmp_path, "a").state == "stopped"
    assert told == [1]


def test_loss_that_explodes_is_a_failed_run(tmp_path):
    with refused(varies=r"step \d+|of \d+\.\d+") as caught:
        train(tiny(learning_rate=100.0, model={"channels": [8, 8], "norm": "none"}, epochs=20), tmp_path / "a")
    run = read_run(tmp_path, "a")
    assert (run.state, run.message) == ("failed", str(caught.value))


def test_full_disk_is_a_failed_run(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("models.training.recorder.write_bytes", full)
    with refused("No space left on device"):
        train(tiny(), tmp_path / "a")
    assert read_run(tmp_path, "a").state == "failed"


@pytest.mark.parametrize(
    ("owner", "action", "names"),
    [
        (Path, "replace", {"status.json", "process.json", "weights.safetensors"}),
        (Path, "rename", {"a"}),
        (Path, "unlink", set()),
        (os, "open", {"cpu.lock", "metrics.jsonl"}),
    ],
)
def test_a_network_file_system_that_stumbles_ends_no_training(tmp_path, monkeypatch, owner, action, names):
    """Every file of the run is refused once."""
    original, refused = getattr(owner, action), set()

    def stumble(path, *others, **options):
        target = Path(others[0] if action in ("replace", "rename") else path)
        if target.is_relative_to(tmp_path) and target not in refused:
            refused.add(target)
            raise OSError(errno.ESTALE, "Stale file handle")
        return original(path, *others, **options)

    monkeypatch.setattr(owner, action, stumble)
    monkeypatch.setattr(run_files, "PAUSES", (0.0,))
    assert train(tiny(epochs=1), tmp_path / "a").state == "finished"
    assert refused and names <= {path.name for path in refused}


def test_a_file_system_that_stays_away_is_a_failed_run_with_a_sentence(tmp_path, monkeypatch):
    original = Path.replace

    def refuse(path, target):
        if target.name == "weights.safetensors":
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return original(path, target)

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(run_files, "PAUSES", (0.0,))
    with refused("Stale file handle") as caught:
        train(tiny(epochs=1), tmp_path / "a")
    run = read_run(tmp_path, "a")
    assert (run.state, run.message) == ("failed", str(caught.value)) and str(tmp_path) not in run.message


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_folder_whose_name_is_no_text_is_trained_on(tmp_path):
    """Unpacked from a Korean zip: its bytes are cp949."""
    root = tmp_path / os.fsdecode("사진".encode("cp949"))
    for label in ("cats", "dogs"):
        (root / label).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (16, 16), (number * 20, 0, 99)).save(root / label / f"{number}.png")
    config = tiny(epochs=1, dataset=str(root), image_size=16)
    run_dir = create_run(tmp_path / "runs", "a", config.to_dict())
    assert train(TrainingConfig.from_dict(read_json(run_dir / "config.json")), run_dir).state == "finished"
    run = read_run(tmp_path / "runs", "a")
    assert json.dumps([run.config, run.status], ensure_ascii=False).encode()
    assert plan_again(run, data_root="", device="cpu").dataset == str(root)


def test_a_run_is_not_overwritten(tmp_path):
    train(tiny(epochs=1), tmp_path / "a")
    with refused("a"):
        train(tiny(epochs=1), tmp_path / "a")


def test_a_run_that_waits_in_another_process_is_left_to_it(tmp_path):
    """As a training of the page that stands in the queue, whose name the command line takes by mistake."""
    run_dir = create_run(tmp_path, "a", tiny(epochs=1).to_dict())
    record_process(run_dir, os.getppid())
    before = {path.name: path.read_bytes() for path in run_dir.iterdir()}
    with refused("a"):
        train(tiny(epochs=1), run_dir)
    assert {path.name: path.read_bytes() for path in run_dir.iterdir()} == before
    record_process(run_dir, os.getpid())
    assert train(tiny(epochs=1), run_dir).state == "finished"


def test_a_run_that_waits_with_other_settings_is_another_one(tmp_path):
    run_dir = create_run(tmp_path, "a", tiny(epochs=1).to_dict())
    with refused():
        train(tiny(epochs=2), run_dir)
    assert read_run(tmp_path, "a").state == "queued"
    # What is left to the defaults is the same, however it was written.
    run_dir = create_run(tmp_path / "other", "b", TINY | {"epochs": 1})
    assert train(tiny(epochs=1), run_dir).state == "finished"


def test_one_cycle():
    for total in (1, 2, 7, 100):
        rates = [one_cycle(step, total) for step in range(total)]
        assert all(0 < rate <= 1 for rate in rates)
    assert max(rates) > 0.98 and rates.index(max(rates)) in (24, 25) and rates[-1] < 0.02


def test_config_round_trip_through_json():
    config = tiny(model={"channels": (8, 12), "head": "flatten"}, image_size=24)
    assert TrainingConfig.from_dict(json.loads(json.dumps(config.to_dict()))).to_dict() == config.to_dict()
    assert isinstance(config.shapes, ShapesConfig)
    assert TrainingConfig.from_dict(TrainingConfig().to_dict()) == TrainingConfig()


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"epochs": "5"},
        {"batch_size": 1},
        {"optimizer": "lion"},
        {"learning_rate": float("inf")},
        {"augment": 1},
        {"seed": -1},
        {"device": "tpu"},
        {"architecture": "big"},
        {"model": {"layers": 3}},
        {"model": {"num_classes": 3}},
        {"model": {"channels": [4] * 7}},
        {"model": 5},
        {"shapes": {"position": "up"}},
        {"shapes": 4},
        {"dataset": ""},
        {"data_root": None},
        {"train_limit": 0},
        {"image_size": 2},
        {"start_from": 3},
        {"max_steps": 0},
        {"shift_augment": True},
        {"split_seed": -1},
        {"architecture": "resnet"},
        {"colour": 2},
    ],
    ids=str,
)
def test_bad_settings_are_refused_in_words(options):
    with refused():
        tiny(**options)


def test_unknown_data_set_is_a_failed_run(tmp_path):
    with refused():
        train(tiny(dataset="nowhere"), tmp_path / "a")
    assert read_run(tmp_path, "a").state == "failed"


@pytest.fixture
def own_pictures(tmp_path):
    """Two classes of 12 pictures each; half of the first class is one picture, saved again and again."""
    folder, generator = tmp_path / "own", np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            if number == 0 or name == "dogs" or number > 6:
                picture = Image.fromarray(generator.integers(0, 256, (6, 6, 3), np.uint8)).resize((48, 48))
            picture.save(folder / name / f"{number}.jpg", quality=60 + number)
    return folder


def own(folder, **options) -> TrainingConfig:
    return tiny(dataset=str(folder), shapes=ShapesConfig(), image_size=32, epochs=1, batch_size=4, **options)


def test_copies_among_own_pictures_are_warned_of(own_pictures, tmp_path, caplog):
    train(own(own_pictures), tmp_path / "a")
    warning = read_run(tmp_path, "a").status["warning"]
    assert "look almost like one in another split" in warning and "cats/" in warning and "dogs/" not in warning
    assert warning in caplog.text
    for number in range(1, 7):
        (own_pictures / "cats" / f"{number}.jpg").unlink()
    caplog.clear()
    train(own(own_pictures), tmp_path / "b")
    assert read_run(tmp_path, "b").status["warning"] == "" and "almost" not in caplog.text


def test_what_was_left_out_and_labels_that_contradict_are_said(own_pictures, tmp_path, caplog):
    """In the log, which the command line shows, and in the run's status, which the page shows; also with wrong labels
    on purpose, which are no finding."""
    (own_pictures / "owls").mkdir()
    shutil.copyfile(own_pictures / "dogs" / "3.jpg", own_pictures / "cats" / "copy.jpg")
    train(own(own_pictures, label_noise=0.5), tmp_path / "a")
    left_out, copies, labels = read_run(tmp_path, "a").status["warning"].splitlines()
    assert left_out == "The folder owls was left out: it is empty." and "another split" in copies
    assert labels.startswith("2 pictures") and "cats/copy.jpg" in labels and "dogs/3.jpg" in labels
    assert all(sentence in caplog.text for sentence in (left_out, copies, labels))


def test_the_search_for_copies_can_be_stopped(own_pictures, tmp_path, monkeypatch):
    def stop_there(dataset, progress):
        request_stop(tmp_path / "a")
        progress(0.5, "Looking for copies")

    monkeypatch.setattr(training, "find_near_duplicates", stop_there)
    result = train(own(own_pictures), tmp_path / "a")
    assert (result.state, result.epochs, read_run(tmp_path, "a").state) == ("stopped", 0, "stopped")


def test_drawn_shapes_are_not_searched_for_copies(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "find_near_duplicates", None)
    assert train(tiny(max_steps=1), tmp_path / "a").state == "finished"


MLP = {"architecture": "mlp", "model": {"norm": "batch"}}
RESNET = {"architecture": "resnet", "model": {}, "image_size": 32, "shapes": {"num_images": 60}}


@pytest.mark.parametrize(
    ("options", "batch", "layer"),
    [
        (MLP | {"batch_size": 2, "accumulate": 2}, 2, "hidden.0.norm"),
        (MLP | {"batch_size": 3, "accumulate": 2}, 3, "hidden.0.norm"),
        (MLP | {"train_limit": 1}, 1, "hidden.0.norm"),
        (RESNET | {"batch_size": 2, "accumulate": 2}, 2, "layer4.0.bn1"),
    ],
)
def test_batch_norm_with_one_value_per_channel_is_refused_before_the_first_step(tmp_path, options, batch, layer):
    with refused(f"batch of {batch}", layer) as caught:
        train(tiny(**options, max_steps=3), tmp_path / "a")
    run = read_run(tmp_path, "a")
    assert (run.state, run.message) == ("failed", str(caught.value)) and not run.metrics


@pytest.mark.parametrize(
    "options",
    [
        {"train_limit": 1},  # one picture, but maps with many positions
        MLP | {"batch_size": 4, "accumulate": 2},
        MLP | {"batch_size": 3, "accumulate": 1},
        MLP | {"train_limit": 1, "model": {"norm": "layer"}},
    ],
)
def test_batch_norm_with_two_values_or_more_is_trained(tmp_path, options):
    assert train(tiny(**options, max_steps=2), tmp_path / "a").state == "finished"
