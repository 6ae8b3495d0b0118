"""Losses of scores: softmax, multiclass SVM and KL divergence, with their gradients by hand."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.convolution.numbers import Writer, write_list
from analysis.errors import UserError


@dataclass(frozen=True, eq=False)
class Measured:
    """What a loss makes of scores, row by row.

    Attributes:
        losses: ``(N,)``, in nats where it is a logarithm.
        probabilities: ``(N, K)``: the softmax of the scores, which the SVM loss takes no notice of.
        gradient: ``(N, K)``: how each row's own loss changes with its scores.
        exponentials: ``(N, K)``: of the scores, before they are divided by their sum.
    """

    losses: Tensor
    probabilities: Tensor
    gradient: Tensor
    exponentials: Tensor

    @property
    def is_flat(self) -> Tensor:
        """``(N,)``: rows where small changes of the scores change nothing."""
        return (self.gradient == 0).all(1)

    def to_json(self, write: Writer = write_list) -> dict:
        """A JSON-ready dictionary."""
        return {name: write(name, getattr(self, name)) for name in ("losses", "probabilities", "gradient")}


@dataclass(frozen=True)
class Loss:
    """A loss: its formula, and ``measure(scores, targets) -> (losses (N,), gradient (N, K))``.

    ``targets`` are ``(N, K)`` probabilities, of which 1 for the right class and 0 for all others is one kind;
    ``needs_class`` says that it is the only possible one.
    """

    title: str
    formula: str
    measure: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    needs_class: bool = True


def _softmax(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    logarithms = scores.log_softmax(1)
    return -(targets * logarithms).sum(1), logarithms.exp() - targets


def _svm(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    right = (scores * targets).sum(1, keepdim=True)
    margins = (scores - right + 1).clamp(min=0) * (1 - targets)  # (N, K)
    above = (margins > 0).to(scores.dtype)
    return margins.sum(1), above - targets * above.sum(1, keepdim=True)


def _kl(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    losses, gradient = _softmax(scores, targets)
    return losses + torch.special.xlogy(targets, targets).sum(1), gradient


LOSSES = {
    "softmax": Loss("Softmax cross-entropy", "-log(exp(s_y) / sum_j exp(s_j))", _softmax),
    "svm": Loss("Multiclass SVM (hinge)", "sum over j != y of max(0, s_j - s_y + 1)", _svm),
    "kl": Loss("KL divergence", "sum_j p_j log(p_j / q_j), q = softmax(s)", _kl, needs_class=False),
}
"""Name -> loss. The formula of "svm" is Weston & Watkins, 1999, as in the lecture; its gradient at a kink, where a
margin is exactly 0, is 0."""


def measure_loss(kind: str, scores: Tensor, labels: Tensor) -> Measured:
    """A loss of each row of scores, its probabilities and its gradient.

    Args:
        kind: A key of ``LOSSES``.
        scores: ``(N, K)``.
        labels: ``(N,)`` whole numbers, the right classes; for "kl" ``(N, K)`` probabilities, too.

    Raises:
        UserError: The shapes do not fit, or a label is no class or no probabilities.
    """
    if kind not in LOSSES:
        raise UserError(f"There is no loss called {kind[:40]}; there are {', '.join(LOSSES)}.")
    if scores.ndim != 2:
        raise UserError(f"Scores are rows of one number for each class, not {scores.ndim} brackets deep.")
    scores = scores.double()
    targets = _to_targets(kind, scores, labels.double())
    losses, gradient = LOSSES[kind].measure(scores, targets)
    return Measured(losses, scores.softmax(1), gradient, scores.exp())


def _to_targets(kind: str, scores: Tensor, labels: Tensor) -> Tensor:
    rows, classes = scores.shape
    if labels.shape == scores.shape and not LOSSES[kind].needs_class:
        off = labels.sum(1) - 1
        if labels.min() < 0:
            raise UserError(f"Probabilities are not below 0; there is {labels.min().item():g}.")
        if off.abs().max() > 1e-6:
            worst = labels[off.abs().argmax()].sum().item()
            raise UserError(f"Each row of labels must be probabilities that add up to 1; one adds up to {worst:g}.")
        return labels
    if labels.shape != (rows,):
        given = " x ".join(map(str, labels.shape))
        raise UserError(f"There must be one label for each of {rows} rows of scores; labels are {given}.")
    wrong = labels[(labels != labels.round()) | (labels < 0) | (labels >= classes)]
    if len(wrong):
        raise UserError(f"Labels are the numbers of classes from 0 to {classes - 1}, not {wrong[0].item():g}.")
    return torch.nn.functional.one_hot(labels.long(), classes).double()
