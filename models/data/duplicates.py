"""Pictures that look alike: in two splits, where what a network remembers would count as learned, or in two classes.

Perceptual hash "pHash" of the library imagehash: 64 bits, each telling whether one of the 8 x 8 lowest frequencies
(discrete cosine transform of the picture at 32 x 32) is above their median. Copies that were saved again, resized
or brightened differ in a few bits, different photographs in about 32.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from analysis.errors import MessageProgress
from analysis.grammar import count
from models.data.dataset import Dataset
from models.settings import check_integer

MAX_DISTANCE = 6
"""Bits. Saving again as JPEG, halving the size or 30 % more brightness mostly change at most so many of 64."""
MAX_PAIRS = 1000
"""Pairs kept, the nearest ones; the number of all is known beyond it."""
MIN_CONTRAST = 2.0
"""Standard deviation of the grey values, of 255, below which a hash is rounding noise."""
_HASHED_AT_ONCE = 500
_DISTANCES_AT_ONCE = 2**21


@dataclass(frozen=True)
class DuplicatePair:
    """Two pictures by split and id that differ in ``distance`` of 64 bits."""

    split: str
    id: int
    other_split: str
    other_id: int
    distance: int


@dataclass(frozen=True)
class NearDuplicates:
    """What looks alike across splits, and across classes.

    Attributes:
        pairs: Of one class and different splits, the nearest first, at most ``MAX_PAIRS``.
        num_pairs: Of all such pairs.
        num_held_out: Validation and test pictures that look like one of another split, in the same class.
        two_labels: Pairs of different classes, likewise; their splits may be the same.
        num_two_labels: Pictures that look like one of another class.
    """

    pairs: tuple[DuplicatePair, ...]
    num_pairs: int
    num_held_out: int
    two_labels: tuple[DuplicatePair, ...] = ()
    num_two_labels: int = 0

    def warn(self, dataset: Dataset) -> tuple[str, ...]:
        """Both warnings, as far as there are any."""
        return tuple(filter(None, (self.describe(dataset), self.describe_labels(dataset))))

    def describe(self, dataset: Dataset) -> str:
        """A warning of copies with the nearest pair as an example, or nothing where there is none."""
        if not self.pairs:
            return ""
        pair = self.pairs[0]
        one, other = dataset.source_name(pair.id), dataset.source_name(pair.other_id)
        look = count(self.num_held_out, "validation or test picture", "look")
        return (
            f"{look} almost like one in another split, such as {one} ({pair.split}) and {other} "
            f"({pair.other_split}); accuracy on copies says little about new pictures, so keep only one of each."
        )

    def describe_labels(self, dataset: Dataset) -> str:
        """A warning of pictures that are in two classes, likewise."""
        if not self.two_labels:
            return ""
        pair = self.two_labels[0]
        return (
            f"{count(self.num_two_labels, 'picture', 'look')} almost like one with another label, such as "
            f"{dataset.source_name(pair.id)} and {dataset.source_name(pair.other_id)}; if they are the same picture, "
            "one of the two labels is wrong, so keep it in one class."
        )


def find_near_duplicates(
    dataset: Dataset, *, max_distance: int = MAX_DISTANCE, progress: MessageProgress = lambda fraction, message: None
) -> NearDuplicates:
    """Finds pictures that look alike in different splits or classes; those of one plain colour are left out.

    Args:
        dataset: Any; the hash is meant for photographs.
        max_distance: Bits in which two hashes may differ.
        progress: Told the fraction done; what it raises ends the search.

    Raises:
        UserError: A distance out of range.
    """
    check_integer("max_distance", max_distance, 0, 31)
    splits = {name: getattr(dataset, name) for name in ("train", "validation", "test")}
    hashes, places, done = {}, {}, 0
    for name, split in splits.items():
        parts = [(np.empty(0, np.int64), np.empty(0, np.uint64))]
        for start in range(0, len(split), _HASHED_AT_ONCE):
            progress(done / dataset.num_images, "Looking for copies")
            images = split.images[start : start + _HASHED_AT_ONCE]
            chosen = np.flatnonzero(_has_contrast(images))
            parts.append((chosen + start, hash_pictures(images[chosen])))
            done += len(images)
        places[name], hashes[name] = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    ids, labels = (
        {name: getattr(split, values).numpy()[places[name]] for name, split in splits.items()}
        for values in ("ids", "labels")
    )
    copies, two_labels, held_out = _Nearest(), _Nearest(), set()
    for one, other in itertools.combinations_with_replacement(splits, 2):
        for rows, columns, distances in _compare(hashes[one], hashes[other], max_distance):
            progress(done / dataset.num_images, "Looking for copies")
            pairs = ids[one][rows], ids[other][columns], distances
            differ = labels[one][rows] != labels[other][columns]
            two_labels.add(one, other, *(values[differ & ((rows < columns) | (one != other))] for values in pairs))
            if one != other:
                found = copies.add(one, other, *(values[~differ] for values in pairs))
                held_out |= found[1] | (found[0] if one != "train" else set())
    return NearDuplicates(
        *(tuple(copies.pairs), copies.count, len(held_out)), *(tuple(two_labels.pairs), len(two_labels.ids))
    )


class _Nearest:
    """The nearest pairs of all that are added, their number, and the ids in them."""

    def __init__(self) -> None:
        self.pairs: list[DuplicatePair] = []
        self.count, self.ids = 0, set[int]()

    def add(self, one: str, other: str, ids: np.ndarray, other_ids: np.ndarray, distances: np.ndarray) -> tuple:
        """Adds pairs of two splits; returns the ids in each as sets."""
        found = set(ids.tolist()), set(other_ids.tolist())
        nearest = np.argsort(distances, kind="stable")[:MAX_PAIRS]
        numbers = zip(*(values[nearest].tolist() for values in (ids, other_ids, distances)), strict=True)
        self.pairs += [DuplicatePair(one, a, other, b, distance) for a, b, distance in numbers]
        self.pairs = sorted(self.pairs, key=lambda pair: pair.distance)[:MAX_PAIRS]
        self.count += len(distances)
        self.ids.update(*found)
        return found


def hash_pictures(images: Tensor) -> np.ndarray:
    """The 64-bit perceptual hash of each picture: ``(N, C, H, W)`` uint8 to ``(N,)`` uint64."""
    import imagehash
    from PIL import Image

    if not len(images):
        return np.empty(0, np.uint64)
    pictures = images.permute(0, 2, 3, 1).numpy() if images.shape[1] == 3 else images[:, 0].numpy()
    bits = np.stack([imagehash.phash(Image.fromarray(np.ascontiguousarray(picture))).hash for picture in pictures])
    return np.packbits(bits.reshape(len(bits), -1), axis=1).view(np.uint64)[:, 0]


def _has_contrast(images: Tensor) -> np.ndarray:
    return (images.float().mean(1).flatten(1).std(1) >= MIN_CONTRAST).numpy()


def _compare(one: np.ndarray, other: np.ndarray, max_distance: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Places in ``one``, places in ``other`` and distances of near pairs, a bounded number compared at once."""
    rows_at_once = max(1, _DISTANCES_AT_ONCE // max(1, len(other)))
    for start in range(0, len(one), rows_at_once):
        distances = np.bitwise_count(one[start : start + rows_at_once, None] ^ other)
        rows, columns = np.nonzero(distances <= max_distance)
        yield rows + start, columns, distances[rows, columns]
