"""Curves from what a training wrote down: the numbers of its records, and few enough points to draw."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

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


def smooth_epochs(records: Sequence[Mapping], key: str, steps_per_epoch: float) -> list[Mapping]:
    """The records with means over the last epoch's worth of steps, in place of running means that begin anew.

    A running mean within each epoch jumps where an epoch begins. The two are equal in the first epoch, and at the end
    of every other. Records that do not say where in an epoch they are stay as they are.

    Args:
        records: Lines of metrics.jsonl, with ``step``, ``epoch``, which counts from 1, and the running mean ``key``.
        key: Which value.
        steps_per_epoch: Optimiser steps.
    """
    steps: list[float] = []
    totals: list[float] = []
    found = []
    for record in records:
        step, epoch, mean = (read_number(record, name) for name in ("step", "epoch", key))
        found.append(record)
        if step is None or epoch is None or mean is None:
            continue
        start = (epoch - 1) * steps_per_epoch
        if not 0 <= start < step <= start + steps_per_epoch + 1e-6 or (steps and step < steps[-1]):
            continue
        if not steps or start > steps[-1]:  # what came before is not known
            totals.append(totals[-1] + mean * (start - steps[-1]) if steps else 0.0)
            steps.append(start)
        total = float(np.interp(start, steps, totals)) + mean * (step - start)
        if step > steps[-1]:
            steps.append(step)
            totals.append(total)
        since = max(step - steps_per_epoch, steps[0])
        found[-1] = {**record, key: (total - float(np.interp(since, steps, totals))) / (step - since)}
    return found


def read_number(record: Mapping, key: str) -> float | None:
    """A value that is a number of sensible size, or None: a file may hold anything."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -MAX_NUMBER <= value <= MAX_NUMBER:
        return None
    return value if abs(value) < 2**63 else float(value)  # plotly writes no whole number of more than 64 bits
