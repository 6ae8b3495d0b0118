"""Maps without padding, from a larger picture: which networks give them, and at what cost."""

import pytest
import torch
from torch import nn

from analysis.equivariance.meter import measure_layers
from analysis.equivariance.reduced_forwards import ReducedForwards
from analysis.network.layers import list_layers
from analysis.shift.scene import Scene
from tests.unit.analysis.equivariance.test_causes import CASES, build, measure, to_inputs


class OneSize(nn.Module):
    """Takes pictures of 32 pixels only, but for its first layer."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv2d(3, 3, 3, padding=1).double() for _ in range(2))
        self.place = nn.Parameter(torch.zeros(3, 32, 32, dtype=torch.float64))

    def forward(self, x):
        return self.second(self.first(x) + self.place).flatten(1)


def test_networks_of_one_size_are_measured_as_far_as_they_go():
    canvas = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for boundary in ("crop", "zero"):
        meters = measure(OneSize().eval(), Scene(canvas, 32, boundary, to_inputs), 1, 0)
        assert meters["first"].padding_error > 0
        assert (meters["second"].padding_error, meters["second"].cause) == (None, None)
        assert "A larger picture does not give this layer" in meters["second"].note
    assert measure(OneSize().eval(), Scene(canvas, 32, "circular", to_inputs), 1, 0)["second"].cause == "padding"


def test_a_head_that_takes_one_size_is_no_obstacle():
    net = nn.Sequential(build(CASES["stride and padding"]), nn.Flatten(), nn.Linear(6 * 16 * 16, 5).double()).eval()
    canvas = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert measure(net, Scene(canvas, 32, "zero", to_inputs), 1, 0)["0.3"].padding_error > 0


def test_the_larger_picture_is_seen_twice_and_no_further_than_needed():
    net, sizes = build(CASES["padding and new content"]), []
    net.register_forward_pre_hook(lambda module, inputs: sizes.append((len(inputs[0]), inputs[0].shape[-1])))
    scene = Scene(torch.rand(3, 40, 40, dtype=torch.float64), 32, "zero", to_inputs)
    layers = list_layers(net, scene.to_inputs(scene.window[None]))
    del sizes[:]
    measure_layers(net, [scene], 1, 0, layers)
    assert sizes[:2] == [(1, 38), (1, 38)]  # three pixels on every side are all that a cell sees
    assert {side for _, side in sizes[2:]} == {32}


def test_too_little_memory_for_the_larger_picture_leaves_the_other_numbers(monkeypatch):
    net = build(CASES["stride and padding"])
    scene = Scene(torch.rand(3, 40, 40, dtype=torch.float64), 32, "zero", to_inputs)
    usual = measure(net, scene, 1, 0)["3"]
    explore = ReducedForwards.explore

    def fail(self, inputs, names, look):
        def look_once(name, output):
            look(name, output)
            raise torch.OutOfMemoryError

        explore(self, inputs, names, look_once)

    monkeypatch.setattr(ReducedForwards, "explore", fail)
    meters = measure(net, scene, 1, 0)
    assert meters["0"].padding_error > 0
    assert (meters["3"].padding_error, meters["3"].cause) == (None, None)
    assert meters["3"].error == pytest.approx(usual.error)
    assert not any(module._forward_hooks for module in net.modules())
