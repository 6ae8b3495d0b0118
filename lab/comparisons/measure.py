"""What is measured of a trained arm besides what its run says: training accuracy as it is, and moved pictures."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.errors import Progress, no_progress
from analysis.shift.move import extend
from analysis.shift.shift_map import measure_agreement
from lab.comparisons.config import DataFacts
from lab.comparisons.steps import Guessing
from models.data.dataset import Dataset, Split, pick_evenly
from models.data.preprocessing import Preprocessing
from models.determinism import reproducible
from models.training.batches import Normalize
from models.training.config import TrainingConfig
from models.training.frequent_validation import SAMPLE
from models.training.run import load_data

MAX_TRAIN_PICTURES = 5000
NUM_MOVED = 256
MAX_SHIFT = 3
"""Pixels each way: 49 shifts of each picture."""
BOUNDARY = "replicate"
"""What fills the uncovered border: no edge appears that was not there."""
MAX_CHUNK = 256


@dataclass(frozen=True)
class Translation:
    """How a network does on moved pictures, each under all shifts of a small square.

    Attributes:
        consistency: The share of pairs of shifts with the same predicted class (a U-statistic), mean over pictures.
        accuracy: The share of right answers over all pictures and shifts.
    """

    consistency: float
    accuracy: float


def open_data(config: TrainingConfig) -> Dataset:
    """The data that :func:`models.training.run.train` uses for this configuration; no random state changes.

    Raises:
        UserError: They cannot be used.
    """
    with reproducible(config.seed):
        return load_data(config)


def describe_data(dataset: Dataset) -> DataFacts:
    """What some changes of arms depend on."""
    return DataFacts(len(dataset.train), len(dataset.categories), dataset.in_channels, dataset.image_size)


def find_guessing(dataset: Dataset, config: TrainingConfig) -> Guessing:
    """What the most frequent class gets of the validation pictures that steps are counted on."""
    labels = dataset.validation.labels
    num = min(len(labels), SAMPLE) if config.validate_often else len(labels)
    return Guessing(int(labels.bincount().max()) / len(labels), num)


def measure_accuracy(
    module: nn.Module,
    preprocessing: Preprocessing,
    split: Split,
    *,
    batch_size: int = MAX_CHUNK,
    progress: Progress = no_progress,
) -> float:
    """The share of right answers of a network in eval mode, on at most ``MAX_TRAIN_PICTURES`` of the pictures.

    Args:
        split: Pictures, evenly thinned out where there are too many.
        batch_size: Of its training, which there was memory for: no more go through it at a time.
    """
    split = split.take(pick_evenly(len(split), MAX_TRAIN_PICTURES))
    predicted = predict_classes(module, preprocessing, split.images, batch_size, progress)
    return float((predicted == split.labels).double().mean())


def measure_translation(
    module: nn.Module,
    preprocessing: Preprocessing,
    split: Split,
    *,
    boundary: str = BOUNDARY,
    batch_size: int = MAX_CHUNK,
    progress: Progress = no_progress,
) -> Translation:
    """Tests a network on pictures moved by all whole shifts up to ``MAX_SHIFT`` pixels each way.

    Args:
        split: Where ``NUM_MOVED`` are taken from, at even distances.
        boundary: A key of ``analysis.shift.move.BOUNDARIES`` other than "crop".
    """
    split = split.take(pick_evenly(len(split), NUM_MOVED))
    windows, answers = list_moved(split.images, preprocessing, boundary), []
    for number, window in enumerate(windows):
        progress(number, len(windows))
        answers.append(predict_classes(module, preprocessing, window, batch_size))
    votes = torch.stack(answers, dim=1)  # (N, S)
    consistency = measure_agreements(votes)
    accuracy = float((votes == split.labels[:, None]).double().mean())
    return Translation(sum(consistency) / len(consistency), accuracy)


def list_moved(images: Tensor, preprocessing: Preprocessing, boundary: str = BOUNDARY) -> list[Tensor]:
    """Pictures ``(N, C, H, W)`` uint8 moved by all whole shifts up to ``MAX_SHIFT`` pixels each way: views."""
    scene = extend(images, MAX_SHIFT, boundary, [255 * value for value in preprocessing.mean])
    reach = range(-MAX_SHIFT, MAX_SHIFT + 1)
    return [scene.window(dx, dy) for dy in reach for dx in reach]


def measure_agreements(votes: Tensor) -> list[float]:
    """For each picture the share of pairs of shifts with the same class, of votes ``(N, S)``."""
    return [measure_agreement(torch.bincount(row)) for row in votes]


def count_answers(num_train: int, num_validation: int, num_test: int) -> dict[str, int]:
    """Measure -> of how many answers, or pairs of answers, it is a share."""
    shifts, moved = (2 * MAX_SHIFT + 1) ** 2, min(num_test, NUM_MOVED)
    return {
        "train_accuracy": min(num_train, MAX_TRAIN_PICTURES),
        "val_accuracy": num_validation,
        "test_accuracy": num_test,
        "consistency": moved * shifts * (shifts - 1) // 2,
        "shifted_accuracy": moved * shifts,
    }


@torch.inference_mode()
def predict_classes(
    module: nn.Module,
    preprocessing: Preprocessing,
    images: Tensor,
    batch_size: int = MAX_CHUNK,
    progress: Progress = no_progress,
) -> Tensor:
    """Predicted classes ``(N,)`` on the CPU, of uint8 pictures ``(N, C, H, W)``."""
    device = next(module.parameters()).device
    normalize: Callable[[Tensor], Tensor] = Normalize(preprocessing, device)
    parts, chunk = [], min(batch_size, MAX_CHUNK)
    for start in range(0, len(images), chunk):
        progress(start, len(images))
        parts.append(module(normalize(images[start : start + chunk].to(device))).argmax(1).cpu())
    return torch.cat(parts)
