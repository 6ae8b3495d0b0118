"""Numbers in nested lists, as people type them and programs send them, and back."""

import json
import math
from collections.abc import Callable

import torch
from torch import Tensor

from analysis.errors import UserError

MAX_CELLS = 2**21
LARGEST = 1e6
"""Below it sums of products of whole numbers are exact in float64."""
DEEPEST = 5
Writer = Callable[[str, Tensor], object]
"""Makes of an array, which has a name, what stands for it in JSON."""


def read_numbers(name: str, value: object) -> Tensor:
    """A float64 tensor of nested lists of numbers, or of the JSON text of some.

    Args:
        name: What the sentence calls it.

    Raises:
        UserError: No numbers, not finite or too large, rows of different lengths, too many, or nested too deep.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise UserError(f"{name} must be numbers in brackets such as [[1, 0, -1], [1, 0, -1]].") from None
    if not isinstance(value, list):
        raise UserError(f"{name} must be numbers in brackets such as [[1, 0, -1], [1, 0, -1]].")
    shape = _measure(name, value, DEEPEST)
    if math.prod(shape) > MAX_CELLS:
        raise UserError(f"{name} has {math.prod(shape)} numbers; {MAX_CELLS} are possible.")
    return torch.tensor(value, dtype=torch.float64)


def write_list(name: str, values: Tensor) -> list:
    """Nested lists."""
    found: list = values.tolist()
    return found


def to_whole(values: Tensor) -> Tensor:
    """Whole numbers, of those that are."""
    return values.round().long()


def are_whole(*tensors: Tensor | None) -> bool:
    """Whether all numbers are whole; None has none."""
    return all(tensor is None or bool((tensor == tensor.round()).all()) for tensor in tensors)


def _measure(name: str, value: object, depth: int) -> tuple[int, ...]:
    """Sides of nested lists; those of a number are ()."""
    if isinstance(value, list):
        if not value or depth == 0:
            problem = "holds an empty list" if not value else f"is nested more than {DEEPEST} brackets deep"
            raise UserError(f"{name} {problem}.")
        shapes = [_measure(name, entry, depth - 1) for entry in value]
        odd = next((shape for shape in shapes if shape != shapes[0]), None)
        if odd is not None:
            lengths = " and ".join(str(shape[0]) if shape else "a single number" for shape in (shapes[0], odd))
            raise UserError(f"The rows of {name} are not equally long: there are {lengths}.")
        return (len(value), *shapes[0])
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{name} holds {str(value)[:40]!r}, which is no number.")
    if not abs(value) <= LARGEST:
        raise UserError(f"{name} holds {value}; numbers from {-LARGEST:.0f} to {LARGEST:.0f} are possible.")
    return ()
