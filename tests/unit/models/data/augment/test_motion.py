"""Motions: against a loop over pixels, SciPy and torchvision, and the statistics of what is drawn."""

import math
from dataclasses import replace
from functools import partial, reduce

import numpy as np
import pytest
import torch
from torch import Generator

from models.data.augment import motion as augment_motion
from models.data.augment.augment import TRANSFORMS, AugmentConfig, augment
from models.data.augment.motion import MAX_WIDE_SHIFT, shift_circular, shift_zero

IMAGES = torch.randint(0, 256, (16, 3, 28, 28), dtype=torch.uint8, generator=Generator().manual_seed(0))


def seeded(seed=0):
    return Generator().manual_seed(seed)


def only(name, strength=1.0):
    return AugmentConfig(**{name: strength})


def smooth(num, channels, height, width, seed=0):
    """Pictures without sharp edges, as float32 levels."""
    coarse = torch.rand(num, channels, 5, 6, generator=seeded(seed)) * 255
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255)


def observed(images, config, seed):
    """What ``augment`` makes of the pictures, and the product of the matrices that it used."""
    caught = []

    def listen(motion, *arguments):
        caught.append(motion(*arguments))
        return caught[-1]

    with pytest.MonkeyPatch.context() as patch:
        for name, transform in TRANSFORMS.items():
            if transform.motion:
                patch.setitem(TRANSFORMS, name, replace(transform, motion=partial(listen, transform.motion)))
        changed = augment(images, config, Generator().manual_seed(seed))
    return changed, reduce(torch.matmul, caught)


def test_flip():
    flipped = augment(IMAGES, only("flip"), seeded())
    kept = [torch.equal(a, b) for a, b in zip(flipped, IMAGES, strict=True)]
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(flipped, IMAGES, strict=True)]
    assert all(a != b for a, b in zip(kept, mirrored, strict=True))
    assert any(kept) and any(mirrored)
    assert torch.equal(augment(flipped, only("flip"), seeded()), IMAGES)


@pytest.mark.parametrize("strength", [0.2, 0.6, 1.0])
def test_half_the_strength_is_how_often_it_flips(strength):
    images = torch.tensor([0, 255], dtype=torch.uint8).expand(4000, 1, 1, 2)
    share = (augment(images, only("flip", strength), seeded())[:, 0, 0, 0] == 255).double().mean()
    assert abs(share - strength / 2) < 4 * math.sqrt(0.25 / 4000)


@pytest.mark.parametrize("size", [(28, 28), (9, 28), (28, 13)])
def test_translate_and_flip_equal_a_loop(size):
    height, width = size
    images = IMAGES[:, :, :height, :width]
    moved, matrices = observed(images, AugmentConfig(translate=0.5, flip=1), seed=9)
    limit = max(1, round(min(size) / 8))
    assert matrices[:, :2, 2].abs().max() == limit and (matrices[:, 0, 0] < 0).any() and (matrices[:, 0, 0] > 0).any()
    for n in range(16):
        dx, dy = (int(value) for value in matrices[n, :2, 2])
        for i in range(height):
            for j in range(width):
                column = (width - 1 - j if matrices[n, 0, 0] < 0 else j) + dx
                row, column = min(max(i + dy, 0), height - 1), min(max(column, 0), width - 1)
                assert torch.equal(moved[n, :, i, j], images[n, :, row, column])


def test_every_offset_is_as_likely_as_any_other():
    images = torch.arange(28, dtype=torch.uint8).expand(7000, 1, 28, 28)
    middle = augment(images, only("translate", 0.3), seeded())[:, 0, 0, 14].int()
    counts = torch.bincount(middle)[12:17]
    assert counts.sum() == 7000
    assert ((counts - 1400).double().pow(2) / 1400).sum() < 18.5  # chi square, 4 degrees of freedom, p = 0.001


def test_interpolation_equals_whole_pixels_where_these_suffice():
    matrices = augment_motion.translate(1, IMAGES, seeded(1)) @ augment_motion.flip(1, IMAGES, seeded(2))
    interpolated = augment_motion.read_pixels(IMAGES.float(), matrices)
    assert torch.equal(interpolated.round().byte(), augment_motion.read_whole_pixels(IMAGES, matrices))


@pytest.mark.parametrize("size", [(28, 28), (20, 33)])
def test_any_motion_equals_scipy(size):
    ndimage = pytest.importorskip("scipy.ndimage")
    height, width = size
    images = smooth(6, 2, height, width)
    matrices = augment_motion.crop(1, images, seeded(1)) @ augment_motion.rotate(1, images, seeded(2))
    matrices = matrices @ augment_motion.translate(1, images, seeded(3)) @ augment_motion.flip(1, images, seeded(4))
    ours = augment_motion.read_pixels(images, matrices)
    swap = np.eye(3)[[1, 0, 2]]  # SciPy's places are (row, column), from the corner
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    for n in range(6):
        matrix = swap @ matrices[n].numpy() @ swap
        offset = matrix[:2, 2] + centre - matrix[:2, :2] @ centre
        for channel in range(2):
            theirs = ndimage.affine_transform(
                images[n, channel].double().numpy(), matrix[:2, :2], offset, order=1, mode="nearest"
            )
            assert np.abs(ours[n, channel].numpy() - theirs).max() < 0.02


def test_rotation_equals_torchvision():
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as tv

    images = smooth(8, 3, 24, 24)
    matrices = augment_motion.rotate(1, images, seeded(1))
    ours = augment_motion.read_pixels(images, matrices)
    degrees = torch.rad2deg(torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert 20 < degrees.abs().max() <= augment_motion.MAX_ANGLE and degrees.min() < 0 < degrees.max()
    for n in range(8):
        wide = torch.nn.functional.pad(images[n : n + 1], [12] * 4, mode="replicate")
        theirs = tv.rotate(wide, float(degrees[n]), InterpolationMode.BILINEAR)[..., 12:-12, 12:-12]
        assert (ours[n] - theirs[0]).abs().max() < 0.05


def test_crop_equals_torchvision_up_to_the_rim():
    from torchvision.transforms.v2 import functional as tv

    images, (top, left, height, width) = smooth(1, 3, 24, 32), (5, 8, 12, 20)
    matrix = torch.eye(3, dtype=torch.float64)[None].clone()
    matrix[0, 0, 0], matrix[0, 1, 1] = width / 32, height / 24
    matrix[0, 0, 2], matrix[0, 1, 2] = left + width / 2 - 16, top + height / 2 - 12
    ours = augment_motion.read_pixels(images, matrix)
    theirs = tv.resized_crop(images, top, left, height, width, [24, 32], antialias=False)
    assert (ours - theirs)[..., 2:-2, 2:-2].abs().max() < 0.01


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_crops_lie_inside_and_have_the_sizes_asked_for(strength):
    images = torch.zeros(4000, 1, 30, 50)
    matrices = augment_motion.crop(strength, images, seeded())
    x_scale, y_scale = matrices[:, 0, 0], matrices[:, 1, 1]
    smallest = 1 - 0.75 * strength
    area, stretch = x_scale * y_scale, x_scale / y_scale
    assert area.min() >= smallest * (3 / 4) ** strength  # less only where a side was cut off
    assert area.max() <= 1 and area.min() < smallest + 0.02
    assert abs(area.mean() - (1 + smallest) / 2) < 0.03
    assert stretch.log().abs().max() <= strength * math.log(4 / 3) + 1e-9
    assert ((matrices[:, 0, 2].abs() / 25 + x_scale) <= 1 + 1e-12).all()
    assert ((matrices[:, 1, 2].abs() / 15 + y_scale) <= 1 + 1e-12).all()


def test_draws_of_two_transforms_are_unrelated():
    drawn = []
    for name in ("crop", "rotate", "translate"):
        matrices = torch.cat([observed(IMAGES, only(name), seed)[1] for seed in range(40)])
        drawn.append({"crop": matrices[:, 0, 0], "rotate": matrices[:, 1, 0], "translate": matrices[:, 0, 2]}[name])
    related = torch.corrcoef(torch.stack(drawn)) - torch.eye(3)
    assert related.abs().max() < 4 / math.sqrt(len(drawn[0]))


@pytest.mark.parametrize("side", [8, 28, 30])
def test_shifts_equal_a_loop(side):
    images = IMAGES[:, :, : side + 1, :side] if side < 28 else torch.nn.functional.pad(IMAGES, (0, side - 28, 0, 0))
    limit = int(MAX_WIDE_SHIFT * min(images.shape[-2:]))
    wrapped = shift_circular(images, seeded(5))
    black = shift_zero(images, seeded(5))
    offsets = torch.randint(-limit, limit + 1, (2, 16, 1), generator=seeded(5))[:, :, 0]
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
