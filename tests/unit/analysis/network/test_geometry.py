"""Strides and receptive fields against networks that are probed pixel by pixel."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models as zoo
from torchvision.models.googlenet import BasicConv2d

from analysis.network.geometry import GeometryMode
from analysis.network.windows import Geometry

SIDE = 37


def trace(net: nn.Module, inputs: Tensor) -> tuple[Tensor, Geometry | None]:
    with torch.no_grad(), GeometryMode(inputs) as mode:
        output = net(inputs)
        return output, mode.find(output)


def make_positive(net: nn.Module) -> nn.Module:
    """A copy that hides nothing: positive weights, neutral normalisation, no maximum that drops a pixel."""
    net = copy.deepcopy(net).double().eval()
    for parameter in net.parameters():
        parameter.requires_grad_(False).fill_(1 / max(parameter[0].numel(), 1) if parameter.ndim > 1 else 0.0)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.fill_(1)
    return net


def probe(net: nn.Module, axis: int, num_cells: int) -> list[list[int]]:
    """For each cell along one axis, the input rows (or columns) that it answers to."""
    impulses = torch.zeros(SIDE, 4, SIDE, SIDE, dtype=torch.float64)
    for position in range(SIDE):
        impulses[position].select(axis - 2, position).fill_(1)
    with torch.no_grad():
        answers = make_positive(net)(impulses)
    answers = answers.abs().flatten(1).reshape(SIDE, -1, *answers.shape[-2:]).sum(1).sum(2 - axis)
    assert answers.shape == (SIDE, num_cells)
    return [answers[:, cell].nonzero().flatten().tolist() for cell in range(num_cells)]


def conv(inputs: int = 4, outputs: int = 4, kernel: int | tuple = 3, **options) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, **options)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv(padding=1, stride=2), nn.BatchNorm2d(4), nn.ReLU(True), conv(padding=1))
        self.shortcut = conv(kernel=1, stride=2)

    def forward(self, x):
        out = self.body(x)
        out += self.shortcut(x)
        return F.relu(out)


class Concatenation(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([conv(kernel=1), conv(kernel=3, padding=1), conv(kernel=5, padding=(0, 2))])

    def forward(self, x):
        first, second, third = (part(x) for part in self.parts)
        return torch.cat([first, second, F.pad(third, (0, 0, 4, 0))], dim=1)


class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv(stride=2)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 3, 0)))


class Functional(nn.Module):
    def forward(self, x):
        x = F.max_pool2d(x, 3, 2, 1)
        x = torch.conv2d(x, torch.ones(4, 4, 3, 3, dtype=x.dtype), padding=1, dilation=2)
        return F.avg_pool2d(F.max_pool2d(x, 2, stride=1), kernel_size=2)


class Shuffle(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(conv(padding=1, groups=2), conv(stride=2))

    def forward(self, x):
        x = self.convs[0](x)
        left, right = x.chunk(2, dim=1)
        n, c, h, w = x.shape
        x = torch.cat([right, left], 1).view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        return self.convs[1](x)


class ChannelsLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(conv(stride=2), conv(padding=2, kernel=5))
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        x = self.convs[0](x).permute(0, 2, 3, 1)
        return self.convs[1](F.gelu(self.linear(x)).permute(dims=(0, 3, 1, 2)))


class Moved(nn.Module):
    """A convolution, some move of its cells, and another convolution."""

    def __init__(self, move):
        super().__init__()
        self.convs, self.move = nn.ModuleList([conv(), conv(inputs=1)]), move

    def forward(self, x):
        return self.convs[1](self.move(self.convs[0](x)).mean(1, keepdim=True))


MOVES = {
    "sliced": lambda x: x[..., 1:, 2:-3],
    "thinned": lambda x: x[:, :, ::2, 1::3],
    "joined_thinnings": lambda x: torch.cat([x[:, :, :-1:2, :-1:2], x[:, :, 1::2, 1::2]], 1),
    "joined_along_rows": lambda x: torch.cat([x.new_zeros(len(x), 4, 2, x.shape[3]), x], 2),
    "folded": lambda x: F.pixel_unshuffle(x[..., :-1, :-1], 2),
    "bands": lambda x: x[..., 1:, 1:].reshape(len(x), 4, 17, 2, 17, 2).permute(0, 1, 3, 5, 2, 4).flatten(1, 3),
    "movedim": lambda x: x.movedim(1, -1).unsqueeze(1).squeeze(1).swapaxes(-1, -2).swapaxes(-2, -3),
    "unbound": lambda x: torch.stack(x.unbind(1)[:2], 1) + torch.stack(x.unbind(1)[2:], dim=1),
    "topk": lambda x: x.topk(2, dim=1).values + x.sort(1)[0][:, :2],
    "largest": lambda x: torch.max(x.max(1, keepdim=True)[0], x.roll(1, 1)),
    "negative_pad": lambda x: F.pad(x, (-2, 1, 3, -1)),
}


class ScaledByChannelMean(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv(padding=1)

    def forward(self, x):
        return x * (1 + self.conv(x).mean(dim=1, keepdim=True)) + self.conv(x).amax(1, keepdim=True)


NETS = {
    "strided": nn.Sequential(conv(stride=2, padding=1), nn.ReLU(), conv(kernel=5, stride=2), conv()),
    "dilated": nn.Sequential(conv(dilation=3, padding=2), conv(kernel=2, dilation=2)),
    "same": nn.Sequential(conv(kernel=4, padding="same"), conv(kernel=3, dilation=2, padding="same")),
    "valid": conv(kernel=5, padding="valid", stride=3),
    "oblong": nn.Sequential(conv(kernel=(1, 5), padding=(0, 2)), conv(kernel=(3, 1), stride=(2, 1))),
    "circular": nn.Sequential(conv(padding=1), conv(padding=1, stride=2)),
    "max_pool": nn.Sequential(conv(), nn.MaxPool2d(3, 2, padding=1), nn.MaxPool2d(2)),
    "dilated_pool": nn.Sequential(nn.MaxPool2d(3, stride=1, dilation=2), conv()),
    "ceil_pool": nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), conv(stride=2)),
    "avg_pool": nn.Sequential(nn.AvgPool2d(3, 2, padding=1), conv(), nn.AvgPool2d(2)),
    "adaptive": nn.Sequential(conv(kernel=2), nn.AdaptiveAvgPool2d(12), conv()),
    "residual": nn.Sequential(conv(padding=1), Residual(), Residual()),
    "concatenation": nn.Sequential(conv(stride=2), Concatenation()),
    "padded": nn.Sequential(Padded(), nn.ZeroPad2d(2), conv(stride=2)),
    "cropped": nn.Sequential(conv(), nn.ZeroPad2d(-2), conv()),
    "functional": Functional(),
    "shuffle": Shuffle(),
    "channels_last": ChannelsLast(),
    "channel_mean": ScaledByChannelMean(),
    "depthwise": nn.Sequential(conv(groups=4, padding=1), conv(kernel=1), nn.Hardswish(), nn.Dropout()),
    "even_same": conv(kernel=(4, 6), padding="same"),
    "power_pool": nn.Sequential(nn.LPPool2d(1, 3, 2), conv()),
    **{name: Moved(move) for name, move in MOVES.items()},
    "torchvision_block": BasicConv2d(4, 4, kernel_size=3, stride=2),
}


@pytest.mark.filterwarnings("ignore:Using padding=.same.:UserWarning")
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("axis", [0, 1], ids=["rows", "columns"])
def test_every_cell_sees_the_pixels_that_change_it(name, axis):
    net = NETS[name].eval()
    output, geometry = trace(net, torch.zeros(1, 4, SIDE, SIDE))
    along = geometry.axes[axis]
    is_inside = []
    for cell, seen in enumerate(probe(net, axis, output.shape[2 + axis])):
        low, high = cell * along.stride + along.low, cell * along.stride + along.high
        is_inside.append(low >= 0 and high < SIDE)
        if is_inside[-1]:
            assert (seen[0], seen[-1]) == (low, high)
        else:
            assert all(low <= position <= high for position in seen)
    assert sum(is_inside) >= 3
    assert along.high - along.low > 1


def test_windows_that_wrap_around_are_still_windows():
    wrapped = nn.Sequential(conv(padding=1, padding_mode="circular"), conv(padding=1, padding_mode="circular"))
    _, geometry = trace(wrapped, torch.zeros(1, 4, SIDE, SIDE))
    _, as_zero = trace(nn.Sequential(conv(padding=1), conv(padding=1)), torch.zeros(1, 4, SIDE, SIDE))
    assert geometry == as_zero
    assert (geometry.stride, geometry.receptive_field) == (1, 5)


class Gated(nn.Module):
    """Squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.conv, self.gate = conv(padding=1), conv(kernel=1)

    def forward(self, x):
        x = self.conv(x)
        return x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()


def gradient_extent(net: nn.Module, height: int, width: int, channels: int) -> tuple[int, int]:
    """First and last input row with a gradient from the middle output cell; maxima become averages."""
    net = make_positive(net)
    for parent in list(net.modules()):
        for name, part in list(parent.named_children()):
            if isinstance(part, nn.MaxPool2d):
                setattr(parent, name, nn.AvgPool2d(part.kernel_size, part.stride, part.padding))
            if isinstance(part, nn.ReLU):
                part.inplace = False
    inputs = torch.ones(1, channels, height, width, dtype=torch.float64, requires_grad=True)
    output = net(inputs)
    output[0, :, output.shape[2] // 2, output.shape[3] // 2].sum().backward()
    rows = inputs.grad.abs().sum((0, 1, 3)).nonzero().flatten().tolist()
    return rows[0], rows[-1]


def test_a_gate_makes_every_cell_see_the_whole_picture():
    net = nn.Sequential(conv(), Gated(), conv(stride=2))
    _, geometry = trace(net, torch.zeros(1, 4, SIDE, SIDE))
    assert gradient_extent(net, SIDE, SIDE, 4) == (0, SIDE - 1)
    assert geometry.receptive_field == float("inf")
    assert [(axis.low, axis.high) for axis in geometry.axes] == [(-float("inf"), float("inf"))] * 2
    assert geometry.stride == 2


TORCHVISION = [
    ("resnet18", lambda net: nn.Sequential(*list(net.children())[:-2]), 32, 435),
    ("resnet50", lambda net: nn.Sequential(*list(net.children())[:-2]), 32, 427),
    ("vgg16", lambda net: net.features, 32, 212),
    ("alexnet", lambda net: net.features, 32, 195),
]


@pytest.mark.parametrize(("name", "trunk", "stride", "size"), TORCHVISION, ids=[row[0] for row in TORCHVISION])
def test_torchvision_trunks_see_what_a_gradient_finds(name, trunk, stride, size):
    with torch.device("meta"):
        net = trunk(zoo.get_model(name, weights=None))
    net = net.to_empty(device="cpu").eval()
    for tensor in (*net.parameters(), *net.buffers()):
        tensor.data.zero_()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_var.fill_(1)
    height = 672 if size > 400 else 352
    width = 64 if name == "alexnet" else 32
    output, geometry = trace(net, torch.zeros(1, 3, height, width))
    assert (geometry.stride, geometry.receptive_field) == (stride, size)
    along = geometry.axes[0]
    middle = output.shape[2] // 2
    found = gradient_extent(net, height, width, 3)
    assert found == (middle * along.stride + along.low, middle * along.stride + along.high)
    assert 0 < found[0] < found[1] < height - 1


class MixedPositions(nn.Module):
    def __init__(self, mix):
        super().__init__()
        self.conv, self.mix = conv(padding=1), mix

    def forward(self, x):
        return self.mix(self.conv(x))


def overwrite(x: Tensor) -> Tensor:
    x[..., 0] = x[..., 5]
    return x


MIXERS = {
    "roll": lambda x: torch.roll(x, 1, -1),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "matmul": lambda x: x @ x.transpose(-1, -2),
    "resize": lambda x: F.interpolate(x, scale_factor=2),
    "tokens": lambda x: x.flatten(2),
    "mean_over_rows": lambda x: x.mean(2),
    "uneven_adaptive": lambda x: F.adaptive_avg_pool2d(x, 7),
    "two_strides": lambda x: x[:, :, :12, :12] + F.max_pool2d(x, 3),
    "conv_on_turned": lambda x: F.max_pool2d(x.permute(0, 2, 3, 1), 1),
    "pad_on_turned": lambda x: F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1)),
    "flip": lambda x: x.flip(-1),
    "double": lambda x: x.repeat_interleave(2, -1),
    "shuffled_out": lambda x: F.pixel_shuffle(x, 2),
    "transposed": lambda x: F.conv_transpose2d(x, torch.ones(4, 4, 3, 3), stride=2),
    "transposed_in_place": lambda x: x.clone().transpose_(2, 3),
    "unfold": lambda x: F.unfold(x, 3),
    "one_after_another": lambda x: torch.cat([x, x], 2),
    "stacked_last": lambda x: torch.stack([x[..., :2, :2], x[..., :2, :2]], -1) @ torch.ones(2, 2),
    "broadcast_cell": lambda x: x + F.max_pool2d(x, SIDE, 1),
    "overwritten": lambda x: overwrite(x.clone()),
    "gathered": lambda x: x.gather(3, torch.zeros(1, 4, SIDE, SIDE, dtype=torch.int64)),
    "largest_of_row": lambda x: x.max(3, keepdim=True)[0],
    "largest_cells": lambda x: x.topk(5, -1).values,
    "fourier": lambda x: torch.fft.fft2(x).abs(),
    "linear_over_columns": lambda x: F.linear(x, torch.ones(SIDE, SIDE)),
}


@pytest.mark.parametrize("name", MIXERS)
def test_mixed_positions_have_no_fixed_window(name):
    _, geometry = trace(MixedPositions(MIXERS[name]), torch.zeros(1, 4, SIDE, SIDE))
    assert geometry is None
    _, unmixed = trace(MixedPositions(lambda x: x), torch.zeros(1, 4, SIDE, SIDE))
    assert unmixed.receptive_field == 3


SPREADERS = {
    "group_norm": lambda x: F.group_norm(x, 2),
    "instance_norm": lambda x: F.instance_norm(x),
    "batch_norm_of_this_batch": lambda x: F.batch_norm(x, None, None, training=True),
    "layer_norm": lambda x: F.layer_norm(x, (4, SIDE, SIDE)),
    "gate_by_norm": lambda x: x / x.mean((1, 2, 3), keepdim=True),
    "softmax_both_ways": lambda x: x.softmax(2).cumsum(-1),
}


@pytest.mark.parametrize("name", SPREADERS)
def test_normalised_over_positions_every_cell_sees_the_whole_picture(name):
    inputs = torch.rand(1, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(0), requires_grad=True)
    with GeometryMode(inputs) as mode:
        output = SPREADERS[name](inputs)
    geometry = mode.find(output)
    assert geometry.stride == 1
    assert geometry.receptive_field == float("inf")
    output[0, :, -1, -1].square().sum().backward()
    assert inputs.grad[0, :, 0].any() and inputs.grad[0, :, :, 0].any()


def test_mixing_along_one_axis_leaves_the_other_alone():
    _, geometry = trace(MixedPositions(lambda x: F.softmax(x, -1)), torch.zeros(1, 4, SIDE, SIDE))
    rows, columns = geometry.axes
    assert (rows.low, rows.high) == (-1, 1)
    assert (columns.low, columns.high) == (-float("inf"), float("inf"))
    _, beside = trace(
        MixedPositions(lambda x: F.normalize(x.softmax(1).cumsum(dim=1))), torch.zeros(1, 4, SIDE, SIDE)
    )
    assert beside.receptive_field == 3


def test_a_shortcut_around_attention_keeps_the_grid_but_no_window():
    _, geometry = trace(
        MixedPositions(lambda x: x[..., ::2, ::2] + F.interpolate(x, (19, 19))), torch.zeros(1, 4, 37, 37)
    )
    assert geometry.stride == 2
    assert geometry.receptive_field is None


POOLS = {
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, 1),
    "adaptive_max": lambda x: F.adaptive_max_pool2d(x, 1).flatten(1),
    "mean": lambda x: x.mean((-1, -2)),
    "mean_of_turned": lambda x: x.permute(0, 2, 3, 1).mean(dim=[1, 2]),
    "sum_of_all": lambda x: x.sum(),
    "flatten": lambda x: x.flatten(1),
    "linear": lambda x: F.linear(x.flatten(1), torch.ones(2, 4 * SIDE * SIDE)),
    "matmul_after": lambda x: x.mean((2, 3)) @ torch.ones(4, 4),
}


@pytest.mark.parametrize("name", POOLS)
def test_pooled_outputs_have_seen_everything_and_have_no_stride(name):
    _, geometry = trace(MixedPositions(POOLS[name]), torch.zeros(1, 4, SIDE, SIDE))
    assert geometry.axes is None
    assert geometry.stride is None
    assert geometry.receptive_field == float("inf")


def test_turned_maps_know_where_their_positions_are():
    _, geometry = trace(MixedPositions(lambda x: x.permute(0, 2, 3, 1)), torch.zeros(1, 4, SIDE, SIDE))
    assert (geometry.dims, geometry.receptive_field) == ((-3, -2), 3)
    _, back = trace(MixedPositions(lambda x: x.permute(0, 2, 3, 1).transpose(1, 3)), torch.zeros(1, 4, SIDE, SIDE))
    assert back.dims == (-1, -2)


def test_different_strides_both_ways_are_no_stride():
    _, geometry = trace(conv(stride=(1, 2)), torch.zeros(1, 4, SIDE, SIDE))
    assert geometry.stride is None
    assert [axis.stride for axis in geometry.axes] == [1, 2]
