"""The table of hand-made features: each turns pictures into numbers, after looking at training pictures or not."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.errors import Progress, UserError, no_progress
from analysis.features.words import learn_words

Pictures = NDArray[np.uint8]
"""``(N, C, H, W)``, C being 1 or 3."""
Numbers = NDArray[np.float32]
"""``(N, D)``: the features of each picture."""
Extract = Callable[[Pictures], Numbers]
LEVELS = {1: 64, 3: 4}
"""Channels of a picture -> steps that each is divided into for a histogram: 64 bins in all."""
ORIENTATIONS = 9
CELLS = 8
"""About so many cells of oriented gradients along a side."""
CHUNK = 256
"""Pictures whose features are worked out between two reports."""


@dataclass(frozen=True)
class Kind:
    """A table entry.

    Attributes:
        explanation: What the numbers are, in a sentence.
        learn: ``learn(pictures, seed, progress)`` looks at training pictures and gives what extracts the features.
    """

    title: str
    explanation: str
    learn: Callable[[Pictures, int, Progress], Extract]


def count_colors(pictures: Pictures) -> Numbers:
    """The share of the pixels in each of 64 bins: of 64 grey levels, or of 4 x 4 x 4 cubes of red, green and blue.

    Where things are is lost, so a picture that wraps around keeps its histogram however far it is moved.
    """
    num, channels = pictures.shape[:2]
    levels = LEVELS[channels]
    place = levels ** np.arange(channels)[::-1]
    bins = np.tensordot(pictures.astype(np.int64) * levels // 256, place, (1, 0)).reshape(num, -1)  # (N, H W)
    size = levels**channels
    counts = np.bincount((bins + size * np.arange(num)[:, None]).ravel(), minlength=size * num)
    return (counts.reshape(num, size) / bins.shape[1]).astype(np.float32)


def describe_gradients(pictures: Pictures) -> Numbers:
    """Histograms of oriented gradients by scikit-image (Dalal and Triggs, 2005): 9 directions, blocks of 2 x 2 cells.

    Raises:
        UserError: Pictures of fewer than 4 pixels a side.
    """
    from skimage.feature import hog

    settings = choose_cells(min(pictures.shape[2:]))
    return np.stack([hog(picture, channel_axis=0, feature_vector=True, **settings) for picture in pictures]).astype(
        np.float32
    )


def choose_cells(side: int) -> dict:
    """The settings of scikit-image's ``hog`` for pictures of this side in pixels.

    Raises:
        UserError: Fewer than 4 pixels.
    """
    if side < 4:
        raise UserError(f"Oriented gradients need pictures of 4 pixels a side or more, not {side}.")
    cell = max(2, side // CELLS)
    return {
        "orientations": ORIENTATIONS,
        "pixels_per_cell": (cell, cell),
        "cells_per_block": (2, 2),
        "block_norm": "L2-Hys",
    }


def flatten(pictures: Pictures) -> Numbers:
    """Every value of every pixel, in [0, 1]."""
    return pictures.reshape(len(pictures), -1).astype(np.float32) / np.float32(255)


KINDS = {
    "histogram": Kind(
        "Colour histogram",
        "How much of the picture has each colour; nothing of where.",
        lambda pictures, seed, progress: count_colors,
    ),
    "hog": Kind(
        "HOG",
        "Histograms of oriented gradients: which way edges run in each cell, how strongly (Dalal, Triggs, 2005).",
        lambda pictures, seed, progress: describe_gradients,
    ),
    "bow": Kind(
        "Bag of visual words",
        "How often each word of a dictionary of small patches occurs; nothing of where (Csurka et al., 2004).",
        learn_words,
    ),
    "pixels": Kind("Raw pixels", "Every value of every pixel.", lambda pictures, seed, progress: flatten),
}
"""Name -> hand-made features."""


def extract_in_chunks(extract: Extract, pictures: Pictures, progress: Progress = no_progress) -> Numbers:
    """The features of many pictures, ``(N, D)``; ``progress`` is told of pictures, and may raise Cancelled."""
    parts = []
    for start in range(0, len(pictures), CHUNK):
        progress(start, len(pictures))
        parts.append(extract(pictures[start : start + CHUNK]))
    progress(len(pictures), len(pictures))
    return np.concatenate(parts)
