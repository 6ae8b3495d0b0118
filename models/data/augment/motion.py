"""Where each pixel of a changed picture comes from: mirrored, cropped, turned and moved in one step.

A motion is a matrix ``(3, 3)`` per picture that leads from a place in the result to the place in the picture whose
value it takes, in pixels from the centre, ``x`` to the right and ``y`` down. Motions are multiplied before any pixel
is read, so that pictures are interpolated once and what one motion pushes out another can bring back. Places outside
the picture take the value of the nearest edge pixel.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from models.devices import send

MAX_ANGLE = 30.0
"""Rotation at strength 1, in degrees either way."""
MAX_TRANSLATION = 1 / 4
"""Translation at strength 1 as a share of the shorter side."""
MIN_AREA = 1 / 4
"""Smallest share of the area that a crop keeps at strength 1."""
MAX_STRETCH = 4 / 3
"""How much wider or higher than the picture a crop is at strength 1; the range of torchvision's RandomResizedCrop."""
MAX_WIDE_SHIFT = 1 / 8
"""Longest of the random shifts for themselves, as a share of the shorter side."""

Fold = Callable[[Tensor, int], Tensor]
"""Brings places ``(N, size)`` back into ``0 .. size - 1``."""


def crop(strength: float, images: Tensor, generator: Generator) -> Tensor:
    """Matrices that fill the picture with a random part of it, its sides stretched a little."""
    height, width = images.shape[-2:]
    area, stretch, right, down = _draw(4, images, generator)
    area = 1 - (1 - smallest_area(strength)) * area
    stretch = torch.exp(_either_way(stretch) * strength * math.log(MAX_STRETCH))
    x_scale, y_scale = (area * stretch).sqrt().clamp(max=1), (area / stretch).sqrt().clamp(max=1)
    matrices = _identities(images)
    matrices[:, 0, 0], matrices[:, 1, 1] = x_scale, y_scale
    matrices[:, 0, 2] = _either_way(right) * (1 - x_scale) * width / 2
    matrices[:, 1, 2] = _either_way(down) * (1 - y_scale) * height / 2
    return matrices


def rotate(strength: float, images: Tensor, generator: Generator) -> Tensor:
    """Matrices that turn each picture about its centre."""
    (turn,) = _draw(1, images, generator)
    angles = torch.deg2rad(_either_way(turn) * strength * MAX_ANGLE)
    matrices = _identities(images)
    matrices[:, 0, 0] = matrices[:, 1, 1] = angles.cos()
    matrices[:, 1, 0] = angles.sin()
    matrices[:, 0, 1] = -angles.sin()
    return matrices


def translate(strength: float, images: Tensor, generator: Generator) -> Tensor:
    """Matrices that move each picture by whole pixels in both directions."""
    limit = longest_translation(strength, min(images.shape[-2:]))
    matrices = _identities(images)
    matrices[:, :2, 2] = (_draw(2, images, generator) * (2 * limit + 1)).floor().sub(limit).T
    return matrices


def flip(strength: float, images: Tensor, generator: Generator) -> Tensor:
    """Matrices that mirror a picture left to right with a probability of half the strength."""
    (chance,) = _draw(1, images, generator)
    matrices = _identities(images)
    matrices[:, 0, 0] = torch.where(chance < strength / 2, -1.0, 1.0)
    return matrices


def smallest_area(strength: float) -> float:
    """Share of the area that a crop keeps at least."""
    return 1 - (1 - MIN_AREA) * strength


def longest_translation(strength: float, side: int) -> int:
    """Whole pixels that a translation moves at most; one at least, however weak it is."""
    return max(1, round(strength * MAX_TRANSLATION * side))


def read_pixels(images: Tensor, matrices: Tensor) -> Tensor:
    """Each picture as its matrix reads it, by bilinear interpolation.

    Args:
        images: ``(N, C, H, W)`` float32, any device.
        matrices: ``(N, 3, 3)`` float64 on the CPU.

    Returns:
        ``(N, C, H, W)`` float32.
    """
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = torch.arange(height, device=images.device)[:, None] - (height - 1) / 2
    to_unit = torch.tensor([[2 / width], [2 / height]], dtype=torch.float64)  # -1 .. 1 is from edge to edge
    of_x, of_y, offset = send((matrices[:, :2] * to_unit).float(), images.device)[:, :, None, None].unbind(-1)
    # (N, 2, H, W); torch's own affine_grid multiplies matrices here, which takes several times as long.
    grid = torch.addcmul(of_y * y + offset, of_x, x)
    return F.grid_sample(images, grid.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)


def read_whole_pixels(images: Tensor, matrices: Tensor) -> Tensor:
    """The same without arithmetic on values, for matrices that only mirror and move by whole pixels.

    Args:
        images: ``(N, C, H, W)`` of any type, any device.
        matrices: ``(N, 3, 3)`` float64 on the CPU.

    Returns:
        ``(N, C, H, W)`` of the same type.
    """
    places = []
    for axis, size in ((0, images.shape[-1]), (1, images.shape[-2])):
        centre = (size - 1) / 2
        from_centre = torch.arange(size, dtype=torch.float64) - centre
        read = matrices[:, axis, axis, None] * from_centre + matrices[:, axis, 2, None]
        places.append((read + centre).round().long())
    columns, rows = (send(where, images.device) for where in places)
    return _take(images, rows, columns, _hold)


def shift_circular(images: Tensor, generator: Generator) -> Tensor:
    """Moves each picture by whole pixels; what leaves on one side comes back on the other.

    Args:
        images: ``(N, C, H, W)`` uint8, any device.
        generator: A CPU generator; it alone decides how far.
    """
    return _shift(images, generator, int(MAX_WIDE_SHIFT * min(images.shape[-2:])), torch.remainder)


def shift_zero(images: Tensor, generator: Generator) -> Tensor:
    """Moves each picture by whole pixels; the uncovered border is black. Arguments as in ``shift_circular``."""
    framed = F.pad(images, (1, 1, 1, 1))  # its edge pixels, which are black, are what is repeated
    return _shift(framed, generator, int(MAX_WIDE_SHIFT * min(images.shape[-2:])), _hold)[..., 1:-1, 1:-1]


def _shift(images: Tensor, generator: Generator, limit: int, fold: Fold) -> Tensor:
    limit = max(1, limit)
    offsets = send(torch.randint(-limit, limit + 1, (2, len(images), 1), generator=generator), images.device)
    rows, columns = (torch.arange(size, device=images.device) for size in images.shape[-2:])
    return _take(images, rows + offsets[0], columns + offsets[1], fold)


def _take(images: Tensor, rows: Tensor, columns: Tensor, fold: Fold) -> Tensor:
    """The pixels at ``rows (N, H)`` and ``columns (N, W)`` of each picture; ``fold`` treats those outside."""
    num, channels, height, width = images.shape
    places = fold(rows, height)[:, :, None] * width + fold(columns, width)[:, None, :]
    # One index per pixel for all channels: several times faster than indexing rows and columns apart.
    flat = places.view(num, 1, -1).expand(-1, channels, -1)
    return images.reshape(num, channels, -1).gather(2, flat).view(images.shape)


def _hold(places: Tensor, size: int) -> Tensor:
    return places.clamp(0, size - 1)


def _identities(images: Tensor) -> Tensor:
    return torch.eye(3, dtype=torch.float64).repeat(len(images), 1, 1)


def _draw(count: int, images: Tensor, generator: Generator) -> Tensor:
    """``(count, N)`` float64 numbers in [0, 1): one row for each thing that is decided."""
    return torch.rand(count, len(images), dtype=torch.float64, generator=generator)


def _either_way(numbers: Tensor) -> Tensor:
    return 2 * numbers - 1
