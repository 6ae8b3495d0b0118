"""Which classes a classifier takes for which, and the pictures behind every cell of that table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from analysis.errors import UserError
from analysis.grammar import count

MAX_CLASSES = 1000
"""A matrix has the square of that many cells."""
CONFIDENCE = 0.95


class Share(NamedTuple):
    """A share of pictures with its 95 % interval; all None where there are no pictures."""

    value: float | None
    low: float | None
    high: float | None

    def to_json(self) -> dict:
        """``{value, low, high}``, as charts of estimates take them."""
        return self._asdict()

    @property
    def error_bars(self) -> tuple[float, float]:
        """How far the interval goes below and above the value; 0 where there is none."""
        if self.value is None or self.low is None or self.high is None:
            return 0.0, 0.0
        return self.value - self.low, self.high - self.value


@dataclass(frozen=True)
class ClassScore:
    """How one class fares.

    ``recall`` is the share of its ``pictures`` that are recognised, often called the accuracy of the class;
    ``precision`` the share of the ``predicted`` pictures that are of this class, None where it is never predicted.
    """

    index: int
    category: str
    pictures: int
    predicted: int
    recall: Share
    precision: float | None


@dataclass(frozen=True)
class ConfusedPair:
    """``count`` pictures of the class ``true``, a ``share`` of its pictures, are taken for ``predicted``."""

    true: int
    predicted: int
    count: int
    share: float


@dataclass(frozen=True, eq=False)
class Confusion:
    """What a classifier said about N labelled pictures of K classes.

    Attributes:
        counts: ``(K, K)`` int64; ``[true, predicted]`` is a number of pictures.
        labels: ``(N,)`` int64, the right classes.
        predicted: ``(N,)`` int64.
        probability: ``(N,)`` float32, of the predicted class.
        losses: ``(N,)`` float64, cross-entropy.
    """

    categories: tuple[str, ...]
    counts: Tensor
    labels: Tensor
    predicted: Tensor
    probability: Tensor
    losses: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_correct(self) -> int:
        """How many pictures are recognised."""
        return int(self.counts.diagonal().sum())

    @property
    def accuracy(self) -> Share:
        """The share of pictures that are recognised."""
        return wilson_interval(self.num_correct, len(self))

    @property
    def mean_loss(self) -> float:
        """Mean cross-entropy."""
        return float(self.losses.mean())

    def score_classes(self) -> tuple[ClassScore, ...]:
        """Recall and precision of every class, in the order of the classes."""
        pictures, predicted = self.counts.sum(1).tolist(), self.counts.sum(0).tolist()
        return tuple(
            ClassScore(
                index=index,
                category=self.categories[index],
                pictures=pictures[index],
                predicted=predicted[index],
                recall=wilson_interval(right, pictures[index]),
                precision=right / predicted[index] if predicted[index] else None,
            )
            for index, right in enumerate(self.counts.diagonal().tolist())
        )

    def cell(self, true: int, predicted: int) -> list[int]:
        """The pictures of one cell, largest loss first. Raises UserError: no such class."""
        for index in (true, predicted):
            if not 0 <= index < len(self.categories):
                raise UserError(f"There is no class {index}; there are the classes 0 to {len(self.categories) - 1}.")
        return self._by_loss(((self.labels == true) & (self.predicted == predicted)).nonzero()[:, 0])

    def top_losses(self, k: int) -> list[int]:
        """The ``k`` pictures with the largest losses, largest first."""
        return self._by_loss(torch.arange(len(self)))[: max(k, 0)]

    def most_confused(self, k: int) -> tuple[ConfusedPair, ...]:
        """The ``k`` pairs of classes with the most mistakes, most first; of equal ones, rarer classes first."""
        wrong = self.counts.clone().fill_diagonal_(0)
        rows, columns = wrong.nonzero(as_tuple=True)
        totals = self.counts.sum(1)
        pairs = [
            ConfusedPair(true, predicted, count, count / total)
            for true, predicted, count, total in zip(
                rows.tolist(), columns.tolist(), wrong[rows, columns].tolist(), totals[rows].tolist(), strict=True
            )
        ]
        return tuple(sorted(pairs, key=lambda pair: (-pair.count, -pair.share))[: max(k, 0)])

    def difference(self, before: "Confusion") -> Tensor:
        """``(K, K)`` int64: the counts of this matrix minus those of an earlier one over the same classes.

        Raises:
            UserError: Other classes.
        """
        if self.categories != before.categories:
            raise UserError(
                f"Only matrices over the same classes can be compared: one has {len(before.categories)} "
                f"({_list(before.categories)}), the other {len(self.categories)} ({_list(self.categories)})."
            )
        return self.counts - before.counts

    def _by_loss(self, indices: Tensor) -> list[int]:
        return indices[self.losses[indices].argsort(descending=True, stable=True)].tolist()


def measure_confusion(logits: Tensor, labels: Tensor, categories: Sequence[str]) -> Confusion:
    """Counts which classes are taken for which (by torchmetrics) and weighs every picture by its loss.

    Args:
        logits: ``(N, K)``.
        labels: ``(N,)`` integers from 0 to K - 1.

    Raises:
        UserError: No pictures, shapes or labels that do not fit, numbers that are not finite, or fewer than
            2 or more than ``MAX_CLASSES`` classes.
    """
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    logits, labels = logits.detach().cpu().float(), labels.detach().cpu()
    _check(logits, labels, categories)
    labels = labels.long()
    # As torchmetrics has it: probabilities may be equal where scores are not.
    predicted = logits.argmax(1)
    return Confusion(
        categories=tuple(categories),
        counts=multiclass_confusion_matrix(logits, labels, num_classes=len(categories), validate_args=False),
        labels=labels,
        predicted=predicted,
        probability=logits.softmax(1).gather(1, predicted[:, None])[:, 0],
        losses=F.cross_entropy(logits.double(), labels, reduction="none"),
    )


def wilson_interval(successes: int, total: int) -> Share:
    """A share with its 95 % score interval (Wilson, 1927), which stays in [0, 1] and is not empty at its ends."""
    if not total:
        return Share(None, None, None)
    from scipy.stats import binomtest

    low, high = map(float, binomtest(successes, total).proportion_ci(CONFIDENCE, method="wilson"))
    return Share(successes / total, low, high)


def select_classes(counts: Tensor, limit: int) -> list[int]:
    """The ``limit`` classes with the most off the diagonal, in their rows and columns together, in ascending order.

    Args:
        counts: ``(K, K)``, a confusion matrix or the difference of two: what counts is the size.
    """
    weights = counts.abs().clone().fill_diagonal_(0)
    chosen = (weights.sum(0) + weights.sum(1)).argsort(descending=True, stable=True)[:limit]
    return sorted(chosen.tolist())


def _check(logits: Tensor, labels: Tensor, categories: Sequence[str]) -> None:
    if logits.ndim != 2 or labels.ndim != 1 or len(logits) != len(labels):
        raise UserError(
            f"There must be one row of scores for each label, not {tuple(logits.shape)} for {tuple(labels.shape)}."
        )
    num_classes = logits.shape[1]
    if num_classes != len(categories):
        raise UserError(
            f"A picture has {count(num_classes, 'score')}, but there must be one for each of "
            f"{count(len(categories), 'class')}."
        )
    if not 2 <= num_classes <= MAX_CLASSES:
        raise UserError(f"A confusion matrix has 2 to {MAX_CLASSES} classes, not {num_classes}.")
    if not len(labels):
        raise UserError("There are no pictures to count.")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise UserError(f"Labels are whole numbers, not {labels.dtype}.")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise UserError(
            f"Labels are numbers from 0 to {num_classes - 1}; these go from {labels.min()} to {labels.max()}."
        )
    if not logits.isfinite().all():
        raise UserError("Some scores are not finite numbers; the model's weights are broken.")


def _list(names: Sequence[str]) -> str:
    return ", ".join(name[:30] for name in names[:3]) + (", ..." if len(names) > 3 else "")
