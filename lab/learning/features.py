"""Features made by hand beside networks that learn them: the same pictures, the same test, the same shifts."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.consistency.statistics import estimate
from analysis.consistency.tabulate import Table
from analysis.errors import Progress, no_progress
from analysis.features.classifiers import CLASSIFIERS
from analysis.features.kinds import KINDS, Extract, extract_in_chunks
from lab.comparisons.measure import NUM_MOVED, list_moved, measure_agreements
from models.data.dataset import Dataset, Split, pick_evenly
from models.data.datasets import load_dataset
from models.settings import check_choice, check_integer
from models.training.config import TrainingConfig
from models.training.setup import choose_pictures

MAX_LIMIT = 20_000
"""Pictures to learn from: more take minutes, and memory."""
DEFAULT_LIMIT = 2000
_SCALE = 1000
"""Parts that a whole work is reported in."""


@dataclass(frozen=True)
class Measured:
    """What is known of one way to classify.

    Attributes:
        kind: A key of ``KINDS``, or of ``lab.learning.features_job.NETWORKS``.
        classifier: A key of ``CLASSIFIERS``; nothing for a network, which is both.
        accuracy: ``{value, low, high}``: the share of right answers on test pictures, with its 95 % interval.
        consistency: ``{value, low, high}``: the share of pairs of shifts, of all up to 3 pixels each way, under which
            a picture keeps its class; the mean over test pictures.
        seconds: To learn and to answer, without the shifts.
        num_features: Numbers that a picture is described by.
        learned, tested, moved: Pictures that were learned from, tested, and tested moved.
    """

    kind: str
    classifier: str
    accuracy: dict
    consistency: dict
    seconds: float
    num_features: int
    learned: int
    tested: int
    moved: int

    def to_json(self) -> dict:
        """A JSON-ready dictionary of everything."""
        return asdict(self)

    def summary(self) -> dict:
        """``{accuracy, interval: [low, high], seconds, shift_consistency}``."""
        return {
            "accuracy": self.accuracy["value"],
            "interval": [self.accuracy["low"], self.accuracy["high"]],
            "seconds": self.seconds,
            "shift_consistency": self.consistency["value"],
        }


@dataclass(frozen=True)
class Exam:
    """The pictures that everything is compared on.

    Attributes:
        train: At most ``limit`` pictures to learn from, the same as a training with this seed and limit takes.
        test: At most as many.
        moved: Those of the test that are moved too, at most 256.
        seed: Decides the split, and whatever else is drawn.
    """

    dataset: Dataset
    train: Split
    test: Split
    moved: Split
    seed: int


def set_exam(
    data: str, data_root: str, limit: int = DEFAULT_LIMIT, seed: int = 0, progress: Progress = no_progress
) -> Exam:
    """Loads a data set, and chooses the pictures.

    Args:
        data: A key of ``DATASETS``, or a folder or zip.
        limit: At most so many pictures to learn from, and as many to be tested on.

    Raises:
        UserError: The data cannot be used, or a limit outside of 2 to 20,000.
    """
    check_integer("limit", limit, 2, MAX_LIMIT)
    config = TrainingConfig(dataset=data, data_root=data_root, seed=seed, train_limit=limit)
    dataset = load_dataset(
        data, data_root=data_root, seed=seed, progress=lambda fraction, message: progress(int(fraction * 100), 100)
    )
    test = dataset.test.take(pick_evenly(len(dataset.test), limit))
    return Exam(dataset, choose_pictures(config, dataset), test, test.take(pick_evenly(len(test), NUM_MOVED)), seed)


def measure_features(
    exam: Exam, kind: str, classifiers: Sequence[str], progress: Progress = no_progress
) -> Iterator[Measured]:
    """Puts one kind of hand-made features with each classifier to the test.

    Args:
        kind: A key of ``KINDS``.
        classifiers: Keys of ``CLASSIFIERS``; the features are worked out once for all.
        progress: May raise Cancelled.

    Raises:
        UserError: No such kind or classifier, or the pictures are too small or all of one class.
    """
    check_choice("kind", kind, KINDS)
    for name in classifiers:
        check_choice("classifier", name, CLASSIFIERS)
    started = time.perf_counter()
    images = exam.train.images.numpy()
    extract = KINDS[kind].learn(images, exam.seed, part_of(progress, 0.0, 0.1))
    learned = extract_in_chunks(extract, images, part_of(progress, 0.1, 0.3))
    tested = extract_in_chunks(extract, exam.test.images.numpy(), part_of(progress, 0.3, 0.4))
    extracting = time.perf_counter() - started
    answers, right, seconds = {}, {}, {}
    for place, name in enumerate(classifiers):
        started = time.perf_counter()
        part = part_of(progress, 0.4 + 0.2 * place / len(classifiers), 0.4 + 0.2 * (place + 1) / len(classifiers))
        answers[name] = CLASSIFIERS[name].fit(learned, exam.train.labels.numpy(), part)
        right[name] = answers[name](tested) == exam.test.labels.numpy()
        seconds[name] = extracting + time.perf_counter() - started
    votes = _ask_moved(exam, extract, answers, part_of(progress, 0.6, 1.0))
    for name in classifiers:
        yield grade(exam, (kind, name), right[name], votes[name], seconds[name], learned.shape[1])


def _ask_moved(exam: Exam, extract: Extract, answers: dict, progress: Progress) -> dict[str, Tensor]:
    """The classes ``(N, S)`` that each classifier sees in the pictures at each shift."""
    windows = list_moved(exam.moved.images, exam.dataset.preprocessing())
    votes: dict[str, list[Tensor]] = {name: [] for name in answers}
    for number, window in enumerate(windows):
        progress(number, len(windows))
        numbers = extract(window.numpy())
        for name, answer in answers.items():
            votes[name].append(torch.from_numpy(answer(numbers)))
    progress(len(windows), len(windows))
    return {name: torch.stack(columns, dim=1) for name, columns in votes.items()}


def grade(
    exam: Exam, way: tuple[str, str], right: np.ndarray, votes: Tensor, seconds: float, num_features: int
) -> Measured:
    """Accuracy and consistency with their intervals.

    Args:
        way: Kind and classifier.
        right: ``(N,)`` bool: which test pictures were classified right.
        votes: ``(M, S)``: the class of each moved picture at each shift.
    """
    accuracy = _estimate(right.astype(np.float64), exam.seed)
    consistency = _estimate(np.array(measure_agreements(votes)), exam.seed)
    sizes = len(exam.train), len(exam.test), len(exam.moved)
    return Measured(*way, accuracy, consistency, seconds, num_features, *sizes)


def _estimate(shares: np.ndarray, seed: int) -> dict:
    """The mean over pictures with its bootstrap interval, ``{value, low, high}``."""
    ones = np.ones(len(shares))
    table = Table({"accuracy": (shares, ones)}, None, np.arange(len(shares)), ones)
    return estimate(table, seed).to_json("accuracy")


def part_of(progress: Progress, low: float, high: float) -> Progress:
    """What reports a part of a work, from a share ``low`` to a share ``high`` of all of it."""

    def report(done: int, total: int) -> None:
        progress(round(_SCALE * (low + (high - low) * done / max(total, 1))), _SCALE)

    return report
