"""Shifting one picture in the lab: the circular twin, fractions of a pixel, margins and near-ties."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from analysis.shift.circular import CircularPadding
from lab.results import ShiftResult
from lab.session import Lab
from models.data.preprocessing import Preprocessing
from models.registry import BUNDLED, fashion_cnn
from models.zoo.spec import ModelSpec
from tests.device import DEVICE
from tests.sentences import refused

MODEL = "fashion_cnn"
FRACTION = (2.5, -1.25)
PAD_MODES = {
    "zero": {"mode": "constant"},
    "mean": {"mode": "constant", "constant_values": 0.285826},
    "reflect": {"mode": "reflect"},
    "replicate": {"mode": "edge"},
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    return Lab(device=DEVICE, runs_root=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def boot(lab) -> Image.Image:
    return lab.open_image("ankle_boot")


@pytest.fixture(scope="module")
def circular_copy(lab) -> nn.Module:
    """The twin made by hand: the same weights, every padded operation wrapping around, in float64."""
    module = copy.deepcopy(lab.registry.get(MODEL).build()).double()
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.padding_mode = "circular"
        assert not isinstance(part, nn.MaxPool2d) or not part.padding
    return module


def run_on(module: nn.Module, result: ShiftResult) -> torch.Tensor:
    """Logits ``(2, K)`` in float64 of what a result shows, before and after."""
    pixels = torch.stack([result.before_pixels, result.after_pixels])
    with torch.no_grad():
        return copy.deepcopy(module).double()(result.model.preprocessing.normalize(pixels).double())


def agrees(result: ShiftResult, logits: torch.Tensor) -> None:
    """Everything that a result says of the logits, worked out from them by sorting."""
    best = max(range(logits.shape[1]), key=lambda index: float(logits[0, index]))
    for row, predictions, margin in zip(
        logits.tolist(), (result.before, result.after), (result.margin_before, result.margin_after), strict=True
    ):
        powers = [math.exp(value - max(row)) for value in row]
        shares = {index: power / sum(powers) for index, power in enumerate(powers)}
        assert {p.index: p.probability for p in predictions} == pytest.approx(shares, abs=1e-5)
        others = [value for index, value in enumerate(row) if index != best]
        assert margin == pytest.approx(row[best] - max(others), abs=1e-4)
    change = logits.softmax(1)[:, best]
    assert result.probability_change == pytest.approx(float(change[1] - change[0]), abs=1e-5)
    assert result.same_top1 == (result.margin_after > 0)


@pytest.mark.parametrize("boundary", ["zero", "circular"])
@pytest.mark.parametrize(("dx", "dy"), [(3, 1), (4, 8), FRACTION])
def test_the_twin_is_the_network_with_circular_padding(lab, boot, circular_copy, boundary, dx, dy):
    result = lab.shift(boot, MODEL, dx, dy, boundary, twin=True, top=10)
    assert result.is_twin
    logits = run_on(circular_copy, result)
    agrees(result, logits)
    with lab.models.use(MODEL) as loaded, CircularPadding(), torch.no_grad():
        inputs = loaded.to_inputs(torch.stack([result.before_pixels, result.after_pixels]))
        torch.testing.assert_close(loaded.module(inputs).double().cpu(), logits, rtol=1e-4, atol=1e-4)
    as_trained = lab.shift(boot, MODEL, dx, dy, boundary, top=10)
    assert not as_trained.is_twin
    assert torch.equal(as_trained.after_pixels, result.after_pixels)
    assert abs(as_trained.margin_before - result.margin_before) > 0.01
    agrees(as_trained, run_on(lab.registry.get(MODEL).build(), as_trained))


def test_the_maps_shown_are_those_of_the_twin(lab, boot, circular_copy):
    result = lab.shift(boot, MODEL, 3, 1, "circular", twin=True, layer="features.1", channel=5)
    kept = []
    module = copy.deepcopy(circular_copy)
    module.get_submodule("features.1").register_forward_hook(lambda module, args, output: kept.append(output))
    run_on(module, result)
    before, after = kept[0][:, 5]
    torch.testing.assert_close(result.comparison.of_shifted.double(), after, rtol=1e-4, atol=1e-4)
    moved = fourier(fourier(before.numpy(), 1 / 4, 0), 3 / 4, 1)
    np.testing.assert_allclose(result.comparison.shifted_map.numpy(), moved, atol=1e-4)
    as_trained = lab.shift(boot, MODEL, 3, 1, "circular", layer="features.1", channel=5)
    assert not torch.allclose(as_trained.comparison.of_shifted.double(), after, atol=0.05)


def test_only_the_twin_is_exact_for_whole_cells(lab, boot):
    """Shifts by the total stride of a picture that wraps around."""
    for dx, dy in ((4, 0), (0, -4), (8, 12)):
        twin = lab.shift(boot, MODEL, dx, dy, "circular", twin=True)
        assert twin.margin_after == pytest.approx(twin.margin_before, abs=1e-4)
        assert max(layer.relative_error for layer in twin.layers) < 1e-5
        as_trained = lab.shift(boot, MODEL, dx, dy, "circular")
        assert abs(as_trained.margin_after - as_trained.margin_before) > 1e-2
    out_of_phase = lab.shift(boot, MODEL, 1, 0, "circular", twin=True)
    assert abs(out_of_phase.margin_after - out_of_phase.margin_before) > 1e-2


# Fractions of a pixel.


def fourier(pixels: np.ndarray, distance: float, axis: int) -> np.ndarray:
    shape = [1, 1]
    shape[axis] = -1
    ramp = np.exp(-2j * np.pi * np.fft.fftfreq(pixels.shape[axis]) * distance).reshape(shape)
    return np.fft.ifft(np.fft.fft(pixels, axis=axis) * ramp, axis=axis).real


def lanczos(row: np.ndarray, distance: float, margin: int) -> np.ndarray:
    """A row with ``margin`` cells more on both sides, cell by cell."""
    moved = []
    for place in range(len(row) - 2 * margin):
        source = place + margin - distance
        taps = range(math.floor(source) - 2, math.floor(source) + 4)
        weights = [np.sinc(source - tap) * np.sinc((source - tap) / 3) for tap in taps]
        moved.append(sum(w * row[tap] for w, tap in zip(weights, taps, strict=True)) / sum(weights))
    return np.array(moved)


def test_fractions_of_a_pixel_wrap_around_by_fourier_shift(lab, boot):
    dx, dy = FRACTION
    result = lab.shift(boot, MODEL, dx, dy, "circular")
    pixels = np.asarray(boot.convert("L"), dtype=np.float64) / 255
    expected = fourier(fourier(pixels, dy, 0), dx, 1)
    np.testing.assert_allclose(result.after_pixels[0].numpy(), expected, atol=1e-5)
    assert result.is_real.all()


@pytest.mark.parametrize("boundary", PAD_MODES)
def test_other_fractions_of_a_pixel_are_interpolated_by_lanczos(lab, boot, boundary):
    (dx, dy), margin = FRACTION, 8
    result = lab.shift(boot, MODEL, dx, dy, boundary, top=10)
    pixels = np.pad(np.asarray(boot.convert("L"), dtype=np.float64) / 255, margin, **PAD_MODES[boundary])
    rows = np.stack([lanczos(row, dx, margin) for row in pixels])
    expected = np.stack([lanczos(column, dy, margin) for column in rows.T]).T
    np.testing.assert_allclose(result.after_pixels[0].numpy(), expected, atol=1e-5)
    agrees(result, run_on(lab.registry.get(MODEL).build(), result))
    # Six taps each way: real where all of them lie inside the picture.
    rows = [all(0 <= math.floor(i - dy) + tap <= 27 for tap in range(-2, 4)) for i in range(28)]
    columns = [all(0 <= math.floor(j - dx) + tap <= 27 for tap in range(-2, 4)) for j in range(28)]
    assert result.is_real.tolist() == np.outer(rows, columns).tolist()


def test_crops_at_fractions_of_a_pixel_mix_real_pixels_only(lab, monkeypatch):
    prep = replace(fashion_cnn().preprocessing, resize_size=44)
    monkeypatch.setitem(BUNDLED, "roomy", lambda: replace(fashion_cnn(), name="roomy", preprocessing=prep))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (44, 44), np.uint8))
    result = lab.shift(picture, "roomy", *FRACTION, "crop")
    dx, dy = FRACTION
    pixels = np.asarray(picture, dtype=np.float64) / 255
    rows = np.stack([lanczos(row, dx, 8) for row in pixels])
    expected = np.stack([lanczos(column, dy, 8) for column in rows.T]).T
    np.testing.assert_allclose(result.after_pixels[0].numpy(), expected, atol=1e-5)
    assert result.is_real.all()
    with refused():
        lab.shift(picture, "roomy", 7.5, 0, "crop")  # the taps would reach beyond the picture


@pytest.mark.parametrize(("dx", "dy"), [(28.5, 0), (0, -28.001)])
def test_fractions_out_of_sight_are_refused(lab, boot, dx, dy):
    with refused():
        lab.shift(boot, MODEL, dx, dy)


# Near-ties, on networks whose logits are known.


@pytest.fixture
def brightness(monkeypatch):
    """Registers a network with logits ``(first, slope * mean of all pixels, 0)``."""

    def register(first: float, slope: float) -> None:
        linear = nn.Linear(144, 3)
        with torch.no_grad():
            linear.weight.zero_()[1] = slope / 144
            linear.bias.copy_(torch.tensor([first, 0.0, 0.0]))
        module = nn.Sequential(nn.Flatten(), linear).eval()
        prep = Preprocessing(crop_size=12, resize_size=12)
        spec = ModelSpec("brightness", "test", 1, ("a", "b", "c"), prep, lambda: module, "nothing")
        monkeypatch.setitem(BUNDLED, "brightness", lambda: spec)

    return register


def white_columns(count: int) -> Image.Image:
    pixels = np.zeros((12, 12), np.uint8)
    pixels[:, :count] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("count", "near_tie", "margins"),
    [(6, True, (0, 0.5)), (9, True, (0.5, 0)), (10, False, (2 / 3, 1 / 6)), (8, False, (1 / 3, -1 / 6))],
    ids=["before", "after", "kept", "flipped"],
)
def test_near_ties_before_and_after_are_told(tmp_path, brightness, count, near_tie, margins):
    """Three of the white columns leave: the mean falls by a quarter."""
    brightness(1.0, 2.0)
    result = Lab(device=DEVICE, runs_root=tmp_path).shift(white_columns(count), "brightness", -3, 0)
    assert result.near_tie == near_tie
    assert [abs(m) if near_tie else m for m in (result.margin_before, result.margin_after)] == pytest.approx(
        margins, abs=1e-5
    )
    if not near_tie:
        assert result.same_top1 == (margins[1] > 0)


@pytest.mark.parametrize(("gap", "near_tie"), [(1e-5, True), (1e-3, False)])
def test_a_tie_is_near_relative_to_the_logits(tmp_path, brightness, gap, near_tie):
    for scale in (1.0, 1000.0):
        brightness(scale * (1 + gap), scale * 2.0)
        result = Lab(device=DEVICE, runs_root=tmp_path).shift(white_columns(6), "brightness", 0, 0)
        assert result.near_tie == near_tie
