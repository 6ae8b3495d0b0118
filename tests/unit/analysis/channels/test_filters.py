"""Words for filters that are known to be what they are."""

import math

import pytest
import torch
from torch import nn

from analysis.channels.filters import DEAD, describe_filters, find_filters, find_kernels
from analysis.network.layers import list_layers

GREY = torch.ones(3) / math.sqrt(3)
RED_GREEN = torch.tensor([1.0, -1.0, 0.0]) / math.sqrt(2)


def grating(degrees, side=7, period=4.0, phase=0.5):
    """Lines along an angle, counted anticlockwise from the row; ``(side, side)``."""
    rows, columns = torch.meshgrid(*(torch.arange(side) - (side - 1) / 2,) * 2, indexing="ij")
    across = math.radians(degrees + 90)
    along = columns * math.cos(across) - rows * math.sin(across)
    return torch.cos(2 * math.pi * along / period + phase) * torch.exp(-(rows**2 + columns**2) / 8)


def ring(side=7):
    rows, columns = torch.meshgrid(*(torch.arange(side) - (side - 1) / 2,) * 2, indexing="ij")
    square = rows**2 + columns**2
    inner, outer = torch.exp(-square / 2), torch.exp(-square / 8)
    return inner / inner.sum() - outer / outer.sum()


def build(direction, pattern):
    return direction[:, None, None] * pattern


@pytest.mark.parametrize(
    ("degrees", "name"), [(0, "horizontal"), (45, "rising"), (90, "vertical"), (135, "falling"), (176, "horizontal")]
)
@pytest.mark.parametrize(("direction", "prefix"), [(GREY, ""), (RED_GREEN, "colour ")])
def test_a_grating_is_an_edge_of_its_direction(degrees, name, direction, prefix):
    (found,) = describe_filters(build(direction, grating(degrees))[None])
    assert found.word == f"{name} {prefix}edge" and found.coherence > 0.8
    assert min(abs(found.angle - degrees), 180 - abs(found.angle - degrees)) < 4


def test_the_other_words_are_those_of_what_they_mean():
    flat = torch.ones(7, 7)
    kinds = {
        "brightness": build(GREY, flat),
        "colour": build(RED_GREEN, flat),
        "spot": build(GREY, ring()),
        "colour spot": build(RED_GREEN, ring()),
    }
    assert [each.word for each in describe_filters(torch.stack([*kinds.values()]))] == [*kinds]


def test_the_share_of_colour_is_that_of_the_energy():
    mixed = 0.6 * build(GREY, grating(90)) + 0.8 * build(RED_GREEN, grating(90))
    (found,) = describe_filters(mixed[None])
    assert found.chroma == pytest.approx(0.64, abs=1e-6)
    (grey,) = describe_filters(grating(90)[None, None])
    assert grey.chroma == 0 and grey.word == "vertical edge"
    (scaled,) = describe_filters(-1e-3 * grating(90)[None, None])
    assert (scaled.word, scaled.coherence) == (grey.word, pytest.approx(grey.coherence))


def test_the_sobel_kernel_is_an_edge_and_a_delta_has_no_direction():
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    delta = torch.zeros(3, 3)
    delta[1, 1] = 1
    words = describe_filters(torch.stack([sobel, sobel.T, delta])[:, None])
    assert [each.word for each in words] == ["vertical edge", "horizontal edge", "spot"]


def test_a_filter_is_dead_beside_the_others_only():
    filters = torch.stack([grating(0), 0.9 * DEAD * grating(0), 2 * DEAD * grating(0), torch.zeros(7, 7)])[:, None]
    assert [each.is_dead for each in describe_filters(filters)] == [False, True, False, True]
    assert all(each.is_dead for each in describe_filters(torch.zeros(2, 3, 3, 3)))


def test_templates_are_as_large_as_the_picture_and_other_layers_are_no_pictures():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.ReLU(), nn.Linear(5, 2))
    assert torch.equal(find_filters(linear, (3, 4, 4)).flatten(1), linear[1].weight.detach())
    assert find_filters(linear, (1, 4, 4)) is None and find_filters(nn.ReLU(), (1, 4, 4)) is None


def test_the_kernels_of_a_channel_are_of_the_nearest_convolution_that_makes_as_many():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU()).eval()
    layers = list_layers(network, torch.rand(1, 1, 12, 12))
    name, kernels = find_kernels(network, layers, "4", 5)
    assert name == "2" and torch.equal(kernels, network[2].weight.detach()[5])
    name, kernels = find_kernels(network, layers, "1", 0)
    assert name == "0" and kernels.shape == (1, 3, 3)
    pool = nn.Sequential(nn.AvgPool2d(2), nn.ReLU()).eval()
    assert find_kernels(pool, list_layers(pool, torch.rand(1, 1, 12, 12)), "1", 0) is None
