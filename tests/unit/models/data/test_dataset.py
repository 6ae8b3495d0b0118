"""Data sets in which nothing can be seen are warned of."""

import pytest
import torch

from models.data.dataset import describe_plain, has_contrast


def noise(count: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, channels, 9, 9), generator=generator, dtype=torch.uint8)


def test_contrast_is_that_of_any_channel():
    images = torch.full((4, 3, 8, 8), 120, dtype=torch.uint8)
    images[1, 2, :, :4] = 200  # one channel
    images[2, :, 0, 0] = 121  # rounding
    images[3, 0, :4] = 126
    images[3, 1, :4] = 114  # two that cancel each other
    assert has_contrast(images).tolist() == [False, True, False, True]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("plain", "is_said"), [(100, True), (92, True), (80, False), (0, False)])
def test_nearly_all_is_nine_of_ten(channels, plain, is_said):
    images = noise(100, channels)
    images[:plain] = images[:plain, :, :1, :1]
    sentence = describe_plain(images)
    assert bool(sentence) == is_said and (f"{plain} %" in sentence) == is_said


def test_no_pictures_are_no_warning():
    assert describe_plain(noise(0)) == ""
