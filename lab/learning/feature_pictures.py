"""The features of one picture, to look at, and how much of them a small shift changes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from analysis.features.kinds import KINDS, count_colors
from analysis.features.words import Dictionary, learn_words
from analysis.figures.features import Drawing, draw_gradients, draw_histogram, draw_in_words, draw_words
from analysis.shift.move import extend
from models.data.preprocessing import Preprocessing

SIDE, LARGE_SIDE = 64, 128
"""Pixels of the picture that features are taken of, and of the one that gradients are drawn of."""
NUM_WORDS = 48
SHIFT = 3
"""Pixels to the right."""


@dataclass(frozen=True)
class Look:
    """The features of one picture.

    Attributes:
        picture: ``(H, W, 3)`` uint8: what they are taken of.
        drawings: ``histogram``, ``hog``, ``bow`` (its own dictionary) and ``in_words``.
        changes: Kind -> the length of the change after a shift by 3 pixels, as a share of the length of the features.
    """

    picture: Drawing
    drawings: dict[str, Drawing]
    changes: dict[str, float]


def look_at(image: Image.Image) -> Look:
    """Takes all hand-made features of a picture, reduced to 64 x 64; its dictionary is of its own patches."""
    picture, large = _reduce(image, SIDE), _reduce(image, LARGE_SIDE)
    dictionary = learn_words(picture[None], seed=0, num_words=NUM_WORDS)
    drawings = {
        "histogram": draw_histogram(count_colors(picture[None])[0], len(picture)),
        "hog": draw_gradients(large),
        "bow": draw_words(dictionary.words, columns=8),
        "in_words": draw_in_words(dictionary, picture),
    }
    return Look(picture.transpose(1, 2, 0), drawings, _measure_changes(picture, dictionary))


def _reduce(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """The middle square of a picture, ``(3, side, side)`` uint8."""
    prep = Preprocessing(crop_size=side, resize_size=side, mean=(0.0,) * 3, std=(1.0,) * 3)
    return (prep.to_pixels(image) * 255).round().byte().numpy()


def _measure_changes(picture: NDArray[np.uint8], dictionary: Dictionary) -> dict[str, float]:
    import torch

    scene = extend(torch.from_numpy(picture), SHIFT, "replicate")
    both = np.stack([scene.window(dx, 0).numpy() for dx in (0, SHIFT)])
    changes = {}
    for name, kind in KINDS.items():
        extract = dictionary if name == "bow" else kind.learn(both[:1], 0, lambda done, total: None)
        before, after = extract(both).astype(np.float64)
        length = float(np.linalg.norm(before))
        changes[name] = float(np.linalg.norm(after - before)) / length if length else 0.0
    return changes
