"""The layer meter against loops in float64, impulses, and networks whose one flaw is known."""

import dataclasses
import itertools
import json
import math

import pytest
import torch
from torch import Tensor, nn

from analysis.equivariance import reduced_forwards
from analysis.equivariance.meter import LayerMeter, measure_down_the_network, measure_layers
from analysis.equivariance.phase_spread import draw_phases
from analysis.equivariance.reduced_forwards import measure_levels
from analysis.errors import Cancelled
from analysis.network.layers import MapLayer, list_layers
from analysis.shift.circular import CircularPadding
from analysis.shift.move import BOUNDARIES
from analysis.shift.scene import Scene
from tests.sentences import refused

SIDE = 32


@pytest.fixture(autouse=True)
def _one_stream():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def build(strides=(1, 2, 1), padding_mode="zeros", padding=1, dtype=torch.float64) -> nn.Sequential:
    """Convolution and ReLU per stride."""
    parts, channels = [], 3
    for stride in strides:
        parts += [nn.Conv2d(channels, 6, 3, stride, padding, padding_mode=padding_mode), nn.ReLU(inplace=True)]
        channels = 6
    return nn.Sequential(*parts).to(dtype).eval()


def noise(side=SIDE, seed=0, count=None, dtype=torch.float64) -> Tensor:
    shape = (3, side, side) if count is None else (count, 3, side, side)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def scene_of(boundary="crop", canvas=56, size=SIDE, dtype=torch.float64) -> Scene:
    return Scene(noise(canvas, dtype=dtype), size, boundary, lambda pixels: pixels - 0.5, fill=(0.5, 0.5, 0.5))


def measure(net: nn.Module, scene: Scene, dx, dy, layers=None, **options) -> dict[str, LayerMeter]:
    layers = list_layers(net, scene.to_inputs(scene.window[None])) if layers is None else layers
    return {meter.name: meter for meter in measure_layers(net, [scene], dx, dy, layers, **options)[0]}


# The identity of the valid region, and what each cause must not see


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 0.0), (torch.float64, 1e-14)])
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize(("dx", "dy"), [(4, 0), (-4, 8), (0, -4)])
def test_cells_without_padding_are_equal(padding_mode, dtype, tolerance, dx, dy):
    """To the bit in float32; PyTorch's float64 convolutions sum in another order elsewhere in a map."""
    meters = measure(build((2, 1, 2), padding_mode, dtype=dtype), scene_of(dtype=dtype), dx, dy)
    assert len(meters) == 6
    for meter in meters.values():
        assert meter.valid_fraction > 0.05
        assert max(meter.error_valid, meter.valid_lattice_error) <= tolerance
        assert meter.error == pytest.approx(meter.lattice_error)
    assert meters["4"].error > 0.05
    assert meters["4"].cause == "padding"
    assert meters["4"].stride_error <= 1e-6


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_lattice_identity_holds_for_any_shift_and_boundary(boundary):
    for dx, dy in ((1, 0), (-3, 2), (5, 7)):
        for meter in measure(
            build((2, 1, 2), dtype=torch.float32), scene_of(boundary, dtype=torch.float32), dx, dy
        ).values():
            assert meter.valid_lattice_error == 0.0
            assert meter.lattice_error > 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_circular_net_without_strides_has_no_error(dtype):
    meters = measure(build((1, 1, 1), "circular", dtype=dtype), scene_of("circular", dtype=dtype), 3, -5)
    for meter in meters.values():
        assert meter.error <= 1e-6
        assert meter.stride_error <= 1e-6
        assert meter.new_content_error == 0
        assert meter.cause == "none"
        assert meter.skill == pytest.approx(1)
        assert meter.cosine == pytest.approx(1)


def test_only_shifts_out_of_phase_have_a_stride_error():
    net = build((2, 1, 2))
    in_phase, out_of_phase = (measure(net, scene_of("circular"), dx, 0) for dx in (4, 1))
    assert max(meter.stride_error for meter in in_phase.values()) <= 1e-6
    assert min(meter.stride_error for meter in out_of_phase.values()) > 0.05
    assert in_phase["4"].cause == "padding"
    assert measure(build((2, 1, 2), "circular"), scene_of("circular"), 1, 0)["4"].cause == "stride"
    half_way = measure(net, scene_of("circular"), 2, 0)
    assert half_way["0"].stride_error <= 1e-6 < 0.05 < half_way["4"].stride_error


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_new_content_is_the_effect_of_invented_pixels(boundary):
    pointwise, wide = (nn.Sequential(nn.Conv2d(3, 6, k, padding=k // 2).double()) for k in (1, 7))
    assert measure(pointwise, scene_of(boundary), 5, 0)["0"].new_content_error == 0  # it sees no other pixel
    found = measure(wide, scene_of(boundary), 5, 0)["0"].new_content_error
    assert (found > 0.02) == (boundary not in ("circular", "crop"))


def test_an_unpadded_net_has_no_padding_error():
    meter = measure(build((2, 1), padding=0), scene_of("zero"), 3, 1)["2"]
    assert max(meter.padding_error, meter.lattice_error) <= 1e-14
    assert meter.stride_error == pytest.approx(meter.error)
    assert meter.error > 0.05
    assert meter.cause == "stride"


def test_padding_is_named_where_nothing_else_is_wrong():
    net = build((1, 1, 1))
    meter = measure(net, scene_of("crop"), 3, 0)["4"]
    assert (meter.cause, meter.stride_error <= 1e-14) == ("padding", True)
    assert meter.error == meter.lattice_error
    assert meter.padding_error == pytest.approx(meter.error)
    with CircularPadding():
        assert measure(net, scene_of("circular"), 3, 0)["4"].cause == "none"


def test_new_content_is_named_where_nothing_else_is_wrong():
    """In a black frame, where padding with black does nothing; what moves in is grey."""
    net = nn.Sequential(nn.Conv2d(3, 6, 9, padding=4, bias=False).double())
    framed = nn.functional.pad(noise(SIDE - 16), [18] * 4)
    meter = measure(net, Scene(framed, SIDE, "mean", lambda pixels: pixels, fill=(0.5, 0.5, 0.5)), 6, 0)["0"]
    assert meter.error == pytest.approx(meter.new_content_error)
    assert meter.error > 0.05
    assert meter.cause == "new content"
    assert max(meter.stride_error, meter.padding_error, meter.lattice_error) <= 1e-14
    assert measure(net, Scene(framed, SIDE, "circular", lambda pixels: pixels), 3, 0)["0"].cause == "none"


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize(("dx", "dy"), [(3, -2), (2, 0)])
def test_the_cause_named_is_the_largest_and_none_exceeds_the_error_without_a_word(boundary, dx, dy):
    for meter in measure(build((2, 1, 2)), scene_of(boundary), dx, dy).values():
        causes = {
            "stride": meter.stride_error,
            "padding": meter.padding_error,
            "new content": meter.new_content_error,
        }
        if max(causes.values()) > 1.001 * meter.error:
            assert "one alone does more than all together" in meter.note or "more error than the others" in meter.note
        # A black strip can do what black padding did: then nothing has changed, and nothing is to blame.
        assert meter.cause == "none" if meter.error < 1e-4 else causes[meter.cause] == max(causes.values())


# Independent computations


@pytest.mark.parametrize("boundary", ["zero", "crop", "circular"])
@pytest.mark.parametrize("with_reference", [False, True])
@pytest.mark.parametrize(("dx", "dy"), [(4, -2), (-6, 2)])
def test_the_numbers_are_the_written_formulas(boundary, with_reference, dx, dy):
    """Cell by cell, where the stride divides the shift so that nothing is interpolated."""
    net, scene = build((1, 2, 1)), scene_of(boundary)
    reference = noise(seed=5, count=3) - 0.5 if with_reference else None
    meter = measure(net, scene, dx, dy, reference=reference)["4"]
    with torch.no_grad():
        z, moved = (net[:5](scene.to_inputs(x[None]))[0] for x in (scene.window, scene.shift(dx, dy).pixels))
        others = net[:5](reference) if with_reference else z[None]
    level = [[value for row in others[:, c].flatten(0, 1).tolist() for value in row] for c in range(6)]
    level = [sum(values) / len(values) for values in level]
    size, sums = len(z[0]), dict.fromkeys(("error", "scale", "still", "dot", "found"), 0.0)
    for c, i, j in itertools.product(range(6), range(size), range(size)):
        row, column = i - dy // 2, j - dx // 2
        if boundary == "circular":
            row, column = row % size, column % size
        if 0 <= row < size and 0 <= column < size:
            before, after, mean = float(z[c, row, column]), float(moved[c, i, j]), level[c]
            sums["error"] += (after - before) ** 2
            sums["scale"] += (before - mean) ** 2
            sums["still"] += (after - float(z[c, i, j])) ** 2
            sums["dot"] += (after - mean) * (before - mean)
            sums["found"] += (after - mean) ** 2
    assert meter.error == pytest.approx(math.sqrt(sums["error"] / sums["scale"]))
    assert meter.unaligned == pytest.approx(math.sqrt(sums["still"] / sums["scale"]))
    assert meter.skill == pytest.approx(1 - math.sqrt(sums["error"] / sums["still"]))
    assert meter.cosine == pytest.approx(sums["dot"] / math.sqrt(sums["scale"] * sums["found"]))
    assert meter.error > 0.01
    assert (meter.name, meter.stride, meter.num_cells) == ("4", 2, 256)


def test_phase_spread_is_the_written_formula():
    net, reference = build((2, 1)), noise(seed=7, count=3) - 0.5
    phases = draw_phases(2, 2)
    assert sorted(phases) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    layers = list_layers(net, reference)
    found = measure(net, scene_of("circular"), 1, 0, layers, reference=reference)["3"].phase_spread
    pooled = []
    with torch.no_grad(), CircularPadding():
        for picture in reference:
            maps = [net(picture.roll((dy, dx), (-2, -1))[None])[0] for dx, dy in phases]
            pooled.append([[float(channel.sum()) / 256 for channel in z] for z in maps])
    centres = [[sum(g[c] for g in rows) / 4 for c in range(6)] for rows in pooled]
    middle = [sum(g[c] for g in centres) / 3 for c in range(6)]
    within = sum(
        (g[c] - centre[c]) ** 2 for rows, centre in zip(pooled, centres, strict=True) for g in rows for c in range(6)
    )
    between = sum((centre[c] - middle[c]) ** 2 for centre in centres for c in range(6))
    assert found == pytest.approx((within / 12) / (between / 2), rel=1e-6)
    assert found > 1e-4


def test_phase_spread_is_nothing_without_strides_and_absent_without_pictures():
    reference = noise(seed=7, count=2) - 0.5
    found = measure(build((1, 2)), scene_of("circular"), 1, 0, reference=reference)
    assert found["0"].phase_spread < 1e-20 < 1e-5 < found["2"].phase_spread
    for few in (None, reference[:1]):
        meters = measure(build((1, 2)), scene_of("circular"), 1, 0, reference=few)
        assert {meter.phase_spread for meter in meters.values()} == {None}
    assert (
        measure(build((1, 2)), scene_of(), 1, 0, reference=reference[:1].expand(3, -1, -1, -1))["2"].phase_spread
        is None
    )


class IdealStride(nn.Module):
    """A convolution, a low-pass without any error, and every fourth sample."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1, padding_mode="circular").double()

    def forward(self, x):
        x = self.conv(x)
        kept = torch.fft.fftfreq(SIDE, 1 / SIDE).abs() < SIDE / 8
        return torch.fft.ifft2(torch.fft.fft2(x) * (kept[:, None] & kept)).real[..., ::4, ::4]


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (2, 3), (-1, 5)])
def test_a_layer_without_aliasing_has_no_error_at_any_shift(dx, dy):
    net, scene = nn.Sequential(IdealStride()).eval(), scene_of("circular")
    layer = MapLayer("0", "IdealStride", (6, 8, 8), 0, 4, None, True, False, False)
    meter = measure(net, scene, dx, dy, [layer], reference=noise(seed=3, count=2) - 0.5)["0"]
    assert meter.error <= 1e-6
    assert meter.stride_error <= 1e-6
    assert meter.phase_spread < 1e-12
    assert meter.cause == "none"
    with torch.no_grad():
        z, moved = (net(scene.to_inputs(x[None]))[0] for x in (scene.window, scene.shift(dx, dy).pixels))
    bilinear = sum(
        weight * z.roll((rows, columns), (-2, -1))
        for (rows, weight_y), (columns, weight_x) in itertools.product(_taps(dy / 4), _taps(dx / 4))
        for weight in [weight_y * weight_x]
    )
    assert (moved - bilinear).norm() / (z - z.mean((1, 2), keepdim=True)).norm() > 0.2
    assert meter.valid_fraction is None
    assert meter.note.startswith("Its cells have no fixed window")


def _taps(distance: float) -> list[tuple[int, float]]:
    low = math.floor(distance)
    return [(low, 1 - distance + low), (low + 1, distance - low)]


def test_shifts_by_part_of_a_pixel_work_where_the_picture_wraps():
    layer = MapLayer("0", "IdealStride", (6, 8, 8), 0, 4, None, True, False, False)
    net = nn.Sequential(IdealStride()).eval()
    smooth = scene_of("circular").window
    smooth = torch.fft.irfft2(torch.fft.rfft2(smooth)[..., :16] * 1.0, s=(SIDE, SIDE))
    assert measure(net, Scene(smooth, SIDE, "circular", lambda x: x), 0.5, -1.25, [layer])["0"].error <= 1e-6


# Scale


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_no_shift_is_no_error(boundary):
    for meter in measure(build((2, 1, 2)), scene_of(boundary), 0, 0).values():
        assert meter.error == meter.unaligned == meter.error_valid == meter.valid_lattice_error == 0
        assert meter.stride_error == meter.padding_error == meter.new_content_error == 0
        assert (meter.skill, meter.cause) == (None, "none")
        assert meter.cosine == pytest.approx(1)


def test_dead_and_constant_channels():
    net = build((2, 1))
    net[0].weight.data[:3] = 0
    net[0].bias.data[:3] = torch.tensor([-1.0, 0.0, 0.7])
    alive = measure(net, scene_of("circular"), 1, 0)["1"]
    net[0].weight.data[3:] = 0
    net[0].bias.data[3:] = 0.3
    constant = measure(net, scene_of("zero"), 1, 0)
    assert alive.error > 0.01
    assert constant["0"].error == constant["0"].unaligned == 0.0
    assert (constant["0"].cause, constant["0"].skill, constant["0"].cosine) == ("none", None, None)


def test_outputs_without_positions_come_back_with_a_note():
    net = nn.Sequential(build((2, 2)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2).double()).eval()
    layers = list_layers(net, noise(count=1))
    found = measure(net, scene_of(), 1, 0, layers)
    assert list(found) == [layer.name for layer in layers]
    for name in ("1", "2", "3"):
        assert found[name].error is None
        assert found[name].cause is None
        assert "no positions" in found[name].note
    assert found["0"].error > 0
    (only_vectors,) = measure_layers(net, [scene_of()], 1, 0, [layers[-1]])
    assert [meter.name for meter in only_vectors] == ["3"]


def test_layers_that_see_everything_have_no_valid_region():
    meters = measure(build((2, 2, 2, 1, 1)), scene_of("crop"), 8, 0)
    deepest = meters["8"]
    assert deepest.valid_fraction == 0
    assert deepest.error_valid is None
    assert "hardly a part of its map is free of them. Where its windows reach beyond the picture" in deepest.note
    assert deepest.cause == "padding"


def test_a_shift_that_leaves_no_cell_is_not_measured():
    meter = measure(build((4, 4)), scene_of("zero"), SIDE, 0)["2"]
    assert (meter.error, meter.skill, meter.cause) == (None, None, None)
    assert "No cell can be compared" in meter.note


def test_a_layer_that_is_called_twice_is_measured_twice():
    conv = nn.Conv2d(3, 3, 3, padding=1).double()
    meters = measure(nn.Sequential(conv, nn.ReLU(), conv).eval(), scene_of(), 2, 0)
    assert set(meters) == {"0", "1", "0#2"}
    assert meters["0#2"].receptive_field == 5
    assert meters["0#2"].valid_fraction < meters["0"].valid_fraction


def test_results_are_plain_json():
    meters = measure(build((2, 1)), scene_of("zero"), 3, 0, reference=noise(count=2, seed=3))
    written = json.loads(json.dumps([dataclasses.asdict(meter) for meter in meters.values()], allow_nan=False))
    assert [entry["name"] for entry in written] == ["0", "1", "2", "3"]
    assert all(value is not None for value in written[0].values())


# Down the network


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_in_phase_and_out_of_phase_down_the_network(boundary):
    net, scene = build((2, 2, 2)), scene_of(boundary)
    layers = list_layers(net, scene.to_inputs(scene.window[None]))
    line = measure_down_the_network(net, scene, layers)
    assert [point.name for point in line] == [layer.name for layer in layers]
    for point in line:
        for distance, error in ((1, point.out_of_phase), (point.stride, point.in_phase)):
            assert error == pytest.approx(measure(net, scene, distance, 0)[point.name].error)
    if boundary == "circular":
        with CircularPadding():
            for point in measure_down_the_network(net, scene, layers, reference=noise(count=2)):
                assert point.in_phase <= 1e-6 < 0.05 < point.out_of_phase


def test_a_small_canvas_wraps_around():
    net, scene = build((4, 4)), scene_of("crop", canvas=SIDE + 4)
    with refused():
        measure(net, scene, 16, 0)
    line = measure_down_the_network(net, scene, list_layers(net, noise(count=1)))
    assert [point.stride for point in line] == [4, 4, 16, 16]
    assert all(point.in_phase is not None for point in line)
    assert measure(net, scene, 1, 0)["0"].valid_lattice_error <= 1e-14


# Running


def test_chunks_do_not_change_the_numbers(monkeypatch):
    net, scene, reference = build((2, 2, 2)), scene_of("zero"), noise(count=3, seed=2)
    levels = measure_levels(net, list_layers(net, noise(count=1)), reference)
    assert measure(net, scene, 3, 1, reference=reference, levels=levels) == measure(
        net, scene, 3, 1, reference=reference
    )
    usual = measure(net, scene, 3, 1, reference=reference)
    monkeypatch.setattr(reduced_forwards, "CHUNK", reduced_forwards.MIN_CHUNK)
    for meter in measure(net, scene, 3, 1, reference=reference).values():
        before = dataclasses.asdict(usual[meter.name])
        for key, value in dataclasses.asdict(meter).items():
            assert value == (pytest.approx(before[key], abs=1e-12) if isinstance(value, float) else before[key])


def test_too_little_memory_halves_the_chunk():
    class Greedy(nn.Module):
        def __init__(self, most):
            super().__init__()
            self.most, self.net, self.seen = most, build((2, 2)), []

        def forward(self, x):
            self.seen.append(len(x))
            if len(x) > self.most:
                raise torch.OutOfMemoryError
            return self.net(x)

    net, scene, reference = Greedy(4), scene_of("zero"), noise(count=3, seed=2)
    layers = [dataclasses.replace(layer, name=f"net.{layer.name}") for layer in list_layers(net.net, noise(count=1))]
    found = measure(net, scene, 3, 1, layers, reference=reference)
    usual = measure(net.net, scene, 3, 1, reference=reference)
    assert found["net.2"].error == pytest.approx(usual["2"].error)
    assert found["net.2"].phase_spread == pytest.approx(usual["2"].phase_spread)
    assert {5, 4} <= set(net.seen)
    with refused():
        measure(Greedy(2), scene, 3, 1, layers, reference=reference)


@pytest.mark.parametrize(("dx", "dy"), [(3, 1), (0, 0)])
def test_progress_reaches_its_end_and_cancels_without_a_trace(dx, dy):
    net, scene, reference = build((2, 2)), scene_of("zero"), noise(count=3, seed=2)
    seen = []
    measure(net, scene, dx, dy, reference=reference, progress=lambda *step: seen.append(step))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]
    assert len({total for _, total in seen}) == 1

    def cancel(done, total):
        if done > seen[0][0]:
            raise Cancelled

    before = torch.get_rng_state()
    with pytest.raises(Cancelled):
        measure(net, scene, 3, 1, reference=reference, progress=cancel)
    with pytest.raises(RuntimeError):
        measure(net, Scene(scene.canvas, SIDE, "zero", lambda x: x[:, :2]), 1, 0, list_layers(net, reference))
    assert not any(module._forward_hooks for module in net.modules())
    assert torch.equal(torch.get_rng_state(), before)
