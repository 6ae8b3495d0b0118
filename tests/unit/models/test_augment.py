"""Augmentations: against a per-picture loop, decided by the generator alone, leaving the global state alone."""

import pytest
import torch
from torch import Generator

from models.augment import (
    AUGMENTATIONS,
    MAX_SHIFT,
    MAX_WIDE_SHIFT,
    augment,
    flip,
    shift_circular,
    shift_zero,
    translate,
)

IMAGES = torch.randint(0, 256, (16, 3, 28, 28), dtype=torch.uint8, generator=Generator().manual_seed(0))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_augmentation(name):
    before, state = IMAGES.clone(), torch.random.get_rng_state()
    first = augment(IMAGES, [name], Generator().manual_seed(1))
    again = augment(IMAGES, [name], Generator().manual_seed(1))
    other = augment(IMAGES, [name], Generator().manual_seed(2))
    assert first.shape == IMAGES.shape and first.dtype == torch.uint8
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(IMAGES, before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_translate_equals_a_loop():
    moved = translate(IMAGES, Generator().manual_seed(5))
    limit = round(MAX_SHIFT * 28)
    offsets = torch.randint(-limit, limit + 1, (2, 16, 1), generator=Generator().manual_seed(5))
    for n in range(16):
        dy, dx = offsets[:, n, 0].tolist()
        rows = [min(max(i + dy, 0), 27) for i in range(28)]
        columns = [min(max(j + dx, 0), 27) for j in range(28)]
        assert torch.equal(moved[n], IMAGES[n][:, rows][:, :, columns])


def test_flip_mirrors_some_and_keeps_others():
    flipped = flip(IMAGES, Generator().manual_seed(0))
    kept = [torch.equal(a, b) for a, b in zip(flipped, IMAGES, strict=True)]
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(flipped, IMAGES, strict=True)]
    assert all(a != b for a, b in zip(kept, mirrored, strict=True))
    assert any(kept) and any(mirrored)


@pytest.mark.parametrize("side", [8, 28, 30])
def test_shifts_equal_a_loop(side):
    images = IMAGES[:, :, : side + 1, :side] if side < 28 else torch.nn.functional.pad(IMAGES, (0, side - 28, 0, 0))
    limit = int(MAX_WIDE_SHIFT * min(images.shape[-2:]))
    wrapped = shift_circular(images, Generator().manual_seed(5))
    black = shift_zero(images, Generator().manual_seed(5))
    offsets = torch.randint(-limit, limit + 1, (2, 16, 1), generator=Generator().manual_seed(5))[:, :, 0]
    height, width = images.shape[-2:]
    assert offsets.abs().max() == limit
    for n in range(16):
        dy, dx = (-offsets[:, n]).tolist()
        rolled = images[n].roll((dy, dx), (1, 2))
        assert torch.equal(wrapped[n], rolled)
        expected = torch.zeros_like(rolled)
        inside = (slice(None), slice(max(dy, 0), height + min(dy, 0)), slice(max(dx, 0), width + min(dx, 0)))
        expected[inside] = rolled[inside]
        assert torch.equal(black[n], expected)
