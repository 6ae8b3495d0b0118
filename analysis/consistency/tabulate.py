"""Votes counted image by image: the numerator and denominator of every statistic."""

from dataclasses import dataclass

import numpy as np

from analysis.consistency.design import Design
from analysis.consistency.votes import Votes

BLOCK = 2**22
"""Numbers handled at once."""
Ratio = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Table:
    """The statistics of one model before they are added up over images.

    Attributes:
        ratios: Name -> numerators and denominators, each ``(N,)``; None where it is not defined.
        votes_by_label: ``(E, 4)`` int: image, right class, predicted class, number of votes; None without labels.
        groups: ``(N,)``: images that are resampled together.
        weights: ``(N,)``: how much each image counts.
    """

    ratios: dict[str, Ratio | None]
    votes_by_label: np.ndarray | None
    groups: np.ndarray
    weights: np.ndarray


def tabulate(votes: Votes, design: Design, *, stride: int = 1) -> Table:
    """Works out the numerator and denominator of every statistic for every image.

    Consistency is the share of agreeing pairs. Where these are all pairs of K shifts with n_c votes for class c,
    it is the U-statistic sum n_c (n_c - 1) / (K (K - 1)); "with replacement" is sum (n_c / K)^2.

    Args:
        votes: ``(N, S)``; where the design stops early, ``(N, 2)`` suffices: the unshifted one, and one that is
            wrong if any is.
        stride: Of the whole network, for consistency by shift modulo stride.
    """
    ones, known = np.ones(len(votes)), votes.labels >= 0
    right = (votes.top1 == votes.labels[:, None]) & known[:, None]
    ratios: dict[str, Ratio | None] = dict.fromkeys(NAMES)
    ratios["accuracy"] = right[:, 0], known
    if design.stops_early:
        ratios["worst_case_accuracy"] = right.all(1), known
        return Table(ratios, None, design.groups, design.weights)
    sample, size = votes.top1[:, design.sample], len(design.sample)
    agreed, both_right, margin_change = _compare_pairs(votes, design)
    pairs = ones * len(design.pairs)
    ratios |= {
        "mean_accuracy": (right[:, design.sample].sum(1), known * size),
        "worst_case_accuracy": (right[:, 0] & right[:, design.sample].all(1), known),
        "consistency": (agreed, pairs),
        "consistency_given_correct": (agreed * right[:, 0], pairs * right[:, 0]),
        "joint_correct": (both_right, pairs * known),
        "all_agree": ((sample == sample[:, :1]).all(1), ones),
        "one_pixel_change_axis": _changes(votes, design.axis),
        "one_pixel_change_diagonal": _changes(votes, design.diagonal),
        "mac": (votes.change, ones),
        "margin_change": (margin_change, ones),
        "near_ties": (votes.tie[:, design.sample].sum(1), ones * size),
    }
    if design.all_pairs:
        ratios["consistency_with_replacement"] = 2 * agreed + size, ones * size**2
    if design.is_path:
        trace = votes.probability[:, np.unique(design.pairs)].astype(np.float64)
        ratios["total_variation"] = np.abs(np.diff(trace)).sum(1), ones
        ratios["amplitude"] = np.ptp(trace, axis=1), ones
    counted = _count_votes(sample, votes.labels) if known.all() else None
    return Table({**ratios, **_curves(votes, design, stride)}, counted, design.groups, design.weights)


NAMES = (
    "accuracy",
    "mean_accuracy",
    "worst_case_accuracy",
    "consistency",
    "near_ties",
    "consistency_with_replacement",
    "consistency_given_correct",
    "joint_correct",
    "all_agree",
    "one_pixel_change_axis",
    "one_pixel_change_diagonal",
    "mac",
    "margin_change",
    "total_variation",
    "amplitude",
)
"""The statistics that are ratios of sums over images; ``kappa`` is worked out from them."""


def _compare_pairs(votes: Votes, design: Design) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per image: pairs that agree, pairs that are both right, and the mean absolute change of the margin."""
    agreed, both_right, change = np.zeros((3, len(votes)))
    for rows, first, second in _pair_blocks(votes, design):
        top1, margin = votes.top1[rows], votes.margin[rows].astype(np.float64)
        same = top1[:, first] == top1[:, second]
        agreed[rows] = same.sum(1)
        both_right[rows] = (same & (top1[:, first] == votes.labels[rows, None])).sum(1)
        change[rows] = np.abs(margin[:, first] - margin[:, second]).mean(1)
    return agreed, both_right, change


def _curves(votes: Votes, design: Design, stride: int) -> dict[str, Ratio]:
    """Consistency by the distance of the two shifts, and by how far that is from the stride lattice.

    Distance is the larger of \\|dx\\| and \\|dy\\| in pixels; the phase likewise, each to the nearest multiple of
    the stride: 0 means that every feature map should only have moved by whole cells.
    """
    counts: dict[str, list] = {}
    far = int(np.ptp(design.shifts[:, design.sample], axis=1).max(initial=0)) + 1
    for rows, first, second in _pair_blocks(votes, design):
        delta = np.abs(design.shifts[rows][:, first].astype(np.int64) - design.shifts[rows][:, second])
        same = votes.top1[rows][:, first] == votes.top1[rows][:, second]
        phase = np.minimum(delta % stride, -delta % stride).max(2)
        for name, bins, size in (("distance", delta.max(2), far), ("phase", phase, stride // 2 + 1)):
            cells = (bins + size * np.arange(len(bins))[:, None]).ravel()
            total = np.bincount(cells, minlength=size * len(bins)).reshape(-1, size)
            agreed = np.bincount(cells, same.ravel(), minlength=size * len(bins)).reshape(-1, size)
            counts.setdefault(name, []).append((agreed, total))
    curves: dict[str, Ratio] = {}
    for name, parts in counts.items():
        agreed, total = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        curves |= {f"{name}/{bin}": (agreed[:, bin], total[:, bin]) for bin in np.flatnonzero(total.sum(0))}
    return curves


def _pair_blocks(votes: Votes, design: Design):
    """Images in blocks that fit into memory with all their pairs."""
    if len(design.pairs):
        first, second = design.pairs.T
        size = max(1, BLOCK // len(design.pairs))
        for start in range(0, len(votes), size):
            yield slice(start, start + size), first, second


def _changes(votes: Votes, pairs: np.ndarray) -> Ratio | None:
    if not len(pairs):
        return None
    first, second = pairs.T
    return (votes.top1[:, first] != votes.top1[:, second]).sum(1), np.full(len(votes), len(pairs))


def _count_votes(sample: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """``(E, 4)``: image, right class, predicted class, how often."""
    num = len(sample)
    triples = np.stack([np.repeat(np.arange(num), sample.shape[1]), sample.ravel()], axis=1)
    cells, counts = np.unique(triples, axis=0, return_counts=True)
    return np.stack([cells[:, 0], labels[cells[:, 0]], cells[:, 1], counts], axis=1)
