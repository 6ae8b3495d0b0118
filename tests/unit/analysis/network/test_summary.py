"""The summary of a network: hand formulas, PyTorch's flop counter, published numbers, no need of memory."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models as zoo

from analysis.network.layers import list_layers
from analysis.network.summary import summarize
from models.networks.parts import HEADS, NORMS, POOLING
from models.networks.small_cnn import SmallCNNConfig
from models.networks.table import ARCHITECTURES, sketch_model
from models.networks.vgg import VGGConfig

META = torch.device("meta")


def summarize_conv(*args, side: int = 32, **options):
    return summarize(nn.Sequential(nn.Conv2d(*args, **options)), torch.zeros(1, args[0], side, side)).rows[0]


def test_numbers_of_the_lectures():
    row = summarize_conv(3, 10, 5, padding=2)
    assert row.output_shape == (10, 32, 32) and row.num_params == 10 * (5 * 5 * 3 + 1) == 760
    assert summarize_conv(3, 6, 5).output_shape == (6, 28, 28)
    stack = nn.Sequential(*(nn.Conv2d(4, 4, 3, bias=False) for _ in range(3)))
    rows = summarize(stack, torch.zeros(1, 4, 16, 16)).rows
    assert [row.receptive_field for row in rows] == [3, 5, 7]
    assert sum(row.num_params for row in rows) == 27 * 4**2
    assert summarize_conv(4, 4, 7, bias=False).num_params == 49 * 4**2


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1])
def test_one_convolution(size, stride, padding):
    row = summarize_conv(4, 6, size, stride=stride, padding=padding, groups=2, side=20)
    side = (20 + 2 * padding - size) // stride + 1
    assert row.output_shape == (6, side, side)
    assert (row.stride, row.receptive_field) == (stride, size)
    assert row.num_params == 6 * (2 * size**2 + 1)
    assert row.multiply_adds == side**2 * 6 * 2 * size**2


def count_by_hand(row, module: nn.Module) -> int:
    """Multiply-adds of a layer from its weights and its output."""
    part = module.get_submodule(row.name)
    if isinstance(part, nn.Conv2d):
        return part.weight.numel() * row.output_shape[1] * row.output_shape[2]
    if isinstance(part, nn.Linear):
        positions = torch.Size(row.output_shape[:-1]).numel()
        return part.weight.numel() * positions
    return 0


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "transfer"])
def test_every_architecture(name):
    config = ARCHITECTURES[name][0](num_classes=7, in_channels=3, image_size=32)
    sketch, inputs = sketch_model(config), torch.empty(1, 3, 32, 32, device=META)
    summary = summarize(sketch, inputs)
    assert [row.multiply_adds for row in summary.rows] == [count_by_hand(row, sketch) for row in summary.rows]
    assert summary.num_params == config.num_parameters == sum(row.num_params for row in summary.rows)
    with FlopCounterMode(display=False) as counter:
        sketch(inputs)
    assert 2 * summary.multiply_adds == counter.get_total_flops()
    assert summary.multiply_adds == sum(row.multiply_adds for row in summary.rows)
    assert summary.rows[-1].output_shape == (7,)


CASES = [
    *({"pooling": pooling, "head": head} for pooling in POOLING for head in HEADS),
    *({"norm": norm, "head": "scan"} for norm in NORMS),
]


@pytest.mark.parametrize("name", ["lenet5", "small_cnn", "vgg", "cifar_resnet"])
@pytest.mark.parametrize("options", CASES, ids=lambda case: "-".join(case.values()))
def test_a_sketch_has_the_summary_of_the_network(name, options):
    config_class, model_class = ARCHITECTURES[name]
    small = {"vgg": {"width": 0.1, "configuration": "A-LRN"}, "cifar_resnet": {"depth": 8}}.get(name, {})
    config = config_class(num_classes=3, in_channels=2, image_size=32, **small, **options)
    expected = summarize(model_class(config), torch.rand(1, 2, 32, 32))
    assert summarize(sketch_model(config), torch.empty(1, 2, 32, 32, device=META)) == expected
    if options.get("norm", "batch") in ("batch", "none"):
        maps = [row for row in expected.rows if row.name.startswith(("features", "stage"))]
        maps = [row for row in maps if row.output_shape[-1] > 1]
        assert len(maps) >= 4 and all(row.receptive_field and row.stride for row in maps)


@pytest.mark.parametrize(
    ("name", "millions", "multiply_adds"),
    [("resnet18", 11.7, 1.81e9), ("vgg16", 138.4, 15.47e9), ("mobilenet_v3_small", 2.5, 0.06e9)],
)
def test_networks_of_torchvision(name, millions, multiply_adds):
    with META:
        module = zoo.get_model(name, weights=None)
    summary = summarize(module, torch.empty(1, 3, 224, 224, device=META))
    assert round(summary.num_params / 1e6, 1) == millions
    assert summary.multiply_adds == pytest.approx(multiply_adds, rel=0.1 if name.startswith("mobile") else 0.005)


@pytest.mark.parametrize("name", ["swin_t", "shufflenet_v2_x0_5"])
def test_layers_without_numbers_are_those_with_numbers(name):
    side = 64
    module = zoo.get_model(name, weights=None).eval()
    expected = list_layers(module, torch.zeros(1, 3, side, side))
    found = list_layers(module.to(META), torch.empty(1, 3, side, side, device=META))
    assert [(row.name, row.output_shape, row.num_params) for row in found] == [
        (row.name, row.output_shape, row.num_params) for row in expected
    ]


@pytest.mark.parametrize("name", ["vit_b_32", "convnext_tiny", "googlenet"])
def test_parameters_of_containers_and_of_the_network_itself_have_rows(name):
    with META:
        module = zoo.get_model(name, weights=None, **({"init_weights": False} if name == "googlenet" else {}))
    summary = summarize(module, torch.empty(1, 3, 224, 224, device=META))
    assert sum(row.num_params for row in summary.rows) == summary.num_params
    assert sum(row.multiply_adds for row in summary.rows) == summary.multiply_adds


def test_the_largest_network_needs_no_memory():
    config = VGGConfig(configuration="E", width=1.0, image_size=224, num_classes=1000)
    summary = summarize(sketch_model(config), torch.empty(1, 3, 224, 224, device=META))
    assert summary.num_params == 143_667_240
    assert summary.multiply_adds == pytest.approx(19.63e9, rel=1e-3)
    assert max(row.receptive_field for row in summary.rows if row.name.startswith("features")) > 224


def test_the_network_is_left_as_it_was_and_dropout_is_no_row():
    config = SmallCNNConfig(image_size=12, channels=(4, 6), dropout=0.5)
    module = ARCHITECTURES["small_cnn"][1](config).train()
    module.features[1].eval()
    before = {name: part.training for name, part in module.named_modules()}
    state = {key: value.clone() for key, value in module.state_dict().items()}
    summary = summarize(module, torch.rand(3, 1, 12, 12))
    assert {name: part.training for name, part in module.named_modules()} == before
    torch.testing.assert_close(module.state_dict(), state, rtol=0, atol=0)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert "Dropout" not in {row.kind for row in summary.rows}
    assert summary == summarize(module, torch.rand(1, 1, 12, 12))
    assert summary.to_json()["rows"][0]["name"] == "features.0.conv"


def test_hooks_are_gone_after_a_failure():
    module = sketch_model(replace(SmallCNNConfig(), in_channels=3))
    with pytest.raises(RuntimeError):
        summarize(module, torch.empty(1, 1, 28, 28, device=META))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


class Twice(nn.Module):
    """Calls one layer twice and one never."""

    def __init__(self):
        super().__init__()
        self.conv, self.unused = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(2, 2)

    def forward(self, x):
        return self.conv(self.conv(x))


def test_a_layer_that_is_called_twice():
    summary = summarize(Twice(), torch.zeros(1, 3, 8, 8))
    assert [(row.name, row.num_params, row.multiply_adds) for row in summary.rows] == [
        ("conv", 84, 64 * 81),
        ("conv#2", 0, 64 * 81),
        ("unused", 6, 0),
    ]
    assert (summary.num_params, summary.multiply_adds) == (90, 2 * 64 * 81)


class Scaled(nn.Module):
    """A container that has a parameter and a product of its own."""

    def __init__(self):
        super().__init__()
        self.inner, self.scale = nn.Linear(4, 4, bias=False), nn.Parameter(torch.ones(4, 4))

    def forward(self, x):
        return self.inner(x) @ self.scale


def test_a_container_counts_what_it_holds_and_does_itself():
    summary = summarize(nn.Sequential(Scaled(), nn.Sequential(Scaled())), torch.zeros(1, 4))
    assert [(row.name, row.num_params, row.multiply_adds) for row in summary.rows] == [
        ("0.inner", 16, 16),
        ("0", 16, 16),
        ("1.0.inner", 16, 16),
        ("1.0", 16, 16),
    ]
    assert (summary.num_params, summary.multiply_adds) == (64, 64)
