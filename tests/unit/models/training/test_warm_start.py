"""Starting from weights that are there: which models can, what is taken over, and what is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from models.data.preprocessing import Preprocessing
from models.networks.resnet import ResNet, ResNetConfig
from models.networks.small_cnn import SmallCNN, SmallCNNConfig
from models.networks.table import ARCHITECTURES
from models.training.warm_start import Start, adopt_weights, find_start, inherit_network
from models.zoo.torchvision_zoo import torchvision_model
from tests.sentences import refused


def small(**options) -> SmallCNN:
    return SmallCNN(SmallCNNConfig(**{"channels": (4, 6), "num_classes": 3, **options}))


def test_the_bundled_network_is_a_start(tmp_path):
    start = find_start("fashion_cnn", tmp_path)
    assert (start.architecture, start.config.channels) == ("small_cnn", (32, 64, 128))
    model = ARCHITECTURES["small_cnn"][1](start.config)
    assert adopt_weights(model, start.load_weights()) == []
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, start.load_weights()[name])


def test_a_run_is_a_start(tmp_path, make_run):
    module = make_run(tmp_path)
    start = find_start("run/tiny", tmp_path)
    assert start.config == module.config
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, start.load_weights()[name])


def test_a_snapshot_is_a_start(tmp_path, make_run):
    module = make_run(tmp_path)
    weights = {name: torch.full_like(tensor, 3) for name, tensor in module.state_dict().items()}
    (tmp_path / "tiny" / "snapshots").mkdir()
    save_file(weights, tmp_path / "tiny" / "snapshots" / "0000008.safetensors")
    start = find_start("run/tiny@8", tmp_path)
    assert start.config == module.config
    assert all(torch.equal(tensor, weights[name]) for name, tensor in start.load_weights().items())


def test_a_torchvision_network_is_a_start_once_its_weights_are_here(tmp_path, monkeypatch):
    from torchvision.models import get_model

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with refused("resnet18", "resnet18-f37072fd.pth"):
        find_start("resnet18", tmp_path)
    weights = get_model("resnet18", weights=None).state_dict()
    path = torchvision_model("resnet18").weights.path
    assert Path(tmp_path) in path.parents
    path.parent.mkdir(parents=True)
    torch.save(weights, path)
    start = find_start("resnet18", tmp_path)
    assert (start.architecture, start.config) == ("resnet", ResNetConfig(builder="resnet18"))
    model = ResNet(ResNetConfig(num_classes=5, pooling="aps", padding_mode="circular"))
    assert adopt_weights(model, start.load_weights()) == ["fc.bias", "fc.weight"]
    assert torch.equal(model.layer4[1].conv2.weight, weights["layer4.1.conv2.weight"])


@pytest.mark.parametrize("name", ["efficientnet_lite0", "vgg11", "run/none", "fashion"])
def test_other_models_are_refused_in_words(tmp_path, name):
    with refused():
        find_start(name, tmp_path)


def test_a_head_of_another_shape_keeps_all_of_its_own_values():
    model, other = small(num_classes=3), small(num_classes=3, head="flatten", image_size=12)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    # The biases would fit, but they belong to the other weights.
    assert adopt_weights(model, other.state_dict()) == ["head.classifier.bias", "head.classifier.weight"]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, (before if name.startswith("head.") else other.state_dict())[name])


@pytest.mark.parametrize(
    ("other", "facts"),
    [
        (small(channels=(4, 8)), ("features.1.conv.weight", "(8, 4, 3, 3)", "(6, 4, 3, 3)")),
        (small(channels=(4,)), ("features.1.conv.weight",)),
        (small(norm="none"), ("features.0.conv.bias",)),
        (small(in_channels=3), ("features.0.conv.weight",)),
        (nn.Linear(2, 2), ()),
    ],
)
def test_weights_of_another_network_are_refused(other, facts):
    with refused(*facts):
        adopt_weights(small(), other.state_dict())


def test_mean_and_std_stay_those_of_the_start():
    own = Preprocessing(crop_size=8, resize_size=8, mean=(0.5,), std=(0.25,))
    grey = Preprocessing(crop_size=28, resize_size=28, mean=(0.1,), std=(0.2,))
    colour = Preprocessing(crop_size=28, resize_size=28, mean=(0.1,) * 3, std=(0.2,) * 3)

    def start(preprocessing: Preprocessing) -> Start:
        return Start("x", "small_cnn", None, preprocessing, dict)

    assert start(grey).adapt(own) == Preprocessing(crop_size=8, resize_size=8, mean=(0.1,), std=(0.2,))
    assert start(colour).adapt(own) == own


def test_a_training_inherits_what_is_not_given(tmp_path, make_run):
    module = make_run(tmp_path)
    side = find_start("run/tiny", tmp_path).preprocessing.crop_size
    found = inherit_network(
        {"start_from": "run/tiny", "epochs": 3, "architecture": None, "image_size": None}, tmp_path
    )
    assert found == {
        "start_from": "run/tiny",
        "epochs": 3,
        "architecture": "small_cnn",
        "image_size": side,
        "model": module.config.chosen,
    }
    given = {"start_from": "run/tiny", "model": {"dropout": 0.5}, "image_size": 40}
    found = inherit_network(given, tmp_path)
    assert found["model"] == {**module.config.chosen, "dropout": 0.5} and found["image_size"] == 40
    assert "model" not in inherit_network({"start_from": "run/tiny", "architecture": "lenet"}, tmp_path)
    for settings in (
        {"epochs": 3},
        {"start_from": None},
        {"start_from": 5},
        {"start_from": "run/tiny", "model": [1]},
    ):
        assert inherit_network(settings, tmp_path) == settings
