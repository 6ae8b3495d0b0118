"""Labels that are wrong on purpose, and labels that are put right."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from analysis.errors import UserError
from models.data.dataset import Split
from models.settings import check_integer, check_number

Corrections = dict[int, int | None]
"""Id of a picture -> its right label, or None to leave the picture out."""
MAX_CORRECTIONS = 100_000


def corrupt(labels: Tensor, share: float, num_classes: int, seed: int) -> Tensor:
    """Replaces labels at random.

    Below a share of 1, exactly ``round(share * N)`` labels become one of the other classes, each equally likely
    ("symmetric noise"). At 1 every label is drawn anew from all classes, the right one included: these are the
    random labels of Zhang et al., "Understanding Deep Learning Requires Rethinking Generalization", ICLR 2017,
    which say nothing about the picture, whereas labels that are never right would still tell what it is not.
    With the same seed a larger share below 1 changes the same labels to the same classes, and more.

    Args:
        labels: ``(N,)`` int64 in [0, num_classes).
        share: In [0, 1].
        num_classes: At least 2.

    Returns:
        New labels ``(N,)`` int64 on the device of the old ones.

    Raises:
        UserError: A value out of range.
    """
    check_number("The share of wrong labels", share, 0.0, 1.0)
    check_integer("num_classes", num_classes, 2, 10**6)
    rng = np.random.default_rng(seed)
    order, steps = rng.permutation(len(labels)), rng.integers(1, num_classes, len(labels))
    if share == 1:
        return torch.from_numpy(rng.integers(0, num_classes, len(labels))).to(labels)
    changed = order[: round(share * len(labels))]
    noisy = labels.cpu().numpy().copy()
    noisy[changed] = (noisy[changed] + steps[changed]) % num_classes
    return torch.from_numpy(noisy).to(labels)


def check_corrections(corrections: object, num_classes: int | None = None) -> Corrections:
    """Corrections that may come from a file, where the ids are text, with every value checked.

    Args:
        corrections: id -> label or None.
        num_classes: Of the data set, where it is known.

    Raises:
        UserError: No such table, too long, or an id or label that cannot be.
    """
    if not isinstance(corrections, dict) or len(corrections) > MAX_CORRECTIONS:
        raise UserError(f"The corrections must be a table of at most {MAX_CORRECTIONS} picture numbers and labels.")
    checked: Corrections = {}
    for picture_id, label in corrections.items():
        if isinstance(picture_id, str) and picture_id.isascii() and picture_id.isdigit() and len(picture_id) < 16:
            picture_id = int(picture_id)
        check_integer("A picture's number in the corrections", picture_id, 0, 10**15)
        if label is not None:
            check_integer(f"The corrected label of picture {picture_id}", label, 0, (num_classes or 10**6) - 1)
        checked[picture_id] = label
    return checked


def apply_corrections(split: Split, corrections: Corrections, num_classes: int | None = None) -> Split:
    """The split with some pictures labelled anew and others left out; ids that lie in other splits are no mistake.

    Args:
        num_classes: Refuses labels from there on.

    Raises:
        UserError: A value out of range, or no picture left.
    """
    corrections = check_corrections(corrections, num_classes)
    places = {picture_id: place for place, picture_id in enumerate(split.ids.tolist()) if picture_id in corrections}
    if not places:
        return split
    labels, kept = split.labels.clone(), torch.ones(len(split), dtype=torch.bool)
    for picture_id, place in places.items():
        label = corrections[picture_id]
        if label is None:
            kept[place] = False
        else:
            labels[place] = label
    if not kept.any():
        raise UserError(f"The corrections leave out all {len(split)} pictures of a split; keep some.")
    relabelled = replace(split, labels=labels)
    return relabelled if kept.all() else relabelled.take(kept.nonzero()[:, 0])
