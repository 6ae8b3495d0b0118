"""Strides and receptive fields of whole model families against not-a-numbers put into the picture.

A network of zeros turns a NaN pixel into NaN in exactly the cells that look at it: it survives zero weights,
saturated activations, maxima and gates, none of which a gradient survives. With all rows above ``t`` NaN a cell
stays clean only if its window starts at ``t`` or lower down; two neighbouring ``t`` pin the start to the pixel.
"""

import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision import models as zoo

from analysis.network.hooks import watch_outputs
from analysis.network.layers import Layer, list_layers
from analysis.network.windows import Axis
from tests.nightly import mostly_nightly

SIDE = 64
"""Of the pictures for networks that take one size only."""

_INITIALISERS = {"uniform_", "normal_", "erfinv_", "kaiming_uniform_", "kaiming_normal_"}


class SkipInitialisation(TorchFunctionMode):
    """Random weights are slow to draw, and the probe sets them to zero."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.__name__ in _INITIALISERS:
            tensor = args[0] if args else kwargs["tensor"]
            tensor.data.zero_()  # a truncated normal draws again until all numbers are in range
            return tensor
        return func(*args, **kwargs)


def build_timm() -> nn.Module:
    import timm

    return timm.create_model("tf_efficientnet_lite0", pretrained=False)


def build_maxvit() -> nn.Module:
    return zoo.MaxVit((SIDE, SIDE), 16, 2, [16, 32], [1, 2], 16, 0.0)


BUILDERS = {
    "googlenet": lambda: zoo.googlenet(weights=None, init_weights=False, aux_logits=False),
    "inception_v3": lambda: zoo.inception_v3(weights=None, init_weights=False, aux_logits=False),
    "vit_b_16": lambda: zoo.VisionTransformer(SIDE, 16, 2, 4, 32, 64),
    "maxvit": build_maxvit,
    "tf_efficientnet_lite0": build_timm,
}


def build(name: str) -> nn.Module:
    with SkipInitialisation():
        net = BUILDERS[name]() if name in BUILDERS else zoo.get_model(name, weights=None)
    for parameter in net.parameters():
        parameter.requires_grad_(False).zero_()
    return net.eval()


@dataclass
class Report:
    """How many maps were compared, and how many of them had a cell whose window was pinned to the pixel."""

    compared: set[str] = field(default_factory=set)
    pinned: set[str] = field(default_factory=set)
    seeing_all: set[str] = field(default_factory=set)
    without_window: set[str] = field(default_factory=set)


def find_tainted(net: nn.Module, pictures: Tensor, layers: list[Layer]) -> dict[str, Tensor]:
    """Which cells ``(N, h, w)`` of each layer are NaN in some channel."""
    found: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        found[name] = output.isnan().any(1)

    with watch_outputs(net, {layer.name for layer in layers}, keep), torch.no_grad():
        net(pictures)
    return found


def choose(layers: list[Layer], axis: int, num: int) -> list[Layer]:
    """The first, some middle and the last layer of every stride."""
    by_stride: dict[int, list[Layer]] = {}
    for layer in layers:
        by_stride.setdefault(layer.axes[axis].stride, []).append(layer)
    places = [0.0, 1.0, 0.5][:num] if num > 1 else [1.0]
    return [group[round(place * (len(group) - 1))] for group in by_stride.values() for place in places]


def starts(layer: Layer, axis: int) -> Tensor:
    along = layer.axes[axis]
    return torch.arange(layer.output_shape[1 + axis]) * along.stride + along.low


def ends(layer: Layer, axis: int) -> Tensor:
    along = layer.axes[axis]
    return torch.arange(layer.output_shape[1 + axis]) * along.stride + along.high


def probe_axis(net: nn.Module, size: tuple[int, int], axis: int, num: int, report: Report) -> None:
    layers = [layer for layer in list_layers(net, torch.zeros(1, 3, *size)) if layer.is_feature_map]
    local = [layer for layer in layers if layer.axes and math.isfinite(layer.axes[axis].low)]
    side = size[axis]
    heads, tails = set(), {side - 1}
    for layer in choose(local, axis, num):
        first = [int(start) for start in starts(layer, axis) if start >= 0]
        last = [int(end) for end in ends(layer, axis) if end < side]
        heads |= {first[0], first[0] + 1} if first else set()
        tails |= {last[-1], last[-1] + 1} if last else set()
    cuts = [(0, t) for t in sorted(heads)] + [(t, side) for t in sorted(tails)]
    pictures = torch.zeros(len(cuts), 3, *size)
    for picture, (first, last) in zip(pictures, cuts, strict=True):
        picture.narrow(1 + axis, first, last - first).fill_(math.nan)
    tainted = find_tainted(net, pictures, layers)
    for layer in layers:
        cells = tainted[layer.name].any(2 - axis)
        for row, (first, last) in zip(cells, cuts, strict=True):
            if first == last:
                assert not row.any()
            elif layer.sees_all:
                assert row.all(), layer.name
            elif layer in local:
                inside, expected = predict(layer, axis, first, last, side)
                assert torch.equal(row[inside], expected[inside]), (layer.name, first, last)
        if layer.sees_all:
            report.seeing_all.add(layer.name)
        elif layer in local:
            report.compared.add(layer.name)
            if is_pinned(layer, axis, heads, tails, side):
                report.pinned.add(layer.name)


def predict(layer: Layer, axis: int, first: int, last: int, side: int) -> tuple[Tensor, Tensor]:
    """The cells whose window is not cut off at the end in question, and which of them look between first and last."""
    low, high = starts(layer, axis), ends(layer, axis)
    return (low >= 0, low < last) if first == 0 else (high < side, high >= first)


def is_pinned(layer: Layer, axis: int, heads: set[int], tails: set[int], side: int) -> bool:
    first = {int(low) for low in starts(layer, axis) if low >= 0 and {int(low), int(low) + 1} <= heads}
    last = {int(high) for high in ends(layer, axis) if high < side and {int(high), int(high) + 1} <= tails}
    return bool(first and last)


def probe_unknown(net: nn.Module, size: tuple[int, int], report: Report) -> None:
    """Maps with a grid but no window: what moves by one cell must not answer by moving one cell."""
    layers = [layer for layer in list_layers(net, torch.zeros(1, 3, *size)) if layer.is_feature_map]
    for layer in layers:
        if layer.axes or layer.sees_all:
            continue
        assert layer.receptive_field is None
        assert layer.stride == size[0] // layer.output_shape[1]
        rows = range(0, size[0], layer.stride)
        pictures = torch.zeros(len(rows), 3, *size)
        for picture, row in zip(pictures, rows, strict=True):
            picture[:, row].fill_(math.nan)
        cells = find_tainted(net, pictures, [layer])[layer.name].any(2)
        moves = [torch.equal(cells[k, :-1], cells[k + 1, 1:]) and not cells[k].all() for k in range(len(rows) - 1)]
        assert not all(moves), layer.name
        report.without_window.add(layer.name)


@dataclass(frozen=True)
class Family:
    """Least numbers of maps: with a window, with one pinned to the pixel, seeing everything, without a window."""

    compared: int
    pinned: int
    seeing_all: int = 0
    without_window: int = 0
    long: int = 256
    short: int = 64


FAMILIES = {
    "alexnet": Family(13, 13, short=96),
    "vgg11": Family(20, 20),
    "vgg11_bn": Family(28, 28),
    "resnet18": Family(70, 60),
    "resnet50": Family(170, 160),
    "wide_resnet50_2": Family(170, 160),
    "resnext50_32x4d": Family(170, 160),
    "squeezenet1_0": Family(60, 60),
    "squeezenet1_1": Family(60, 60),
    "densenet121": Family(400, 180),
    "googlenet": Family(200, 200),
    "inception_v3": Family(200, 80, short=96),
    "mobilenet_v2": Family(200, 180),
    "mobilenet_v3_small": Family(8, 8, seeing_all=140),
    "mnasnet0_5": Family(170, 120),
    "shufflenet_v2_x0_5": Family(180, 160),
    "regnet_y_400mf": Family(15, 15, seeing_all=240),
    "regnet_x_400mf": Family(300, 150),
    "efficientnet_b0": Family(8, 8, seeing_all=230),
    "efficientnet_v2_s": Family(100, 100, seeing_all=440),
    "convnext_tiny": Family(100, 45),
    "tf_efficientnet_lite0": Family(250, 180),
    "swin_t": Family(1, 1, without_window=1, long=64),
    "swin_v2_t": Family(1, 1, without_window=1, long=64),
    "vit_b_16": Family(1, 1, long=64),
    "maxvit": Family(18, 18, seeing_all=5, without_window=50, long=64),
}


LIKE_OTHERS = {"vgg11_bn", "wide_resnet50_2", "resnext50_32x4d", "squeezenet1_0", "regnet_x_400mf"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", mostly_nightly(FAMILIES, FAMILIES.keys() - LIKE_OTHERS))
def test_every_map_looks_where_a_not_a_number_finds_it(name):
    family, net, report = FAMILIES[name], build(name), Report()
    probe_axis(net, (family.long, family.short), 0, 3, report)
    probe_axis(net, (family.short, family.long), 1, 1, report)
    if family.without_window:
        probe_unknown(net, (family.long, family.short), report)
    for kind in ("compared", "pinned", "seeing_all", "without_window"):
        assert len(getattr(report, kind)) >= getattr(family, kind), kind


@pytest.mark.parametrize(
    "wrong", [(0, 1), (-1, 0), (1, 0), (0, -1)], ids=["ends_later", "starts_sooner", "starts_later", "ends_sooner"]
)
def test_a_window_wrong_by_one_pixel_is_found_out(wrong, monkeypatch):
    net = build("squeezenet1_1")
    slide = Axis.slide

    def slide_wrongly(self, *args, **kwargs):
        axis = slide(self, *args, **kwargs)
        return Axis(axis.stride, axis.low + wrong[0], axis.high + wrong[1])

    monkeypatch.setattr(Axis, "slide", slide_wrongly)
    with pytest.raises(AssertionError):
        probe_axis(net, (128, 64), 0, 3, Report())
