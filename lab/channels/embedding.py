"""A data set as a plane: what the last layer of a model reads of its pictures, and how right and steady it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.channels.embedding import PROJECTIONS, Points, read_features
from analysis.errors import Progress, UserError, no_progress
from analysis.network.chunks import run_in_chunks
from analysis.shift.move import shift_pixels
from lab.channels.pictures import open_pictures
from lab.session import Lab
from models.cache import LoadedModel
from models.settings import check_choice, check_integer

CHUNK = 16
DEFAULT_LIMIT = 1000
MAX_LIMIT = 5000
"""t-SNE of more takes minutes."""
STEPS = ((1, 0), (-1, 0), (0, 1), (0, -1))
"""Shifts by a pixel that consistency is measured with, the border mirrored."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """The pictures as points.

    Attributes:
        points: ``(N, 2)``.
        names: Of the pictures.
        numbers: In the data set.
        labels: Names of their classes; None where they are not known.
        predicted: Names of the classes that the model sees.
        is_right: Whether that is the picture's class; None where it is not known, or the model does not have it.
        confidence: ``(N,)``, of the class that is seen.
        consistency: ``(N,)``: the share of four shifts by a pixel under which that stays; None if not asked for.
    """

    model: str
    data: str
    method: str
    points: Points
    names: tuple[str, ...]
    numbers: tuple[int, ...]
    labels: tuple[str | None, ...]
    predicted: tuple[str, ...]
    is_right: tuple[bool | None, ...]
    confidence: Tensor
    consistency: Tensor | None
    num_features: int
    unreadable: tuple[str, ...]

    def to_json(self) -> dict:
        """The points with what is known of each."""
        steady = [None] * len(self.names) if self.consistency is None else self.consistency.tolist()
        rows = zip(
            self.points.tolist(),
            self.numbers,
            self.names,
            self.labels,
            self.predicted,
            self.is_right,
            self.confidence.tolist(),
            steady,
            strict=True,
        )
        keys = ("x", "y", "picture", "name", "label", "predicted", "right", "confidence", "consistency")
        return {
            "model": self.model,
            "data": self.data,
            "method": self.method,
            "num_features": self.num_features,
            "unreadable": list(self.unreadable),
            "points": [dict(zip(keys, (*place, *rest), strict=True)) for place, *rest in rows],
        }


def embed_pictures(
    lab: Lab,
    model: str,
    data: str,
    limit: int = DEFAULT_LIMIT,
    method: str = "pca",
    *,
    shifts: bool = False,
    seed: int = 0,
    progress: Progress = no_progress,
    loading: Progress = no_progress,
) -> Embedding:
    """Places pictures by what the last linear layer of a model reads of them.

    Args:
        data: ``samples``, a key of ``DATASETS``, or a folder or zip.
        limit: Pictures at most, at even distances.
        method: A key of ``PROJECTIONS``.
        shifts: Whether to ask for each picture under four shifts, too, which takes five times as long.
        loading: Counts the bytes of weights that have to be downloaded.

    Raises:
        UserError: No such data, method or limit; fewer than two pictures can be read; or the model does not end
            with a linear layer.
    """
    check_choice("method", method, PROJECTIONS)
    check_integer("limit", limit, 2, MAX_LIMIT)
    lab.layers(model, loading)
    with open_pictures(lab, model, data, limit) as pictures:
        with lab.use(model) as (loaded, _):
            share = lab.models.turns.sharing(progress)

            def ask(part: Sequence[int]) -> tuple[list[int], Tensor, Tensor, Tensor]:
                numbers, found = pictures.open(loaded.spec, part)
                return numbers, *_ask(loaded, found, shifts=shifts)

            answers = [found for _, found in run_in_chunks(ask, range(len(pictures)), CHUNK, share)]
        answers = [found for found in answers if found[0]]
        numbers = [number for found in answers for number in found[0]]
        if len(numbers) < 2:
            raise UserError("Fewer than two pictures can be read, which makes no plane.")
        features, logits, steady = map(torch.cat, zip(*(found[1:] for found in answers), strict=True))
        if not bool(features.isfinite().all()):
            raise UserError(f"{model} gives numbers that are not finite; its weights are broken.")
        best = logits.softmax(1).max(1)
        labels = [pictures.category(number) for number in numbers]
        own = [pictures.label(loaded.spec, number) for number in numbers]
        return Embedding(
            model=model,
            data=data,
            method=method,
            points=PROJECTIONS[method].project(np.ascontiguousarray(features.numpy()), seed),
            names=tuple(map(pictures.name, numbers)),
            numbers=tuple(pictures.places[numbers].tolist()),
            labels=tuple(label or None for label in labels),
            predicted=tuple(loaded.spec.categories[index] for index in best.indices.tolist()),
            is_right=tuple(
                None if label < 0 else label == index for label, index in zip(own, best.indices.tolist(), strict=True)
            ),
            confidence=best.values,
            consistency=steady if shifts else None,
            num_features=features.shape[1],
            unreadable=tuple(dict.fromkeys(pictures.unreadable)),
        )


def _ask(loaded: LoadedModel, pixels: list[Tensor], *, shifts: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Features ``(N, F)``, logits ``(N, K)``, and the share of shifts ``(N,)`` that keep the class."""
    if not pixels:
        return torch.empty(0), torch.empty(0), torch.empty(0)
    features, logits = read_features(loaded.module, loaded.to_inputs(torch.stack(pixels)))
    steady = torch.ones(len(pixels))
    if shifts:
        mean = loaded.spec.preprocessing.mean
        with torch.inference_mode():
            moved = [
                torch.stack([shift_pixels(each, dx, dy, "reflect", mean).pixels for each in pixels])
                for dx, dy in STEPS
            ]
            votes = [loaded.module(loaded.to_inputs(each)).argmax(1).cpu() for each in moved]
        steady = (torch.stack(votes) == logits.argmax(1)).float().mean(0)
    return features, logits, steady
