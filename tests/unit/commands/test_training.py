"""Options of `train`, and `train --find-rate`."""

import errno
import json
from pathlib import Path

import pytest

from models.runs.run import list_runs, read_run
from models.runs.writer import RunWriter
from models.training.config import TrainingConfig
from models.training.lr_finder import STEPS

TINY = ("--dataset", "shapes", "--num-images", 120, "--image-size", 8, "--channels", "4", "--max-steps", 2)


def test_every_field_of_the_configuration_has_an_option(run, root):
    """Corrections come from the page; the device and the data root also from the environment."""
    options = {
        "--min-size": 0.3,
        "--max-size": 0.4,
        "--split-seed": 7,
        "--shift-augment": "circular",
        "--seed": 3,
        "--label-noise": 0.1,
        "--clip-norm": 2,
        "--snapshot-every": 9,
    }
    code, _, err = run(
        "train", "--name", "a", *TINY, *(x for pair in options.items() for x in pair), "--no-snapshots"
    )
    assert code == 0, err
    config = TrainingConfig.from_dict(read_run(root, "a").config)
    assert (config.shapes.min_size, config.shapes.max_size) == (0.3, 0.4)
    assert (config.split_seed, config.shift_augment, config.snapshots) == (7, "circular", False)
    assert (config.seed, config.label_noise, config.clip_norm, config.snapshot_every) == (3, 0.1, 2.0, 9)
    assert not list((root / "a").glob("snapshots/*"))


def test_options_in_pairs(run, root):
    pairs = (
        "--set",
        "activation=tanh",
        "--set",
        "dropout = 0.25",
        "--augment-by",
        "flip=1",
        "--augment-by",
        "crop=0.4",
    )
    code, _, err = run("train", "--name", "a", *TINY, *pairs)
    assert code == 0, err
    config = TrainingConfig.from_dict(read_run(root, "a").config)
    assert (config.model["activation"], config.model["dropout"]) == ("tanh", 0.25)
    assert (config.augment.flip, config.augment.crop, config.augment.rotate) == (1.0, 0.4, 0.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--set", "dropout"), "--set takes NAME=VALUE, not 'dropout'"),
        (("--set", "colour=1"), "colour"),
        (("--augment-by", "flip"), "--augment-by takes NAME=VALUE"),
        (("--augment-by", "flip=much"), "flip must be a number, not 'much'"),
        (("--arch", "linear", "--dropout", "0.5"), "linear has no options, so dropout cannot be set"),
    ],
)
def test_pairs_that_say_nothing_are_refused(run, root, options, words):
    code, _, err = run("train", "--name", "a", "--dataset", "shapes", "--num-images", 120, *options)
    assert code == 2 and words in err
    assert list_runs(root) == []


def test_a_run_can_go_on_from_another_folder(run, root, tmp_path, monkeypatch, own_pictures):
    """Its configuration has whole paths."""
    code, _, err = run("train", "--name", "a", "--dataset", own_pictures.name, "--image-size", 8, "--max-steps", 1)
    assert code == 0, err
    config = read_run(root, "a").config
    assert Path(config["dataset"]) == own_pictures and Path(config["data_root"]).is_absolute()


@pytest.fixture
def own_pictures(tmp_path) -> Path:
    """A folder with five pictures of each of two classes."""
    from PIL import Image

    for number, name in enumerate(("cats", "dogs")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(5):
            Image.new("RGB", (9, 9), (40 * index, 90 * number, 7)).save(tmp_path / "pets" / name / f"{index}.png")
    return tmp_path / "pets"


def test_find_rate_suggests_and_leaves_no_run(run, root):
    code, out, err = run("train", "--name", "a", *TINY, "--find-rate", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert set(document) == {"rates", "losses", "suggestion"}
    assert 20 < len(document["rates"]) == len(document["losses"]) <= STEPS
    assert list_runs(root) == []
    code, out, _ = run("train", "--name", "a", *TINY, "--find-rate")
    assert code == 0 and out.startswith(("suggested: --learning-rate", "the loss never fell"))


def test_find_rate_that_fails_leaves_no_run(run, root, monkeypatch):
    assert run("train", "--name", "a", "--dataset", "none.zip", "--find-rate")[0] == 2
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = run("train", "--name", "a", *TINY, "--find-rate")
    assert code == 2 and "one process" in err
    assert list_runs(root) == []


def test_find_rate_on_a_full_disk_says_so_and_leaves_no_run(run, root, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunWriter, "update", fail)
    monkeypatch.setattr(RunWriter, "__exit__", fail)
    code, _, err = run("train", "--name", "a", *TINY, "--find-rate")
    assert code == 2 and "The run a cannot be written (No space left on device)." in err
    assert not (root / "a").exists()


DIGITS = ("--dataset", "digits", "--max-steps", 1, "--start-from", "fashion_cnn")


def test_a_training_that_starts_from_a_model_has_its_network(run, root):
    code, _, err = run("train", "--name", "a", *DIGITS)
    assert code == 0, err
    found = read_run(root, "a")
    assert found.config["model"]["channels"] == [32, 64, 128] and found.config["image_size"] == 28
    code, _, err = run("train", "--name", "b", *DIGITS[:-1], "run/a", "--dropout", "0.5", "--image-size", 28)
    assert code == 0, err
    config = read_run(root, "b").config
    assert (config["model"]["channels"], config["model"]["dropout"]) == ([32, 64, 128], 0.5)


def test_what_is_given_goes_before_the_network_of_the_start(run, root):
    code, _, err = run("train", "--name", "a", *DIGITS, "--channels", "4,8")
    assert code == 2 and "start weights do not fit" in err and "features.0" in err
    assert read_run(root, "a").config["model"]["channels"] == [4, 8]
    code, _, err = run("train", "--name", "b", *DIGITS, "--arch", "lenet5")
    assert code == 2 and "start weights do not fit" in err
    assert read_run(root, "b").config["architecture"] == "lenet5"


def test_arms_that_start_from_a_model_have_its_network(run, root):
    base = {"dataset": "digits", "max_steps": 1, "start_from": "fashion_cnn", "snapshots": False, "train_limit": 64}
    code, out, err = run(
        "arms", "--name", "c", "--vary", "optimizer=sgd,adam", "--base", json.dumps(base), "--seeds", 1
    )
    assert code == 0, err
    assert "failed" not in out
    assert read_run(root, "c").config["base"]["model"]["channels"] == [32, 64, 128]
