"""What a unit sees, against differences of its value when single pixels move."""

import math

import pytest
import torch
from torch import nn

from analysis.network.layers import find_layer, list_layers
from analysis.network.receptive_field import (
    LEAST,
    find_window,
    measure_covered,
    measure_influence,
    measure_side,
    read_units,
)
from tests.sentences import refused

SIDE = 17


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    parts = [
        nn.Conv2d(2, 4, 3, padding=1),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 5, 3, stride=2),
        nn.ReLU(inplace=True),
    ]
    return nn.Sequential(*parts).double().eval()


@pytest.fixture(scope="module")
def picture():
    return torch.randn(3, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def probe(network, picture, name, cell, channel):
    """Central differences, pixel by pixel: ``(C, H, W)``."""
    step, found = 1e-5, torch.zeros_like(picture)
    for at in torch.cartesian_prod(*map(torch.arange, picture.shape)):
        moved = picture.repeat(2, 1, 1, 1)
        moved[0, *at] += step
        moved[1, *at] -= step
        up, down = read_units(network, moved, name, cell)[:, channel]
        found[tuple(at)] = (up - down) / (2 * step)
    return found


@pytest.mark.parametrize(("name", "cell", "channel"), [("3", (1, 2), 4), ("2", (0, 5), 1)])
def test_the_influence_is_what_pixels_change(network, picture, name, cell, channel):
    with torch.no_grad():
        changes = torch.stack([probe(network, each, name, cell, channel) for each in picture])  # (N, C, H, W)
    influence = measure_influence(network, picture, name, cell, channel)
    torch.testing.assert_close(influence.double(), changes.square().sum(1).mean(0).sqrt(), atol=1e-6, rtol=1e-5)
    layer = find_layer(list_layers(network.float(), picture[:1].float()), name)
    network.double()
    top, left, bottom, right = find_window(layer, cell).clip((SIDE, SIDE))
    seen = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    seen[top:bottom, left:right] = True
    assert torch.equal(influence > 0, seen)


def test_random_signs_have_the_sum_over_the_channels_as_their_mean(network, picture):
    single = picture[:1]
    each = [measure_influence(network, single, "3", (2, 2), channel).square() for channel in range(5)]
    both = measure_influence(network, single.expand(400, -1, -1, -1), "3", (2, 2)).square()
    torch.testing.assert_close(both.sum(), sum(each).sum(), rtol=0.05, atol=0)


def test_covering_moves_what_the_window_holds_and_nothing_else(network, picture):
    layer = find_layer(list_layers(network.float(), picture[:1].float()), "3")
    network.double()
    window = find_window(layer, (1, 1))
    assert (window.side, layer.receptive_field, window.centre) == (8, 8, (6.5, 6.5))
    covered = measure_covered(network, picture[:1], "3", (1, 1), window, 2)
    assert covered.shape == (9, 9)
    units = read_units(network, picture[:1], "3", (1, 1))
    for row in range(9):
        for column in range(9):
            changed = picture[:1].clone()
            changed[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = picture[:1].mean((2, 3), keepdim=True)
            moved = (read_units(network, changed, "3", (1, 1)) - units).norm().item()
            assert covered[row, column].item() == pytest.approx(moved, rel=1e-5, abs=1e-7)


def test_nothing_is_left_behind(network, picture):
    before = [parameter.grad for parameter in network.parameters()], network.training, torch.get_rng_state()
    measure_influence(network, picture, "3", (1, 1))
    assert [parameter.grad for parameter in network.parameters()] == before[0] and network.training == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert not any(part._forward_hooks for part in network.modules())


def test_the_side_counts_pixels():
    influence = torch.zeros(20, 20)
    influence[:6, :6] = 1
    influence[10, 10] = LEAST / 2
    assert measure_side(influence) == 6 and measure_side(torch.zeros(3, 3)) == 0


def test_layers_of_unknown_windows_are_said_to_be(network, picture):
    layer = find_layer(list_layers(network.float(), picture[:1].float()), "3")
    network.double()
    rows, columns = layer.size
    with refused(f"{rows} x {columns}", rows):
        find_window(layer, (rows, 0))
    with refused(4, 5):
        measure_influence(network, picture, "3", (0, 0), 5)
    unknown = find_window(type(layer)(**(vars(layer) | {"axes": None})), (0, 0))
    assert unknown.side is unknown.centre is None and math.isnan(unknown.top)
    assert unknown.clip((8, 9)) == (0, 0, 8, 9)
