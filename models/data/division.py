"""Dividing pictures into those for training, for validation and for the test."""

from collections.abc import Sequence

import numpy as np

HELD_OUT = 0.15
"""Share of a set without an official split that goes to validation, and again to test."""


def divide(labels: np.ndarray, parts: Sequence[str | None], seed: int) -> dict[str, np.ndarray]:
    """Sorted indices of each part: as it is given, and what is not given drawn from what is for training.

    Args:
        labels: ``(N,)`` int64.
        parts: Of each picture "train", "validation" or "test"; None is for training too.
        seed: Decides what is drawn; every class has its share in it.
    """
    given = np.array([part or "train" for part in parts])
    found = {part: np.flatnonzero(given == part) for part in ("train", "validation", "test")}
    train = found["train"]
    size = max(len(np.unique(labels[train])), round(HELD_OUT * len(train)))
    for part in ("test", "validation"):
        if not len(found[part]):
            kept, held = hold_out(labels[train], size, seed)
            train, found[part] = train[kept], train[held]
    return found | {"train": train}


def hold_out(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices that stay and that are held out, with every class in proportion."""
    from sklearn.model_selection import train_test_split

    index = np.arange(len(labels))
    kept, held = train_test_split(index, test_size=count, random_state=seed, stratify=labels)
    return np.sort(kept), np.sort(held)
