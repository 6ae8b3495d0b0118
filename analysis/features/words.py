"""Bags of visual words: a dictionary of small patches, learned by k-means, and how often each occurs.

After Csurka et al., "Visual categorization with bags of keypoints", 2004, with plain patches as in Coates, Ng, Lee,
"An analysis of single-layer networks in unsupervised feature learning", 2011, whose normalisation this is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.errors import Progress, UserError, no_progress

PATCH = 6
"""Side of a patch in pixels."""
STEP = 2
"""Pixels from one patch of a picture to the next."""
WORDS = 64
PATCHES = 20_000
"""Patches drawn from the training pictures."""
SPARE_CONTRAST = 10.0
"""Added to the variance of a patch, in squared grey levels, so that plain ones are not noise blown up."""
ROUNDS = 20
"""Parts that the search for words is reported in."""


@dataclass(frozen=True)
class Dictionary:
    """Visual words.

    Attributes:
        words: ``(K, C, p, p)`` float32: patches without their mean, divided by their contrast; frequent ones first.
        shares: ``(K,)``: of the patches that they were learned from.
    """

    words: NDArray[np.float32]
    shares: NDArray[np.float64]

    def find(self, pictures: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The nearest word at each place of pictures ``(N, C, H, W)``: ``(N, h, w)``, a place every 2 pixels."""
        patches = cut_patches(pictures)  # (N, h, w, C p p)
        words = self.words.reshape(len(self.words), -1)
        # |a - b|^2 without |a|^2, which is the same for all words.
        scores = patches @ words.T - (words**2).sum(1) / 2
        return scores.argmax(-1)

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The share of each word among the patches of a picture, ``(N, K)``."""
        found, size = self.find(pictures).reshape(len(pictures), -1), len(self.words)
        rows = found + size * np.arange(len(found))[:, None]
        counts = np.bincount(rows.ravel(), minlength=size * len(found)).reshape(-1, size)
        return (counts / found.shape[1]).astype(np.float32)


def cut_patches(pictures: NDArray[np.uint8], side: int = PATCH, step: int = STEP) -> NDArray[np.float32]:
    """Normalised patches of pictures ``(N, C, H, W)``: ``(N, h, w, C side side)``.

    Raises:
        UserError: The pictures are smaller than a patch.
    """
    if min(pictures.shape[2:]) < side:
        raise UserError(f"Visual words need pictures of {side} pixels a side or more, not {min(pictures.shape[2:])}.")
    windows = np.lib.stride_tricks.sliding_window_view(pictures, (side, side), axis=(2, 3))  # (N, C, h', w', p, p)
    windows = windows[:, :, ::step, ::step].transpose(0, 2, 3, 1, 4, 5)
    patches = windows.reshape(*windows.shape[:3], -1).astype(np.float32)
    patches -= patches.mean(-1, keepdims=True)
    return patches / np.sqrt(patches.var(-1, keepdims=True) + SPARE_CONTRAST)


def learn_words(
    pictures: NDArray[np.uint8], seed: int, progress: Progress = no_progress, num_words: int = WORDS
) -> Dictionary:
    """Finds words among patches drawn at random from training pictures, by scikit-learn's mini-batch k-means.

    Args:
        pictures: ``(N, C, H, W)``.
        progress: Told of parts of the search; may raise Cancelled.

    Raises:
        UserError: The pictures are smaller than a patch.
    """
    from sklearn.cluster import MiniBatchKMeans

    patches = _draw_patches(pictures, np.random.default_rng(seed))
    num_words = min(num_words, len(np.unique(patches, axis=0)))
    search = MiniBatchKMeans(num_words, random_state=seed, n_init=1, batch_size=1024)
    for part, batch in enumerate(np.array_split(patches, max(1, min(ROUNDS, len(patches) // num_words)))):
        progress(part, ROUNDS)
        search.partial_fit(batch)
    progress(ROUNDS, ROUNDS)
    counts = np.bincount(search.predict(patches), minlength=num_words)
    order = np.argsort(-counts, kind="stable")
    words = search.cluster_centers_[order].reshape(-1, pictures.shape[1], PATCH, PATCH)
    return Dictionary(words.astype(np.float32), counts[order] / len(patches))


def _draw_patches(pictures: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """At most ``PATCHES`` patches ``(M, C p p)``, as many from each picture as from the others, in random order."""
    each = max(1, PATCHES // len(pictures))
    found = []
    for picture in pictures[rng.permutation(len(pictures))[:PATCHES]]:
        patches = cut_patches(picture[None], step=1)[0]  # (h, w, D)
        patches = patches.reshape(-1, patches.shape[-1])
        found.append(patches[rng.permutation(len(patches))[:each]])
    return rng.permutation(np.concatenate(found))
