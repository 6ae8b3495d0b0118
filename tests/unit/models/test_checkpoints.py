"""Checkpoints: what was saved comes back, and hostile or damaged files end in a sentence."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from analysis.errors import UserError
from models.checkpoints import describe_model, load_checkpoint, pack_weights
from models.data.preprocessing import Preprocessing
from models.networks.small_cnn import SmallCNN, SmallCNNConfig
from tests.sentences import refused

CONFIG = SmallCNNConfig(num_classes=3, in_channels=1, image_size=8, channels=(4, 6))
PREPROCESSING = Preprocessing(crop_size=8, resize_size=8, mean=(0.3,), std=(0.2,))
DELETE = object()
ASSETS = Path(__file__).parents[3] / "assets"


@pytest.fixture
def saved(tmp_path):
    """A model with its two files."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SmallCNN(CONFIG).to(memory_format=torch.channels_last).eval()
    values = describe_model(model, "small_cnn", ("a", "b", "c"), PREPROCESSING)
    (tmp_path / "model.json").write_text(json.dumps(values))
    (tmp_path / "weights.safetensors").write_bytes(pack_weights(model)[0])
    return model, tmp_path / "model.json", tmp_path / "weights.safetensors"


def test_round_trip(saved):
    model, *paths = saved
    state = torch.random.get_rng_state()
    loaded, categories, preprocessing = load_checkpoint(*paths)
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.testing.assert_close(loaded(x), model(x))  # another memory layout: not bit for bit
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert categories == ("a", "b", "c") and preprocessing == PREPROCESSING and loaded.config == CONFIG


def test_packing_is_deterministic(saved):
    model, _, path = saved
    assert pack_weights(model) == pack_weights(model)
    assert pack_weights(model)[0] == path.read_bytes()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["architecture"], "os.system"),
        (["architecture"], ["small_cnn"]),
        (["config"], None),
        (["config", "channels"], [10**9]),
        (["config", "channels"], [1024] * 8),
        (["config", "channels"], [[4], 6]),
        (["config", "image_size"], 10**12),
        (["config", "num_classes"], True),
        (["config", "num_classes"], 4),
        (["config", "__class__"], "x"),
        (["config", "dropout"], "0"),
        (["categories"], "abc"),
        (["categories"], ["a", "b"]),
        (["categories"], ["a", "b", 3]),
        (["preprocessing"], []),
        (["preprocessing", "crop_size"], DELETE),
        (["preprocessing", "crop_size"], 10**9),
        (["preprocessing", "resize_size"], -1),
        (["preprocessing", "mean"], [0.1, 0.2, 0.3]),
        (["preprocessing", "mean"], 5),
        (["preprocessing", "std"], [0.0]),
        (["preprocessing", "std"], [float("nan")]),
        (["preprocessing", "std"], ["1"]),
        (["preprocessing", "interpolation"], "lanczos"),
        (["preprocessing", "more"], 1),
    ],
)
def test_hostile_values_are_refused(saved, place, value):
    _, json_path, weights = saved
    values = json.loads(json_path.read_text())
    inner = values
    for key in place[:-1]:
        inner = inner[key]
    if value is DELETE:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    json_path.write_text(json.dumps(values))
    with refused("model.json"):
        load_checkpoint(json_path, weights)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\xff", "[" * 100_000, '"' + "x" * 2**20 + '"'])
def test_files_that_are_no_json_object(saved, text):
    _, json_path, weights = saved
    json_path.write_text(text, encoding="latin-1")
    with refused():
        load_checkpoint(json_path, weights)


def test_weights_must_fit(saved):
    model, json_path, path = saved
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    name = "head.classifier.bias"
    for changed in [
        {k: v for k, v in weights.items() if k != name},
        weights | {"extra": torch.zeros(1)},
        weights | {name: torch.zeros(4)},
        weights | {name: torch.zeros(3, dtype=torch.float64)},
        weights | {name: torch.full((3,), torch.nan)},
    ]:
        save_file(changed, path)
        with refused():
            load_checkpoint(json_path, path)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_cut_weights(saved, keep):
    _, json_path, path = saved
    path.write_bytes(path.read_bytes()[:keep])
    with refused():
        load_checkpoint(json_path, path)


def test_missing_files(saved, tmp_path):
    _, json_path, weights = saved
    for paths in ((tmp_path / "none", weights), (json_path, tmp_path / "none"), (json_path, tmp_path)):
        with pytest.raises(UserError):
            load_checkpoint(*paths)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100)
@given(key=st.sampled_from(["architecture", "config", "categories", "preprocessing"]), value=JSON)
def test_any_json_gives_a_model_or_a_sentence(tmp_path_factory, key, value):
    folder = tmp_path_factory.mktemp("any")
    values = describe_model(SmallCNN(CONFIG), "small_cnn", ("a", "b", "c"), PREPROCESSING) | {key: value}
    (folder / "model.json").write_text(json.dumps(values))
    with pytest.raises(UserError):
        load_checkpoint(folder / "model.json", folder / "weights.safetensors")


def test_the_shipped_checkpoint_is_what_its_card_says():
    weights = ASSETS / "fashion_cnn.safetensors"
    card = json.loads((ASSETS / "fashion_cnn.json").read_text())
    model, categories, _ = load_checkpoint(ASSETS / "fashion_cnn.json", weights)
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == card["weights_sha256"]
    assert weights.stat().st_size < 500_000 and card["test_accuracy"] >= 0.91
    assert model(torch.zeros(1, 1, 28, 28)).shape == (1, len(categories))
