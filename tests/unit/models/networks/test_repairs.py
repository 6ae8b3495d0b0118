"""Arms: what each changes, that every weight carries over, and why some do not apply."""

from dataclasses import asdict, replace

import pytest
import torch

from models.networks.parts import POOLING
from models.networks.repairs import ARMS, CHANGES, find_arm, list_arms
from models.networks.resnet import ResNetConfig
from models.networks.small_cnn import SmallCNNConfig
from models.networks.table import ARCHITECTURES
from models.training.config import TrainingConfig
from models.training.warm_start import adopt_weights
from tests.sentences import refused

STARTS = {
    "small_cnn": SmallCNNConfig(image_size=16, channels=(4, 6, 8), head="flatten"),
    "resnet": ResNetConfig(image_size=32, num_classes=10, in_channels=1),
}


def make(architecture: str, config):
    return ARCHITECTURES[architecture][1](config).eval()


@pytest.mark.parametrize("name", ARMS)
@pytest.mark.parametrize("architecture", STARTS)
def test_every_arm_is_a_network_that_takes_the_start_weights(name, architecture):
    start = STARTS[architecture]
    arm = next(arm for arm in list_arms(start) if arm.name == name)
    assert arm.title and arm.explanation
    if arm.obstacle:
        assert architecture == "resnet" and "gap" in ARMS[name] and arm.config is None
        return
    model = make(architecture, arm.config)
    fresh = adopt_weights(model, make(architecture, start).state_dict())
    assert bool(fresh) == ("gap" in ARMS[name])
    assert model(torch.rand(2, 1, start.image_size, start.image_size)).shape == (2, 10)
    TrainingConfig(architecture=architecture, model=arm.config.chosen, image_size=start.image_size)


def test_what_arms_change():
    start = STARTS["small_cnn"]

    def changed(name: str, **options) -> dict:
        config = find_arm(name, start, **options).config
        return {key: value for key, value in asdict(config).items() if value != asdict(start)[key]}

    assert changed("as_is") == changed("shift_augment") == {}
    assert changed("circular") == {"padding_mode": "circular"}
    assert changed("gap") == {"head": "gap"}
    assert changed("blur", blur_size=5) == {"pooling": "blur", "blur_size": 5}
    assert changed("circular_aps_gap") == {"padding_mode": "circular", "pooling": "aps", "head": "gap"}
    assert changed("circular_aps_shift") == changed("circular_aps") == {"padding_mode": "circular", "pooling": "aps"}
    moving = [arm.name for arm in list_arms(start) if arm.shifts_pictures]
    assert moving == ["shift_augment", "blur_shift", "gap_shift", "circular_shift", "circular_aps_shift"]


@pytest.mark.parametrize("pooling", POOLING)
def test_max_pooling_stays_max_pooling_and_a_stride_does_not_become_one(pooling):
    start = replace(STARTS["small_cnn"], pooling=pooling)
    ending = "" if pooling in ("max", "blur", "aps") else "_stride"
    for arm in ("blur", "aps"):
        expected = arm + ending
        if pooling != expected:
            assert find_arm(arm, start).config.pooling == expected


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (SmallCNNConfig(), "gap"),
        (SmallCNNConfig(head="scan"), "circular_gap"),
        (SmallCNNConfig(padding_mode="circular"), "circular_aps"),
        (SmallCNNConfig(pooling="aps"), "aps"),
        (SmallCNNConfig(pooling="blur"), "blur"),
        (ResNetConfig(), "gap"),
        (SmallCNNConfig(channels=(4,) * 5, kernel_size=5), "circular"),
        (SmallCNNConfig(), "nothing"),
    ],
)
def test_arms_that_do_not_apply_say_why(config, name):
    with refused():
        find_arm(name, config)


def test_another_filter_size_is_a_change():
    assert find_arm("blur", SmallCNNConfig(pooling="blur"), blur_size=4).config.blur_size == 4


def test_arms_are_made_of_known_changes():
    assert {change for changes in ARMS.values() for change in changes} == CHANGES.keys()
