"""What each pixel of a changed picture looks like: sharpness, colour, noise and erased parts.

Pictures are ``(N, C, H, W)`` with values from 0 to 255. The ``adjust_`` functions do to a batch, with one number for
each picture, what the functions of the same names in torchvision.transforms.v2.functional do to one picture.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from models.devices import send

MAX_SIGMA = 1 / 20
"""Blur at strength 1: standard deviation of the Gaussian as a share of the shorter side."""
MAX_CHANGE = 0.5
"""How far the factors of brightness, contrast and saturation are from 1 at strength 1."""
MAX_TURN = 0.1
"""How far hues move at strength 1, in turns of the colour circle."""
MAX_NOISE = 51.0
"""Standard deviation of the noise at strength 1, in levels of 255."""
MAX_ERASED = 1 / 3
"""Largest share of the area that is erased at strength 1; Zhong et al. use 0.4."""
MAX_RATIO = 10 / 3
"""An erased rectangle is at most so many times as wide as high, or as high as wide (Zhong et al.)."""

_GREY = (0.2989, 0.587, 0.114)  # of red, green, blue, as in torchvision


def blur(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Blurs each picture by a Gaussian whose width is drawn from zero to the largest; edge pixels are repeated."""
    limit = largest_sigma(strength, min(images.shape[-2:]))
    sigmas = torch.rand(len(images), dtype=torch.float64, generator=generator) * limit
    return gaussian_blur(images, sigmas, radius=max(1, math.ceil(3 * limit)))


def color(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Changes brightness, contrast and, in pictures with three channels, saturation and hue."""
    drawn = 2 * torch.rand(4, len(images), dtype=torch.float64, generator=generator) - 1
    limits = strength * torch.tensor([MAX_CHANGE] * 3 + [MAX_TURN], dtype=torch.float64)
    brightness, contrast, saturation, turns = drawn * limits[:, None]
    images = adjust_contrast(adjust_brightness(images, 1 + brightness), 1 + contrast)
    if images.shape[1] != len(_GREY):
        return images
    return adjust_hue(adjust_saturation(images, 1 + saturation), turns)


def noise(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Adds Gaussian noise, independent for each value, whose strength is drawn anew for each picture."""
    deviations = torch.rand(len(images), dtype=torch.float64, generator=generator) * strength * MAX_NOISE
    drawn = send(torch.randn(images.shape, generator=generator), images.device)
    return torch.addcmul(images, drawn, _each(deviations, images))


def erase(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Covers a random rectangle of each picture, of any size up to the largest, with one random colour.

    Works on whole levels of any type. Zhong et al., "Random Erasing Data Augmentation", 2020.
    """
    height, width = images.shape[-2:]
    area, ratio, down, right = torch.rand(4, len(images), dtype=torch.float64, generator=generator)
    colours = torch.randint(0, 256, (*images.shape[:2], 1, 1), generator=generator)
    limit = strength * MAX_ERASED * height * width
    area, ratio = area * limit, torch.exp((2 * ratio - 1) * math.log(MAX_RATIO))
    rows = (area * ratio).sqrt().round().clamp(max=height)
    # Two sides that are both rounded up would cover more than the limit.
    columns = (area / ratio).sqrt().round().clamp(max=width).minimum((limit / rows).floor())
    covered = []
    for size, length, place in ((height, rows, down), (width, columns, right)):
        first = (place * (size - length + 1)).floor()
        at = torch.arange(size)
        covered.append(send((at >= first[:, None]) & (at < (first + length)[:, None]), images.device))
    mask = (covered[0][:, :, None] & covered[1][:, None, :])[:, None]
    return torch.where(mask, send(colours.to(images.dtype), images.device), images)


def largest_sigma(strength: float, side: int) -> float:
    """Widest blur in pixels (the standard deviation of its Gaussian)."""
    return strength * MAX_SIGMA * side


def gaussian_blur(images: Tensor, sigmas: Tensor, radius: int) -> Tensor:
    """Each picture blurred by its own Gaussian, cut off ``radius`` pixels from its middle; edge pixels are repeated.

    Args:
        images: ``(N, C, H, W)`` float32.
        sigmas: ``(N,)`` standard deviations in pixels, on the CPU; 0 changes nothing.
        radius: At least 1.
    """
    taps = torch.arange(-radius, radius + 1, dtype=torch.float64)[:, None]
    weights = torch.exp(-(taps**2) / (2 * sigmas.clamp(min=1e-3) ** 2))
    weights = _each(weights / weights.sum(0), images)
    for axis, padding in ((3, (radius, radius, 0, 0)), (2, (0, 0, radius, radius))):
        padded = F.pad(images, padding, mode="replicate")
        size = images.shape[axis]
        # Sums of moved pictures are float32 everywhere; a GPU may give up digits in a convolution.
        images = padded.narrow(axis, 0, size) * weights[0]
        for i in range(1, len(weights)):
            images.addcmul_(padded.narrow(axis, i, size), weights[i])
    return images


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Every value times the picture's factor ``(N,)``, cut off at 0 and 255."""
    return (images * _each(factors, images)).clamp_(0, 255)


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Distances from the picture's mean grey times its factor ``(N,)``, cut off at 0 and 255."""
    return _blend(images, _grey(images).flatten(1).mean(1)[:, None, None, None], factors)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Distances from each pixel's grey times the picture's factor ``(N,)``, cut off at 0 and 255."""
    return _blend(images, _grey(images), factors)


def adjust_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Moves the hues of ``(N, 3, H, W)`` by a part of the colour circle ``(N,)``, at equal HSV value and saturation.

    Smith, "Color gamut transform pairs", 1978; the way back to red, green and blue is the one formula
    ``V - C * clamp(min(k, 4 - k), 0, 1)`` with ``k = (n + 6 * hue) mod 6`` and n = 5, 3, 1, where C = max - min.
    """
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    scale = chroma.clamp(min=1e-6).reciprocal_()  # the hue of greys is 0
    sixths = (red - green).mul_(scale).add_(4)
    # Mixing by 0 and 1 is the same as torch.where, in a fraction of its time on a CPU.
    sixths.lerp_((blue - red).mul_(scale).add_(2), (value == green).float())
    sixths.lerp_((green - blue).mul_(scale), (value == red).float())
    sixths += 6 * _each(turns, images)[:, 0]
    result = torch.empty_like(images)
    for channel, n in enumerate((5, 3, 1)):
        k = sixths + n
        k.sub_((k / 6).floor_(), alpha=6)
        share = torch.minimum(k, 4 - k).clamp_(0, 1)
        torch.addcmul(value, chroma, share, value=-1, out=result[:, channel])
    return result


def _blend(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    factors = _each(factors, images)
    return (images * factors).add_(others * (1 - factors)).clamp_(0, 255)


def _grey(images: Tensor) -> Tensor:
    """``(N, 1, H, W)``: how bright each pixel is."""
    if images.shape[1] != len(_GREY):
        return images.mean(1, keepdim=True)
    red, green, blue = images.split(1, dim=1)
    return (red * _GREY[0]).add_(green, alpha=_GREY[1]).add_(blue, alpha=_GREY[2])


def _each(numbers: Tensor, images: Tensor) -> Tensor:
    """``(..., N)`` as float32 where the pictures are, with the shape ``(..., N, 1, 1, 1)``."""
    return send(numbers.float(), images.device)[..., None, None, None]
