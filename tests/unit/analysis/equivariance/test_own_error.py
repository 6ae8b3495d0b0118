"""The own error of a layer against loops in float64, and layers whose flaw is known."""

import cmath
import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.equivariance.own_error import OwnError, OwnErrors, rank
from analysis.errors import Cancelled
from analysis.network.layers import list_layers
from analysis.shift.circular import CircularPadding
from analysis.shift.scene import Scene

SIDE = 16


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Whole numbers in float64, so that sums are exact in any order."""
    return torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(seed)).double()


def conv(stride=1, padding=1, mode="zeros", channels=(2, 3), kernel: int | tuple = 3, **more) -> nn.Conv2d:
    layer = nn.Conv2d(*channels, kernel, stride, padding, padding_mode=mode, **more).double()
    layer.weight.data, layer.bias.data = draw(*layer.weight.shape), draw(*layer.bias.shape, seed=1)
    return layer


def measure(net: nn.Module, direction=(1, 0), levels=None, side=SIDE, boundary="zero", **more) -> dict[str, OwnError]:
    scene = Scene(draw(2, side, side, seed=2), side, boundary, lambda pixels: pixels)
    layers = list_layers(net.eval(), scene.window[None])
    names = [layer.name for layer in layers if layer.is_feature_map and not layer.repeats]
    found = OwnErrors(net, scene, layers, names, direction, levels or {}).measure(**more)
    return {own.name: own for own in found}


# What has to be exactly zero, with controls that must not be


@pytest.mark.parametrize("direction", [(1, 0), (0, -1), (-1, 1)])
@pytest.mark.parametrize(
    "layer",
    [
        conv(mode="circular"),
        conv(kernel=1, padding=0),
        conv(padding=0),
        conv(mode="circular", kernel=(1, 5), padding=(0, 2)),
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.Hardtanh(-1, 1),
        nn.BatchNorm2d(2).double(),
        nn.MaxPool2d(3, 1),
        nn.AvgPool2d(1, 1),
    ],
    ids=str,
)
def test_layers_that_move_along_have_no_error_at_all(layer, direction):
    own = measure(nn.Sequential(layer), direction)["0"]
    assert (own.input_stride, own.stride, own.error, own.in_phase, own.cause) == (1, 1, 0.0, 0.0, "none")


@pytest.mark.parametrize(
    "layer",
    [
        conv(),
        conv(mode="reflect"),
        conv(padding="same"),
        nn.MaxPool2d(3, 1, 1),
        nn.AvgPool2d(3, 1, 1),
        conv(padding=2),
    ],
    ids=str,
)
def test_padding_alone_is_an_error_that_wrapping_around_takes_away(layer):
    own = measure(nn.Sequential(layer))["0"]
    assert own.error == own.in_phase == pytest.approx(own.padding_error) and own.error > 0.1
    assert (own.stride_error, own.cause) == (0.0, "padding")
    if layer.padding != (2, 2):  # else the map grows
        with CircularPadding():
            assert measure(nn.Sequential(layer))["0"].error == 0.0


@pytest.mark.parametrize(
    "layer", [conv(2, mode="circular"), conv(4, padding=0, kernel=4), nn.MaxPool2d(2), nn.AvgPool2d(4)], ids=str
)
@pytest.mark.parametrize("direction", [(1, 0), (0, 1), (-1, -1)])
def test_a_stride_is_an_error_out_of_phase_only(layer, direction):
    own = measure(nn.Sequential(layer), direction)["0"]
    assert own.error > 0.1 and own.in_phase == 0.0
    assert (own.padding_error, own.cause) == (0.0, "stride")
    assert own.error == own.stride_error
    assert own.find(own.stride, 0) == own.find(0, -2 * own.stride) == (0.0, "none")
    assert own.find(own.stride, 1) == own.find(0.5, 0) == (own.error, "stride")


def test_padding_along_one_axis_is_an_error_along_that_axis():
    layer = conv(kernel=(1, 5), padding=(0, 2))
    along, across = (measure(nn.Sequential(layer), direction)["0"] for direction in ((1, 0), (0, 1)))
    assert along.error > 0.1 and across.error == 0.0


def test_errors_of_the_layers_before_do_not_count():
    """Padding and stride in the first two; the third alone is clean, though its input did not move along."""
    found = measure(nn.Sequential(conv(), nn.MaxPool2d(2), conv(mode="circular", channels=(3, 3)), nn.ReLU(True)))
    assert found["0"].error > 0.1 and found["1"].error > 0.1
    assert (found["2"].error, found["2"].input_stride, found["3"].error) == (0.0, 2, 0.0)


class Block(nn.Module):
    """A residual block that may pool between its parts, which no part of it does."""

    def __init__(self, pool: bool, kernel: int = 3):
        super().__init__()
        self.first, self.act, self.pool = conv(channels=(2, 2)), nn.ReLU(inplace=True), pool
        self.second = conv(channels=(2, 2), kernel=kernel, padding=kernel // 2)

    def forward(self, x):
        inner = self.act(self.first(x))
        return F.max_pool2d(x, 2) + self.second(F.max_pool2d(inner, 2)) if self.pool else x + self.second(inner)


def test_a_block_has_what_its_parts_have_not():
    found = measure(nn.Sequential(Block(pool=False), Block(pool=True, kernel=1), Block(pool=True)))
    assert found["0.first"].cause == found["0.second"].cause == "padding"
    assert (found["0"].error, found["0"].cause) == (0.0, "none")
    assert found["1"].error > 1e-3 > found["1"].in_phase == 0.0
    assert (found["1"].cause, found["1"].stride_error) == (None, None)  # not taken apart
    second = found["1.second"]
    assert (second.error, second.input_stride) == (None, None)  # no layer has made what it reads
    assert found["2.second"].error is None and found["2"].in_phase > 1e-3  # its padding counts with the block


class Place(nn.Module):
    """Adds to every cell a number of its own."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(draw(2, SIDE, SIDE, seed=5))

    def forward(self, x):
        return x + self.place


def test_what_depends_on_the_position_is_no_padding():
    own = measure(nn.Sequential(Place()))["0"]
    assert own.error > 0.1 and (own.cause, own.padding_error) == ("position", 0.0)


def test_a_module_that_is_called_twice_has_two_errors():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act = conv(channels=(2, 2)), nn.ReLU()

        def forward(self, x):
            return self.act(self.conv(self.act(self.conv(x))))

    found = measure(Twice())
    assert list(found) == ["conv", "act", "conv#2", "act#2"]
    assert 0 != found["conv"].error != found["conv#2"].error != 0


# Against loops that share nothing with it


def move_map(maps: Tensor, distances: tuple[float, float]) -> Tensor:
    """``maps (C, h, w)`` moved by (dx, dy) cells around the edges: by the sum that defines the Fourier shift."""
    result = maps.clone().to(torch.complex128)
    for dim, distance in ((2, distances[0]), (1, distances[1])):
        size, moved = result.shape[dim], torch.zeros_like(result)
        kernel = [0j] * size
        for offset, frequency in itertools.product(range(size), range(-((size - 1) // 2), size // 2 + 1)):
            turn = 2 * math.pi * frequency / size
            is_nyquist = 2 * frequency == size
            phase = math.cos(math.pi * distance) if is_nyquist else cmath.exp(-1j * turn * distance)
            kernel[offset] += phase * cmath.exp(1j * turn * offset) / size
        for target, source in itertools.product(range(size), repeat=2):
            moved.select(dim, target).add_(kernel[(target - source) % size] * result.select(dim, source))
        result = moved
    assert result.imag.abs().max() < 1e-10
    return result.real


def convolve(layer: nn.Conv2d, maps: Tensor) -> Tensor:
    """``layer`` on ``(C, h, w)`` padded with zeros, cell by cell."""
    (stride, _), (padding, _) = layer.stride, layer.padding
    side = (maps.shape[-1] + 2 * padding - 3) // stride + 1
    result = layer.bias.detach()[:, None, None].repeat(1, side, side)
    for row, column, i, j in itertools.product(range(side), range(side), range(3), range(3)):
        y, x = row * stride - padding + i, column * stride - padding + j
        if 0 <= y < maps.shape[1] and 0 <= x < maps.shape[2]:
            result[:, row, column] += layer.weight.detach()[:, :, i, j] @ maps[:, y, x]
    return result


@pytest.mark.parametrize("direction", [(1, 0), (-1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_error_is_that_of_a_loop(stride, direction):
    first, second = conv(channels=(2, 2)), conv(stride, channels=(2, 3))
    level = draw(3, seed=4) / 8
    own = measure(nn.Sequential(first, nn.ReLU(), second), direction, {"2": level}, side=8)["2"]
    read = convolve(first, draw(2, 8, 8, seed=2)).clamp(min=0)
    written = convolve(second, read)
    for cells, error in ((1, own.error), (stride, own.in_phase)):
        dx, dy = (sign * cells for sign in direction)
        found = convolve(second, read.roll((dy, dx), (1, 2)))
        expected = move_map(written, (dx / stride, dy / stride))
        scale = (expected - level[:, None, None]).norm()
        assert error == pytest.approx(float((found - expected).norm() / scale), rel=1e-10)


def test_of_an_unpadded_layer_the_cells_that_have_a_source_count():
    """A map that loses its border does not wrap around: the first column comes from nowhere."""
    own = measure(nn.Sequential(conv(padding=0), conv(channels=(3, 3))))
    assert own["0"].error == 0.0
    assert own["1"].error > 0.1


# What a caller can rely on


def test_layers_are_ranked_by_what_matters_at_the_shift():
    pool = OwnError("pool", 1, 2, 0.5, 0.125, 0.5, 0.125, "stride")
    conv = OwnError("conv", 2, 2, 0.25, 0.25, 0.0, 0.25, "padding")
    others = [OwnError("strange", None, 2), OwnError("relu", 2, 2, 1e-7, 1e-7, None, None, "none")]
    assert rank([*others, conv, pool], 1, 0) == [(pool, 0.5, "stride"), (conv, 0.25, "padding")]
    assert rank([*others, conv, pool], 2, -4) == [(conv, 0.25, "padding"), (pool, 0.125, "padding")]
    assert rank(others, 1, 0) == []


def test_it_takes_one_more_forward_of_two_pictures_for_each_stride():
    net = nn.Sequential(
        conv(), nn.MaxPool2d(2), conv(2, channels=(3, 3)), nn.Flatten(), nn.Linear(3 * 16, 5).double()
    )
    sizes, heard = [], []
    handle = net[0].register_forward_hook(lambda *call: sizes.append(len(call[1][0])))
    measure(net, progress=lambda *step: heard.append(step))
    assert sizes == [1, 2, 2, 2]  # the list of layers; 1, 2 and 4 px

    def cancel(done: int, total: int) -> None:
        raise Cancelled

    assert heard == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(Cancelled):
        measure(net, progress=cancel)
    handle.remove()
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


@pytest.mark.parametrize(
    ("shift", "expected"), [((1, 0), 2), ((2, 0), 2), ((4, 0), 4), ((0, 8), 4), ((4, 1), 2), ((0.5, 0), 2)]
)
def test_the_input_moves_by_one_cell_or_so_far_that_the_output_moves_by_one(shift, expected):
    assert OwnError("pool", 2, 4).find_distance(*shift) == expected
    assert OwnError("conv", 2, 2).find_distance(*shift) == 2
