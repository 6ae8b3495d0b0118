"""Curves from what a training wrote down: the numbers of its records, and few enough points to draw."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

MAX_POINTS = 600
"""Of one line."""
MAX_NUMBER = 1e30
"""What is larger is no measurement."""


class Curve(NamedTuple):
    """Points of a line, from left to right."""

    x: list[float]
    y: list[float]


def decimate(curve: Curve, limit: int = MAX_POINTS) -> Curve:
    """At most ``limit`` points of a line, among them its ends, and of every stretch the lowest and the highest.

    What the eye sees of a line is its envelope, so that no spike is lost (min-max decimation).
    """
    count = len(curve.y)
    if count <= limit:
        return curve
    stretches = max((limit - 2) // 2, 1)
    kept = {0, count - 1}
    for number in range(stretches):
        stretch = range(count * number // stretches, count * (number + 1) // stretches)
        kept |= {min(stretch, key=curve.y.__getitem__), max(stretch, key=curve.y.__getitem__)}
    return Curve(*([values[index] for index in sorted(kept)] for values in curve))


def read_curve(records: Sequence[Mapping], key: str, steps_per_unit: float = 1) -> Curve:
    """The points of the records that have a step and this value, both numbers."""
    points = [(read_number(record, "step"), read_number(record, key)) for record in records]
    known = [(step / steps_per_unit, value) for step, value in points if step is not None and value is not None]
    return Curve([x for x, _ in known], [y for _, y in known])


def read_number(record: Mapping, key: str) -> float | None:
    """A value that is a number of sensible size, or None: a file may hold anything."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -MAX_NUMBER <= value <= MAX_NUMBER:
        return None
    return value if abs(value) < 2**63 else float(value)  # plotly writes no whole number of more than 64 bits
