"""Moving pictures by whole pixels and feature maps by fractions of a cell.

``dx`` moves content to the right and ``dy`` down, in network-input pixels: ``(T x)[i, j] = x[i - dy, j - dx]``.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.errors import AnalysisError

LANCZOS_SIZE = 3


@dataclass(frozen=True)
class Boundary:
    """A rule for the pixels that a shift uncovers."""

    title: str
    explanation: str


BOUNDARIES = {
    "zero": Boundary("Black", "Uncovered pixels are black. New edges appear: part of any change is theirs."),
    "reflect": Boundary("Mirror", "Uncovered pixels mirror the picture at its border."),
    "replicate": Boundary("Stretch the edge", "Uncovered pixels repeat the border pixel."),
    "circular": Boundary(
        "Wrap around",
        "What leaves on one side comes back on the other: no content is lost, but a seam moves in.",
    ),
    "crop": Boundary(
        "Real surroundings",
        "The window moves over the larger picture, as if the camera turned: real content enters.",
    ),
}


@dataclass(frozen=True)
class ShiftedPixels:
    """A moved picture.

    Attributes:
        pixels: ``(C, H, W)``, as the input.
        is_real: ``(H, W)`` bool; False where the boundary rule invented the pixel.
    """

    pixels: Tensor
    is_real: Tensor


def shift_pixels(pixels: Tensor, dx: int, dy: int, boundary: str) -> ShiftedPixels:
    """Moves a picture by whole pixels, filling what is uncovered by ``boundary``.

    Args:
        pixels: ``(C, H, W)``; zero means black, so pass pixels before normalisation.
        dx: Pixels to the right; any integer.
        dy: Pixels down; any integer.
        boundary: ``zero``, ``reflect``, ``replicate`` or ``circular`` (``crop``: :func:`shift_crop`).

    Raises:
        AnalysisError: Unknown boundary rule.
    """
    if boundary not in _SOURCES:
        raise AnalysisError(f"There is no boundary rule called {boundary}; there are {', '.join(BOUNDARIES)}.")
    height, width = pixels.shape[-2:]
    rows, columns = torch.arange(height) - dy, torch.arange(width) - dx
    inside = _is_inside(rows, height)[:, None] & _is_inside(columns, width)
    find_source = _SOURCES[boundary]
    moved = pixels[..., find_source(rows, height), :][..., find_source(columns, width)]
    if boundary == "zero":
        moved = moved * inside.to(moved)
    is_real = inside | (boundary == "circular")
    return ShiftedPixels(moved, is_real)


def shift_crop(canvas: Tensor, size: int, dx: int, dy: int) -> ShiftedPixels:
    """Moves a ``size`` x ``size`` window over a larger picture, so that its content moves by (dx, dy).

    At (0, 0) this is torchvision's ``center_crop``.

    Args:
        canvas: ``(C, H, W)`` with H, W >= ``size``.
        size: Side of the window in pixels.
        dx: Pixels to the right.
        dy: Pixels down.

    Raises:
        AnalysisError: The window would leave the picture; says how far it can go.
    """
    top, left = (round((side - size) / 2.0) for side in canvas.shape[-2:])
    top, left = top - dy, left - dx
    height, width = canvas.shape[-2:]
    if not (0 <= top <= height - size and 0 <= left <= width - size):
        (x_low, x_high), (y_low, y_high) = find_crop_limits(canvas, size)
        raise AnalysisError(
            f"The picture is too small to show its real surroundings at ({dx}, {dy}): here dx can go from "
            f"{x_low} to {x_high} and dy from {y_low} to {y_high}. Choose another boundary or a smaller shift."
        )
    window = canvas[..., top : top + size, left : left + size]
    return ShiftedPixels(window, torch.ones(size, size, dtype=torch.bool))


def find_crop_limits(canvas: Tensor, size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The smallest and largest ``dx`` and ``dy`` that :func:`shift_crop` can do."""
    limits = []
    for side in (canvas.shape[-1], canvas.shape[-2]):
        start = round((side - size) / 2.0)
        limits.append((start - (side - size), start))
    return limits[0], limits[1]


def shift_features(features: Tensor, dx: float, dy: float, *, circular: bool) -> tuple[Tensor, Tensor]:
    """Moves feature maps by ``dx``, ``dy`` cells, which need not be whole numbers.

    Whole numbers are copied exactly. Fractions are interpolated: by Fourier shift in circular mode, which
    is exact for band-limited maps, else by Lanczos-3. Bilinear interpolation would itself blur, and report
    an error of 0.3 to 0.4 on a layer without any aliasing.

    Args:
        features: ``(..., h, w)``.
        dx: Cells to the right.
        dy: Cells down.
        circular: Whether what leaves on one side comes back on the other.

    Returns:
        The moved maps ``(..., h, w)``, and ``(h, w)`` bool: where the source lies inside the map.
    """
    rows, row_inside = _shift_matrix(features.shape[-2], dy, circular)
    columns, column_inside = _shift_matrix(features.shape[-1], dx, circular)
    if dy != 0:
        features = rows.to(features) @ features
    if dx != 0:
        features = features @ columns.to(features).T
    return features, (row_inside[:, None] & column_inside).to(features.device)


def _shift_matrix(size: int, distance: float, circular: bool) -> tuple[Tensor, Tensor]:
    """``(size, size)`` matrix that moves a row of cells, and which cells have their source inside."""
    sources = torch.arange(size, dtype=torch.float64) - distance
    inside = torch.ones(size, dtype=torch.bool) if circular else _is_inside(sources, size)
    if float(distance).is_integer():
        columns = sources.long() % size
        matrix = torch.zeros(size, size, dtype=torch.float64)
        matrix[torch.arange(size), columns] = inside.double()
    elif circular:
        matrix = _fourier_matrix(size, distance)
    else:
        offsets = sources[:, None] - torch.arange(size)
        matrix = torch.sinc(offsets) * torch.sinc(offsets / LANCZOS_SIZE) * (offsets.abs() < LANCZOS_SIZE)
        total = matrix.sum(dim=1, keepdim=True)
        # Near the border some taps are missing: the others are scaled up, so a constant stays constant.
        matrix = torch.where(inside[:, None], matrix / torch.where(inside[:, None], total, 1.0), 0.0)
    return matrix, inside


def _fourier_matrix(size: int, distance: float) -> Tensor:
    frequencies = torch.fft.rfftfreq(size, dtype=torch.float64)
    phase = torch.exp(-2j * math.pi * frequencies * distance)
    if size % 2 == 0:
        phase[-1] = math.cos(math.pi * distance)  # the Nyquist term has to stay real
    spectrum = torch.fft.rfft(torch.eye(size, dtype=torch.float64), dim=0)
    return torch.fft.irfft(spectrum * phase[:, None], n=size, dim=0)


def _is_inside(sources: Tensor, size: int) -> Tensor:
    return (sources >= 0) & (sources <= size - 1)


def _mirror(sources: Tensor, size: int) -> Tensor:
    """Reflection without repeating the border pixel, as often as needed (numpy's and torch's ``reflect``)."""
    period = max(2 * (size - 1), 1)
    sources = sources % period
    return torch.minimum(sources, period - sources) if size > 1 else sources * 0


_SOURCES = {
    "zero": lambda sources, size: sources.clamp(0, size - 1),  # masked afterwards
    "reflect": _mirror,
    "replicate": lambda sources, size: sources.clamp(0, size - 1),
    "circular": lambda sources, size: sources % size,
}
