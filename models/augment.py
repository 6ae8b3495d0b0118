"""Random changes to a whole batch at once, on the device where it lives.

Random numbers are drawn on the CPU from the generator given, so that every device sees the same changes.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

MAX_SHIFT = 1 / 14
"""Longest translation as a fraction of the picture's side: 2 pixels of 28."""
MAX_WIDE_SHIFT = 1 / 8
"""Longest shift of the two augmentations that only shift."""
MAX_BRIGHTNESS = 0.2


def augment(images: Tensor, names: Sequence[str], generator: Generator) -> Tensor:
    """Applies the named augmentations in order.

    Args:
        images: ``(N, C, H, W)`` uint8, any device.
        names: Keys of ``AUGMENTATIONS``.
        generator: A CPU generator; it alone decides what happens.

    Returns:
        ``(N, C, H, W)`` uint8 on the same device.
    """
    for name in names:
        images = AUGMENTATIONS[name](images, generator)
    return images


def translate(images: Tensor, generator: Generator) -> Tensor:
    """Moves each picture by whole pixels; the uncovered border repeats the edge pixels."""
    return _shift(images, generator, round(MAX_SHIFT * min(images.shape[-2:])), _hold)


def shift_circular(images: Tensor, generator: Generator) -> Tensor:
    """Moves each picture by whole pixels; what leaves on one side comes back on the other."""
    return _shift(images, generator, int(MAX_WIDE_SHIFT * min(images.shape[-2:])), torch.remainder)


def shift_zero(images: Tensor, generator: Generator) -> Tensor:
    """Moves each picture by whole pixels; the uncovered border is black."""
    framed = F.pad(images, (1, 1, 1, 1))  # its edge pixels, which are black, are what is repeated
    return _shift(framed, generator, int(MAX_WIDE_SHIFT * min(images.shape[-2:])), _hold)[..., 1:-1, 1:-1]


def _hold(places: Tensor, size: int) -> Tensor:
    return places.clamp(0, size - 1)


def _shift(images: Tensor, generator: Generator, limit: int, fold: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Takes each pixel from up to ``limit`` rows and columns away; ``fold`` brings places back into the picture."""
    num, _, height, width = images.shape
    limit = max(1, limit)
    offsets = torch.randint(-limit, limit + 1, (2, num, 1), generator=generator).to(images.device)
    rows = fold(torch.arange(height, device=images.device) + offsets[0], height)
    columns = fold(torch.arange(width, device=images.device) + offsets[1], width)
    picked = torch.arange(num, device=images.device)[:, None, None]
    # (N, H, W, C) seen as (N, C, H, W): already in the channels_last layout.
    return images[picked, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirrors every other picture, on average, left to right."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(3), images)


def brightness(images: Tensor, generator: Generator) -> Tensor:
    """Scales each picture by a factor from 0.8 to 1.2."""
    factors = 1 + MAX_BRIGHTNESS * (2 * torch.rand(len(images), generator=generator) - 1)
    scaled = images * factors.to(images.device)[:, None, None, None]
    return scaled.round_().clamp_(0, 255).to(torch.uint8)


AUGMENTATIONS: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "translate": translate,
    "flip": flip,
    "brightness": brightness,
    "shift_circular": shift_circular,
    "shift_zero": shift_zero,
}
SHIFT_AUGMENTS = {"none": (), "circular": ("shift_circular",), "zero": ("shift_zero",)}
"""What fills the border of a random shift -> the augmentations that are applied."""
