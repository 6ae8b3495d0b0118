"""Dropout: all thinned networks, beside the whole one with its weights scaled down."""

from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.errors import UserError

MAX_UNITS = 12
"""Hidden units; there are 2 to the power of them thinned networks."""


@dataclass(frozen=True, eq=False)
class Thinned:
    """Every network that is left when some hidden units are dropped, and the one that stands for all of them.

    Attributes:
        masks: ``(2^H, H)`` of 0 and 1: which units are there.
        probability: ``(2^H,)`` of each.
        logits: ``(2^H, K)`` of each.
        scaled: ``(K,)``: the logits of the whole network with all weights times ``keep``.
    """

    masks: Tensor
    probability: Tensor
    logits: Tensor
    scaled: Tensor

    @property
    def mean_logits(self) -> Tensor:
        """``(K,)`` over all thinned networks: exactly ``scaled``, as they are linear."""
        return self.probability @ self.logits

    @property
    def mean_probabilities(self) -> Tensor:
        """``(K,)``: the mean of what all thinned networks say; the scaled one only comes near it."""
        return self.probability @ self.logits.softmax(1)

    @property
    def geometric_mean(self) -> Tensor:
        """``(K,)``: the geometric mean of what they say, made to add up to 1: exactly what the scaled one says."""
        return (self.probability @ self.logits.log_softmax(1)).softmax(0)

    @property
    def scaled_probabilities(self) -> Tensor:
        """``(K,)``: what the scaled network says."""
        return self.scaled.softmax(0)


def thin(hidden: Tensor, weights: Tensor, keep: float) -> Thinned:
    """Drops the hidden units in front of a last, linear layer in all possible ways.

    Hinton et al., "Improving neural networks by preventing co-adaptation of feature detectors", 2012, and Baldi &
    Sadowski, "Understanding Dropout", 2013: here the scaled network is the normalised geometric mean of all.

    Args:
        hidden: ``(H,)``: what the hidden units say.
        weights: ``(K, H)``.
        keep: The probability that a unit is there.

    Raises:
        UserError: There are too many units, or ``keep`` is no probability.
    """
    units = len(hidden)
    if not 1 <= units <= MAX_UNITS or weights.shape[1:] != hidden.shape:
        raise UserError(
            f"There must be 1 to {MAX_UNITS} hidden units, each with a weight for each class, not {units}."
        )
    if not 0 <= keep <= 1:
        raise UserError(f"keep must be a number from 0 to 1, not {keep:g}.")
    masks = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=hidden.dtype)] * units).reshape(-1, units)
    probability = torch.where(masks > 0, keep, 1 - keep).to(hidden.dtype).prod(1)
    return Thinned(masks, probability, (masks * hidden) @ weights.T, keep * (weights @ hidden))
