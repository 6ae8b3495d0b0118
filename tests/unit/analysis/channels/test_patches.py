"""The part of a picture that a cell looks at, against what moves it."""

import torch
from torch import nn

from analysis.attribution.placement import find_centres
from analysis.channels.patches import frame_cell
from analysis.network.layers import find_layer, list_layers
from analysis.network.receptive_field import read_units


def build(*parts):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*parts).eval()


def test_no_pixel_outside_of_the_frame_moves_the_cell_and_those_at_its_edges_do():
    network = build(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, stride=2, padding=1))
    picture = torch.rand(1, 1, 12, 14)
    layer, centres = find_layer(list_layers(network, picture), "1"), find_centres(network, picture, "1")
    for cell in ((0, 0), (2, 3), (5, 6)):
        frame = frame_cell(layer, centres, cell, (12, 14))
        pixels = picture.clone().requires_grad_()
        read_units(network, pixels, "1", cell).sum().backward()
        rows, columns = (pixels.grad[0, 0] != 0).nonzero(as_tuple=True)
        assert frame.box == (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        assert not frame.is_wide and frame.centre == (2 * cell[0], 2 * cell[1])


def test_a_window_without_end_is_the_whole_picture_and_its_centre_is_known():
    gate = build(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 2, 1), nn.Sigmoid())

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gate, self.out = nn.Conv2d(1, 2, 3, stride=2, padding=1), gate, nn.Conv2d(2, 2, 1)

        def forward(self, x):
            maps = self.conv(x)
            return self.out(maps * self.gate(maps))

    network, picture = Gated().eval(), torch.rand(1, 1, 12, 12)
    layer, centres = find_layer(list_layers(network, picture), "out"), find_centres(network, picture, "out")
    frame = frame_cell(layer, centres, (3, 1), (12, 12))
    assert frame.is_wide and frame.box == (0, 0, 12, 12) and frame.centre == (6, 2)
    even = frame_cell(layer, None, (3, 1), (12, 12))
    assert even.centre == (6.5, 2.5)


def test_a_window_in_the_padding_alone_has_the_nearest_pixels():
    network, picture = build(nn.Conv2d(1, 1, 1, padding=3)), torch.rand(1, 1, 6, 6)
    layer, centres = find_layer(list_layers(network, picture), "0"), find_centres(network, picture, "0")
    assert frame_cell(layer, centres, (0, 11), (6, 6)).box == (0, 5, 1, 6)
    assert frame_cell(layer, centres, (5, 5), (6, 6)).box == (2, 2, 3, 3)
