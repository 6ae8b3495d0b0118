"""The pictures that a run keeps, and what its network said about them; every file may come from anyone."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from analysis.errors import UserError
from models.checkpoints import read_model_card
from models.ordinary_files import is_ordinary, open_tensors, short_name
from models.runs.run import Run

MAX_BYTES = 256 * 2**20
MAX_EXAMPLES = 100_000
MAX_SNAPSHOTS = 10_000
SNAPSHOT_PATTERN = re.compile(r"[0-9]{7,12}")
PICTURES = {"images": ("U8", 4), "labels": ("I64", 1), "ids": ("I64", 1)}
LOGITS = {"logits": ("F32", 2)}
"""What the tensors of a file are: name -> type and number of dimensions."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Pictures that a run keeps, of one of its splits.

    Attributes:
        images: ``(N, C, H, W)`` uint8 with 1 or 3 channels, at the size of the network's input.
        labels: ``(N,)`` int64, each a place in ``categories``.
        ids: ``(N,)`` int64, all different: which picture of the data set each is.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor
    categories: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def read_examples(run: Run) -> Examples:
    """The validation pictures of ``examples.safetensors``, which must fit the run's model.

    Raises:
        UserError: Missing, damaged, too large, or not what the model takes; says what.
    """
    path = run.path / "examples.safetensors"
    return _check_examples(run, path, _read_tensors(path, PICTURES))


def read_predictions(run: Run, examples: Examples | None = None) -> Tensor:
    """The logits ``(N, K)`` float32 that the run's network gave for its examples after its last epoch.

    Args:
        examples: Of the same run, if they have been read already.

    Raises:
        UserError: Missing, damaged, or not for these examples.
    """
    examples = examples or read_examples(run)
    path = run.path / "predictions.safetensors"
    return _check_logits(path, _read_tensors(path, LOGITS)["logits"], examples)


def read_hard_examples(run: Run, name: str = "hard_examples") -> tuple[Examples, Tensor]:
    """The training pictures with the largest losses, or the ``test_examples``, and the logits ``(N, K)``.

    Raises:
        UserError: As for :func:`read_examples` and :func:`read_predictions`.
    """
    path = run.path / f"{name}.safetensors"
    found = _read_tensors(path, PICTURES | LOGITS)
    examples = _check_examples(run, path, found)
    return examples, _check_logits(path, found["logits"], examples)


def list_snapshots(run: Run) -> list[int]:
    """The optimiser steps of which the run has kept the weights, in ascending order; never fails."""
    folder = run.path / "snapshots"
    try:
        paths = [] if folder.is_symlink() or not folder.is_dir() else folder.iterdir()
        names = {path.stem for path in paths if path.suffix == ".safetensors" and is_ordinary(path)}
    except OSError:
        return []
    steps = {int(name) for name in names if SNAPSHOT_PATTERN.fullmatch(name)}
    return sorted(step for step in steps if f"{step:07d}" in names)[:MAX_SNAPSHOTS]


def _check_examples(run: Run, path: Path, found: Mapping[str, Tensor]) -> Examples:
    card, title = read_model_card(run.path / "model.json"), short_name(path)
    prep = card.preprocessing
    images, labels, ids = (found[name] for name in PICTURES)
    expected = (prep.num_channels, prep.crop_size, prep.crop_size)
    if not 1 <= len(images) <= MAX_EXAMPLES or len(images) != len(labels) or len(labels) != len(ids):
        counts = f"{len(images)} pictures, {len(labels)} labels and {len(ids)} ids"
        raise UserError(f"{title} is damaged: it has {counts}; there must be equally many, 1 to {MAX_EXAMPLES}.")
    if tuple(images.shape[1:]) != expected or prep.num_channels not in (1, 3):
        raise UserError(f"{title} holds pictures of shape {tuple(images.shape[1:])}; the model takes {expected}.")
    if labels.min() < 0 or labels.max() >= len(card.categories):
        raise UserError(
            f"{title} is damaged: its labels go from {labels.min()} to {labels.max()}, "
            f"for {len(card.categories)} classes."
        )
    if len(ids.unique()) != len(ids):
        raise UserError(f"{title} is damaged: two pictures have the same id.")
    return Examples(images, labels, ids, card.categories)


def _check_logits(path: Path, logits: Tensor, examples: Examples) -> Tensor:
    expected, title = (len(examples), len(examples.categories)), short_name(path)
    if tuple(logits.shape) != expected:
        raise UserError(
            f"{title} does not fit the run's pictures: its shape is {tuple(logits.shape)}, not {expected}."
        )
    if not torch.isfinite(logits).all():
        raise UserError(f"{title} has values that are not finite numbers.")
    return logits


def _read_tensors(path: Path, expected: Mapping[str, tuple[str, int]]) -> dict[str, Tensor]:
    """The tensors of a safetensors file with exactly these names, of these types and numbers of dimensions."""
    if not os.path.lexists(path):
        raise UserError(f"The run has no {path.name}; it was made by a version that kept none, or ended early.")
    title = short_name(path)
    with open_tensors(path, MAX_BYTES) as file:
        if set(file.keys()) != set(expected):
            raise UserError(f"{title} is damaged: it should hold {', '.join(expected)} and nothing else.")
        for name, (dtype, ndim) in expected.items():
            part = file.get_slice(name)
            if part.get_dtype() != dtype or len(part.get_shape()) != ndim:
                raise UserError(f"{title} is damaged: {name} should be {dtype} with {ndim} dimensions.")
        return {name: file.get_tensor(name).clone() for name in expected}
