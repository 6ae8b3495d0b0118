"""From a picture to network input, in two steps: pixels at network resolution, then normalisation.

Torchvision's presets do both at once. Shifting has to happen in between: after the resize, so that one
pixel is one network-input pixel, and before the normalisation, so that "black" means black.

Torchvision is imported where it is used: it brings a compiler along that takes longer to import than torch.
"""

from dataclasses import asdict, dataclass

import torch
from PIL import Image
from torch import Tensor

MAX_ASPECT = 8
"""Longer strips are cut to this ratio around their centre before resizing, which bounds memory."""


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
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def to_dict(self) -> dict:
        """A JSON-ready dictionary."""
        return asdict(self)

    @property
    def num_channels(self) -> int:
        """1 for grey input, 3 for colour."""
        return len(self.mean)

    def to_canvas(self, image: Image.Image) -> Tensor:
        """The whole picture at network scale, uncropped: shorter side ``resize_size``.

        Returns:
            ``(C, H, W)`` float32 in [0, 1] with H, W >= ``crop_size`` for every preset in torchvision.
        """
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as F

        image = _limit_aspect(image).convert("L" if self.num_channels == 1 else "RGB")
        interpolation = InterpolationMode(self.interpolation)
        image = F.resize(image, [self.resize_size], interpolation=interpolation, antialias=True)
        return F.convert_image_dtype(F.pil_to_tensor(image), torch.float32)

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


def _limit_aspect(image: Image.Image) -> Image.Image:
    width, height = image.size
    limit = MAX_ASPECT * min(width, height)
    if max(width, height) <= limit:
        return image
    new_width, new_height = min(width, limit), min(height, limit)
    left, top = (width - new_width) // 2, (height - new_height) // 2
    return image.crop((left, top, left + new_width, top + new_height))
