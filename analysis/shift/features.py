"""Moving feature maps by whole cells, which are copied, or by fractions, which Fourier or Lanczos interpolates."""

import math

import torch
from torch import Tensor

LANCZOS_SIZE = 3
"""Cells on either side that an interpolation mixes."""


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
        The moved maps ``(..., h, w)``, and ``(h, w)`` bool: where all that is mixed lies inside the map. Lanczos-3
        mixes six cells along an axis, so a map of five or fewer has no such cell.
    """
    rows, row_inside = _shift_matrix(features.shape[-2], dy, circular)
    columns, column_inside = _shift_matrix(features.shape[-1], dx, circular)
    if dy != 0:
        features = rows.to(features) @ features  # (h, h) @ (..., h, w)
    if dx != 0:
        features = features @ columns.to(features).T  # (..., h, w) @ (w, w)
    return features, (row_inside[:, None] & column_inside).to(features.device)


def _shift_matrix(size: int, distance: float, circular: bool) -> tuple[Tensor, Tensor]:
    """``(size, size)`` matrix that moves a row of cells, and which cells have all that they mix inside."""
    sources = torch.arange(size, dtype=torch.float64) - distance
    inside = torch.ones(size, dtype=torch.bool) if circular else is_inside(sources, size)
    if float(distance).is_integer():
        columns = sources.long() % size
        matrix = torch.zeros(size, size, dtype=torch.float64)
        matrix[torch.arange(size), columns] = inside.double()
    elif circular:
        matrix = _fourier_matrix(size, distance)
    else:
        matrix = _lanczos(sources[:, None] - torch.arange(size))  # (size, size)
        total = matrix.sum(dim=1, keepdim=True)
        # Near the border some taps are missing: the others are scaled up, which is fit to be seen, not measured.
        matrix = torch.where(inside[:, None], matrix / torch.where(inside[:, None], total, 1.0), 0.0)
        first = sources.floor() - LANCZOS_SIZE + 1
        inside = is_inside(first, size) & is_inside(first + 2 * LANCZOS_SIZE - 1, size)
    return matrix, inside


def _lanczos(offsets: Tensor) -> Tensor:
    """Weights of samples at these distances from the place that is wanted."""
    return torch.sinc(offsets) * torch.sinc(offsets / LANCZOS_SIZE) * (offsets.abs() < LANCZOS_SIZE)


def lanczos_taps(start: float, size: int) -> tuple[Tensor, Tensor]:
    """Which samples a row of ``size`` cells from ``start`` on mixes, and its matrix ``(size, samples)``."""
    sources = start + torch.arange(size, dtype=torch.float64)
    if float(start).is_integer():
        return sources.long(), torch.eye(size, dtype=torch.float64)
    first = math.floor(start) - LANCZOS_SIZE + 1
    samples = torch.arange(first, first + size + 2 * LANCZOS_SIZE - 1)
    weights = _lanczos(sources[:, None] - samples)  # (size, samples)
    return samples, weights / weights.sum(dim=1, keepdim=True)


def _fourier_matrix(size: int, distance: float) -> Tensor:
    frequencies = torch.fft.rfftfreq(size, dtype=torch.float64)
    phase = torch.exp(-2j * math.pi * frequencies * distance)
    if size % 2 == 0:
        phase[-1] = math.cos(math.pi * distance)  # the Nyquist term has to stay real
    spectrum = torch.fft.rfft(torch.eye(size, dtype=torch.float64), dim=0)  # (size // 2 + 1, size)
    return torch.fft.irfft(spectrum * phase[:, None], n=size, dim=0)


def is_inside(sources: Tensor, size: int) -> Tensor:
    """Which of these places, whole or not, lie in a row of ``size`` cells."""
    return (sources >= 0) & (sources <= size - 1)
