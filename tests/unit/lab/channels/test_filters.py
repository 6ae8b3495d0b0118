"""Filters and templates of models by name."""

import pytest
import torch

from lab.channels.filters import read_filters, read_kernels
from lab.session import Lab
from models.checkpoints import describe_model, pack_weights
from models.data.preprocessing import Preprocessing
from models.networks.linear import LinearClassifier, LinearConfig
from models.networks.mlp import MLP, MLPConfig
from models.runs.files import write_bytes, write_json
from tests.device import DEVICE
from tests.sentences import refused


def test_the_first_filters_have_words_and_any_channel_has_kernels(tmp_path):
    lab = Lab(DEVICE, data_root=tmp_path, runs_root=tmp_path)
    found = read_filters(lab, "efficientnet_lite0")
    assert found.filters.shape == (32, 3, 3, 3) and not found.are_templates and len(found.words) == 32
    names = [found.name(number) for number in range(32)]
    assert any("edge" in name for name in names) and any("colour" in name for name in names)
    name, kernels = read_kernels(lab, "efficientnet_lite0", "blocks.1.0", 3)
    assert name.startswith("blocks.1.0.") and kernels.shape == (96, 1, 1)
    with refused(24):
        read_kernels(lab, "efficientnet_lite0", "blocks.1.0", 24)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_templates_have_the_names_of_classes_where_the_layer_is_the_only_one(tmp_path, make_run, kind):
    config, network = {"linear": (LinearConfig, LinearClassifier), "mlp": (MLPConfig, MLP)}[kind]
    make_run(tmp_path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = network(config(num_classes=3, image_size=8, in_channels=1)).eval()
    card = describe_model(model, kind, ("ant", "bee", "cat"), Preprocessing(crop_size=8, resize_size=8))
    write_json(tmp_path / "tiny" / "model.json", card)
    write_bytes(tmp_path / "tiny" / "weights.safetensors", pack_weights(model)[0])
    lab = Lab(DEVICE, data_root=tmp_path, runs_root=tmp_path)
    found = read_filters(lab, "run/tiny")
    assert found.are_templates and found.filters.shape[1:] == (1, 8, 8)
    weights = next(part for part in model.modules() if isinstance(part, torch.nn.Linear)).weight.detach()
    assert torch.equal(found.filters.flatten(1), weights)
    expected = ["ant", "bee", "cat"] if kind == "linear" else ["0", "1", "2"]
    assert [found.name(number) for number in range(3)] == expected and found.num_dead == 0
