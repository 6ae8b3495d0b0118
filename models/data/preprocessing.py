"""From a picture to network input, in two steps: pixels at network resolution, then normalisation.

Torchvision's presets do both at once. Shifting has to happen in between: after the resize, so that one
pixel is one network-input pixel, and before the normalisation, so that "black" means black.

Torchvision is imported where it is used: it brings a compiler along that takes longer to import than torch.
"""

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.data.images import list_notes

_RESIZED_AT_ONCE = 4096
MAX_ASPECT = 8
"""Longer canvases are cut to this ratio around their centre after resizing: nothing looks further."""
MAX_RESIZED_PIXELS = 64_000_000
"""Strips that would get more by resizing are cut around their centre before it, which bounds memory."""


@dataclass(frozen=True)
class Preprocessing:
    """What is done to a picture before a network sees it: sizes in pixels, mean and std of [0, 1] values."""

    crop_size: int
    resize_size: int
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    interpolation: str = "bilinear"

    @classmethod
    def from_torchvision(cls, preset) -> "Preprocessing":
        """The same steps as ``weights.transforms()`` (torchvision's ``ImageClassification`` preset)."""
        return cls(
            crop_size=preset.crop_size[0],
            resize_size=preset.resize_size[0],
            mean=tuple(preset.mean),
            std=tuple(preset.std),
            interpolation=preset.interpolation.value,
        )

    @classmethod
    def from_dict(cls, values: dict) -> "Preprocessing":
        """The inverse of :meth:`to_dict`; lists become tuples."""
        tuples: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**tuples)

    def to_dict(self) -> dict:
        """A JSON-ready dictionary."""
        return asdict(self)

    @property
    def num_channels(self) -> int:
        """1 for grey input, 3 for colour."""
        return len(self.mean)

    def to_canvas(self, image: Image.Image) -> Tensor:
        """The picture at network scale, uncropped: shorter side ``resize_size``, by torchvision's own resize.

        Returns:
            ``(C, H, W)`` float32 in [0, 1] with H, W >= ``crop_size`` for every preset in torchvision; of what is
            longer than ``MAX_ASPECT`` the middle, in which ``crop`` finds the very same pixels.
        """
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as F

        image = self._limit_strip(image).convert("L" if self.num_channels == 1 else "RGB")
        interpolation = InterpolationMode(self.interpolation)
        image = F.resize(image, [self.resize_size], interpolation=interpolation, antialias=True)
        # Multiples of 4 off the length keep the crop where it was, whichever way its half pixels are rounded.
        image = _cut_middle(image, MAX_ASPECT * min(image.size), multiple=4)
        return F.convert_image_dtype(F.pil_to_tensor(image), torch.float32)

    def list_notes(self, image: Image.Image) -> tuple[str, ...]:
        """What keeps a picture's pixels from being those of the published recipe, a sentence each."""
        limited = self._limit_strip(image)
        if limited.size == image.size:
            return list_notes(image)
        note = f"It is so long that only {limited.width} x {limited.height} pixels around its centre were resized."
        return (*list_notes(image), note)

    def _limit_strip(self, image: Image.Image) -> Image.Image:
        short = min(image.size)
        return _cut_middle(image, max(short, MAX_RESIZED_PIXELS * short // self.resize_size**2))

    def to_pixels(self, image: Image.Image) -> Tensor:
        """The central crop that the network sees: ``(C, crop_size, crop_size)`` float32 in [0, 1]."""
        return self.crop(self.to_canvas(image))

    def crop(self, canvas: Tensor) -> Tensor:
        """The central ``crop_size`` square of a canvas (zero-padded where the canvas is smaller)."""
        from torchvision.transforms.functional import center_crop

        return center_crop(canvas, [self.crop_size, self.crop_size])

    def normalize(self, pixels: Tensor) -> Tensor:
        """Network input from pixels in [0, 1]; ``(..., C, H, W)`` to the same shape."""
        from torchvision.transforms.functional import normalize

        return normalize(pixels, mean=list(self.mean), std=list(self.std))


def _cut_middle(image: Image.Image, limit: int, multiple: int = 2) -> Image.Image:
    """The middle of a picture with a side longer than ``limit``, shorter by a ``multiple`` of pixels."""

    def find_margin(side: int) -> int:
        return max(0, ceil((side - limit) / multiple)) * multiple // 2

    left, top = map(find_margin, image.size)
    if not left and not top:
        return image
    return image.crop((left, top, image.width - left, image.height - top))


def resize_all(images: np.ndarray, image_size: int) -> Tensor:
    """Images ``(N, C, H, W)`` uint8 at another size, a bounded number at once."""
    from torchvision.transforms.v2.functional import resize

    if image_size == images.shape[-1]:
        return torch.tensor(images)
    resized = torch.empty((*images.shape[:2], image_size, image_size), dtype=torch.uint8)
    for start in range(0, len(images), _RESIZED_AT_ONCE):
        chunk = torch.tensor(images[start : start + _RESIZED_AT_ONCE])
        resized[start : start + _RESIZED_AT_ONCE] = resize(chunk, [image_size, image_size], antialias=True)
    return resized


def measure_channels(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of each channel in [0, 1], exactly, from counts of the 256 values."""
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        share = torch.bincount(images[:, channel].flatten(), minlength=256).double()
        share /= share.sum()
        mean = (share * values).sum()
        means.append(round(mean.item(), 6))
        # Pictures of one colour only must not divide by zero.
        stds.append(round(max((share * (values - mean) ** 2).sum().sqrt().item(), 1e-3), 6))
    return tuple(means), tuple(stds)
