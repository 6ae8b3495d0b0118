"""What may stand in status.json: anything else is left out when it is read, so whoever shows it need not check."""

import math
from collections.abc import Callable
from typing import TypeGuard

from models.access import ROLES

MAX_COUNT = 2**63 - 1
ALLOWED = "minutes_allowed"
"""The entry that says how long a job may work at a time."""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT


def _is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= MAX_COUNT and math.isfinite(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


ENTRIES: dict[str, Callable[[object], bool]] = {
    "submitted": _is_count,
    "step": _is_count,
    "total_steps": _is_count,
    "epoch": _is_count,
    "epochs": _is_count,
    "seconds": _is_number,
    "seconds_left": _is_number,
    "samples_per_second": _is_number,
    "seconds_expected": _is_number,
    ALLOWED: lambda value: value is None or _is_number(value),
    "kind": _is_text,
    "owner": _is_text,
    "role": lambda value: value in ROLES,
    "message": _is_text,
    "device": lambda value: value is None or isinstance(value, str),
    "sentence": _is_text,
    "skipped": _is_list,
    "warning": _is_text,
    "rows": _is_list,
    "result": lambda value: isinstance(value, dict),
}
"""Name of an entry -> whether a value is of its kind; other names are free."""


def clean_status(values: dict) -> dict:
    """The entries of a status.json whose values are of their kind."""
    return {name: value for name, value in values.items() if name not in ENTRIES or ENTRIES[name](value)}


def as_number(value: object) -> float | None:
    """The value, if it is a finite number of ordinary size."""
    return value if _is_number(value) else None
