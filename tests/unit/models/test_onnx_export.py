"""ONNX files: what onnxruntime says about pixels is what PyTorch says, for every architecture."""

import importlib.util
import json
import math
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from models import onnx_export
from models.data.preprocessing import Preprocessing
from models.networks.parts import POOLING
from models.networks.small_cnn import SmallCNN, SmallCNNConfig
from models.networks.table import ARCHITECTURES
from models.onnx_export import INPUT, OUTPUT, TOLERANCE, export_onnx
from models.zoo.lite0 import efficientnet_lite0
from tests.nightly import mostly_nightly
from tests.sentences import refused

SMALL = {
    "mlp": {"hidden": (9, 8)},
    "small_cnn": {"channels": (4, 6)},
    "vgg": {"width": 0.2},
    "cifar_resnet": {"depth": 8, "width": 4},
    "resnet": {"pooling": "aps"},
}
"""Options that make an architecture quick."""
NEEDS_WEIGHTS = ("transfer",)
"""Architectures around networks that are bundled or downloaded."""
PREPROCESSING = Preprocessing(crop_size=32, resize_size=40, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Other numbers everywhere, the running statistics of batch normalisation included."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(0.5 + noise if name.endswith("running_var") else (noise - 0.5) * 0.4)
    return model.eval()


def build(name: str, **options) -> nn.Module:
    config_class, model_class = ARCHITECTURES[name]
    return randomize(model_class(config_class(num_classes=3, in_channels=3, image_size=32, **options)))


def run_onnx(path, pixels: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run([OUTPUT], {INPUT: pixels.numpy()})[0]


def check(model: nn.Module, preprocessing: Preprocessing, path, count: int = 5) -> None:
    """The file's answers to pixels that the export has not seen, in a batch of another size."""
    report = export_onnx(model, preprocessing, path)
    shape = (preprocessing.num_channels, preprocessing.crop_size, preprocessing.crop_size)
    pixels = torch.rand(count, *shape, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        expected = model(preprocessing.normalize(pixels)).numpy()
    np.testing.assert_allclose(run_onnx(path, pixels), expected, atol=1e-4 * max(1, abs(expected).max()))
    assert 0 <= report.max_difference <= TOLERANCE * max(1, report.max_logit)
    assert report.num_bytes == path.stat().st_size and report.max_logit > 0
    assert report.input_shape == ("batch", *shape) and report.output_shape == ("batch", expected.shape[1])


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in NEEDS_WEIGHTS])
def test_every_architecture(tmp_path, name):
    check(build(name, **SMALL.get(name, {})), PREPROCESSING, tmp_path / "model.onnx")


@pytest.mark.parametrize("pooling", mostly_nightly(POOLING, {"max", "blur_stride", "aps"}))
def test_every_pooling_with_an_odd_side(tmp_path, pooling):
    config = SmallCNNConfig(num_classes=3, in_channels=1, image_size=9, channels=(4, 5), pooling=pooling)
    preprocessing = Preprocessing(crop_size=9, resize_size=9, mean=(0.3,), std=(0.2,))
    check(randomize(SmallCNN(config)), preprocessing, tmp_path / "model.onnx")


def test_the_bundled_imagenet_network(tmp_path):
    spec = efficientnet_lite0()
    check(spec.build(), spec.preprocessing, tmp_path / "model.onnx", count=1)


def test_a_network_of_torchvision(tmp_path):
    from torchvision.models import squeezenet1_1

    preprocessing = replace(PREPROCESSING, crop_size=64, resize_size=64)
    check(randomize(squeezenet1_1()), preprocessing, tmp_path / "model.onnx")


@pytest.fixture
def tiny() -> nn.Module:
    return build("small_cnn", channels=(4,))


def test_the_file_says_how_it_is_used(tmp_path, tiny):
    path = tmp_path / "model.onnx"
    report = export_onnx(tiny, PREPROCESSING, path, categories=("ant", "bee", "größer"))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.shape) == ("pixels", ["batch", 3, 32, 32])
    assert (given.name, given.shape) == ("logits", ["batch", 3])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["categories"]) == ["ant", "bee", "größer"]
    assert Preprocessing.from_dict(json.loads(metadata["preprocessing"])) == PREPROCESSING
    assert (report.path, report.input_name, report.output_name) == (str(path), "pixels", "logits")
    import onnx

    assert onnx.load(path).opset_import[0].version == report.opset


def test_the_file_names_no_folder_and_is_the_same_each_time(tmp_path, tiny):
    first, second = tmp_path / "a.onnx", tmp_path / "b.onnx"
    export_onnx(tiny, PREPROCESSING, first)
    export_onnx(tiny, PREPROCESSING, second)
    assert first.read_bytes() == second.read_bytes()
    assert b".py" not in first.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.onnx", "b.onnx"}


def test_no_trace_is_left(tmp_path, tiny, capfd):
    tiny.train().to(memory_format=torch.channels_last)
    tiny.features[0].conv.requires_grad_(False)
    tiny(torch.rand(2, 3, 32, 32)).sum().backward()
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    gradients = {name: parameter.grad for name, parameter in tiny.named_parameters()}
    hook = tiny.head.register_forward_hook(lambda *_: None)
    state = torch.get_rng_state()
    capfd.readouterr()
    export_onnx(tiny, PREPROCESSING, tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.state_dict().items())
    assert all(module.training for module in tiny.modules())
    assert all(parameter.grad is gradients[name] for name, parameter in tiny.named_parameters())
    assert not tiny.features[0].conv.weight.requires_grad and tiny.head.classifier.weight.requires_grad
    assert len(tiny.head._forward_hooks) == 1
    hook.remove()


class DependsOnSum(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


class Changing(nn.Module):
    """Gives something else at each call, as no file can."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x.mean((2, 3)) * self.calls


@pytest.mark.parametrize("model", [DependsOnSum(), Changing()], ids=lambda model: type(model).__name__)
def test_what_cannot_be_exported_is_refused_with_the_reason(tmp_path, model):
    with refused(varies=r"\d\.\d+"):
        export_onnx(model, PREPROCESSING, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_answer_of_the_other_program_is_noticed(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(
        onnx_export, "_run_elsewhere", lambda data, batches: [torch.zeros(len(b), 3) for b in batches]
    )
    with refused(varies=r"\d\.\d+"):
        export_onnx(tiny, PREPROCESSING, tmp_path / "model.onnx")
    monkeypatch.setattr(
        onnx_export, "_run_elsewhere", lambda data, batches: [torch.full((len(b), 3), math.nan) for b in batches]
    )
    with refused("nan", varies=r"\d\.\d+"):
        export_onnx(tiny, PREPROCESSING, tmp_path / "model.onnx")
    monkeypatch.setattr(onnx_export, "_run_elsewhere", lambda data, batches: [torch.zeros(2, 3)] * 2)
    with refused("1"):
        export_onnx(tiny, PREPROCESSING, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named(tmp_path, tiny, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "onnx" in name else find(name))
    with refused("pip install onnx onnxscript onnxruntime"):
        export_onnx(tiny, PREPROCESSING, tmp_path / "model.onnx")


def test_models_that_no_file_can_hold(tmp_path):
    with torch.device("meta"):
        model = nn.Linear(2**15, 2**15)
    with refused("4.0 GB"):
        export_onnx(model, PREPROCESSING, tmp_path / "model.onnx")


def test_a_place_that_cannot_be_written_to(tmp_path, tiny):
    with refused():
        export_onnx(tiny, PREPROCESSING, tmp_path / "no" / "model.onnx")
