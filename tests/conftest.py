"""What tests in several folders need."""

import gc
import json
import warnings

import hypothesis
import pytest
import torch
from PIL import Image

from models.checkpoints import describe_model, pack_weights
from models.data.preprocessing import Preprocessing
from models.data.samples import get_sample
from models.networks.small_cnn import SmallCNN, SmallCNNConfig
from models.runs.files import write_bytes, write_json
from models.runs.submit import create_run

pytest_plugins = ["tests.sentences"]

# The same examples each time, however long one takes: a failure can be repeated, and a busy machine causes none.
hypothesis.settings.register_profile("seeded", derandomize=True, deadline=None)
hypothesis.settings.load_profile("seeded")


@pytest.fixture(scope="module", autouse=True)
def little_to_search_for_garbage():
    """Every training ends with a search, which would take longer than the training itself."""
    with warnings.catch_warnings(action="ignore"):  # about what other modules have left behind
        gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def chelsea() -> Image.Image:
    """The photograph of a cat."""
    return Image.open(get_sample("chelsea").path).convert("RGB")


@pytest.fixture
def torch_home(tmp_path, monkeypatch):
    """An empty cache folder for weight files, where torch looks."""
    folder = tmp_path / "torch"
    monkeypatch.setenv("TORCH_HOME", str(folder))
    return folder / "hub" / "checkpoints"


@pytest.fixture
def make_run():
    """Writes a finished run with a tiny random model: ``make_run(root, name, seed)``; again to replace it."""

    def make(root, name="tiny", seed=0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = SmallCNN(SmallCNNConfig(num_classes=3, image_size=8, channels=(4, 6))).eval()
        card = describe_model(model, "small_cnn", ("ant", "bee", "cat"), Preprocessing(crop_size=8, resize_size=8))
        path = root / name
        if not path.exists():
            create_run(root, name, {"dataset": "insects"})
        write_json(path / "model.json", card)
        write_bytes(path / "weights.safetensors", pack_weights(model)[0])
        status = json.loads((path / "status.json").read_text())
        write_json(path / "status.json", status | {"state": "finished", "result": {"test_accuracy": 0.5}})
        return model

    return make
