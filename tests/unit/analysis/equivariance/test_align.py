"""Shift errors of feature maps: exact identities, negative controls, and the formula computed again slowly."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from analysis.equivariance.align import MapComparison, MapPair, measure_shift, tiles
from analysis.equivariance.reduced_forwards import measure_levels
from analysis.network.geometry import GeometryMode
from analysis.network.layers import Layer, MapLayer, list_layers, outline
from analysis.shift.features import shift_features
from analysis.shift.move import shift_crop, shift_pixels
from tests.sentences import refused

SIDE = 24


def build(strides=(1, 1, 1), padding_mode: str = "circular", dtype=torch.float32, seed: int = 0) -> nn.Sequential:
    """Convolution, normalisation and ReLU per stride, then average pooling and a linear layer."""
    torch.manual_seed(seed)
    blocks, channels = [], 3
    for stride in strides:
        conv = nn.Conv2d(channels, 8, 3, stride=stride, padding=1, padding_mode=padding_mode)
        blocks.append(nn.Sequential(conv, nn.BatchNorm2d(8), nn.ReLU(inplace=True)))
        channels = 8
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    return nn.Sequential(*blocks, head).to(dtype).eval()


def noise(dtype=torch.float32, side: int = SIDE, seed: int = 0) -> Tensor:
    return torch.randn(3, side, side, generator=torch.Generator().manual_seed(seed)).to(dtype)


def measure(net: nn.Module, pixels: Tensor, dx: int, dy: int, boundary: str = "circular", **options):
    inputs = torch.stack([pixels, shift_pixels(pixels, dx, dy, boundary).pixels])
    layers = [layer for layer in list_layers(net, inputs) if layer.is_feature_map]
    return measure_shift(net, inputs, dx, dy, layers, circular=boundary == "circular", **options)


def errors_of(measurement) -> dict[str, float | None]:
    return {layer.name: layer.relative_error for layer in measurement.layers}


def logit_error(measurement) -> float:
    original, shifted = measurement.logits
    return float((shifted - original).norm() / original.norm())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@settings(max_examples=15)
@given(dx=st.integers(-SIDE, SIDE), dy=st.integers(-SIDE, SIDE))
def test_a_circular_net_without_strides_is_equivariant(dtype, tolerance, dx, dy):
    measured = measure(build(dtype=dtype), noise(dtype), dx, dy)
    errors = errors_of(measured)
    assert len(errors) == 12  # each of three blocks and its three parts
    assert max(errors.values()) <= tolerance
    assert logit_error(measured) <= tolerance


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (2, 1), (-3, 5)])
def test_zero_padding_breaks_equivariance(dx, dy):
    errors = errors_of(measure(build(padding_mode="zeros"), noise(), dx, dy))
    assert min(errors.values()) > 0.01


@pytest.mark.parametrize("strides", [(2, 1, 2), (1, 4, 1), (2, 2, 2)])
def test_a_strided_net_is_equivariant_to_multiples_of_its_stride_only(strides):
    net, pixels = build(strides), noise()
    total = strides[0] * strides[1] * strides[2]
    exact = measure(net, pixels, total, -total)
    broken = measure(net, pixels, total - 1, 1)
    assert max(errors_of(exact).values()) <= 1e-5
    assert errors_of(broken)["2"] > max(100 * errors_of(exact)["2"], 0.05)
    assert logit_error(exact) <= 1e-5
    assert logit_error(broken) > max(100 * logit_error(exact), 1e-4)


def test_each_layer_is_exact_once_its_own_stride_divides_the_shift():
    errors = errors_of(measure(build((2, 2, 2)), noise(), 4, 0))
    assert errors["0"] <= 1e-5
    assert errors["1"] <= 1e-5
    assert errors["2"] > 0.05


def test_a_size_that_the_stride_does_not_divide_breaks_it():
    net = build((2, 2, 1))
    assert errors_of(measure(net, noise(side=24), 4, 0))["2"] <= 1e-5
    assert errors_of(measure(net, noise(side=26), 4, 0))["2"] > 0.01


def test_max_pooling_is_exact_for_even_shifts_only():
    net = nn.Sequential(nn.MaxPool2d(2))
    assert errors_of(measure(net, noise(), 2, -4))["0"] == 0
    assert errors_of(measure(net, noise(), 1, 0))["0"] > 0.1


def test_a_flattened_head_is_not_invariant():
    torch.manual_seed(0)
    net = nn.Sequential(build()[:-1], nn.Flatten(), nn.Linear(8 * SIDE**2, 5)).eval()
    measured = measure(net, noise(), 3, 0)
    assert max(errors_of(measured).values()) <= 1e-5
    assert logit_error(measured) > 0.05


def test_an_alias_free_stride_is_equivariant_to_every_shift():
    class IdealStride(nn.Module):
        def forward(self, x):
            spectrum = torch.fft.fft2(x.double())
            kept = torch.fft.fftfreq(SIDE, 1 / SIDE).abs() < SIDE / 8
            return torch.fft.ifft2(spectrum * (kept[:, None] & kept)).real[..., ::4, ::4].float()

    layer = MapLayer("0", "IdealStride", (3, 6, 6), 0, 4, None, True, False, False)
    pixels = noise()
    for dx, dy in ((1, 0), (2, 3), (4, -1)):
        inputs = torch.stack([pixels, shift_pixels(pixels, dx, dy, "circular").pixels])
        measured = measure_shift(nn.Sequential(IdealStride()), inputs, dx, dy, [layer], circular=True)
        assert measured.layers[0].relative_error < 1e-6


@pytest.mark.parametrize("boundary", ["zero", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding_mode", ["circular", "zeros"])
def test_no_shift_gives_no_error(boundary, padding_mode):
    net = build((2, 1, 2), padding_mode)
    measured = measure(net, noise(), 0, 0, boundary)
    assert set(errors_of(measured).values()) == {0.0}
    assert torch.equal(measured.logits[0], measured.logits[1])


@pytest.mark.parametrize("boundary", ["zero", "circular"])
def test_logits_are_those_of_the_net(boundary):
    net, pixels = build((2, 1, 1), "zeros"), noise()
    inputs = torch.stack([pixels, shift_pixels(pixels, 3, 1, boundary).pixels])
    with torch.no_grad():
        assert torch.equal(measure(net, pixels, 3, 1, boundary).logits, net(inputs))


@pytest.mark.parametrize("boundary", ["zero", "replicate", "circular"])
@pytest.mark.parametrize(("dx", "dy"), [(4, -2), (-8, 0), (2, 16)])
def test_the_error_is_the_written_formula(boundary, dx, dy):
    """Cell by cell, in float64, where the stride divides the shift so that nothing is interpolated."""
    net, pixels = build((2, 1, 1), "zeros"), noise()
    shifted_pixels = shift_pixels(pixels, dx, dy, boundary).pixels
    found = errors_of(measure(net, pixels, dx, dy, boundary))
    with torch.no_grad():
        original, shifted = (net[:3](x[None])[0].double().numpy() for x in (pixels, shifted_pixels))
    channels, height, width = original.shape
    error = scale = 0.0
    for c in range(channels):
        mean = sum(original[c, i, j] for i in range(height) for j in range(width)) / (height * width)
        for i in range(height):
            for j in range(width):
                source_i, source_j = i - dy // 2, j - dx // 2
                if boundary == "circular":
                    source_i, source_j = source_i % height, source_j % width
                if 0 <= source_i < height and 0 <= source_j < width:
                    error += (shifted[c, i, j] - original[c, source_i, source_j]) ** 2
                    scale += (original[c, source_i, source_j] - mean) ** 2
    assert found["2"] == pytest.approx(np.sqrt(error / scale), rel=1e-5)
    assert found["2"] > 0.01


@pytest.mark.parametrize("boundary", ["zero", "circular"])
def test_known_levels_take_the_place_of_the_pictures_own(boundary):
    net, pixels, (dx, dy) = build((2, 1, 1), "zeros"), noise(), (4, -2)
    layers = list_layers(net, pixels[None])
    others = torch.stack([noise(seed=1) + 1, noise(seed=2)])
    levels = measure_levels(net, layers, others)
    assert set(levels) == {layer.name for layer in layers if layer.is_feature_map}
    inputs = torch.stack([pixels, shift_pixels(pixels, dx, dy, boundary).pixels])
    wanted, circular = next(layer for layer in layers if layer.name == "2"), boundary == "circular"
    found = measure_shift(net, inputs, dx, dy, [wanted], circular=circular, levels=levels, compare=wanted)
    with torch.no_grad():
        original, shifted = net[:3](inputs).double()
        level = net[:3](others).double().transpose(0, 1).flatten(1).mean(dim=1)
    moved, inside = shift_features(original, dx / 2, dy / 2, circular=circular)
    error = ((shifted - moved) * inside).norm() / ((moved - level[:, None, None]) * inside).norm()
    assert found.layers[0].relative_error == pytest.approx(float(error), rel=1e-5)
    assert found.comparison.relative_error == found.layers[0].relative_error
    own = measure_shift(net, inputs, dx, dy, [wanted], circular=circular).layers[0].relative_error
    assert abs(own - float(error)) > 0.01 * own


def test_maps_that_do_not_tile_a_picture_that_wraps_around_do_not_wrap_with_it():
    """An unpadded stride moves exactly by whole cells; the last cells have no partner on the other side."""
    torch.manual_seed(0)
    net, pixels = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU()), noise()
    assert set(errors_of(measure(net, pixels, 4, -2)).values()) == {0.0}
    shown = compare(net, pixels, 4, -2, "0")
    assert shown.is_valid.any(dim=0).tolist() == [column >= 2 for column in range(11)]
    assert shown.is_valid.any(dim=1).tolist() == [row < 10 for row in range(11)]


@pytest.mark.parametrize(("size", "fits"), [((24, 24), True), ((24, 26), False), ((48, 24), False)])
def test_cells_tile_a_picture_of_as_many_pixels(size, fits):
    assert tiles(MapLayer("0", "Conv2d", (8, 12, 12), 0, 2, 3, True, False, False), size) == fits


def test_the_error_does_not_depend_on_the_scale_of_the_maps():
    net, pixels = build((2, 1, 1)), noise()
    before = errors_of(measure(net, pixels, 1, 0))["2.1"]
    net[2][1].weight.data *= 64
    assert errors_of(measure(net, pixels, 1, 0))["2.1"] == pytest.approx(before, rel=1e-5)
    assert before > 0.01


def compare(net: nn.Module, pixels: Tensor, dx: int, dy: int, name: str, boundary="circular", channel=None):
    layers = {layer.name: layer for layer in list_layers(net, pixels[None])}
    return measure(net, pixels, dx, dy, boundary, compare=layers[name], channel=channel).comparison


@pytest.mark.parametrize("boundary", ["zero", "circular"])
@pytest.mark.parametrize(("dx", "dy"), [(4, -2), (3, 1), (0, 0)])
def test_compared_maps_fit_together(boundary, dx, dy):
    net, pixels = build((2, 1, 1), "zeros"), noise()
    shown = compare(net, pixels, dx, dy, "1", boundary, channel=3)
    moved = shift_pixels(pixels, dx, dy, boundary).pixels
    with torch.no_grad():
        of_both = net[:2](torch.stack([pixels, moved]))
    assert (shown.layer, shown.stride, shown.channel, shown.num_channels) == ("1", 2, 3, 8)
    assert torch.equal(shown.of_shifted, of_both[1, 3])
    assert torch.equal(shown.difference, (shown.of_shifted - shown.shifted_map) * shown.is_valid)
    if dx % 2 == dy % 2 == 0:
        by_pixels = shift_pixels(of_both[0], dx // 2, dy // 2, boundary)
        assert torch.equal(shown.shifted_map, by_pixels.pixels[3])
        assert torch.equal(shown.is_valid, by_pixels.is_real)
    assert shown.relative_error == errors_of(measure(net, pixels, dx, dy, boundary))["1"]
    assert bool(shown.difference.any()) == ((dx, dy) != (0, 0))


@pytest.mark.parametrize("dx", [0, 2])
def test_a_layer_before_an_in_place_relu_is_compared_before_it(dx):
    shown = compare(build(), noise(), dx, 0, "0.1", channel=0)
    assert shown.of_shifted.min() < -0.1
    assert shown.shifted_map.min() < -0.1


def test_cells_that_see_only_what_both_crops_show_are_equal():
    """The valid-region identity: zero padding and new content disturb only the cells that can see them."""
    net, canvas, (dx, dy) = build((2, 1, 2), "zeros"), noise(side=56), (4, -8)
    crops = [shift_crop(canvas, 40, *d).pixels for d in ((0, 0), (dx, dy))]
    inputs = torch.stack(crops)
    layers = {layer.name: layer for layer in list_layers(net, inputs)}
    shown = measure_shift(net, inputs, dx, dy, [], circular=False, compare=layers["2"], channel=0).comparison
    with GeometryMode(inputs) as mode, torch.no_grad():
        axis = mode.find(net[:3](inputs)).axes[0]
    cells = torch.arange(10)

    def sees_both(distance: int) -> Tensor:
        """In the shifted crop, and at the same content in the original one."""
        windows = [(start + axis.low, start + axis.high) for start in (cells * 4, cells * 4 - distance)]
        return torch.stack([(low >= 0) & (high < 40) for low, high in windows]).all(0)

    is_clean = sees_both(dy)[:, None] & sees_both(dx)
    assert is_clean.sum() >= 12
    assert shown.is_valid[is_clean].all()
    assert shown.difference[is_clean].abs().max() <= 1e-6 * shown.limit
    assert shown.difference[~is_clean].abs().max() > 0.01 * shown.limit


def test_the_second_call_of_a_layer_can_be_compared():
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular")

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv

        def forward(self, x):
            return self.conv(self.conv(x)).mean((2, 3))

    pixels = noise()
    shown = compare(Twice().eval(), pixels, 1, 0, "conv#2", channel=1)
    with torch.no_grad():
        expected = conv(conv(torch.roll(pixels, 1, -1)[None]))[0, 1]
    torch.testing.assert_close(shown.of_shifted, expected)


def test_the_scale_ends_at_the_largest_magnitude():
    maps = {"of_shifted": [[1.0, -2.0]], "shifted_map": [[0.5, 1.0]], "difference": [[0.5, -3.0]]}
    for name in maps:
        changed = {**maps, name: [[0.0, -7.0]]}
        tensors = {key: torch.tensor(value) for key, value in changed.items()}
        shown = MapComparison("0", 1, 0, 1, is_valid=torch.ones(1, 2, dtype=torch.bool), relative_error=0, **tensors)
        assert shown.limit == 7.0


def test_the_channel_shown_is_the_one_that_responds_most():
    net = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False))
    net[0].weight.data = torch.tensor([0.1, -5.0, 3.0, 0.0]).view(4, 1, 1, 1).expand(4, 3, 1, 1).clone()
    assert compare(net, noise(), 1, 0, "0").channel == 1


@pytest.mark.parametrize(("asked", "given_"), [(-3, 0), (0, 0), (7, 7), (8, 7), (999, 7)])
def test_channels_out_of_range_give_the_nearest(asked, given_):
    assert compare(build(), noise(), 1, 0, "0", channel=asked).channel == given_


def test_nothing_is_compared_unless_asked():
    assert measure(build(), noise(), 1, 0).comparison is None


def test_no_error_is_given_where_no_cell_can_be_compared():
    net = build((4, 1, 1))
    measured = measure(net, noise(), SIDE, 0, "zero")
    assert set(errors_of(measured).values()) == {None}
    shown = compare(net, noise(), SIDE, 0, "1", "zero")
    assert shown.relative_error is None
    assert not shown.is_valid.any()
    assert not shown.difference.any()
    assert errors_of(measure(net, noise(), SIDE - 4, 0, "zero"))["1"] is not None


def test_maps_that_are_zero_everywhere_have_no_error():
    net = build()
    net[0][0].weight.data.zero_()
    net[0][0].bias.data.fill_(-1)  # nothing passes the ReLU
    measured = measure(net, noise(), 1, 0)
    assert errors_of(measured)["0"] == 0.0
    assert errors_of(measured)["0.0"] == 0.0


def test_an_error_relative_to_nothing_is_not_given():
    net = nn.Sequential(nn.ReLU())
    pixels = -noise().abs()
    inputs = torch.stack([pixels, -pixels])
    layers = list_layers(net, inputs)
    assert measure_shift(net, inputs, 1, 0, layers, circular=True).layers[0].relative_error is None


def test_layers_come_in_the_order_asked_for_and_no_hook_stays():
    net, pixels = build(), noise()
    layers = outline(list_layers(net, pixels[None]))[::-1]
    measured = measure_shift(net, torch.stack([pixels, pixels]), 0, 0, layers, circular=True)
    assert [layer.name for layer in measured.layers] == [layer.name for layer in layers]
    assert not any(module._forward_hooks for module in net.modules())
    with pytest.raises(RuntimeError):
        measure_shift(net, torch.zeros(2, 4, 8, 8), 0, 0, layers, circular=True)
    assert not any(module._forward_hooks for module in net.modules())


def test_maps_without_a_stride_are_refused():
    layer = Layer("0", "Conv2d", (8, 5, 5), 0, None, None, True, False, False)
    pixels = noise()
    with refused("0"):
        measure_shift(build(), torch.stack([pixels, pixels]), 1, 0, [], circular=True, compare=layer)


def test_unrelated_maps_differ_by_the_root_of_two():
    maps = [noise(torch.float64, 40, seed).abs() + 1 for seed in (1, 2)]
    pair = MapPair.align(*maps, 3, 0, circular=True)
    assert pair.error() == pytest.approx(math.sqrt(2), abs=0.05)
    assert pair.cosine() == pytest.approx(0, abs=0.05)
    raw = MapPair.align(*maps, 3, 0, circular=True, mean=torch.zeros(3))
    assert raw.error() < 0.5
    assert raw.cosine() > 0.7


def test_a_change_of_constant_maps_has_no_scale():
    pair = MapPair.align(torch.zeros(3, 8, 8), noise(side=8), 0, 0, circular=True)
    assert pair.error() is None
    assert pair.cosine() is None


def test_maps_that_are_constant_but_for_rounding_have_no_error():
    maps = torch.full((2, 8, 8), 0.7) + 1e-8 * noise(side=8)[:2]
    pair = MapPair.align(maps, maps.roll(1, -1), 0.5, 0, circular=False)
    assert pair.error() == 0.0
    assert pair.cosine() is None


def test_an_error_can_be_taken_over_some_cells():
    z, found = noise(torch.float64, 8), noise(torch.float64, 8, seed=1)
    cells = torch.zeros(8, 8, dtype=torch.bool)
    cells[2:4, :3] = True
    pair = MapPair.align(z, found, 1, 0, circular=False)
    moved = z.roll(1, -1)
    expected = (found - moved)[:, 2:4, 1:3].norm() / (moved - z.mean((1, 2), keepdim=True))[:, 2:4, 1:3].norm()
    assert pair.error(cells) == pytest.approx(float(expected))
    assert pair.error(torch.zeros_like(cells)) is None
