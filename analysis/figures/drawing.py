"""Tensors as small pictures: network input, maps with some cells marked, filters."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

HATCH_PERIOD = 6
"""Pixels from one hatching line to the next at the size of the result."""


def draw_pixels(pixels: Tensor, size: int = 224) -> NDArray[np.uint8]:
    """A picture as the network sees it, enlarged in whole pixels.

    Args:
        pixels: ``(1 or 3, H, W)`` in [0, 1].
        size: The side aimed at; the result has the nearest multiple of the input's side.

    Returns:
        ``(H', W', 3)`` uint8 RGB.
    """
    factor = max(1, round(size / pixels.shape[-1]))
    levels = (pixels.detach().cpu().clamp(0, 1) * 255).round().byte().expand(3, -1, -1)
    return levels.permute(1, 2, 0).numpy().repeat(factor, axis=0).repeat(factor, axis=1)


def hatch(picture: NDArray[np.uint8], mask: Tensor) -> NDArray[np.uint8]:
    """Draws diagonal lines over the cells of ``mask (h, w)`` in a picture ``(H, W, 3)`` that shows them."""
    if not bool(mask.any()):
        return picture
    height, width = picture.shape[:2]
    cell_rows = np.arange(height) * mask.shape[0] // height
    cell_columns = np.arange(width) * mask.shape[1] // width
    covered = mask.numpy()[cell_rows[:, None], cell_columns]
    rows, columns = np.indices(covered.shape, sparse=True)
    lines = covered & ((rows + columns) % HATCH_PERIOD == 0)
    # Against the brightness below, so that the lines show on black and on white.
    contrast = np.where(picture.mean(axis=-1, keepdims=True) < 128, 190, 70)
    return np.where(lines[..., None], contrast, picture).astype(np.uint8)


def draw_filters(filters: Tensor) -> list[NDArray[np.uint8]]:
    """Kernels on one scale with grey for zero: in colour where they have 3 input channels, else the mean.

    Args:
        filters: ``(N, C, h, w)``.

    Returns:
        ``N`` pictures ``(h, w, 3)`` uint8.
    """
    if filters.shape[1] != 3:
        filters = filters.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    limit = float(filters.abs().max()) or 1.0
    levels = ((filters / limit + 1) * 127.5).round().byte()
    return list(levels.permute(0, 2, 3, 1).numpy())
