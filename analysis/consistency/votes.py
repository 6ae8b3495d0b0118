"""What a network says about an image at each of its shifts: the raw material of every statistic."""

from dataclasses import dataclass, fields

import numpy as np
import torch

from analysis.errors import UserError
from analysis.network.predict import find_ties, measure_margins, to_probabilities

UNTESTED = -1
"""The vote at a shift that was not computed."""


@dataclass(frozen=True)
class Votes:
    """One row for each of N images, one column for each of S shifts; column 0 is unshifted.

    Attributes:
        labels: ``(N,)`` int: the right class, or -1 where it is not known.
        top1: ``(N, S)`` int: the predicted class, or :data:`UNTESTED`.
        probability: ``(N, S)``: of the target, which is the right class, or the class predicted without a
            shift where that is not known.
        margin: ``(N, S)``: logit of the target minus the best other one.
        tie: ``(N, S)`` bool: whether the two best logits are too close to call.
        change: ``(N,)``: mean absolute change (MAC) of the probability of the class predicted at the first
            shift of a pair (Azulay and Weiss, 2018), over the pairs compared.
    """

    labels: np.ndarray
    top1: np.ndarray
    probability: np.ndarray
    margin: np.ndarray
    tie: np.ndarray
    change: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: np.ndarray) -> "Votes":
        """These images only."""
        return Votes(**{name: values[rows] for name, values in self.arrays().items()})

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @staticmethod
    def empty(num_images: int, num_shifts: int) -> "Votes":
        """Nothing known yet of any image."""
        shape = (num_images, num_shifts)
        return Votes(
            labels=np.full(num_images, -1, np.int32),
            top1=np.full(shape, UNTESTED, np.int32),
            probability=np.zeros(shape, np.float32),
            margin=np.zeros(shape, np.float32),
            tie=np.zeros(shape, bool),
            change=np.zeros(num_images),
        )

    @staticmethod
    def join(parts: list["Votes"]) -> "Votes":
        """The images of all parts, in this order."""
        names = [field.name for field in fields(Votes)]
        return Votes(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def count(self, row: int, columns: np.ndarray, logits: np.ndarray) -> None:
        """Enters the votes of one image at some shifts.

        Args:
            columns: ``(S,)``: which shifts; unless column 0 is among them, it has been entered before.
            logits: ``(S, K)``.

        Raises:
            UserError: Logits that are not finite.
        """
        if not np.isfinite(logits).all():
            raise UserError("The model gives no finite probabilities for this picture; its weights are broken.")
        self.top1[row, columns] = logits.argmax(1)
        target = int(self.labels[row] if self.labels[row] >= 0 else self.top1[row, 0])
        outputs = torch.from_numpy(logits)
        self.probability[row, columns] = to_probabilities(outputs)[:, target]
        self.margin[row, columns] = measure_margins(outputs, target)
        self.tie[row, columns] = find_ties(outputs)

    def count_change(self, row: int, logits: np.ndarray, pairs: np.ndarray, *, both_ways: bool) -> None:
        """Enters the mean absolute change of one image, from the logits ``(S, K)`` of all its columns."""
        if not len(pairs):
            return
        # [b, a]: at shift b, the probability of the class predicted at shift a.
        probability = to_probabilities(torch.from_numpy(logits)).double().numpy()[:, self.top1[row]]
        change = np.abs(np.diag(probability) - probability)
        first, second = pairs.T
        total = change[second, first].mean()
        self.change[row] = (total + change[first, second].mean()) / 2 if both_ways else total
