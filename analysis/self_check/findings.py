"""What an identity finds, or why it says nothing, and how far two results are from each other."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from analysis.equivariance.align import to_double
from analysis.errors import UserError
from analysis.grammar import count
from analysis.shift.polyphase import NotExact


class NotApplicable(UserError):
    """Raised by a check that says nothing about this model; its text is the reason."""


@contextmanager
def refusing() -> Iterator[None]:
    """What the circular twin or the tree refuse says nothing about the model; what they get wrong does."""
    try:
        yield
    except NotExact:
        raise
    except UserError as refusal:
        raise NotApplicable(str(refusal)) from refusal


@dataclass(frozen=True)
class Finding:
    """The relative error found, and what was compared."""

    error: float
    note: str


def relative_error(found: Tensor, expected: Tensor) -> float:
    """``|found - expected| / |expected|``, Euclidean norms in double precision; the largest over a batch of vectors.

    Args:
        found: Any shape; two dimensions ``(N, K)`` are N vectors.
        expected: The same shape, or one that broadcasts to it.
    """
    dims = -1 if found.ndim == 2 else None
    difference, scale = (
        torch.linalg.vector_norm(to_double(values), dim=dims) for values in (found - expected, expected)
    )
    # Where both are zero nothing differs; where only the reference is, the error has no bound.
    return float(torch.where(difference == 0, 0.0, difference / scale).max())


def find_largest(errors: dict[str, float], shift: tuple[int, int], pixels: Tensor) -> Finding:
    """The layer with the largest error for pictures ``(N, C, H, W)``; not a number counts as the largest."""
    name = max(errors, key=lambda layer: math.inf if math.isnan(errors[layer]) else errors[layer])
    height, width = pixels.shape[-2:]
    result = "equal to the last bit" if errors[name] == 0 else f"the largest error is in {name}"
    return Finding(errors[name], f"Shift {shift} at {height} x {width}, {count(len(errors), 'layer')}: {result}.")


def frame(pixels: Tensor, margin: int) -> Tensor:
    """Pictures ``(N, C, H, W)`` whose outermost ``margin`` pixels are zero."""
    height, width = pixels.shape[-2:]
    if 2 * margin >= min(height, width):
        raise NotApplicable(f"The picture is too small for a margin of {margin} px.")
    return F.pad(pixels[..., margin:-margin, margin:-margin], [margin] * 4)


def cut_even(pixels: Tensor) -> Tensor:
    """Pictures ``(N, C, H, W)`` without a last odd row or column."""
    height, width = pixels.shape[-2:]
    return pixels[..., : height // 2 * 2, : width // 2 * 2]
