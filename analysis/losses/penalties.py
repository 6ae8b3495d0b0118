"""What L1 and L2 penalties do to two weights, as they grow stronger."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from analysis.errors import UserError


@dataclass(frozen=True)
class Penalty:
    """A penalty and the weights that it leads to.

    ``shrink(optimum, curvature, strength)`` is the minimum of ``sum(curvature / 2 * (w - optimum)^2)`` with the
    penalty; all broadcast.
    """

    title: str
    formula: str
    shrink: Callable[[Tensor, Tensor, Tensor], Tensor]


PENALTIES = {
    "l1": Penalty(
        "L1",
        "strength * sum(|w|)",
        lambda optimum, curvature, strength: optimum.sign() * (optimum.abs() - strength / curvature).clamp(min=0),
    ),
    "l2": Penalty(
        "L2",
        "strength / 2 * sum(w^2)",
        lambda optimum, curvature, strength: curvature * optimum / (curvature + strength),
    ),
}
"""L1 takes the same from all weights until they are 0, L2 takes a share of each, so that none ever is (Tibshirani,
1996; Goodfellow, Bengio & Courville, "Deep Learning", 2016, section 7.1)."""


def trace_path(kind: str, optimum: Tensor, curvature: Tensor, strengths: Tensor) -> Tensor:
    """Where the weights end, for each strength of a penalty.

    Args:
        kind: A key of ``PENALTIES``.
        optimum: ``(D,)``: the weights without it.
        curvature: ``(D,)``, positive: how steeply the loss rises around them, along each weight.
        strengths: ``(S,)``, not negative.

    Returns:
        ``(S, D)``.

    Raises:
        UserError: There is no such penalty, or a number is out of range.
    """
    if kind not in PENALTIES:
        raise UserError(f"There is no penalty called {kind[:40]}; there are {', '.join(PENALTIES)}.")
    if curvature.min() <= 0 or strengths.min() < 0:
        raise UserError("A loss rises around its optimum (curvature above 0), and a penalty is not below 0.")
    return PENALTIES[kind].shrink(optimum, curvature, strengths[:, None])
