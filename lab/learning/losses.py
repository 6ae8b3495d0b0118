"""Losses as people ask for them: numbers in, numbers out."""

from analysis.convolution.numbers import read_numbers
from analysis.losses.classification import Measured, measure_loss


def measure_losses(scores: object, labels: object, kind: str) -> Measured:
    """The loss of each row of scores.

    Args:
        scores: Rows of one number for each class, in lists or as their JSON text.
        labels: The right class of each row; for "kl" rows of probabilities, too.
        kind: A key of ``analysis.losses.classification.LOSSES``.

    Raises:
        UserError: They are no numbers, or do not fit each other.
    """
    return measure_loss(kind, read_numbers("scores", scores), read_numbers("labels", labels))
