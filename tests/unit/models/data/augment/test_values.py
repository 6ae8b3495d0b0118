"""Colour, blur, noise and erasing: against torchvision and OpenCV, and the statistics of what is drawn."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Generator

from models.data.augment import values
from models.data.augment.augment import TRANSFORMS, AugmentConfig, augment


def seeded(seed=0):
    return Generator().manual_seed(seed)


def only(name, strength=1.0):
    return AugmentConfig(**{name: strength})


def smooth(num, channels, height, width, seed=0):
    """Pictures without sharp edges, as float32 levels."""
    coarse = torch.rand(num, channels, 5, 6, generator=seeded(seed)) * 255
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255)


def grey(num, *shape, level=128):
    return torch.full((num, *shape), level, dtype=torch.uint8)


FACTORS = torch.tensor([0.0, 0.5, 0.77, 1.0, 1.3, 2.0], dtype=torch.float64)


@pytest.mark.parametrize("name", ["adjust_brightness", "adjust_contrast", "adjust_saturation"])
def test_colour_equals_torchvision(name):
    from torchvision.transforms.v2 import functional as tv

    images = torch.rand(6, 3, 12, 13, generator=seeded()) * 255
    ours = getattr(values, name)(images, FACTORS)
    for n, factor in enumerate(FACTORS.tolist()):
        theirs = getattr(tv, name)(images[n] / 255, factor) * 255
        assert (ours[n] - theirs).abs().max() < 1e-3
    assert torch.equal(ours[3], images[3])


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_hue_equals_torchvision(levels):
    from torchvision.transforms.v2 import functional as tv

    # Few levels: pixels whose channels are equal or extreme, where the formula changes from case to case.
    coarse = torch.randint(0, levels, (9, 3, 24, 24), generator=seeded())
    images = coarse * (255 / (levels - 1))
    turns = torch.tensor([-0.5, -0.31, -0.1, -0.01, 0, 0.02, 0.1, 0.4, 0.5], dtype=torch.float64)
    ours = values.adjust_hue(images, turns)
    for n, turn in enumerate(turns.tolist()):
        theirs = tv.adjust_hue(images[n] / 255, turn) * 255
        assert (ours[n] - theirs).abs().max() < 0.01
    grey_levels = torch.arange(256.0).view(1, 1, 16, 16).expand(9, 3, -1, -1)
    assert torch.equal(values.adjust_hue(grey_levels, turns), grey_levels)


def test_contrast_of_grey_pictures():
    from torchvision.transforms.v2 import functional as tv

    images = torch.rand(6, 1, 12, 13, generator=seeded()) * 255
    ours = values.adjust_contrast(images, FACTORS)
    for n, factor in enumerate(FACTORS.tolist()):
        assert (ours[n] - tv.adjust_contrast(images[n] / 255, factor) * 255).abs().max() < 1e-3


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_stays_within_its_factors(channels):
    """A picture of one grey has no contrast, saturation or hue: only its brightness changes."""
    changed = augment(grey(2000, channels, 1, 1, level=100), only("color", 0.8), seeded()).double()[:, :, 0, 0]
    assert (changed == changed[:, :1]).all()
    assert changed.min() == 60 and changed.max() == 140  # 100 * (1 +- 0.8 / 2)
    assert abs(changed.mean() - 100) < 4 * 80 / math.sqrt(12 * 2000)


def test_blur_equals_opencv():
    import cv2

    images, sigmas = smooth(5, 2, 20, 31), torch.tensor([0.0, 0.4, 1.0, 1.7, 2.5], dtype=torch.float64)
    ours = values.gaussian_blur(images, sigmas, radius=8)
    assert torch.equal(ours[0], images[0])
    for n in range(1, 5):
        for channel in range(2):
            theirs = cv2.GaussianBlur(
                images[n, channel].double().numpy(), (17, 17), float(sigmas[n]), borderType=cv2.BORDER_REPLICATE
            )
            assert np.abs(ours[n, channel].numpy() - theirs).max() < 1e-3


def test_blur_is_at_most_a_twentieth_of_the_side():
    point = torch.zeros(500, 1, 41, 41, dtype=torch.uint8)
    point[:, :, 20, 20] = 255
    peaks = augment(point, only("blur", 1), seeded())[:, 0, 20, 20].double() / 255
    narrowest = 1 / (2 * math.pi * (41 / 20) ** 2)
    assert peaks.max() == 1 and narrowest - 0.004 < peaks.min() < narrowest + 0.004


@pytest.mark.parametrize("strength", [0.2, 0.8])
def test_noise(strength):
    difference = augment(grey(400, 3, 16, 16), only("noise", strength), seeded()).double() - 128
    limit = strength * values.MAX_NOISE
    deviations = difference.flatten(1).std(1)
    # Each picture has its own deviation, from 0 to the limit alike: 1/2 and 1/sqrt(3) of it on average.
    assert deviations.max() < limit * 1.1 and deviations.min() < limit * 0.05
    assert abs(deviations.mean() / limit - 1 / 2) < 4 / math.sqrt(12 * 400) + 0.01
    assert abs(difference.pow(2).mean().sqrt() / limit - 1 / math.sqrt(3)) < 0.04
    assert abs(difference.mean()) < 4 * limit / math.sqrt(difference.numel())
    loudest = difference[deviations.argmax()]
    assert abs((loudest / loudest.std()).pow(4).mean() - 3) < 1  # as a Gaussian
    across = torch.corrcoef(loudest.flatten(1)) - torch.eye(3)
    assert across.abs().max() < 5 / 16


@pytest.mark.parametrize(("height", "width"), [(28, 28), (24, 48)])
def test_erase(height, width):
    images = torch.randint(0, 256, (3000, 1, height, width), dtype=torch.uint8, generator=seeded(1))
    images = torch.cat([images, images // 2], dim=1)
    changed = augment(images, only("erase", 0.9), seeded())
    mask = changed != images
    area = mask.any(1).double().mean((1, 2))
    # From nothing to 0.9 / 3 of the area, all sizes alike; a covered value is by chance the same as before.
    assert area.max() <= 0.3 and abs(area.mean() - 0.15) < 0.006
    assert (area < 0.03).double().mean() == pytest.approx(0.1, abs=0.025)
    for n in range(60):
        rows, columns = mask[n].any(0).nonzero().unbind(1) if mask[n].any() else (torch.zeros(0),) * 2
        if len(rows):
            box = changed[n, :, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert all(len(channel.unique()) == 1 for channel in box)
    where = mask.any(1).double().mean(0)  # how often each pixel is covered
    # Balanced between the sides, and the middle is covered more often than the corners.
    assert (where - where.flip(0)).abs().max() < 0.06 and (where - where.flip(1)).abs().max() < 0.06
    assert where[height // 2, width // 2] > 2 * where[0, 0]
    for near, far in ((where[0], where[-1]), (where[:, 0], where[:, -1])):  # rectangles reach every edge
        assert 2 / 3 < near.mean() / far.mean() < 3 / 2


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (2, 3), (5, 5), (8, 40), (17, 17), (28, 28), (32, 32), (96, 64)]
)
@pytest.mark.parametrize("strength", [0.05, 0.6, 1.0])
def test_no_more_is_erased_than_is_said(height, width, strength):
    images = torch.zeros(4000, 1, height, width, dtype=torch.int16)
    covered = (values.erase(images - 1, strength, seeded()) >= 0).sum((1, 2, 3))
    assert 3 * covered.max() <= strength * height * width
    # Large rectangles are there: no more than a row or a column is missing from the largest.
    assert covered.max() >= strength * height * width / 3 - max(height, width)


@pytest.mark.parametrize(
    ("step", "expected"), [(0.49, 128), (0.51, 129), (-0.49, 128), (-0.51, 127), (300, 255), (-300, 0)]
)
def test_values_are_rounded_to_the_nearest_level(monkeypatch, step, expected):
    add = replace(TRANSFORMS["noise"], change=lambda images, *_: images + step)
    monkeypatch.setitem(TRANSFORMS, "noise", add)
    assert augment(grey(1, 1, 2, 2), only("noise"), seeded()).unique().tolist() == [expected]
