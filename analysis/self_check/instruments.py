"""Identities of the shifts themselves and of the aligner, on the picture: a check of the instruments."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from analysis.equivariance.align import to_double
from analysis.self_check.findings import Finding, cut_even, frame, relative_error
from analysis.self_check.subject import OUT_OF_PHASE, Subject
from analysis.shift.circular import CircularPadding
from analysis.shift.features import shift_features
from analysis.shift.move import shift_pixels

FILLED = ("zero", "reflect", "replicate")
CALIBRATION_STRIDE = 4


def check_zero_margin(subject: Subject) -> Finding:
    """I13: inside a margin of zeros all boundary rules agree."""
    dx, dy = OUT_OF_PHASE
    return _boundaries(frame(subject.inputs, max(abs(dx), abs(dy)) + 1))


def check_without_margin(subject: Subject) -> Finding:
    """I13, its control: without the margin they do not."""
    return _boundaries(subject.inputs)


def _boundaries(pixels: Tensor) -> Finding:
    wrapped = shift_pixels(pixels, *OUT_OF_PHASE, "circular").pixels
    errors = [relative_error(shift_pixels(pixels, *OUT_OF_PHASE, rule).pixels, wrapped) for rule in FILLED]
    return Finding(max(errors), f"Wrapping around against {', '.join(FILLED)} at shift {OUT_OF_PHASE}.")


def check_shift_algebra(subject: Subject) -> Finding:
    """I14: circular shifts compose, have inverses and a period, keep all values, and mirror with the picture."""
    return Finding(
        max(_algebra(subject.inputs, "circular")),
        "Composition, inverse, full period, histogram, mirror image; wrapping around.",
    )


def check_other_boundaries(subject: Subject) -> Finding:
    """I14, its control: a rule that invents pixels has no inverse."""
    errors = {rule: max(_algebra(subject.inputs, rule)) for rule in FILLED}
    rule = min(errors, key=errors.__getitem__)
    return Finding(errors[rule], f"The same for {', '.join(FILLED)}; the smallest error is that of {rule}.")


def _algebra(pixels: Tensor, boundary: str) -> Iterator[float]:
    def shift(x: Tensor, dx: int, dy: int) -> Tensor:
        return shift_pixels(x, dx, dy, boundary).pixels

    (dx, dy), (height, width) = OUT_OF_PHASE, pixels.shape[-2:]
    moved = shift(pixels, dx, dy)
    yield relative_error(shift(moved, 4, 5), shift(pixels, dx + 4, dy + 5))
    yield relative_error(shift(moved, -dx, -dy), pixels)
    yield relative_error(shift(pixels, width, -height), pixels)
    yield relative_error(moved.flatten(2).sort().values, pixels.flatten(2).sort().values)
    yield relative_error(moved.flip(-1), shift(pixels.flip(-1), -dx, dy))


def check_fourier_shift(subject: Subject) -> Finding:
    """I15: Fourier shifts by fractions add up to whole ones."""
    return _fractions(low_pass(cut_even(subject.inputs), 1))


def check_fourier_shift_at_nyquist(subject: Subject) -> Finding:
    """I15, its control: a checkerboard is no longer band-limited."""
    pixels = low_pass(cut_even(subject.inputs), 1)
    rows, columns = (torch.arange(side, device=pixels.device) for side in pixels.shape[-2:])
    board = 1 - 2 * ((rows[:, None] + columns) % 2).to(pixels)
    return _fractions(pixels + pixels.std() * board)


def _fractions(pixels: Tensor) -> Finding:
    whole = shift_pixels(pixels, 2, -1, "circular").pixels
    parts = shift_pixels(shift_pixels(pixels, 0.3, -0.4, "circular").pixels, 0.7, -0.6, "circular").pixels
    errors = [relative_error(whole, torch.roll(pixels, (-1, 2), (-2, -1)))]
    errors.append(relative_error(parts, torch.roll(pixels, (-1, 1), (-2, -1))))
    return Finding(max(errors), "Shift (0.3, -0.4) and then (0.7, -0.6), against the whole pixel.")


def check_aligner(subject: Subject) -> Finding:
    """I16: the aligner of feature maps finds no error in a layer without aliasing."""
    return _calibrate(subject, lambda maps, dx, dy: shift_features(maps, dx, dy, circular=True)[0])


def check_bilinear_aligner(subject: Subject) -> Finding:
    """I16, its control: bilinear interpolation would report one."""

    def mix(maps: Tensor, dx: float, dy: float) -> Tensor:
        for dim, distance in ((-1, dx), (-2, dy)):
            first = math.floor(distance)
            part = distance - first
            maps = (1 - part) * torch.roll(maps, first, dim) + part * torch.roll(maps, first + 1, dim)
        return maps

    return _calibrate(subject, mix)


def _calibrate(subject: Subject, align: Callable[[Tensor, float, float], Tensor]) -> Finding:
    """An ideal low-pass, then a stride, on the picture and on the picture out of phase."""
    step = CALIBRATION_STRIDE
    height, width = (side // step * step for side in subject.inputs.shape[-2:])
    pixels = subject.inputs[..., :height, :width]
    kernel = torch.tensor([[1.0, -2.0, 0.5], [3.0, 1.0, -1.0], [0.0, 2.0, -0.5]]).to(pixels)
    dx, dy = OUT_OF_PHASE
    batch = torch.cat([pixels, torch.roll(pixels, (dy, dx), (-2, -1))])
    with CircularPadding():
        maps = F.conv2d(batch.flatten(0, 1)[:, None], kernel[None, None], padding=1).view_as(batch)
    original, moved = low_pass(maps, step)[..., ::step, ::step]  # (2, C, h / step, w / step)
    error = relative_error(moved, align(original, dx / step, dy / step))
    return Finding(
        error, f"A convolution, an ideal low-pass and a stride of {step} on the picture, shift {OUT_OF_PHASE}."
    )


def low_pass(maps: Tensor, step: int) -> Tensor:
    """Maps ``(..., h, w)`` without the frequencies that a stride of ``step`` cannot carry, the limit included."""
    wide = to_double(maps)
    spectrum = torch.fft.fft2(wide)
    for dim in (-2, -1):
        frequencies = torch.fft.fftfreq(maps.shape[dim], dtype=torch.float64, device=wide.device).abs()
        kept = frequencies < 0.5 / step - 1e-9
        spectrum = spectrum * (kept[:, None] if dim == -2 else kept)
    return torch.fft.ifft2(spectrum).real.to(maps)
