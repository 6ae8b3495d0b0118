"""Layer health against networks built to be ill, plain loops over hooks, and torchvision."""

import json
import math
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from analysis.network.health import OUTPUT_RANGES, LayerHealth, describe_health, measure_health, measure_norms


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def only(found: list[LayerHealth], name: str) -> LayerHealth:
    (layer,) = (layer for layer in found if layer.name == name)
    return layer


def ill_net(activation: nn.Module, biases: list[float]) -> nn.Module:
    """A convolution with weak weights whose biases decide where each channel of the activation works."""
    net = nn.Sequential()
    net.add_module("conv", nn.Conv2d(3, len(biases), 3, padding=1))
    net.add_module("act", activation)
    with torch.no_grad():
        net.conv.weight.mul_(0.5)
        net.conv.bias.copy_(torch.tensor(biases))
    return net


@pytest.mark.parametrize(
    ("activation", "biases", "dead", "saturated"),
    [
        (nn.ReLU(), [-50, -50, 0, 50], 2, None),
        (nn.ReLU(inplace=True), [-50, 0, 0, 0], 1, None),
        (nn.ReLU6(), [-50, 0, 0, 50], 1, 1),
        (nn.Hardtanh(), [-50, 0, 50, 50], 3, 3),
        (nn.Tanh(), [-4, 0, 0, 4], 0, 2),
        (nn.Tanh(), [-50, 0, 0, 50], 2, 2),
        (nn.Sigmoid(), [-8, 0, 0, 8], 0, 2),
        (nn.Hardsigmoid(), [-50, 0, 0, 0], 1, 1),
        (nn.GELU(), [-50, -50, 0, 0], 2, None),
        (nn.SiLU(), [-500, 0, 0, 50], 1, None),
        (nn.LeakyReLU(), [-50, 0, 0, 0], 0, None),
        (nn.ELU(), [-50, 0, 0, 0], 1, None),
        (nn.SELU(), [-50, 0, 0, 0], 1, None),
        (nn.Hardswish(), [-50, 0, 0, 0], 1, None),
        (nn.Mish(), [-500, 0, 0, 0], 1, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_channels_that_were_built_to_be_ill_are_found(activation, biases, dead, saturated):
    found = measure_health(ill_net(activation, biases), torch.randn(8, 3, 10, 10))
    assert [layer.name for layer in found] == ["act"]
    assert (found[0].dead, found[0].saturated, found[0].channels) == (dead, saturated, 4)
    assert found[0].activation in OUTPUT_RANGES
    json.dumps(found[0].to_json(), allow_nan=False)


class Functional(nn.Module):
    """Everything a module of activations would not show: functions, methods, in place, used twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.act = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 6, 3), nn.ReLU()
        self.prelu, self.head, self.spare = nn.PReLU(6), nn.Linear(6, 4), nn.Linear(2, 2)

    def forward(self, x):
        x = self.act(F.relu(self.first(x)))
        x = self.prelu(self.second(x).relu_())
        return self.act(self.head(torch.tanh(x.mean((2, 3)))))


def test_activations_count_however_they_are_called():
    net = Functional()
    with torch.no_grad():
        net.second.bias[:2] = -50
    found = measure_health(net, torch.randn(4, 3, 9, 9))
    names = [layer.name for layer in found]
    assert names == ["relu", "act", "relu#2", "prelu/_prelu_kernel", "tanh", "act#2"]
    assert [only(found, name).channels for name in names] == [5, 5, 6, 6, 6, 4]
    assert only(found, "relu#2").dead == 2


@pytest.mark.parametrize(
    ("shape", "dim"),
    [((4, 7), 1), ((4, 9, 5), 2), ((4, 6, 8, 8), 1), ((4, 8, 8, 6), 3), ((4, 6, 1, 1), 1), ((4, 8, 8, 8), 1)],
)
def test_channels_are_where_the_layout_has_them(shape, dim):
    """Vectors, sequences, maps, maps with channels last, what a pooled map leaves, and what can be either."""
    values = -torch.rand(shape)
    values.select(dim, 0).add_(2)

    class Emit(nn.Module):
        def forward(self, x):
            return F.relu(values)

    (layer,) = measure_health(Emit(), torch.zeros(4, 3, 16, 16))
    assert (layer.channels, layer.dead) == (shape[dim], shape[dim] - 1)


def describe(model: nn.Module) -> list:
    hooks = [
        (part.training, len(part._forward_hooks), len(part._forward_pre_hooks), len(part._backward_hooks))
        for part in model.modules()
    ]
    values = [tensor.clone() for tensor in model.state_dict().values()]
    return [
        hooks,
        [(p.requires_grad, id(p.grad)) for p in model.parameters()],
        torch.get_rng_state().tolist(),
        values,
    ]


@pytest.mark.parametrize("channels", [3, 5])
def test_the_module_is_left_as_it_was_found(channels):
    """After success, and after the failure of a wrong number of channels; each part has a mode and a gradient."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)).train()
    net[0].register_forward_hook(lambda *_: None)
    net(torch.randn(2, 3, 8, 8)).square().sum().backward()
    net[0].weight.requires_grad_(False)
    net[1].eval()
    images = torch.randn(2, channels, 8, 8)
    *before, values = describe(net)
    with nullcontext() if channels == 3 else pytest.raises(RuntimeError):
        measure_health(net, images)
    *after, values_after = describe(net)
    assert after == before
    assert all(torch.equal(one, other) for one, other in zip(values, values_after, strict=True))


def test_one_forward_pass_is_made():
    calls = []
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    net[0].register_forward_hook(lambda *_: calls.append(1))
    measure_health(net, torch.randn(2, 4))
    assert calls == [1]


SMALL = {
    **{
        name: partial(torchvision.models.get_model, name, weights=None, num_classes=5)
        for name in ("resnet18", "mobilenet_v3_small", "squeezenet1_1", "densenet121")
    },
    "vit": partial(
        torchvision.models.VisionTransformer,
        **{"image_size": 64, "patch_size": 16, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 24},
    ),
    "swin": partial(
        torchvision.models.SwinTransformer,
        **{"patch_size": [4, 4], "embed_dim": 12, "depths": [1, 1], "num_heads": [2, 2], "window_size": [4, 4]},
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_torchvisions_networks_agree_with_hooks(name):
    """An independent count with hooks on activation modules; those of transformers have their channels last."""
    net = SMALL[name]().eval()
    images = torch.randn(2, 3, 64, 64)
    expected = []

    def count(module, _inputs, output):
        values = output if isinstance(module, nn.GELU) or output.ndim == 2 else output.movedim(1, -1)
        values = values.flatten(0, -2)
        high, low = values.amax(0), values.amin(0)
        is_dead = high <= 0 if isinstance(module, nn.ReLU) else high - low <= 1e-6
        expected.append((len(high), int(is_dead.sum())))

    modules = dict(net.named_modules())
    found = measure_health(net, images)
    with torch.no_grad():
        for part in modules.values():
            if isinstance(part, nn.ReLU | nn.Hardswish | nn.Hardsigmoid | nn.GELU):
                part.register_forward_hook(count)
        net(images)
    assert expected
    of_modules = [layer for layer in found if layer.name.split("#")[0] in modules]
    assert [(layer.channels, layer.dead) for layer in of_modules] == expected
    assert len({layer.name for layer in found}) == len(found)


def test_sentences_name_the_worst_layers_first():
    layers = [
        LayerHealth("relu1", dead=1, saturated=None, channels=16, activation="relu"),
        LayerHealth("relu2", dead=14, saturated=None, channels=48, activation="relu"),
        LayerHealth("act", dead=1, saturated=2, channels=8, activation="tanh"),
    ]
    assert describe_health(layers) == (
        "relu2: 14 of 48 channels never fire.",
        "act: 1 of 8 channels have the same output for every picture.",
        "relu1: 1 of 16 channels never fire.",
        "act: 2 of 8 channels stay at the ends of their range, where gradients vanish.",
    )


def test_a_healthy_network_gets_one_sentence_and_an_empty_one_none():
    healthy = [LayerHealth("relu", dead=0, saturated=None, channels=4, activation="relu")]
    assert describe_health(healthy) == ("No dead or saturated channels in 1 activation.",)
    assert describe_health([]) == ()


# Norms of layers, against NumPy in float64.


def build_trainable() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        return nn.Sequential(body, nn.Linear(16, 5, bias=False))


def by_numpy(tensors) -> float:
    return math.sqrt(sum(float(np.square(tensor.detach().numpy().astype(np.float64)).sum()) for tensor in tensors))


def test_every_layer_with_weights_is_measured_in_order():
    net = build_trainable()
    net(torch.randn(6, 3, 4, 4)).square().sum().backward()
    found = measure_norms(net)
    assert [line["name"] for line in found] == ["0.0", "0.1", "1"]
    for line in found:
        own = list(net.get_submodule(line["name"]).parameters(recurse=False))
        assert line["weight_norm"] == pytest.approx(by_numpy(own), rel=1e-6)
        assert line["gradient_norm"] == pytest.approx(by_numpy([p.grad for p in own]), rel=1e-6)
        assert type(line["weight_norm"]) is type(line["gradient_norm"]) is float


def test_what_is_not_trained_has_no_gradient_norm():
    net = build_trainable()
    assert all(line["gradient_norm"] is None for line in measure_norms(net))
    net[0].requires_grad_(False)
    net(torch.randn(6, 3, 4, 4)).sum().backward()
    assert [line["gradient_norm"] is None for line in measure_norms(net)] == [True, True, False]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_norms_that_are_no_numbers_are_left_out(bad):
    net = build_trainable()
    net(torch.randn(6, 3, 4, 4)).sum().backward()
    with torch.no_grad():
        net[0][0].weight[0, 0, 0, 0] = bad
        net[1].weight.grad[0, 0] = bad
    conv, norm, linear = measure_norms(net)
    assert conv["weight_norm"] is None and conv["gradient_norm"] is not None
    assert linear["weight_norm"] is not None and linear["gradient_norm"] is None
    assert norm["weight_norm"] == pytest.approx(2.0)  # four ones and four zeros


def test_a_module_with_weights_of_its_own_at_the_root_has_an_empty_name():
    assert [line["name"] for line in measure_norms(nn.Linear(2, 2))] == [""]
    assert measure_norms(nn.ReLU()) == []


def test_measuring_norms_changes_nothing():
    net = build_trainable()
    net(torch.randn(6, 3, 4, 4)).sum().backward()
    before = [(p.detach().clone(), p.grad.clone()) for p in net.parameters()]
    measure_norms(net)
    for parameter, (weight, gradient) in zip(net.parameters(), before, strict=True):
        assert torch.equal(parameter, weight) and torch.equal(parameter.grad, gradient)
