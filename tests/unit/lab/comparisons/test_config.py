"""What can be compared: every preset, every variation, equal sizes, and refusals in words."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.errors import UserError
from lab.comparisons.claims import PRESETS, configure_preset
from lab.comparisons.config import Arm, ArmsConfig, DataFacts, match_mlp
from lab.comparisons.sentences import QUESTIONS
from lab.comparisons.variations import VARIATIONS, vary
from models.data.datasets import DATASETS
from models.networks.mlp import MLP, MLPConfig
from models.networks.small_cnn import SmallCNN
from models.networks.table import ARCHITECTURES
from models.training.config import TrainingConfig
from tests.sentences import refused

FACTS = {
    "fashion_mnist": DataFacts(55_000, 10, 1, 28),
    "shapes": DataFacts(5600, 6, 3, 32),
}
ABLE = {"backbone": "transfer"}
"""Architectures that have an option which the small CNN has not."""


def test_config_round_trip_through_json():
    for name in PRESETS:
        config = configure_preset(name)
        again = ArmsConfig.from_dict(json.loads(json.dumps(config.to_dict())))
        assert again == config and json.loads(json.dumps(again.to_dict())) == config.to_dict()


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name):
    config = configure_preset(name, 2, {"seed": 7, "epochs": 1})
    assert config.all_seeds == (7, 8) and config.base.epochs == 1 and config.claim and config.question in QUESTIONS
    facts = FACTS[config.dataset]
    trainings = [arm.configure(config.base, facts) for arm in config.arms]
    assert len({str(training.to_dict()) for training in trainings}) == len(config.arms)
    for training in trainings:
        changed = {key for key, value in training.to_dict().items() if value != config.base.to_dict()[key]}
        assert changed <= {"model", "architecture", "augment", "loss", "label_noise", "image_size"}
        assert training.seed == 7 and training.picture_size == config.base.picture_size


def test_a_preset_on_own_pictures_takes_all_of_them():
    assert configure_preset("frozen_unfrozen").base.train_limit is not None
    config = configure_preset("frozen_unfrozen", base={"dataset": "/somewhere/fruit.zip"})
    assert (config.dataset, config.base.train_limit) == ("/somewhere/fruit.zip", None)


def test_data_in_their_own_place_win():
    config = configure_preset("bn_faster")
    moved = ArmsConfig.from_dict({**config.to_dict(), "dataset": "upload/pictures.zip"})
    assert moved.base.dataset == moved.dataset == "upload/pictures.zip" and config.dataset in DATASETS


@pytest.mark.parametrize("name", VARIATIONS)
def test_variations(name):
    variation = VARIATIONS[name]
    base = TrainingConfig(
        architecture=ABLE.get(name, "small_cnn"), data_root="d", image_size=64 if name in ABLE else None
    )
    assert variation.obstacle(base) == ""
    texts = variation.suggest(base)
    config = vary(base, name, texts, 2)
    assert len(config.arms) == len(texts) >= 2 and config.question == variation.question in QUESTIONS
    facts = DataFacts(1000, 10, 1, base.image_size or 28)
    trainings = [arm.configure(base, facts) for arm in config.arms]
    assert len({str(training.to_dict()) for training in trainings}) == len(texts)
    assert json.loads(json.dumps(config.to_dict())) == config.to_dict()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", VARIATIONS)
def test_every_network_has_an_obstacle_or_values(architecture, name):
    variation, base = VARIATIONS[name], TrainingConfig(architecture=architecture, image_size=64)
    if obstacle := variation.obstacle(base):
        assert "has no such option" in obstacle and "these have: " in obstacle
        assert architecture not in obstacle.partition("these have: ")[2].rstrip(".").split(", ")
        return
    config = vary(base, name, variation.suggest(base))
    facts = DataFacts(1000, 10, 3, 64)
    trainings = [arm.configure(base, facts) for arm in config.arms]
    assert len({arm.name for arm in config.arms}) == len(config.arms) >= 2
    for training in trainings:
        assert training.architecture_config(**facts.shape).num_parameters > 0


def test_a_share_is_one_of_the_pictures_that_the_base_takes():
    arms = vary(TrainingConfig(train_limit=400), "train_fraction", ["1", "0.1"]).arms
    assert [arm.configure(TrainingConfig(train_limit=400), FACTS["shapes"]).train_limit for arm in arms] == [400, 40]
    assert arms[1].configure(TrainingConfig(), FACTS["shapes"]).train_limit == 560


def test_strengths_of_augmentation():
    config = vary(TrainingConfig(), "augmentation", ["none", "flip=1 crop=0.5", "flip"])
    strengths = [arm.configure(config.base).augment for arm in config.arms]
    assert strengths[0] is False and (strengths[1].flip, strengths[1].crop) == (1.0, 0.5) and strengths[2].flip == 1.0


def test_strengths_that_differ_at_the_end_of_a_long_text():
    texts = ["none", "translate=0.2", "translate=0.4", "translate=0.2 crop=0.5"]
    config = vary(TrainingConfig(), "augmentation", texts)
    assert [arm.configure(config.base).augment.translate for arm in config.arms[1:]] == [0.2, 0.4, 0.2]
    assert len({arm.name for arm in config.arms}) == 4
    for text in ("translate=0.4", "translate=0.40"):
        with refused():
            vary(TrainingConfig(), "augmentation", [*texts, text])


def test_what_only_moved_pictures_tell_is_no_question_without_them():
    questions = [
        vary(TrainingConfig(), name, VARIATIONS[name].suggest(TrainingConfig()), shifts=shifts).question
        for name, shifts in (("head", True), ("head", False), ("dropout", False))
    ]
    assert questions == ["translation", "accuracy", "gap"]


def test_an_equal_mlp_takes_the_pictures_that_the_base_network_prefers():
    """A pretrained network has a picture size of its own, an MLP that of the data set."""
    base = TrainingConfig(architecture="transfer", dataset="shapes")
    facts = DataFacts(1000, 6, 3, base.picture_size)
    assert facts.image_size != TrainingConfig(dataset="shapes").picture_size
    trainings = [arm.configure(base, facts) for arm in vary(base, "network", ["base", "mlp", "mlp2"]).arms]
    assert {training.picture_size for training in trainings} == {facts.image_size}
    data = {"num_classes": 6, "in_channels": 3}
    sizes = [t.architecture_config(**data, image_size=t.picture_size).num_parameters for t in trainings]
    assert sizes[1:] == pytest.approx([sizes[0]] * 2, rel=0.05)


@settings(max_examples=40)
@given(
    channels=st.lists(st.integers(8, 64), min_size=2, max_size=3),
    head=st.sampled_from(["gap", "flatten"]),
    norm=st.sampled_from(["none", "batch", "layer", "instance"]),
    hidden=st.integers(1, 3),
    data=st.sampled_from(list(FACTS)),
)
def test_an_equal_mlp_has_equally_many_parameters(channels, head, norm, hidden, data):
    facts = FACTS[data]
    base = TrainingConfig(dataset=data, model={"channels": channels, "head": head, "norm": norm})
    wanted = sum(p.numel() for p in SmallCNN(base.architecture_config(**facts.shape)).parameters())
    try:
        options = match_mlp(base, hidden, facts)
    except UserError as error:
        assert f"{wanted:,}" in str(error)
        return
    found = sum(p.numel() for p in MLP(MLPConfig(**options, **facts.shape)).parameters())
    assert abs(found - wanted) <= 0.05 * wanted
    assert len(options["hidden"]) == hidden and options.get("norm", norm) == norm


def test_an_equal_mlp_with_layer_normalisation_has_two_units_at_least():
    base = TrainingConfig(dataset="fashion_mnist", model={"channels": [8, 8], "head": "gap", "norm": "layer"})
    with refused("2"):
        match_mlp(base, 1, FACTS["fashion_mnist"])


def test_presets_of_equal_size_are_within_five_percent():
    config = configure_preset("cnn_vs_mlp")
    facts = FACTS[config.dataset]
    counts = [
        arm.configure(config.base, facts).architecture_config(**facts.shape).num_parameters for arm in config.arms
    ]
    assert abs(counts[0] - counts[1]) <= 0.05 * counts[1]


@pytest.mark.parametrize(
    "values",
    [
        {"arms": [{"name": "a", "title": "A"}]},
        {"arms": [{"name": "a", "title": "A"}] * 2},
        {"arms": [{"name": "../a", "title": "A"}, {"name": "b", "title": "B"}]},
        {"arms": [{"name": "a", "title": ""}, {"name": "b", "title": "B"}]},
        {"arms": [{"name": "a", "title": "A", "changes": {"seed": 1}}, {"name": "b", "title": "B"}]},
        {"arms": [{"name": "a", "title": "A", "changes": {"x": 1}}, {"name": "b", "title": "B"}]},
        {"arms": [{"name": "a", "title": "A", "changes": {"model": {"norm": "x"}}}, {"name": "b", "title": "B"}]},
        {"arms": [{"name": "a", "title": "A", "changes": {"train_fraction": 2}}, {"name": "b", "title": "B"}]},
        {"seeds": 0},
        {"question": "why"},
        {"direction": 2},
        {"shifts": 1},
        pytest.param({"claim": "x" * 1000}, id="a claim of 1000 letters"),
        {"colour": 1},
        {"base": {"epochs": 0}},
        {"base": {"seed": 2**32 - 1}},
    ],
    ids=str,
)
def test_bad_settings_are_refused_in_words(values):
    good = {"base": {}, "arms": [{"name": "a", "title": "A"}, {"name": "b", "title": "B", "changes": {"l1": 0.1}}]}
    ArmsConfig.from_dict(good)
    with refused():
        ArmsConfig.from_dict({**good, **values})


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("colour", ["1", "2"]),
        ("dropout", ["0"]),
        ("dropout", ["0", "high"]),
        ("dropout", ["0", "0"]),
        ("norm", ["batch", "x"]),
        ("weight_decay", ["0", "x"]),
        ("augmentation", ["none", "melt=1"]),
        ("loss", ["svm", "l2"]),
        ("network", ["mlp", "rnn"]),
        ("backbone", ["frozen", "unfrozen"]),
    ],
    ids=str,
)
def test_what_cannot_be_varied(name, texts):
    with refused():
        vary(TrainingConfig(), name, texts)


def test_from_dict_of_no_table():
    for values in ([], None, {"base": {}}):
        with refused():
            ArmsConfig.from_dict(values)
    with refused():
        configure_preset("magic")
    for base in ({"seeds": 5}, {"name": "x"}, {"self": 1}):
        with refused(next(iter(base))):
            configure_preset("bn_faster", base=base)
    with refused("seeds"):
        configure_preset("bn_faster", 0)
    with refused():
        Arm("a", "A", [])
