"""Norms of layers against NumPy in float64."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from analysis.network.norms import measure_norms


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        return nn.Sequential(body, nn.Linear(16, 5, bias=False))


def by_numpy(tensors) -> float:
    return math.sqrt(sum(float(np.square(tensor.detach().numpy().astype(np.float64)).sum()) for tensor in tensors))


def test_every_layer_with_weights_is_measured_in_order():
    net = network()
    net(torch.randn(6, 3, 4, 4)).square().sum().backward()
    found = measure_norms(net)
    assert [line["name"] for line in found] == ["0.0", "0.1", "1"]
    for line in found:
        own = list(net.get_submodule(line["name"]).parameters(recurse=False))
        assert line["weight_norm"] == pytest.approx(by_numpy(own), rel=1e-6)
        assert line["gradient_norm"] == pytest.approx(by_numpy([p.grad for p in own]), rel=1e-6)
        assert type(line["weight_norm"]) is type(line["gradient_norm"]) is float


def test_what_is_not_trained_has_no_gradient_norm():
    net = network()
    assert all(line["gradient_norm"] is None for line in measure_norms(net))
    net[0].requires_grad_(False)
    net(torch.randn(6, 3, 4, 4)).sum().backward()
    assert [line["gradient_norm"] is None for line in measure_norms(net)] == [True, True, False]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_norms_that_are_no_numbers_are_left_out(bad):
    net = network()
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


def test_measuring_changes_nothing():
    net = network()
    net(torch.randn(6, 3, 4, 4)).sum().backward()
    before = [(p.detach().clone(), p.grad.clone()) for p in net.parameters()]
    measure_norms(net)
    for parameter, (weight, gradient) in zip(net.parameters(), before, strict=True):
        assert torch.equal(parameter, weight) and torch.equal(parameter.grad, gradient)
