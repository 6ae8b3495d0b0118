"""Measured numbers with what the measurement cannot tell, and intervals over seeds that hold both."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Reading:
    """A measured number, and how sure the measurement is of it, whatever other seeds would show.

    Attributes:
        value: What it most likely is; where only a bound is known, that bound.
        low: The least that it may be.
        high: The most that it may be.
        limit: The most that any such measurement could have given.
        is_bound: Whether all that is known is that it is no larger than ``value``.
    """

    value: float
    low: float
    high: float
    limit: float = math.inf
    is_bound: bool = False

    @classmethod
    def of_share(cls, value: float, num: int | None, limit: float) -> "Reading":
        """A share of ``num``, known to the nearest of such parts; where nobody knows of how many, as if exact."""
        half = 0.5 / num if num else 0.0
        return cls(value, value - half, value + half, limit)

    def minus(self, other: "Reading", limit: float = math.inf) -> "Reading":
        """The difference, and the least and the most that it may be."""
        return Reading(self.value - other.value, self.low - other.high, self.high - other.low, limit)

    def logarithm(self) -> "Reading":
        """Of a number of steps, of which the first is the least that does anything."""
        value, low, high, limit = (math.log(max(n, 1)) for n in (self.value, self.low, self.high, self.limit))
        return Reading(value, low, high, limit, self.is_bound)


def mean_interval(
    values: Sequence[float], low: float = -math.inf, high: float = math.inf, *, below: float = 0.0, above: float = 0.0
) -> dict:
    """Mean and Student's 95 % interval for it, the seeds being the sample: ``{mean, low, high}``.

    Args:
        values: At least one; a single one has no interval.
        low: Where an interval ends at the latest.
        high: The same above.
        below: How much smaller the mean may be, because of how the values were measured.
        above: How much larger.
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return {"mean": mean, "low": None, "high": None}
    from scipy.stats import t

    reach = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return {"mean": mean, "low": max(low, mean - reach - below), "high": min(high, mean + reach + above)}


def average(readings: Sequence[Reading], low: float) -> dict:
    """``{mean, low, high}`` over seeds, and ``bound`` "at most" where one of them is only a bound.

    Args:
        low: The least that there is.
    """
    found = _average(readings, low, max(reading.limit for reading in readings))
    return found | ({"bound": "at most"} if any(reading.is_bound for reading in readings) else {})


def compare(pairs: Sequence[tuple[Reading, Reading]], low: float, *, ratios: bool = False) -> dict:
    """One arm minus another, paired by seed.

    Args:
        pairs: Of each seed: this arm's number and the other's.
        ratios: Whether to tell :func:`compare_ratios` as well, where a bound does not leave it open.

    Returns:
        ``{mean, low, high, n, resolved}``; ``resolved`` is whether the means of these very networks differ, as far
        as the measurement can tell. With ``bound`` "at least" the difference may be larger, in its own direction.
    """
    own, other = zip(*pairs, strict=True)
    differences = [one.minus(two) for one, two in pairs]
    limits = [max(reading.limit for reading in readings) - low for readings in (own, other)]
    found = _average(differences, -limits[1], limits[0])
    below, above = (statistics.fmean(getattr(reading, end) for reading in differences) for end in ("low", "high"))
    found |= {"n": len(pairs), "resolved": not below <= 0 <= above}
    smaller, larger = (own, other) if found["mean"] < 0 else (other, own)
    if any(reading.is_bound for reading in larger):
        return found
    if any(reading.is_bound for reading in smaller):
        found["bound"] = "at least"
    return found | (compare_ratios(pairs) if ratios else {})


def compare_ratios(pairs: Sequence[tuple[Reading, Reading]]) -> dict:
    """How many times fewer steps one arm needs than another: ``{factor, factor_low, factor_high}``, geometric means.

    Nothing where an arm needs no step at all.
    """
    if min(reading.value for pair in pairs for reading in pair) <= 0:
        return {}
    logs = [(other.logarithm(), own.logarithm()) for own, other in pairs]
    limits = [max(reading.limit for reading in readings) for readings in zip(*logs, strict=True)]
    found = _average([other.minus(own) for other, own in logs], -limits[1], limits[0])
    named = {"factor": found["mean"], "factor_low": found["low"], "factor_high": found["high"]}
    return {name: None if value is None else math.exp(value) for name, value in named.items()}


def _average(readings: Sequence[Reading], low: float, high: float) -> dict:
    return mean_interval(
        [reading.value for reading in readings],
        low,
        high,
        below=statistics.fmean(reading.value - reading.low for reading in readings),
        above=statistics.fmean(reading.high - reading.value for reading in readings),
    )
