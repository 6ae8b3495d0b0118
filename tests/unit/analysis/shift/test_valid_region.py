"""Valid cells against impulses that are sent through a network with nothing to hide."""

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from analysis.network.layers import list_layers
from analysis.network.windows import Axis
from analysis.shift.move import BOUNDARIES, shift_pixels
from analysis.shift.valid_region import find_seeing_cells, find_valid_cells, trace_axes

SIDE = 32


class Branches(nn.Module):
    """Positive weights and no bias, so that nothing a cell sees can cancel."""

    def __init__(self, stride: int, kernel: int, padding: int):
        super().__init__()
        self.first = nn.Conv2d(3, 2, kernel, stride, padding, bias=False)
        self.second = nn.Conv2d(2, 2, 3, 1, 1, bias=False)
        self.pool = nn.AvgPool2d(3, 2, 1)
        self.double().requires_grad_(False)
        for weight in self.parameters():
            weight.abs_().add_(0.1)

    def forward(self, x):
        x = self.first(x)
        return self.pool(x + self.second(x))


@settings(max_examples=25)
@given(
    shape=st.sampled_from([(1, 3, 1), (2, 3, 1), (2, 5, 2), (1, 5, 0), (2, 2, 0), (1, 4, 1)]),
    cells=st.tuples(st.integers(-4, 4), st.integers(-4, 4)),
    boundary=st.sampled_from(list(BOUNDARIES)),
)
def test_valid_cells_are_those_that_impulses_do_not_reach(shape, cells, boundary):
    net = Branches(*shape).eval()
    layers = [layer for layer in list_layers(net, torch.zeros(1, 3, SIDE, SIDE, dtype=torch.float64)) if layer.stride]
    stride = layers[-1].stride
    dx, dy = cells[0] * stride, cells[1] * stride
    is_real = torch.ones(SIDE, SIDE, dtype=torch.bool)
    if boundary != "crop":
        is_real = shift_pixels(torch.zeros(3, SIDE, SIDE), dx, dy, boundary, (0, 0, 0)).is_real
    axes = trace_axes(net, torch.zeros(1, 3, SIDE, SIDE, dtype=torch.float64), layers)
    assert set(axes) == {"first", "second", "pool"}
    size = layers[-1].output_shape[1:]
    circular = boundary == "circular" and size[0] * stride == SIDE
    found = find_valid_cells(axes["pool"], size, is_real, dx, dy, circular=circular)
    flat = net(torch.ones(1, 3, SIDE, SIDE, dtype=torch.float64))[0, 0]
    sees_padding = flat < flat.max() * (1 - 1e-9)  # zeros took the place of ones
    sees_invented = net((~is_real).double().expand(1, 3, -1, -1))[0, 0] > 0
    for i, j in itertools.product(*map(range, size)):
        row, column = i - cells[1], j - cells[0]
        if circular:
            row, column = row % size[0], column % size[1]
        has_source = 0 <= row < size[0] and 0 <= column < size[1]
        is_clean = has_source and not (sees_padding[i, j] or sees_invented[i, j] or sees_padding[row, column])
        assert bool(found[i, j]) == is_clean
    if cells == (0, 0):
        assert 0 < found.double().mean() < 1


def test_a_source_between_cells_needs_its_six_neighbours():
    axis = Axis(stride=2, low=-1, high=1)
    valid = find_valid_cells((axis, axis), (16, 16), torch.ones(SIDE, SIDE, dtype=torch.bool), 1, 0, circular=False)
    # Cell 0 sees padding; source q - 1/2 mixes the cells q - 3 to q + 2.
    assert valid.any(dim=0).tolist() == [4 <= q <= 13 for q in range(16)]
    assert valid.any(dim=1).tolist() == [q >= 1 for q in range(16)]


def test_a_picture_that_goes_on_has_more_cells_that_see_it_alone():
    axes = (Axis(stride=2, low=-3, high=3),) * 2
    inside = find_valid_cells(axes, (16, 16), torch.ones(SIDE, SIDE, dtype=torch.bool), 2, 0, circular=False)
    same = find_seeing_cells(axes, (16, 16), ((0, 31), (0, 31)), ((0, 31), (0, 31)), 2, 0, circular=False)
    assert torch.equal(inside, same)
    wider = find_seeing_cells(axes, (16, 16), ((-3, 40), (-1, 40)), ((-3, 40), (1, 42)), 2, 0, circular=False)
    assert wider.any(dim=1).all()
    # Cell q sees 2q - 3 and more, and 2 px further left before the shift: both begin inside from q = 2 on.
    assert wider.any(dim=0).tolist() == [q >= 2 for q in range(16)]
    nothing = find_seeing_cells(axes, (16, 16), ((0, 31), (0, 31)), ((0, -1), (0, 31)), 2, 0, circular=False)
    assert not nothing.any()
