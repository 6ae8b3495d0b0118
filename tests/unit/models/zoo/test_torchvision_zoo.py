"""Torchvision's classifiers: what is said of them is true, and they answer as its own recipe does."""

import pytest
import torch
from torch import nn
from torchvision import models as zoo

from models.cache import ModelCache
from models.data.images import open_image
from models.data.samples import get_sample
from models.registry import Registry
from models.zoo.torchvision_zoo import torchvision_model, torchvision_names
from tests.sentences import refused

NAMES = torchvision_names()


def make_weights(name: str, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
    """Random weights for a torchvision model that still answers differently to different pictures."""
    options = {"aux_logits": True, "init_weights": False} if name == "googlenet" else {}
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        model = zoo.get_model(name, weights=None, **options).eval()
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.train().momentum = 1
        model(pictures)  # without statistics of the data, random networks forget their input
        model.eval()
        last = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
        scale = 3 / model(pictures).std()
        last.weight *= scale
        last.bias *= scale
    return model.state_dict()


@pytest.fixture
def lab_cache(tmp_path, torch_home):
    torch_home.mkdir(parents=True)
    return ModelCache(Registry(tmp_path / "runs"), device="cpu")


def answer(loaded, image) -> torch.Tensor:
    with torch.inference_mode():
        return loaded.module(loaded.prepare(image)).softmax(dim=1)


@pytest.mark.parametrize(
    ("name", "zipped"),
    [
        ("squeezenet1_1", True),
        ("shufflenet_v2_x0_5", False),
        ("mobilenet_v3_small", False),
        ("googlenet", True),
        ("densenet121", True),
    ],
)
def test_probabilities_equal_torchvisions_own_recipe(lab_cache, torch_home, chelsea, name, zipped):
    weights = zoo.get_model_weights(name).DEFAULT
    preset = weights.transforms()
    coffee = open_image(get_sample("coffee").path)
    state = make_weights(name, torch.stack([preset(chelsea), preset(coffee)]))
    path = torch_home / weights.url.rsplit("/", 1)[1]
    torch.save(state, path, _use_new_zipfile_serialization=zipped)

    theirs = zoo.get_model(name, weights=weights).eval()
    with lab_cache.use(name) as loaded:
        assert not loaded.module.training
        torch.testing.assert_close(loaded.module.state_dict(), theirs.state_dict(), rtol=0, atol=0)
        assert sum(p.numel() for p in loaded.module.parameters()) == loaded.spec.num_params
        ours = [answer(loaded, image) for image in (chelsea, coffee)]
    for image, probabilities in zip((chelsea, coffee), ours, strict=True):
        with torch.inference_mode():
            expected = theirs(preset(image)[None]).softmax(dim=1)
        assert 2 / 1000 < expected.max() < 0.99  # neither even nor certain
        torch.testing.assert_close(probabilities, expected, rtol=0, atol=1e-6)
    assert (ours[0] - ours[1]).abs().max() > 1e-4  # the picture matters


def test_weights_of_another_model_are_refused(lab_cache, torch_home):
    spec = torchvision_model("squeezenet1_1")
    state = zoo.get_model("shufflenet_v2_x0_5", weights=None).state_dict()
    torch.save(state, spec.weights.path)
    with refused("squeezenet1_1", spec.weights.path) as caught:
        spec.build()
    assert "delete" not in str(caught.value)
    state = zoo.get_model("squeezenet1_1", weights=None, num_classes=3).state_dict()
    torch.save(state, spec.weights.path)
    with refused("classifier.1.bias", "(3,)", "(1000,)") as caught:
        spec.build()
    assert "delete" not in str(caught.value)
    assert spec.weights.path.exists()  # it may be somebody's only copy
    spec.weights.path.write_bytes(b"<html>Please log in to this network</html>")
    with refused():
        spec.build()


def test_eighty_classifiers_of_torchvision_are_listed():
    assert len(NAMES) == len(set(NAMES)) == 80
    assert {"alexnet", "resnet50", "vit_h_14", "swin_v2_b", "maxvit_t", "inception_v3"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_torchvision_facts_equal_the_metadata(name, torch_home):
    weights = zoo.get_model_weights(name).DEFAULT
    spec = torchvision_model(name)
    assert spec.summary() == {
        "name": name,
        "source": "torchvision",
        "num_params": weights.meta["num_params"],
        "num_classes": 1000,
        "input_size": weights.transforms().crop_size[0],
        "cached": False,
    }
    assert list(spec.categories) == weights.meta["categories"]
    assert 0.5 < spec.accuracy < 0.9
    assert spec.weights.url == weights.url and spec.weights.path.parent == torch_home
    assert spec.weights.num_bytes > 0.99 * 4 * spec.num_params  # float32; googlenet's file holds more
