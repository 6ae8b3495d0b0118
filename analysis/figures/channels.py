"""Patches and kernels of a channel as pictures."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from analysis.figures.drawing import draw_filters

KERNEL_SIDE = 84
Drawing = NDArray[np.uint8]
"""``(H, W, 3)`` RGB."""


def draw_patch(pixels: Tensor, mark: tuple[float, float] | None = None, side: int = 128) -> Drawing:
    """A part of a picture ``(1 or 3, h, w)`` in [0, 1], its longer side enlarged or reduced to ``side``.

    Args:
        mark: Row and column, in its pixels, of a place that a ring is drawn around.
    """
    import cv2

    levels = (pixels.detach().cpu().clamp(0, 1) * 255).round().byte().expand(3, -1, -1).permute(1, 2, 0).numpy()
    factor = side / max(levels.shape[:2])
    size = tuple(max(1, round(factor * length)) for length in levels.shape[1::-1])
    method = cv2.INTER_NEAREST if factor > 1 else cv2.INTER_AREA
    drawn = np.ascontiguousarray(cv2.resize(np.ascontiguousarray(levels), size, interpolation=method))
    if mark is not None:
        row, column = (round(float(np.clip(at + 0.5, 0, max(pixels.shape[1:]))) * factor) for at in mark)
        for color, width in (((0, 0, 0), 5), ((255, 255, 255), 2)):
            cv2.circle(drawn, (column, row), side // 10, color, width, cv2.LINE_AA)
    return drawn.astype(np.uint8)


def draw_kernels(kernels: Tensor, most: int = 1) -> list[tuple[Drawing, int]]:
    """The kernels of a channel with the numbers of the channels that they read.

    Args:
        kernels: ``(C, h, w)``; three are one picture in colour, if only one is asked for.
        most: How many, those of the largest norm first, all on one scale with grey for zero.
    """
    if most == 1 and len(kernels) in (1, 3):
        chosen, numbers = kernels[None], [0]
    else:
        numbers = kernels.square().sum((1, 2)).argsort(descending=True, stable=True)[:most].tolist()
        chosen = kernels[numbers][:, None]
    factor = max(1, round(KERNEL_SIDE / max(kernels.shape[1:])))
    pictures = (np.kron(picture, np.ones((factor, factor, 1), np.uint8)) for picture in draw_filters(chosen))
    return list(zip(pictures, numbers, strict=True))
