"""Levels of channels, and single pictures of other sizes."""

import pytest
import torch
from torch import nn

from analysis.equivariance.reduced_forwards import ReducedForwards, measure_levels
from analysis.errors import Cancelled
from analysis.network.layers import list_layers


def build() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        convolutions = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, 2, 1)
        return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(5 * 8 * 8, 2)).double().eval()


def noise(count: int, side: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_levels_are_means_over_pictures_and_positions():
    net, pictures = build(), noise(11)
    levels = measure_levels(net, list_layers(net, pictures), pictures)
    assert set(levels) == {"0", "1", "2"}  # the others have no positions
    with torch.no_grad():
        for name, level in levels.items():
            torch.testing.assert_close(level, net[: int(name) + 1](pictures).mean(dim=(0, 2, 3)))


def test_a_picture_of_another_size_is_shown_as_far_as_the_network_goes():
    net, picture, seen, steps = build(), noise(1, side=24), {}, []
    forwards = ReducedForwards(net, ["0", "2", "4"], lambda *step: steps.append(step), total=2)
    forwards.explore(picture, ["0", "2"], lambda name, maps: seen.update({name: maps.clone()}))
    with torch.no_grad():
        assert torch.equal(seen["2"], net[:3](picture)[0])
    assert set(seen) == {"0", "2"}
    forwards.explore(picture, ["0", "4"], lambda name, maps: seen.update({name: maps.clone()}))
    assert set(seen) == {"0", "2"}  # the head does not take this size
    assert steps == [(1, 2), (2, 2)]
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("error", [RuntimeError, ValueError, AssertionError, IndexError])
def test_an_error_of_who_looks_is_no_refusal_of_the_network(error):
    net = build()

    def fail(name, maps):
        raise error("of ours")

    with pytest.raises(error, match="of ours"):
        ReducedForwards(net, ["0"], total=1).explore(noise(1), ["0", "2"], fail)
    assert not any(module._forward_hooks for module in net.modules())


def test_too_little_memory_for_a_copy_ends_the_looking():
    seen = []

    def fail(name, maps):
        seen.append(name)
        raise torch.OutOfMemoryError

    ReducedForwards(build(), ["0"], total=1).explore(noise(1), ["0", "2"], fail)
    assert seen == ["0"]


def test_exploring_can_be_cancelled_and_leaves_no_hooks():
    net = build()

    def cancel(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        ReducedForwards(net, ["0"], cancel, total=1).explore(noise(1), ["0"], lambda name, maps: None)
    assert not any(module._forward_hooks for module in net.modules())
