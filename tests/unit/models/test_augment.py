"""Augmentations: against a per-picture loop, decided by the generator alone, leaving the global state alone."""

import pytest
import torch
from torch import Generator

from models.augment import AUGMENTATIONS, MAX_SHIFT, augment, flip, translate

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
