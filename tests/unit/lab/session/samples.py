"""Bundled models and pictures for them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

MODELS = ["fashion_cnn", "efficientnet_lite0"]
SAMPLES = {"fashion_cnn": "sneaker", "efficientnet_lite0": "chelsea"}
every_model = pytest.mark.parametrize("model", MODELS)


def noise(seed: int, width: int = 40, height: int = 36) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def recipe(image: Image.Image, mode: str, resize: int, crop: int, resample, mean: float, std: float) -> Tensor:
    """Network input by Pillow and numpy: shorter side, centre, scale."""
    image = image.convert(mode)
    short = min(image.size)
    image = image.resize(tuple(int(resize * side / short) for side in image.size), resample)
    left, top = ((side - crop) // 2 for side in image.size)
    image = image.crop((left, top, left + crop, top + crop))
    levels = np.atleast_3d(np.asarray(image, dtype=np.float64)).transpose(2, 0, 1) / 255
    return torch.from_numpy((levels - mean) / std).float()[None]


RECIPES = {
    "fashion_cnn": ("L", 28, 28, Image.Resampling.BILINEAR, 0.285826, 0.352879),
    "efficientnet_lite0": ("RGB", 256, 224, Image.Resampling.BICUBIC, 127 / 255, 128 / 255),
}
