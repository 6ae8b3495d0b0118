"""Every field of a training's settings: what it may be, what it may not, and that files keep it."""

import json
import math
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.errors import UserError
from models.data.augment.augment import SHIFT_AUGMENTS, TRANSFORMS, AugmentConfig
from models.data.datasets import DATASETS, OWN_PICTURES
from models.data.shapes import ShapesConfig
from models.devices import DEVICES
from models.networks.small_cnn import SmallCNNConfig
from models.networks.table import ARCHITECTURES
from models.training.config import TrainingConfig
from models.training.optimization import LOSSES, OPTIMIZERS, SCHEDULES
from models.training.precision import PRECISIONS
from models.training.trackers import TRACKERS
from tests.sentences import refused

NUMBERS = {
    "learning_rate": (1e-8, 100.0),
    "weight_decay": (0.0, 10.0),
    "l1": (0.0, 10.0),
    "label_smoothing": (0.0, 0.9),
    "label_noise": (0.0, 1.0),
    "clip_norm": (1e-6, 1e6),
}
INTEGERS = {
    "epochs": (1, 1000),
    "batch_size": (2, 8192),
    "accumulate": (1, 256),
    "seed": (0, 2**32 - 1),
    "image_size": (8, 512),
    "train_limit": (1, 10**9),
    "max_steps": (1, 10**9),
    "split_seed": (0, 2**32 - 1),
    "patience": (1, 1000),
    "snapshot_every": (1, 10**9),
}
OPTIONAL = {"clip_norm", "start_from"}
OPTIONAL |= {"image_size", "train_limit", "max_steps", "split_seed", "patience", "snapshot_every"}
CHOICES = {
    "architecture": ARCHITECTURES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "loss": LOSSES,
    "precision": PRECISIONS,
    "device": DEVICES,
    "shift_augment": SHIFT_AUGMENTS,
}
FLAGS = ("compile", "snapshots", "validate_often")
OTHERS = ("dataset", "model", "augment", "corrections", "data_root", "shapes", "start_from", "trackers")
NAMES = [field.name for field in fields(TrainingConfig)]


def read_again(config: TrainingConfig) -> TrainingConfig:
    return TrainingConfig.from_dict(json.loads(json.dumps(config.to_dict(), allow_nan=False)))


def test_no_field_is_forgotten_here():
    assert {*NUMBERS, *INTEGERS, *CHOICES, *FLAGS, *OTHERS} == set(NAMES)


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_within_their_bounds(name):
    low, high = NUMBERS[name]
    for value in (low, high, (low + high) / 2):
        assert getattr(TrainingConfig(**{name: value}), name) == value
    below, above = math.nextafter(low, -math.inf), math.nextafter(high, math.inf)
    for value in (below, above, math.nan, math.inf, -math.inf, -1.0, True, "0.1", [0.1]):
        with refused(name, f"{low:g} to {high:g}", varies="not .*"):
            TrainingConfig(**{name: value})


@pytest.mark.parametrize("name", INTEGERS)
def test_whole_numbers_within_their_bounds(name):
    low, high = INTEGERS[name]
    if name != "image_size":  # the network needs some, too
        assert getattr(TrainingConfig(**{name: low}), name) == low
    assert getattr(TrainingConfig(**{name: high}), name) == high
    for value in (low - 1, high + 1, float(low), True, str(low), math.nan, 10**400):
        with refused(name, f"{low} to {high}", varies="not .*") as caught:
            TrainingConfig(**{name: value})
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", [*NUMBERS, *INTEGERS, *CHOICES, *FLAGS, *OTHERS])
def test_only_some_fields_may_be_empty(name):
    if name in OPTIONAL:
        assert getattr(TrainingConfig(**{name: None}), name) is None
    else:
        with refused():
            TrainingConfig(**{name: None})


@pytest.mark.parametrize("name", CHOICES)
def test_choices_are_those_of_their_tables(name):
    for choice in CHOICES[name]:
        config = TrainingConfig(dataset="shapes", **{name: choice})  # 32 pixels are enough for every network
        assert getattr(config, name) == choice
    for value in ("", "SGD", "cross entropy", 3, ["sgd"], True):
        with refused(name, ", ".join(CHOICES[name]), varies="not .*"):
            TrainingConfig(**{name: value})


@pytest.mark.parametrize("name", FLAGS)
def test_flags_are_true_or_false(name):
    for value in (True, False):
        assert getattr(TrainingConfig(**{name: value}), name) is value
    for value in (0, 1, "true"):
        with refused(name, varies="not .*"):
            TrainingConfig(**{name: value})


@pytest.mark.parametrize(
    "options",
    [
        {"dataset": 3},
        {"model": [1]},
        {"model": {"image_size": 8}},
        {"model": {"in_channels": 1}},
        {"model": {"norm": "best"}},
        {"augment": "yes"},
        {"augment": 0.5},
        {"augment": {"flip": 2}},
        {"augment": {"spin": 1}},
        {"corrections": [3]},
        {"corrections": {"x": 1}},
        {"corrections": {"-1": 1}},
        {"corrections": {"²": 1}},
        {"corrections": {3: "cat"}},
        {"corrections": {3: -1}},
        {"corrections": {3: True}},
        pytest.param({"corrections": dict.fromkeys(range(100_001))}, id="100,001 corrections"),
        {"trackers": "tensorboard"},
        {"trackers": ["wandb"]},
        {"trackers": [["tensorboard"]]},
        {"shapes": {"num_images": 1}},
        {"start_from": ["run/a"]},
        {"data_root": 3},
        {"loss": "svm", "label_smoothing": 0.1},
        {"image_size": 8, "model": {"channels": [4] * 5}},
    ],
    ids=str,
)
def test_what_is_no_plain_number_is_refused_in_words(options):
    with refused():
        TrainingConfig(**options)


@pytest.mark.parametrize("values", [None, [], "x", 3, [("epochs", 3)]])
def test_what_is_no_table_is_refused(values):
    with refused():
        TrainingConfig.from_dict(values)


def test_an_unknown_name_is_refused_with_those_that_there_are():
    with refused("learning-rate", *NAMES):
        TrainingConfig.from_dict({"learning-rate": 0.1})


def test_the_svm_loss_goes_without_smoothing():
    assert TrainingConfig(loss="svm", label_smoothing=0.0).loss == "svm"
    assert TrainingConfig(loss="svm", label_smoothing=0).loss == "svm"


def test_the_size_of_the_pictures():
    for name, spec in DATASETS.items():
        assert TrainingConfig(dataset=name).picture_size == spec.image_size
    assert TrainingConfig(dataset="/some/folder").picture_size == OWN_PICTURES.image_size
    assert TrainingConfig(dataset="shapes", image_size=48).picture_size == 48
    transfer = {"architecture": "transfer", "model": {"backbone": "efficientnet_lite0"}}
    assert TrainingConfig(dataset="/some/folder", **transfer).picture_size == 224  # what the backbone is used to
    assert TrainingConfig(dataset="/some/folder", image_size=64, **transfer).picture_size == 64


def test_tables_from_files_become_what_they_stand_for():
    config = TrainingConfig(
        augment={"flip": 1, "noise": 0.25},
        corrections={"12": 3, 7: None},
        trackers=["trackio", "trackio", "tensorboard"],
        shapes={"num_images": 100},
    )
    assert config.augment == AugmentConfig(flip=1.0, noise=0.25)
    assert config.corrections == {"7": None, "12": 3} and list(config.corrections) == ["7", "12"]
    assert config.trackers == ("trackio", "tensorboard")
    assert config.shapes == ShapesConfig(num_images=100)
    assert read_again(config) == config


def test_picture_numbers_have_one_form():
    assert TrainingConfig(corrections={"007": 1}) == TrainingConfig(corrections={7: 1})


strengths = st.dictionaries(st.sampled_from(list(TRANSFORMS)), st.floats(0, 1))
ids = st.integers(0, 10**9)


@st.composite
def configs(draw) -> dict:
    values = {name: draw(st.sampled_from(list(CHOICES[name]))) for name in CHOICES if name != "architecture"}
    values |= {name: draw(st.floats(*NUMBERS[name])) for name in NUMBERS}
    values |= {name: draw(st.integers(*INTEGERS[name])) for name in INTEGERS if name != "image_size"}
    values |= {name: draw(st.booleans()) for name in FLAGS}
    for name in OPTIONAL & values.keys():
        if draw(st.booleans()):
            values[name] = None
    if values["loss"] == "svm":
        values["label_smoothing"] = 0.0
    return values | {
        "dataset": draw(st.sampled_from([*DATASETS, "/own/Käfer.zip"])),
        "model": draw(st.sampled_from([{}, {"channels": [4, 8]}, {"head": "flatten", "dropout": 0.5}])),
        "augment": draw(st.booleans() | strengths),
        "corrections": draw(st.dictionaries(ids | ids.map(str), st.none() | st.integers(0, 99), max_size=6)),
        "trackers": draw(st.lists(st.sampled_from(list(TRACKERS)), max_size=3)),
        "start_from": draw(st.none() | st.just("run/a")),
        "shapes": {"num_images": draw(st.integers(60, 200_000)), "occlusion": draw(st.floats(0, 0.9))},
    }


@settings(max_examples=40)
@given(values=configs())
def test_everything_survives_a_file(values):
    config = TrainingConfig.from_dict(values)
    again = read_again(config)
    assert again == config and again.to_dict() == config.to_dict()
    assert set(config.to_dict()) == set(NAMES)
    for name in (*CHOICES, *NUMBERS, *INTEGERS, *FLAGS):
        if name in values:
            assert getattr(again, name) == values[name]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200)
@given(name=st.sampled_from(NAMES), value=json_values)
def test_whatever_a_file_says_is_taken_or_refused_in_words(name, value):
    try:
        config = TrainingConfig.from_dict({name: value})
    except UserError as error:
        assert str(error).endswith(".") and len(str(error)) < 1000
    else:
        assert read_again(config) == config


def test_a_file_names_every_option_of_the_network():
    config = TrainingConfig(architecture="mlp", model={"hidden": (7,)})
    assert config.to_dict()["model"] == {"hidden": [7], "norm": "none", "dropout": 0.0, "activation": "relu"}


def test_equal_are_those_that_mean_the_same():
    config = TrainingConfig(model={"head": "gap"})
    assert config == TrainingConfig() == TrainingConfig(model={"channels": list(SmallCNNConfig().channels)})
    assert config != TrainingConfig(model={"head": "flatten"}) and config != TrainingConfig(seed=1)
    assert config != config.to_dict()


def test_the_defaults_are_a_training():
    assert read_again(TrainingConfig()) == TrainingConfig()
    assert TrainingConfig.from_dict({}) == TrainingConfig()
