"""A convolution against loops, scipy, OpenCV and torch.nn, over random settings."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from analysis.convolution.associativity import compare_orders
from analysis.convolution.convolve import Convolution, add_channels, convolve, look_at
from analysis.convolution.kernels import KERNELS, find_kernel
from analysis.convolution.numbers import read_numbers
from analysis.convolution.sizes import Slide
from analysis.errors import UserError
from tests.sentences import refused

NUMPY_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
NOTES_EDGE = torch.tensor([[10.0, 10, 10, 0, 0, 0]] * 6)
NOTES_STRIDE = torch.tensor([[(column - row) % 4 for column in range(1, 8)] for row in range(7)]).double()
NOTES_KERNEL = torch.tensor([[2.0, 0, 1], [0, 1, 2], [1, 0, 2]])


def loop(settings: Convolution, values: np.ndarray) -> np.ndarray:
    """Every place, every filter, every product, in float64."""
    axes, sides = settings.axes, settings.kernel.shape[2:]

    def spread(value):
        return value if isinstance(value, tuple) else (value,) * axes

    stride, padding, dilation = map(spread, (settings.stride, settings.padding, settings.dilation))
    padded = np.pad(values, [(0, 0), *zip(padding, padding, strict=True)], NUMPY_MODES[settings.padding_mode])
    sizes = [
        (n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(padded.shape[1:], sides, stride, dilation, strict=True)
    ]
    output = np.zeros((settings.filters, *sizes))
    deep, per_group = settings.kernel.shape[1], settings.filters // settings.groups
    for place in np.ndindex(*output.shape):
        filter, position = place[0], place[1:]
        for channel, cell in itertools.product(range(deep), np.ndindex(*sides)):
            at = tuple(p * s + c * d for p, s, c, d in zip(position, stride, cell, dilation, strict=True))
            turned = tuple(k - 1 - c for k, c in zip(sides, cell, strict=True)) if settings.flip else cell
            weight = settings.kernel[(filter, channel, *turned)].item()
            output[place] += weight * padded[(filter // per_group * deep + channel, *at)]
        output[place] += 0 if settings.bias is None else settings.bias[filter].item()
    return output


@st.composite
def cases(draw):
    """Settings and an input that fit each other, of whole numbers."""
    axes, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    largest = {1: 11, 2: 7, 3: 4}[axes]
    sides = [draw(st.integers(1, 3)) for _ in range(axes)]
    channels, filters = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    seed = draw(st.integers(0, 999))
    generator = torch.Generator().manual_seed(seed)

    def whole(*shape):
        return torch.randint(-9, 10, shape, generator=generator).double()

    settings = Convolution(
        whole(filters, channels // groups, *sides),
        stride=tuple(draw(st.integers(1, 3)) for _ in range(axes)),
        padding=tuple(draw(st.integers(0, 2)) for _ in range(axes)),
        padding_mode=draw(st.sampled_from([*NUMPY_MODES])),
        dilation=tuple(draw(st.integers(1, 2)) for _ in range(axes)),
        groups=groups,
        bias=whole(filters) if draw(st.booleans()) else None,
        flip=draw(st.booleans()),
    )
    return settings, whole(channels, *(draw(st.integers(3, largest)) for _ in range(axes)))


@given(cases())
def test_every_setting_gives_what_loops_give(case):
    settings, values = case
    try:
        result = convolve(settings, values)
    except UserError:
        assert any(s.output < 1 for s in map(Slide, *_arguments(settings, values)))
        return
    expected = loop(settings, values.numpy())
    assert result.is_whole and (result.output.numpy() == expected).all()
    written = np.array(result.to_json()["output"])
    assert written.dtype.kind == "i" and (written == expected).all()


@given(cases())
def test_the_line_of_torch_does_the_same(case):
    settings, values = case
    try:
        result = convolve(settings, values)
    except UserError:
        return
    layer = eval(result.code, {"nn": nn}).double()
    with torch.no_grad():
        layer.weight.copy_(settings.weight)
        if settings.bias is not None:
            layer.bias.copy_(settings.bias)
        assert (settings.bias is None) == (layer.bias is None)
        torch.testing.assert_close(layer(values[None])[0], result.output, rtol=0, atol=1e-5)


def _arguments(settings, values):
    sides = settings.kernel.shape[2:]
    return values.shape[1:], sides, settings.stride, settings.padding, settings.dilation


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2), st.integers(1, 2), st.booleans())
def test_a_transposed_one_is_that_of_torch_and_undoes_the_size(axes, stride, padding, dilation, groups, flip):
    generator = torch.Generator().manual_seed(stride + 7 * padding)
    kernel = torch.randn(2 * groups, 3, *(3,) * axes, generator=generator, dtype=torch.float64)
    values = torch.randn(2 * groups, *(4,) * axes, generator=generator, dtype=torch.float64)
    settings = Convolution(kernel, stride, padding, dilation=dilation, groups=groups, transposed=True, flip=flip)
    result = convolve(settings, values)
    layer = eval(result.code, {"nn": nn}).double()
    with torch.no_grad():
        layer.weight.copy_(kernel.flip(list(range(2, axes + 2))) if flip else kernel)
        torch.testing.assert_close(layer(values[None])[0], result.output)
    assert Slide(result.output.shape[1], 3, stride, padding, dilation).output == 4
    assert result.output.shape[1:] == tuple(slide.output for slide in result.slides)
    assert not result.unseen.any()


@pytest.mark.parametrize("name", [name for name, kernel in KERNELS.items() if kernel.rule == "sum"])
def test_kernels_do_what_opencv_and_scipy_do(name, chelsea):
    cv2 = pytest.importorskip("cv2")
    from scipy import signal

    grey = np.asarray(chelsea.convert("L").resize((40, 30)), dtype=np.float64)
    kernel = KERNELS[name].weights
    same = {"padding": 1, "padding_mode": "reflect"}
    correlated = convolve(Convolution(kernel[None, None], **same), torch.from_numpy(grey)).output.numpy()
    expected = cv2.filter2D(grey, -1, kernel.numpy(), borderType=cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(correlated, expected, atol=1e-9)
    true = convolve(Convolution(kernel[None, None], flip=True), torch.from_numpy(grey)).output.numpy()
    np.testing.assert_allclose(true, signal.convolve2d(grey, kernel.numpy(), "valid"), atol=1e-9)


def test_the_median_is_that_of_scipy_and_not_linear(chelsea):
    from scipy import ndimage

    grey = torch.from_numpy(np.asarray(chelsea.convert("L").resize((20, 16)), dtype=np.float64))
    median = KERNELS["median"]

    def take(values):
        settings = Convolution(median.weights[None, None], padding=1, padding_mode="replicate", rule=median.rule)
        return convolve(settings, values).output

    np.testing.assert_array_equal(take(grey).numpy(), ndimage.median_filter(grey.numpy(), 3, mode="nearest"))
    other = grey.flip(1)
    assert not torch.equal(take(grey + other), take(grey) + take(other))


def test_the_numbers_of_the_notes():
    edges = convolve(Convolution(KERNELS["vertical_edges"].weights[None, None]), NOTES_EDGE).to_json()
    assert edges["output"] == [[0, 30, 30, 0]] * 4 and edges["shape"] == [4, 4] and edges["dropped"] == []
    assert edges["formula"] == "floor((6 + 2*0 - 3) / 1) + 1 = floor(3 / 1) + 1 = 4"
    assert edges["code"] == "nn.Conv2d(1, 1, kernel_size=3, bias=False)"
    output = convolve(Convolution(NOTES_KERNEL[None, None], stride=2), NOTES_STRIDE).output
    assert output[0, :2].tolist() == [15, 17] and output.shape == (3, 3)
    filters = torch.zeros(6, 3, 5, 5)
    assert convolve(Convolution(filters), torch.zeros(3, 32, 32)).output.shape == (6, 28, 28)


@given(cases())
def test_unseen_cells_are_those_that_change_nothing(case):
    settings, values = case
    try:
        unseen = convolve(settings, values).unseen
    except UserError:
        return
    positive = Convolution(settings.kernel.abs() + 1, **_without(settings))
    silent = torch.where(unseen, 100.0, 0.0).expand(values.shape).double()
    assert not convolve(positive, silent).output.any()
    for cell in (~unseen).nonzero():
        one = torch.zeros_like(values)
        one[(slice(None), *cell)] = 1
        assert convolve(positive, one).output.any()


def _without(settings):
    kept = ("stride", "padding", "padding_mode", "dilation", "groups", "flip")
    return {name: getattr(settings, name) for name in kept}


def test_dropped_cells_are_counted():
    result = convolve(Convolution(torch.ones(1, 1, 3, 3), stride=3), torch.zeros(7, 7))
    assert [slide.remainder for slide in result.slides] == [1, 1] and int(result.unseen.sum()) == 13
    gaps = convolve(Convolution(torch.ones(1, 1, 1), stride=2), torch.zeros(6))
    assert gaps.to_json()["dropped"] == [[1], [3], [5]]
    mirrored = Convolution(torch.ones(1, 1, 2), stride=4, padding=2, padding_mode="reflect")
    assert convolve(mirrored, torch.zeros(5)).to_json()["dropped"] == [[0], [4]]


@given(cases(), st.integers(0, 10**6))
def test_a_cell_adds_up(case, number):
    settings, values = case
    try:
        output = convolve(settings, values).output
    except UserError:
        return
    filter, *position = np.unravel_index(number % output.numel(), output.shape)
    cell = look_at(settings, values, tuple(map(int, position)), int(filter))
    assert cell.value == output[(filter, *position)].item()
    assert cell.products.shape == settings.kernel.shape[1:]


def test_only_true_convolution_is_associative(chelsea):
    grey = torch.from_numpy(np.asarray(chelsea.convert("L").resize((12, 9)), dtype=np.float64))
    kernels = KERNELS["sobel_x"].weights, KERNELS["emboss"].weights
    true, correlated = (compare_orders(grey, *kernels, flip=flip) for flip in (True, False))
    assert true.difference == 0 and correlated.difference > 100
    assert true.joined.shape == true.one_by_one.shape == correlated.joined.shape == (13, 16)


@pytest.mark.parametrize(
    ("kernel", "shape", "settings", "numbers"),
    [
        ((1, 1, 5, 5), (3, 3), {}, ["5 x 5", "3 x 3", 1]),
        ((1, 1, 5, 5), (3, 3), {"padding": 0, "dilation": 2}, ["9 x 9", 3]),
        ((1, 1, 9), (3,), {"padding": 2}, [9, 3, 7]),
        ((4, 2, 3, 3), (3, 8, 8), {"groups": 2}, [3, 2]),
        ((4, 2, 3, 3), (2, 8, 8), {"groups": 2}, [2, 4]),
        ((4, 3, 3, 3), (1, 8, 8), {}, [3, 1]),
        ((5, 1, 3, 3), (2, 8, 8), {"groups": 2}, [5, 2]),
        ((5, 1, 3, 3), (5, 8, 8), {"groups": 2, "transposed": True}, [5, 2]),
        ((1, 1, 3, 3), (4, 4), {"padding": 4, "padding_mode": "reflect"}, [4, 3]),
        ((1, 1, 3, 3), (4, 4), {"padding": 5, "padding_mode": "circular"}, [5, 4]),
        ((1, 1, 3, 3), (1, 1), {"padding": 2, "transposed": True}, [2]),
        ((1, 1, 3, 3), (4, 4), {"padding_mode": "circular", "transposed": True}, []),
        ((1, 1, 3, 3), (4, 4), {"stride": 0}, ["stride", 0]),
        ((1, 1, 3, 3), (4, 4), {"stride": (1, 2, 3)}, ["stride", 3, 2]),
        ((1, 1, 3, 3), (4, 4), {"padding_mode": "mirror"}, ["mirror"]),
        ((2, 1, 3, 3), (4, 4), {"bias": torch.ones(3)}, [2, 3]),
        ((1, 1, 3, 3), (4, 4), {"groups": 0}, [0]),
        ((3, 3), (4, 4), {}, [0]),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_with_its_numbers(kernel, shape, settings, numbers):
    with refused(*numbers):
        convolve(Convolution(torch.ones(kernel), **settings), torch.ones(shape))


@pytest.mark.parametrize(
    ("kernel", "shape", "settings", "numbers"),
    [
        ((1, 1, 8, 8, 8), (1, 20, 20, 20), {"stride": 64, "transposed": True}, "1,833,767,424"),
        ((1, 1, 40_000), (1, 80_000), {}, "1,600,040,000"),
        ((1, 400, 1, 1, 1), (400, 1, 1, 1), {"padding": 64, "stride": 64}, "858,675,600"),
        ((4096, 1, 9, 9), (1, 30, 30), {"padding": 4}, "3,686,400"),
    ],
)
def test_what_would_take_too_much_memory_or_time_is_refused_before_it_is_taken(kernel, shape, settings, numbers):
    with refused(numbers):
        convolve(Convolution(torch.ones(kernel), **settings), torch.ones(shape))


def test_cells_and_kernels_that_are_not_there_are_refused():
    settings = Convolution(torch.ones(2, 1, 3, 3))
    with refused("2 x 3"):
        look_at(settings, torch.ones(4, 5), (2, 0))
    with refused(2):
        look_at(settings, torch.ones(4, 5), (0, 0), 2)
    with refused("sobel", "sobel_x"):
        find_kernel("sobel")
    with refused(1, 2):
        add_channels(torch.ones(4, 4), torch.ones(3))


@pytest.mark.parametrize(
    "text",
    [
        "[[1,2],[3]]",
        "[[1,2],3]",
        "[]",
        "[[]]",
        "[1,",
        "7",
        "[true]",
        '["a"]',
        "[1e9]",
        "[NaN]",
        "[[[[[[1]]]]]]",
        "[" * 9000,
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_grid_is_refused(text):
    with refused("grid"):
        read_numbers("grid", text)


def test_numbers_are_read():
    assert read_numbers("grid", "[[1, 2.5], [-3, 4]]").tolist() == [[1, 2.5], [-3, 4]]
    assert read_numbers("grid", [[1], [2]]).dtype == torch.float64
