"""Hand-made features as pictures: the colours of a histogram, oriented gradients, visual words, templates."""

import numpy as np
import torch
from numpy.typing import NDArray

from analysis.features.kinds import LEVELS, choose_cells
from analysis.features.words import PATCH, STEP, Dictionary
from analysis.figures.drawing import draw_filters

PAPER = 238
"""Grey level behind bars and between tiles, which shows on light and dark pages."""
BAR, TALL = 4, 128
"""Pixels that a bar of a histogram is wide, and that the highest is tall."""

Drawing = NDArray[np.uint8]
"""``(H, W, 3)`` RGB."""


def draw_histogram(shares: NDArray[np.float32], channels: int) -> Drawing:
    """A bar for each bin, in the colour that it stands for; the most frequent reaches the top.

    Args:
        shares: ``(64,)``, as :func:`analysis.features.kinds.count_colors` has them for pictures of so many channels.
    """
    levels = LEVELS[channels]
    place = levels ** np.arange(channels)[::-1]
    steps = np.arange(len(shares))[:, None] // place % levels  # (bins, C)
    colors = np.broadcast_to((steps + 0.5) * 255 / levels, (len(shares), channels))
    colors = np.repeat(colors, 3, axis=1) if channels == 1 else colors
    drawing = np.full((TALL, BAR * len(shares), 3), PAPER, np.uint8)
    heights = np.ceil(shares / max(float(shares.max()), 1e-9) * TALL).astype(int)
    for bar, (height, color) in enumerate(zip(heights, colors, strict=True)):
        drawing[TALL - height :, BAR * bar : BAR * (bar + 1)] = color
    return drawing


def draw_gradients(picture: NDArray[np.uint8]) -> Drawing:
    """scikit-image's drawing of the oriented gradients of a picture ``(C, H, W)``: bright lines along edges."""
    from skimage.feature import hog

    _, lines = hog(picture, channel_axis=0, visualize=True, **choose_cells(min(picture.shape[1:])))
    levels = np.sqrt(lines / max(float(lines.max()), 1e-9))  # weak edges are seen too
    return np.repeat((255 * levels).round().astype(np.uint8)[..., None], 3, axis=2)


def draw_words(words: NDArray[np.float32], columns: int = 16) -> Drawing:
    """A visual dictionary, or templates ``(K, C, p, p)``, on one scale with grey for zero; the first is top left."""
    return draw_tiles(draw_filters(torch.from_numpy(words)), columns)


def draw_tiles(pictures: list[Drawing], columns: int) -> Drawing:
    """Pictures of one size in rows, with a line of one pixel between them."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    columns = min(columns, len(pictures))
    drawing = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, 3), PAPER, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * (height + 1), number % columns * (width + 1)
        drawing[top : top + height, left : left + width] = picture
    return drawing


def draw_in_words(dictionary: Dictionary, picture: NDArray[np.uint8]) -> Drawing:
    """A picture ``(C, H, W)`` put together from nothing but its words: the mean of those that overlap at a pixel."""
    found = dictionary.find(picture[None])[0]  # (h, w)
    total, count = np.zeros(picture.shape, np.float32), np.zeros(picture.shape[1:], np.float32)
    for row, column in np.ndindex(*found.shape):
        place = (..., slice(STEP * row, STEP * row + PATCH), slice(STEP * column, STEP * column + PATCH))
        total[place] += dictionary.words[found[row, column]]
        count[place] += 1
    (drawing,) = draw_filters(torch.from_numpy(total / np.maximum(count, 1))[None])
    return drawing
