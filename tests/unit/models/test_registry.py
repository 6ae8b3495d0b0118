"""The table of models: what is listed can be had, and runs come and go with their directories."""

import json

import pytest
import torch
from safetensors.torch import save

from models.cache import ModelCache
from models.data.images import open_image
from models.data.samples import get_sample
from models.registry import ASSETS, BUNDLED, DEFAULT_MODEL, Registry, fashion_cnn
from models.runs.run import delete_run
from models.runs.submit import create_run
from models.zoo.lite0 import efficientnet_lite0
from models.zoo.torchvision_zoo import torchvision_names
from tests.sentences import refused


def test_every_listed_name_is_found_under_that_name(tmp_path, make_run):
    make_run(tmp_path)
    registry = Registry(tmp_path)
    names = registry.list_names()
    assert len(set(names)) == len(names) == len(BUNDLED) + 1 + len(torchvision_names())
    assert [spec.name for spec in registry.list_specs()] == names
    assert names[0] == DEFAULT_MODEL


@pytest.mark.parametrize("name", ["resnet81", "efficientnetlite0", "fashion", "VIT_B_16", "", "tiny"])
def test_unknown_names_get_a_hint(tmp_path, make_run, name):
    make_run(tmp_path)
    with refused(name):
        Registry(tmp_path).get(name)


def test_runs_appear_and_vanish_with_their_directory(tmp_path, make_run):
    registry = Registry(tmp_path / "runs")
    assert not any(name.startswith("run/") for name in registry.list_names())
    for name in ("first", "second"):
        make_run(tmp_path / "runs", name)
    assert [name for name in registry.list_names() if name.startswith("run/")] == ["run/second", "run/first"]
    delete_run(tmp_path / "runs", "first")
    assert [name for name in registry.list_names() if name.startswith("run/")] == ["run/second"]
    with refused("first"):
        registry.get("run/first")


def test_a_run_is_described_by_its_files(tmp_path, make_run):
    model = make_run(tmp_path)
    spec = Registry(tmp_path).get("run/tiny")
    assert spec.summary() == {
        "name": "run/tiny",
        "source": "run",
        "num_params": sum(p.numel() for p in model.parameters()),
        "num_classes": 3,
        "input_size": 8,
        "cached": True,
    }
    assert spec.categories == ("ant", "bee", "cat")
    assert spec.trained_on == "insects" and spec.accuracy == 0.5
    module = spec.build()
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(x), model(x))
    assert not module.training


def test_a_run_without_a_model_is_not_listed(tmp_path):
    create_run(tmp_path, "young", {})
    registry = Registry(tmp_path)
    assert "run/young" not in registry.list_names()
    with refused("young", "queued"):
        registry.get("run/young")


@pytest.mark.parametrize("name", ["run/", "run/..", "run/../tiny", "run/a/b", "run//tmp"])
def test_run_names_cannot_leave_the_folder(tmp_path, make_run, name):
    make_run(tmp_path)
    with refused():
        Registry(tmp_path / "tiny").get(name)


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"architecture": "small_cnn"})])
def test_a_damaged_run_does_not_hide_the_other_models(tmp_path, make_run, content):
    make_run(tmp_path, "good")
    make_run(tmp_path, "bad")
    (tmp_path / "bad" / "model.json").write_text(content)
    registry = Registry(tmp_path)
    specs = [spec.name for spec in registry.list_specs()]
    assert "run/good" in specs and "resnet18" in specs and "run/bad" not in specs
    with refused("model.json"):
        registry.get("run/bad")


def test_a_snapshot_is_a_model_of_its_own(tmp_path, make_run):
    model = make_run(tmp_path)
    folder = tmp_path / "tiny" / "snapshots"
    folder.mkdir()
    weights = {name: torch.full_like(tensor, 2) for name, tensor in model.state_dict().items()}
    folder.joinpath("0000005.safetensors").write_bytes(save(weights))
    registry = Registry(tmp_path)
    spec = registry.get("run/tiny@5")
    assert (spec.name, spec.accuracy) == ("run/tiny@5", None)
    assert all((tensor == 2).all() for tensor in spec.build().state_dict().values())
    assert not any((tensor == 2).all() for tensor in registry.get("run/tiny").build().parameters())
    for step in ("6", "", "-5", "../tiny", "5" * 30, "٣"):
        with refused():
            registry.get(f"run/tiny@{step}")


@pytest.mark.parametrize("name", ["mine.pth", "/somewhere/resnet18-3.safetensors", "run.PT", "../net.onnx"])
def test_a_weight_file_is_no_model_and_what_is_one_is_said(tmp_path, name):
    with refused("own", "run/NAME", "open-capsule") as caught:
        Registry(tmp_path).get(name)
    assert "delete" not in str(caught.value) and "somewhere" not in str(caught.value)


@pytest.fixture
def cache(tmp_path):
    return ModelCache(Registry(tmp_path / "runs"), device="cpu")


def answer(loaded, image) -> torch.Tensor:
    with torch.inference_mode():
        return loaded.module(loaded.prepare(image)).softmax(dim=1)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_facts_equal_the_built_module(cache, name):
    with cache.use(name) as loaded:
        spec, module = loaded.spec, loaded.module
        size = spec.preprocessing.crop_size
        with torch.inference_mode():
            logits = module(torch.zeros(1, spec.preprocessing.num_channels, size, size))
    assert spec.is_cached and spec.source == "bundled" and not module.training
    assert spec.num_params == sum(p.numel() for p in module.parameters())
    assert logits.shape == (1, len(spec.categories))


def test_the_default_model_recognises_everyday_things(cache, chelsea):
    with cache.use(DEFAULT_MODEL) as loaded:
        coffee = answer(loaded, open_image(get_sample("coffee").path))[0]
        cat = answer(loaded, chelsea)[0]
    names = loaded.spec.categories
    assert names[int(coffee.argmax())] == "espresso" and coffee.max() > 0.8
    assert {names[i] for i in cat.topk(3).indices} == {"tabby", "tiger cat", "Egyptian cat"}


def test_the_default_model_gets_tensorflows_normalisation():
    steps = efficientnet_lite0().preprocessing
    values = torch.arange(256.0).expand(3, 1, 256)
    torch.testing.assert_close(steps.normalize(values / 255), (values - 127) / 128)


def test_our_own_model_recognises_garments(cache):
    spec = fashion_cnn()
    garments = sorted((ASSETS / "garments").glob("*.png"))
    with cache.use("fashion_cnn") as loaded:
        answers = [int(answer(loaded, open_image(path)).argmax()) for path in garments]
    right = sum(answer == index for index, answer in enumerate(answers))
    assert len(garments) == len(spec.categories) == 10
    assert right >= 8
    assert 0.8 < spec.accuracy < 1
