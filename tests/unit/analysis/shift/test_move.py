"""Shifts of pictures and of feature maps, against numpy, OpenCV, torchvision, FFTs and slow loops."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import functional as F

from analysis.shift.features import shift_features
from analysis.shift.move import BOUNDARIES, extend, extend_crop, shift_crop, shift_pixels
from tests.sentences import refused

POSITION = r"\(.*?\)|-?\d+"
PAD_MODES = {"zero": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
CV2_BORDERS = {
    "zero": cv2.BORDER_CONSTANT,
    "reflect": cv2.BORDER_REFLECT_101,
    "replicate": cv2.BORDER_REPLICATE,
    "circular": cv2.BORDER_WRAP,
}
FAR = st.integers(-30, 30)
SIDE = st.integers(1, 9)
every_boundary = pytest.mark.parametrize("boundary", sorted(PAD_MODES))


def picture(height: int = 7, width: int = 9, channels: int = 2, seed: int = 0) -> Tensor:
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(seed)) + 0.1


def by_numpy_pad(pixels: Tensor, dx: int, dy: int, boundary: str) -> np.ndarray:
    """Pads the picture far on every side and cuts the window that holds the shifted one."""
    _, height, width = pixels.shape
    margins = ((0, 0), (abs(dy), abs(dy)), (abs(dx), abs(dx)))
    padded = np.pad(pixels.numpy(), margins, mode=PAD_MODES[boundary])
    top, left = abs(dy) - dy, abs(dx) - dx
    return padded[:, top : top + height, left : left + width]


def test_the_boundaries_tested_here_are_all_but_the_crop():
    assert set(BOUNDARIES) - {"crop", "mean"} == set(PAD_MODES)


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, -2), (-9, 1)])
def test_the_mean_colour_is_black_after_subtracting_it(dx, dy):
    pixels, mean = picture(), [0.4, 0.7]
    color = torch.tensor(mean).view(2, 1, 1)
    moved = shift_pixels(pixels, dx, dy, "mean", mean)
    assert torch.equal(moved.pixels - color, shift_pixels(pixels - color, dx, dy, "zero").pixels)
    assert torch.equal(moved.is_real, shift_pixels(pixels, dx, dy, "zero").is_real)


@every_boundary
@settings(max_examples=30)
@given(dx=st.integers(-4, 4), dy=st.integers(-4, 4))
def test_every_shift_is_a_window_over_the_extended_picture(boundary, dx, dy):
    pixels = picture()
    extended, moved = extend(pixels, 4, boundary), shift_pixels(pixels, dx, dy, boundary)
    assert torch.equal(extended.window(dx, dy), moved.pixels)
    assert torch.equal(extended.mask(dx, dy), moved.is_real)
    assert extended.window(dx, dy).untyped_storage().data_ptr() == extended.pixels.untyped_storage().data_ptr()


@every_boundary
def test_an_extended_picture_has_no_more_room_than_its_margin(boundary):
    extended = extend(picture(), 4, boundary)
    assert extended.limits == ((-4, 4), (-4, 4))
    for dx, dy in ((5, 0), (-5, 0), (0, 5), (0, -5), (2.5, 0)):
        if (boundary, dx) != ("circular", 2.5):
            with refused("-4 to 4", varies=POSITION):
                extended.shift(dx, dy)


@pytest.mark.parametrize("boundary", ["zero", "reflect", "replicate", "crop"])
@pytest.mark.parametrize(("dx", "dy"), [(0.5, 0.0), (-1.25, 2.0), (0.3, -2.7)])
def test_fractions_of_a_pixel_equal_a_slow_lanczos_loop(boundary, dx, dy):
    canvas = picture(20, 21).double()
    extended = extend_crop(canvas, 8) if boundary == "crop" else extend(canvas[:, 6:14, 6:14], 9, boundary)
    moved = extended.shift(dx, dy)
    for i in (0, 3, 7):
        for j in (0, 4, 7):
            y, x = extended.top + i - dy, extended.left + j - dx
            total, weight, is_real = torch.zeros(2, dtype=torch.float64), 0.0, True
            for row in range(math.floor(y) - 2, math.floor(y) + 4) if dy % 1 else [int(y)]:
                for column in range(math.floor(x) - 2, math.floor(x) + 4) if dx % 1 else [int(x)]:
                    w = math.prod(np.sinc(d) * np.sinc(d / 3) for d in (y - row, x - column))
                    total, weight = total + w * extended.pixels[:, row, column], weight + w
                    is_real &= bool(extended.is_real[row, column])
            assert torch.allclose(moved.pixels[:, i, j], total / weight, atol=1e-12)
            assert bool(moved.is_real[i, j]) == is_real
    assert moved.is_real.all() == (boundary == "crop")


def test_circular_fractions_of_a_pixel_add_up_to_a_whole_one():
    rows = torch.arange(8).double()
    pixels = (torch.cos(2 * math.pi * rows / 8)[:, None] + torch.sin(4 * math.pi * rows / 8))[None]
    there = shift_pixels(shift_pixels(pixels, 0.3, 0, "circular").pixels, 0.7, 0, "circular")
    assert torch.allclose(there.pixels, pixels.roll(1, -1), atol=1e-12)
    assert there.is_real.all()
    assert not torch.allclose(shift_pixels(pixels, 0.3, 0, "circular").pixels, pixels, atol=0.1)


@every_boundary
@settings(max_examples=60)
@given(dx=FAR, dy=FAR, height=SIDE, width=SIDE)
def test_any_shift_equals_padding_and_slicing(boundary, dx, dy, height, width):
    pixels = picture(height, width)
    moved = shift_pixels(pixels, dx, dy, boundary).pixels
    assert moved.dtype == pixels.dtype
    np.testing.assert_array_equal(moved.numpy(), by_numpy_pad(pixels, dx, dy, boundary))


@every_boundary
@pytest.mark.parametrize(("dx", "dy"), [(3, 2), (-4, 1), (0, -6), (8, 6), (-8, -6)])
def test_shifts_equal_opencvs_borders(boundary, dx, dy):
    pixels = picture()
    padded = cv2.copyMakeBorder(
        pixels.permute(1, 2, 0).numpy().copy(),
        max(dy, 0),
        max(-dy, 0),
        max(dx, 0),
        max(-dx, 0),
        CV2_BORDERS[boundary],
    )
    window = padded[max(-dy, 0) :, max(-dx, 0) :][:7, :9]
    np.testing.assert_array_equal(shift_pixels(pixels, dx, dy, boundary).pixels.permute(1, 2, 0).numpy(), window)


@every_boundary
@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (2, -3), (-9, 0), (1, 7), (40, -40)])
def test_real_pixels_are_those_whose_source_was_in_the_picture(boundary, dx, dy):
    pixels = picture()
    is_real = shift_pixels(pixels, dx, dy, boundary).is_real
    expected = [[boundary == "circular" or (0 <= i - dy < 7 and 0 <= j - dx < 9) for j in range(9)] for i in range(7)]
    assert is_real.dtype == torch.bool
    assert is_real.tolist() == expected


@every_boundary
def test_positive_distances_move_right_and_down(boundary):
    pixels = torch.zeros(1, 5, 5)
    pixels[0, 2, 2] = 1
    moved = shift_pixels(pixels, 1, 2, boundary).pixels
    assert moved[0, 4, 3] == 1


@every_boundary
def test_no_distance_is_the_identity_and_the_input_is_not_written(boundary):
    pixels = picture()
    copy = pixels.clone()
    assert torch.equal(shift_pixels(pixels, 0, 0, boundary).pixels, copy)
    shift_pixels(pixels, 3, 1, boundary).pixels.fill_(5)
    assert torch.equal(pixels, copy)


def test_unknown_boundaries_are_refused_with_the_list():
    for name in ("wrap", "crop"):
        with refused("reflect, replicate, circular"):
            shift_pixels(picture(), 1, 1, name)


@settings(max_examples=50)
@given(a=FAR, b=FAR, c=FAR, d=FAR)
def test_circular_shifts_are_rolls_that_compose_and_invert(a, b, c, d):
    pixels = picture()
    once = shift_pixels(pixels, a, b, "circular").pixels
    assert torch.equal(once, torch.roll(pixels, (b, a), (-2, -1)))
    assert torch.equal(
        shift_pixels(once, c, d, "circular").pixels, shift_pixels(pixels, a + c, b + d, "circular").pixels
    )
    assert torch.equal(shift_pixels(once, -a, -b, "circular").pixels, pixels)
    flipped = shift_pixels(pixels.flip(-1), -a, b, "circular").pixels
    assert torch.equal(flipped, once.flip(-1))


def test_circular_shifts_have_the_picture_as_period_and_keep_its_histogram():
    pixels = picture()
    assert torch.equal(shift_pixels(pixels, 9, -14, "circular").pixels, pixels)
    moved = shift_pixels(pixels, 4, 5, "circular").pixels
    assert not torch.equal(moved, pixels)
    assert torch.equal(moved.flatten().sort().values, pixels.flatten().sort().values)


@pytest.mark.parametrize("boundary", ["zero", "replicate"])
@settings(max_examples=50)
@given(
    a=st.integers(0, 6), b=st.integers(0, 6), c=st.integers(0, 6), d=st.integers(0, 6), sx=st.sampled_from([1, -1])
)
def test_zero_and_replicate_compose_in_one_direction(boundary, a, b, c, d, sx):
    pixels = picture()
    twice = shift_pixels(shift_pixels(pixels, sx * a, b, boundary).pixels, sx * c, d, boundary).pixels
    assert torch.equal(twice, shift_pixels(pixels, sx * (a + c), b + d, boundary).pixels)


@pytest.mark.parametrize("boundary", ["zero", "replicate", "reflect"])
def test_what_left_the_picture_does_not_come_back(boundary):
    pixels = picture()
    there_and_back = shift_pixels(shift_pixels(pixels, 3, 0, boundary).pixels, -3, 0, boundary).pixels
    assert torch.equal(there_and_back[..., :6], pixels[..., :6])
    assert not torch.equal(there_and_back, pixels)


def test_reflections_do_not_compose():
    pixels = picture()
    twice = shift_pixels(shift_pixels(pixels, 2, 0, "reflect").pixels, 2, 0, "reflect").pixels
    assert not torch.equal(twice, shift_pixels(pixels, 4, 0, "reflect").pixels)


@pytest.mark.parametrize(("dx", "dy"), [(4, -4), (-3, 2), (0, 4)])
def test_boundaries_agree_on_content_with_a_black_margin(dx, dy):
    pixels = torch.zeros(2, 18, 19)
    pixels[:, 5:13, 5:14] = picture(8, 9)  # 5, not 4: a mirror skips the border pixel
    results = [shift_pixels(pixels, dx, dy, boundary).pixels for boundary in PAD_MODES]
    assert all(torch.equal(result, results[0]) for result in results)
    too_far = [shift_pixels(pixels, 9, 9, boundary).pixels for boundary in ("zero", "circular")]
    assert not torch.equal(*too_far)  # negative control: the margin was needed


SIZES = [(10, 12, 6), (11, 13, 6), (10, 13, 7), (9, 14, 9), (256, 341, 224), (257, 300, 224), (231, 229, 224)]


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_a_crop_at_zero_is_torchvisions_center_crop(height, width, size):
    canvas = picture(height, width)
    window = shift_crop(canvas, size, 0, 0)
    assert torch.equal(window.pixels, F.center_crop(canvas, [size, size]))
    assert window.is_real.shape == (size, size)
    assert window.is_real.all()


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (0, 1), (-2, 2), (2, -1)])
def test_a_crop_moves_its_content_by_the_distance(dx, dy):
    canvas = picture(15, 16)
    before, after = (shift_crop(canvas, 9, *d).pixels for d in ((0, 0), (dx, dy)))
    rows, columns = range(2, 7), range(2, 7)
    for i in rows:
        for j in columns:
            assert torch.equal(after[:, i, j], before[:, i - dy, j - dx])
    assert not torch.equal(after, torch.roll(before, (dy, dx), (-2, -1)))  # real content came in


@pytest.mark.parametrize(("height", "width", "size"), SIZES[:4])
def test_the_limits_are_exactly_how_far_the_window_can_go(height, width, size):
    canvas = picture(height, width)
    (x_low, x_high), (y_low, y_high) = extend_crop(canvas, size).limits
    assert (x_high - x_low, y_high - y_low) == (width - size, height - size)
    assert torch.equal(shift_crop(canvas, size, x_low, y_low).pixels, canvas[:, -size:, -size:])
    assert torch.equal(shift_crop(canvas, size, x_high, y_high).pixels, canvas[:, :size, :size])
    for dx, dy in ((x_low - 1, 0), (x_high + 1, 0), (0, y_low - 1), (0, y_high + 1)):
        with refused(f"({dx}, {dy})", f"{x_low} to {x_high}", f"{y_low} to {y_high}", varies=POSITION):
            shift_crop(canvas, size, dx, dy)


def test_a_canvas_smaller_than_the_window_is_refused():
    with refused():
        shift_crop(picture(5, 20), 6, 0, 0)


# Feature maps.


def maps(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def low_passed(features: Tensor, keep: int) -> Tensor:
    """Without the frequencies from ``keep`` cycles per map on, in both directions."""
    spectrum = torch.fft.fft2(features)
    rows, columns = (torch.fft.fftfreq(n, 1 / n).abs() < keep for n in features.shape[-2:])
    return torch.fft.ifft2(spectrum * (rows[:, None] & columns)).real


def by_fft(features: Tensor, dx: float, dy: float) -> Tensor:
    """Shift by the Fourier theorem with numpy's complex FFT, for maps without Nyquist energy."""
    height, width = features.shape[-2:]
    phase = np.exp(-2j * np.pi * (np.fft.fftfreq(height)[:, None] * dy + np.fft.fftfreq(width) * dx))
    return torch.from_numpy(np.fft.ifft2(np.fft.fft2(features.numpy()) * phase).real)


def lanczos(x: float) -> float:
    if abs(x) < 1e-9:
        return 1.0
    if abs(x) >= 3:
        return 0.0
    return 3 * math.sin(math.pi * x) * math.sin(math.pi * x / 3) / (math.pi * x) ** 2


def by_slow_lanczos(row: list[float], distance: float) -> list[float]:
    """One row, cell by cell, with the taps inside the row renormalised; 0 where the source is outside."""
    moved = []
    for cell in range(len(row)):
        source = cell - distance
        if not 0 <= source <= len(row) - 1:
            moved.append(0.0)
            continue
        weights = [lanczos(source - tap) for tap in range(len(row))]
        moved.append(sum(w * v for w, v in zip(weights, row, strict=True)) / sum(weights))
    return moved


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=40)
@given(dx=st.integers(-12, 12), dy=st.integers(-12, 12))
def test_whole_cells_are_copied_exactly(dtype, dx, dy):
    features = maps(3, 5, 6, dtype=dtype)
    rolled, everything = shift_features(features, dx, dy, circular=True)
    assert torch.equal(rolled, torch.roll(features, (dy, dx), (-2, -1)))
    assert everything.all()
    copied, inside = shift_features(features, float(dx), float(dy), circular=False)
    by_pixels = shift_pixels(features, dx, dy, "zero")
    assert torch.equal(copied, by_pixels.pixels)
    assert torch.equal(inside, by_pixels.is_real)


@pytest.mark.parametrize("size", [9, 10])
def test_circular_fractions_add_up_on_band_limited_maps(size):
    features = low_passed(maps(2, size, size), keep=4)
    half_way, _ = shift_features(features, 0.3, -0.4, circular=True)
    there, _ = shift_features(half_way, 0.7, -0.6, circular=True)
    torch.testing.assert_close(there, torch.roll(features, (-1, 1), (-2, -1)), rtol=0, atol=1e-12)
    assert (half_way - features).norm() > 0.1 * features.norm()


def test_circular_fractions_do_not_add_up_at_the_nyquist_frequency():
    alternating = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(4).expand(1, 8, 8)
    half_way, _ = shift_features(alternating, 0.3, 0, circular=True)
    there, _ = shift_features(half_way, 0.7, 0, circular=True)
    assert (there - torch.roll(alternating, 1, -1)).norm() > 0.1 * alternating.norm()


@settings(max_examples=40)
@given(
    dx=st.floats(-9, 9, allow_nan=False),
    dy=st.floats(-9, 9, allow_nan=False),
    height=st.integers(7, 10),
    width=st.integers(7, 10),
)
def test_circular_fractions_equal_an_fft_shift(dx, dy, height, width):
    features = low_passed(maps(2, height, width), keep=3)
    moved, everything = shift_features(features, dx, dy, circular=True)
    torch.testing.assert_close(moved, by_fft(features, dx, dy), rtol=0, atol=1e-10)
    assert everything.all()


@settings(max_examples=40)
@given(distance=st.floats(-7, 7, allow_nan=False), size=st.integers(1, 9), axis=st.sampled_from([0, 1]))
def test_lanczos_equals_a_slow_loop(distance, size, axis):
    row = maps(size)
    features = row[None, None, :] if axis == 0 else row[None, :, None]
    dx, dy = (distance, 0) if axis == 0 else (0, distance)
    moved, inside = shift_features(features, dx, dy, circular=False)
    np.testing.assert_allclose(moved.flatten().numpy(), by_slow_lanczos(row.tolist(), distance), atol=1e-11)
    mixed = [mixed_cells(cell, distance) for cell in range(size)]
    assert inside.flatten().tolist() == [cells[0] >= 0 and cells[-1] < size for cells in mixed]


def mixed_cells(cell: int, distance: float) -> list[int]:
    if distance.is_integer():
        return [cell - int(distance)]
    source = math.floor(cell - distance)
    return list(range(source - 2, source + 4))


@settings(max_examples=40)
@given(dx=st.floats(-4, 4, allow_nan=False), dy=st.floats(-4, 4, allow_nan=False), circular=st.booleans())
def test_constant_maps_stay_constant_wherever_they_have_a_source(dx, dy, circular):
    moved, inside = shift_features(torch.full((2, 6, 7), 2.5, dtype=torch.float64), dx, dy, circular=circular)
    torch.testing.assert_close(moved[:, inside], torch.full_like(moved[:, inside], 2.5), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("height", "width", "columns"), [(8, 8, [2, 3, 4]), (6, 7, [2, 3]), (4, 5, [])])
def test_measured_are_only_cells_whose_taps_all_lie_inside(height, width, columns):
    _, inside = shift_features(maps(1, height, width), -0.25, 0, circular=False)
    assert inside.any(0).nonzero().flatten().tolist() == columns
    assert torch.equal(inside.all(0), inside.any(0))


@pytest.mark.parametrize("dx", [0.3, -0.3, 1.5])
def test_what_lies_outside_has_no_part_in_what_is_measured(dx):
    plane = maps(1, 20, 20)
    cut, inside = shift_features(plane[..., 4:16, 4:16], dx, 0.4, circular=False)
    whole, _ = shift_features(plane, dx, 0.4, circular=False)
    assert inside.any()
    torch.testing.assert_close(cut[:, inside], whole[..., 4:16, 4:16][:, inside], rtol=0, atol=1e-12)


def test_lanczos_follows_a_smooth_signal():
    cells = torch.arange(40, dtype=torch.float64)
    wave = torch.sin(2 * math.pi * cells / 20).expand(1, 40, 40)
    for dx in (0.25, 0.5, -0.3):
        moved, inside = shift_features(wave, dx, 0, circular=False)
        expected = torch.sin(2 * math.pi * (cells - dx) / 20).expand(1, 40, 40)
        assert (moved - expected)[:, inside].abs().max() < 0.02
        assert (wave - expected)[:, inside].abs().max() > 0.05


def alias_free_maps(pixels: Tensor) -> Tensor:
    """An ideal low-pass and a stride of 4: a layer that moves along with its input exactly."""
    return low_passed(pixels, keep=pixels.shape[-1] // 8)[..., ::4, ::4]


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (2, 3), (-5, 1)])
def test_fourier_alignment_reports_no_error_on_an_alias_free_layer(dx, dy):
    pixels = maps(3, 64, 64)
    of_shifted = alias_free_maps(torch.roll(pixels, (dy, dx), (-2, -1)))
    original = alias_free_maps(pixels)
    aligned, _ = shift_features(original, dx / 4, dy / 4, circular=True)
    assert relative_error(aligned, of_shifted) < 1e-6
    assert relative_error(original, of_shifted) > 0.2
    assert relative_error(by_bilinear(original, dx / 4, dy / 4), of_shifted) > 0.05


def by_bilinear(features: Tensor, dx: float, dy: float) -> Tensor:
    for dim, distance in ((-1, dx), (-2, dy)):
        whole = math.floor(distance)
        rest = distance - whole
        features = (1 - rest) * torch.roll(features, whole, dim) + rest * torch.roll(features, whole + 1, dim)
    return features
