"""Cells are drawn where their gradients lie, whatever strides and paddings lead to them."""

import gc
from weakref import ref

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models as zoo
from torchvision.ops import SqueezeExcitation

from analysis.attribution import placement
from analysis.attribution.methods import attribute
from analysis.attribution.placement import Spacing, enlarge, find_centres, spread_evenly


def find_gradient(module: nn.Module, inputs: Tensor, layer: str, cell: tuple[int, int]) -> tuple[float, float]:
    """Row and column of the centre of mass of what one cell's channels take from the picture."""
    outputs = []
    handle = module.get_submodule(layer).register_forward_hook(lambda *call: outputs.append(call[-1]))
    inputs = inputs.clone().requires_grad_()
    module(inputs)
    handle.remove()
    (gradient,) = torch.autograd.grad(outputs[-1][0, :, *cell].sum(), inputs)
    return find_middle(gradient[0].abs().sum(0))


def find_middle(mass: Tensor) -> tuple[float, float]:
    mass = mass.double() / mass.double().sum()
    sides = zip((1, 0), mass.shape, strict=True)
    rows, columns = (float((mass.sum(dim) * torch.arange(size)).sum()) for dim, size in sides)
    return rows, columns


def find_drawn(cell: tuple[int, int], counts: tuple[int, int], size: tuple[int, int], centres) -> tuple[int, int]:
    """Row and column of the pixel where a cell is drawn most strongly."""
    cells = torch.zeros(1, 1, *counts)
    cells[0, 0, *cell] = 1
    return divmod(int(enlarge(cells, size, centres).argmax()), size[1])


def fill(module: nn.Module) -> nn.Module:
    """Weights of one: a cell takes the same from everything that it looks at."""
    for parameter in module.parameters():
        nn.init.ones_(parameter)
    return module.eval()


@st.composite
def layers(draw) -> nn.Module:
    kernel, stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    padding = draw(st.integers(0, kernel // 2))
    if draw(st.booleans()):
        return nn.AvgPool2d(kernel, stride, padding)
    if draw(st.booleans()):
        before = nn.ZeroPad2d((draw(st.integers(0, 3)), 0, draw(st.integers(0, 3)), 0))
        return nn.Sequential(before, nn.Conv2d(1, 1, kernel, stride, bias=False))
    return nn.Conv2d(1, 1, kernel, stride, padding, dilation, bias=False)


def find_reach(parts: list[nn.Module]) -> tuple[int, int]:
    """How wide a cell's window is, and how far neighbouring cells are apart, in pixels."""
    reach, step = 1, 1
    for part in parts:
        layer = part[-1] if isinstance(part, nn.Sequential) else part
        kernel, stride, dilation = (
            value[0] if isinstance(value, tuple) else value
            for value in (layer.kernel_size, layer.stride, getattr(layer, "dilation", 1))
        )
        reach, step = reach + (kernel - 1) * dilation * step, step * stride
    return reach, step


@settings(max_examples=60)
@given(parts=st.lists(layers(), min_size=1, max_size=4))
def test_a_cell_is_drawn_where_its_gradient_lies(parts) -> None:
    net, size = fill(nn.Sequential(*parts)), (211, 193)
    reach, step = find_reach(parts)
    assume(reach + 4 * step <= min(size))  # else the middle cell's window may lie beyond the picture
    inputs = torch.zeros(1, 1, *size)
    *_, rows, columns = net(inputs).shape
    cell = (rows // 2, columns // 2)  # in the middle, so that its window lies within the picture

    centres = find_centres(net, inputs, str(len(parts) - 1))

    lies = find_gradient(net, inputs, str(len(parts) - 1), cell)
    drawn = find_drawn(cell, (rows, columns), size, centres)
    assert [row.first + place * row.step for row, place in zip(centres, cell, strict=True)] == pytest.approx(lies)
    assert drawn == pytest.approx(lies, abs=0.5 + 1e-3)


@pytest.mark.parametrize(
    ("name", "layer", "first", "step"),
    [
        ("resnet18", "layer4", 0, 32),
        ("densenet121", "features", 14, 32),
        ("googlenet", "inception5b", 22, 32),
        ("mobilenet_v3_small", "features", 0, 32),  # squeeze and excitation looks at the whole picture
        ("alexnet", "features.11", 15, 16),
    ],
)
def test_cells_of_known_networks(name, layer, first, step) -> None:
    torch.manual_seed(0)
    options = {"init_weights": False} if name == "googlenet" else {}
    net = zoo.get_model(name, weights=None, num_classes=3, **options).eval()
    inputs = torch.rand(1, 3, 256, 256)

    centres = find_centres(net, inputs, layer)

    assert centres == (Spacing(first, step),) * 2


def test_a_cell_of_resnet_lies_where_its_gradient_does_not_a_dozen_pixels_away() -> None:
    torch.manual_seed(0)
    net, inputs = zoo.resnet18(weights=None).eval(), torch.rand(1, 3, 448, 448)

    lies = find_gradient(net, inputs, "layer4", (7, 7))
    drawn, evenly = (
        find_drawn((7, 7), (14, 14), (448, 448), centres) for centres in (find_centres(net, inputs, "layer4"), None)
    )

    assert all(abs(a - b) < 4 for a, b in zip(lies, drawn, strict=True))
    assert all(b - a > 11 for a, b in zip(lies, evenly, strict=True))


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.LayerNorm([4, 6, 6]), SqueezeExcitation(4, 2)]
)
def test_what_scales_a_cell_by_the_whole_picture_does_not_move_it(norm) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3, 2), norm, nn.Conv2d(4, 4, 1)).eval()

    assert find_centres(net, torch.rand(1, 1, 13, 13), "2") == (Spacing(1, 2), Spacing(1, 2))


class Rearranged(nn.Module):
    """Attention over a grid: every cell looks at the whole picture in a way that depends on it."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mix = nn.Conv2d(1, 8, 4, 4), nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
        self.back = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.mix(self.patches(x).flatten(2).transpose(1, 2))
        return self.back(tokens.transpose(1, 2).reshape(1, 8, 4, 4)).mean((2, 3))


def test_where_nothing_is_known_cells_are_spread_evenly_and_that_is_said() -> None:
    torch.manual_seed(0)
    net, inputs = Rearranged().eval(), torch.rand(1, 1, 16, 16)
    assert find_centres(net, inputs, "back") is None

    result = attribute(net, inputs, 1, "grad_cam", layer="back")

    assert result.placement == "even"
    assert result.remarks == ("What the cells of back look at is not known; they are spread evenly.",)
    known = attribute(net, inputs, 1, "grad_cam", layer="patches")
    assert (known.placement, known.remarks) == ("centres", ())


@settings(max_examples=30)
@given(counts=st.tuples(*[st.integers(2, 9)] * 2), size=st.tuples(*[st.integers(9, 40)] * 2))
def test_even_cells_are_those_of_bilinear_enlarging(counts, size) -> None:
    cells = torch.randn(1, 1, *counts)

    expected = F.interpolate(cells, size, mode="bilinear", align_corners=False)

    torch.testing.assert_close(enlarge(cells, size, None), expected, rtol=1e-4, atol=1e-5)
    assert spread_evenly(counts[0], size[0]).step == size[0] / counts[0]


def test_beyond_the_outermost_centres_a_map_stays_as_it_is() -> None:
    drawn = enlarge(torch.tensor([[1.0, 3.0]]), (1, 7), (Spacing(0, 1), Spacing(2, 2)))

    assert drawn.tolist() == [[1, 1, 1, 2, 3, 3, 3]]


def test_a_network_is_followed_once_for_each_layer_and_size() -> None:
    net, calls = nn.Sequential(nn.Conv2d(1, 1, 3, 2), nn.Conv2d(1, 1, 3)).eval(), []
    net.register_forward_hook(lambda *_: calls.append(1))
    inputs = torch.rand(1, 1, 9, 9)

    for _ in range(3):
        find_centres(net, inputs, "1")
    assert len(calls) == 1
    find_centres(net, inputs, "0")
    find_centres(net, torch.rand(1, 1, 12, 9), "0")
    assert len(calls) == 3

    forgotten = ref(net)
    calls.clear()
    del net
    gc.collect()
    assert forgotten() is None
    assert not any(known is None for known in placement._KNOWN)
