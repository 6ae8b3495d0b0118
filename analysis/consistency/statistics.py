"""Accuracy, consistency and their like over a data set, with bootstrap intervals over images.

Every statistic is a ratio of two sums over images, so one resampling serves all of them, and the same
resampling of two models gives the interval of their difference.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from analysis.consistency.tabulate import BLOCK, Table

REPLICATES = 2000
CONFIDENCE = 0.95
_GRAIN = 2.0**-30
"""Per-image numbers are rounded to this: their sums are then exact, so the same in whatever order they are added."""


@dataclass(frozen=True)
class Estimates:
    """Values and bootstrap replicates ``(REPLICATES,)`` by name; None where a statistic is not defined."""

    values: dict[str, float | None]
    replicates: dict[str, np.ndarray | None]

    def to_json(self, name: str) -> dict:
        """``{value, low, high}``: a percentile bootstrap interval, null where there is none."""
        return interval(self.values[name], self.replicates[name])


def estimate(table: Table, seed: int, replicates: int = REPLICATES) -> Estimates:
    """Adds up over images, and again over images (or groups of them) drawn with replacement.

    Efron's percentile bootstrap; ``kappa`` = (C - Ce) / (1 - Ce) with the consistency Ce of a network that
    draws its answers at random from those it gives to the right class: sum_y pi_y sum_c P(c|y)^2, estimated
    without bias from pairs of different images of a class.

    Args:
        seed: The same seed draws the same images for every model.
    """
    known = {name: ratio for name, ratio in table.ratios.items() if ratio is not None}
    _, groups = np.unique(table.groups, return_inverse=True)
    num_groups = groups.max() + 1
    parts = [np.asarray(part, np.float64) * table.weights for ratio in known.values() for part in ratio]
    terms = np.stack(parts, axis=1)
    sums = np.zeros((num_groups, terms.shape[1]))
    np.add.at(sums, groups, np.round(terms / _GRAIN) * _GRAIN)
    chance = _chance(table.votes_by_label, groups, table.weights)
    everything = np.ones((1, num_groups))
    totals, expected = everything @ sums, chance(everything)
    resampled = [(draws @ sums, chance(draws)) for draws in _draw_groups(num_groups, seed, replicates)]
    values: dict[str, float | None] = dict.fromkeys(table.ratios)
    drawn: dict[str, np.ndarray | None] = dict.fromkeys(table.ratios)
    for column, name in enumerate(known):
        values[name] = _number(_divide(totals, column)[0])
        drawn[name] = np.concatenate([_divide(block, column) for block, _ in resampled]) if resampled else None
    values["kappa"], drawn["kappa"] = None, None
    if expected is not None and (consistency := values.get("consistency")) is not None:
        values["kappa"] = _number(_kappa(np.array([consistency]), expected)[0])
        if (found := drawn["consistency"]) is not None:
            drawn["kappa"] = _kappa(found, np.concatenate([block for _, block in resampled]))
    if num_groups < len(groups):
        # Accuracy does not depend on the shifts that a group shares: its images are drawn one by one.
        alone = replace(table, ratios={"accuracy": table.ratios["accuracy"]}, groups=np.arange(len(groups)))
        drawn["accuracy"] = estimate(alone, seed, replicates).replicates["accuracy"]
    return Estimates(values, drawn)


def compare(first: Estimates, second: Estimates, name: str) -> dict:
    """``{value, low, high}`` of first minus second, with the interval of the paired bootstrap."""
    one, other = first.values[name], second.values[name]
    if one is None or other is None:
        return interval(None, None)
    ones, others = first.replicates[name], second.replicates[name]
    return interval(one - other, None if ones is None or others is None else ones - others)


def interval(value: float | None, replicates: np.ndarray | None) -> dict:
    """``{value, low, high}``: the middle :data:`CONFIDENCE` of the replicates that are defined."""
    low = high = None
    if value is not None and replicates is not None and np.isfinite(replicates).any():
        outside = (1 - CONFIDENCE) / 2
        low, high = (float(q) for q in np.nanquantile(replicates, [outside, 1 - outside]))
    return {"value": value, "low": low, "high": high}


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> float:
    """Exact two-sided p-value of McNemar's test (1947) that two classifiers are equally accurate.

    Args:
        first_right: ``(N,)`` bool: which images the first gets right.
        second_right: ``(N,)`` bool: the same images.
    """
    from scipy.stats import binomtest

    only_first, only_second = int((first_right & ~second_right).sum()), int((~first_right & second_right).sum())
    num = only_first + only_second
    return float(binomtest(only_first, num).pvalue) if num else 1.0


def _chance(counted: np.ndarray | None, groups: np.ndarray, weights: np.ndarray) -> Callable:
    """A function from numbers of draws ``(B, G)`` to the chance agreement ``(B,)``, or to None.

    Votes of one image are never compared with each other, nor with those of a second draw of it: that would
    count the very agreement which is not chance, more so the fewer images a class has.
    """
    if counted is None:
        return lambda draws: None
    image, label, predicted, count = counted.T
    _, label = np.unique(label, return_inverse=True)
    cells, cell = np.unique(np.stack([label, predicted], axis=1), axis=0, return_inverse=True)
    first = np.unique(image, return_index=True)[1]  # counted is in the order of the images
    label_of_image, label_of_cell, cell = label[first], cells[:, 0], cell.ravel()
    votes_each = np.add.reduceat(count, first)

    def chance(draws: np.ndarray) -> np.ndarray:
        result = np.full(len(draws), np.nan)
        for row, drawn in enumerate(draws):
            weight = drawn[groups] * weights
            of_image = weight * votes_each
            votes = weight[image] * count
            same = np.bincount(label_of_cell, np.bincount(cell, votes) ** 2) - np.bincount(label, votes**2)
            total = np.bincount(label_of_image, of_image)
            pairs = total**2 - np.bincount(label_of_image, of_image**2)
            found = pairs > 0
            if found.any():
                result[row] = (total[found] * same[found] / pairs[found]).sum() / total[found].sum()
        return result

    return chance


def _draw_groups(num_groups: int, seed: int, replicates: int):
    """Blocks ``(B, G)`` of how often each group is drawn; none where there is nothing to resample."""
    if num_groups < 2:
        return
    rng = np.random.default_rng([seed, num_groups])
    size = max(1, BLOCK // num_groups)
    for start in range(0, replicates, size):
        rows = min(size, replicates - start)
        drawn = rng.integers(num_groups, size=(rows, num_groups)) + num_groups * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * num_groups)
        yield counts.reshape(rows, num_groups).astype(np.float64)


def _divide(sums: np.ndarray, column: int) -> np.ndarray:
    numerator, denominator = sums[:, 2 * column], sums[:, 2 * column + 1]
    return np.divide(numerator, denominator, out=np.full(len(sums), np.nan), where=denominator > 0)


def _kappa(consistency: np.ndarray, chance: np.ndarray) -> np.ndarray:
    spare = 1 - chance
    return np.divide(consistency - chance, spare, out=np.full(len(spare), np.nan), where=spare > 0)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
