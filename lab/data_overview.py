"""What a data set holds, before anything is trained on it: balance, mean pictures, examples, and warnings."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from analysis.errors import Progress, no_progress
from analysis.grammar import count
from lab.lru import RecentResults
from models.data import cifar10
from models.data.dataset import Dataset, Split
from models.data.datasets import DATASETS, find_spec, load_dataset
from models.data.duplicates import NearDuplicates, find_near_duplicates
from models.data.fashion_mnist import find_files
from models.data.folders import hash_files, list_files
from models.data.shapes import ShapesConfig
from models.names import find_path
from models.settings import check_integer

SPLITS = ("train", "validation", "test")
MAX_PREVIEWS = 1000
"""Examples of all classes together; with many classes each shows fewer, at least one."""
MAX_RATIO = 10
"""Training pictures of the largest class for each one of the smallest before it is said."""
SHOWN_SKIPPED = 100
CACHE_BYTES = 64 * 2**20
_CHUNK_VALUES = 2**24
"""Numbers that are added up at a time: eight times as many bytes."""

_RECENT: "RecentResults[DataOverview]" = RecentResults(CACHE_BYTES)


@dataclass(frozen=True)
class DataOverview:
    """A data set at a glance.

    Attributes:
        counts: Split -> number of pictures of each class, in the order of ``categories``.
        mean: Of each channel of the train split, in [0, 1].
        std: Likewise.
        class_means: ``(K, C, H, W)`` uint8, the mean training picture of each class.
        preview: Training pictures of each class, spread evenly over it, with labels and ids.
        duplicates: Pictures that look alike across splits; None where that says nothing about the data.
    """

    name: str
    categories: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_means: Tensor
    preview: Split
    preview_names: tuple[str, ...]
    skipped: tuple[str, ...]
    duplicates: NearDuplicates | None
    warnings: tuple[str, ...]

    @property
    def num_bytes(self) -> int:
        """What it takes in memory, near enough."""
        return self.class_means.nbytes + self.preview.images.nbytes + sum(map(len, self.skipped)) + 10_000

    def to_json(self) -> dict:
        """Everything but the pictures; of the skipped files the first ``SHOWN_SKIPPED``."""
        channels, height, width = self.class_means.shape[1:]
        return {
            "name": self.name,
            "categories": list(self.categories),
            "counts": {split: list(counts) for split, counts in self.counts.items()},
            "sizes": {split: sum(counts) for split, counts in self.counts.items()},
            "image": {"channels": channels, "height": height, "width": width},
            "mean": list(self.mean),
            "std": list(self.std),
            "num_skipped": len(self.skipped),
            "skipped": list(self.skipped[:SHOWN_SKIPPED]),
            "near_duplicates": None if self.duplicates is None else asdict(self.duplicates),
            "warnings": list(self.warnings),
        }


def describe_data(
    name_or_path: str | Path,
    *,
    data_root: str | Path,
    seed: int,
    image_size: int | None = None,
    shapes: ShapesConfig | None = None,
    per_class: int = 8,
    progress: Progress = no_progress,
    cache: RecentResults | None = None,
) -> DataOverview:
    """Loads a data set and looks at it; the same question about the same files is answered from memory.

    Args:
        cache: Where answers are kept; by default one for the whole process.

    Raises:
        UserError: Nothing of that name, or its files are missing, damaged or too few.
    """
    check_integer("per_class", per_class, 1, 100)
    check_integer("seed", seed, 0, 2**32 - 1)
    cache, spec = _RECENT if cache is None else cache, find_spec(name_or_path)
    shapes = shapes or ShapesConfig()
    version = "" if str(name_or_path) in DATASETS else hash_files(Path(name_or_path), list_files(Path(name_or_path)))
    key = (str(name_or_path), version, str(data_root), seed, image_size or spec.image_size, shapes, per_class)
    if (known := cache.get(key)) is not None:
        return known
    dataset = load_dataset(
        name_or_path,
        data_root=data_root,
        seed=seed,
        image_size=image_size,
        shapes=shapes,
        progress=_percent(progress, 0, 75),
    )
    class_means = measure_class_means(dataset.train, len(dataset.categories), progress=_percent(progress, 75, 80))
    duplicates = None
    if spec.check_duplicates:
        duplicates = find_near_duplicates(dataset, progress=_percent(progress, 80, 100))
    overview = _summarize(dataset, class_means, duplicates, per_class)
    cache.keep(key, overview, overview.num_bytes)
    progress(100, 100)
    return overview


def measure_class_means(
    split: Split, num_classes: int, progress: Callable[[float, str], None] = lambda fraction, message: None
) -> Tensor:
    """The mean picture of each class, ``(K, C, H, W)`` uint8; black for a class without pictures."""
    shape = split.images.shape[1:]
    chunk, done = max(_CHUNK_VALUES // shape.numel(), 1), 0
    means = torch.zeros((num_classes, *shape), dtype=torch.uint8)
    counts = torch.bincount(split.labels, minlength=num_classes).tolist()
    for mean, places in zip(means, split.labels.argsort(stable=True).split(counts), strict=True):
        total = torch.zeros(shape, dtype=torch.int64)
        for part in places.split(chunk):
            progress(done / len(split), "Averaging pictures")
            total += split.images[part].sum(0)
            done += len(part)
        mean.copy_((total.double() / max(len(places), 1)).round())
    return means


def _summarize(
    dataset: Dataset, class_means: Tensor, duplicates: NearDuplicates | None, per_class: int
) -> DataOverview:
    num_classes = len(dataset.categories)
    counts = {
        split: tuple(torch.bincount(getattr(dataset, split).labels, minlength=num_classes).tolist())
        for split in SPLITS
    }
    preview = dataset.train.take(_spread(dataset.train.labels, num_classes, per_class))
    preprocessing = dataset.preprocessing()
    assert preview.ids is not None  # those of the split that it was taken from
    return DataOverview(
        name=dataset.name,
        categories=dataset.categories,
        counts=counts,
        mean=preprocessing.mean,
        std=preprocessing.std,
        class_means=class_means,
        preview=preview,
        preview_names=tuple(map(dataset.source_name, preview.ids.tolist())),
        skipped=dataset.skipped,
        duplicates=duplicates,
        warnings=_warn(dataset, counts["train"], duplicates),
    )


def _spread(labels: Tensor, num_classes: int, per_class: int) -> Tensor:
    """Places of ``per_class`` pictures of each class, at even distances in their order."""
    per_class = max(1, min(per_class, MAX_PREVIEWS // num_classes))
    chosen = []
    for number in range(num_classes):
        places = (labels == number).nonzero()[:, 0]
        steps = np.linspace(0, len(places) - 1, min(per_class, len(places))).round()
        chosen.append(places[torch.from_numpy(steps).long()])
    return torch.cat(chosen)


def _warn(dataset: Dataset, counts: tuple[int, ...], duplicates: NearDuplicates | None) -> tuple[str, ...]:
    warnings = list(dataset.warnings)
    most, least = int(np.argmax(counts)), int(np.argmin(counts))
    if counts[most] > MAX_RATIO * counts[least]:
        warnings.append(
            f"The class {dataset.categories[most]} has {count(counts[most], 'training picture')}, "
            f"{dataset.categories[least]} only {counts[least]}; accuracy will mostly be about the large classes."
        )
    return (*warnings, *(duplicates.warn(dataset) if duplicates else ()))


def _percent(progress: Progress, start: int, end: int) -> Callable[[float, str], None]:
    """A callback for fractions that counts from ``start`` to ``end`` percent."""
    return lambda fraction, message: progress(round(start + fraction * (end - start)), 100)


def is_quick(dataset: str, data_root: Path) -> bool:
    """Whether a data set can be shown without being asked to."""
    return dataset in IS_QUICK and IS_QUICK[dataset](find_path(data_root))


IS_QUICK: dict[str, Callable[[Path], bool]] = {
    "shapes": lambda data_root: True,
    "digits": lambda data_root: True,
    "fashion_mnist": lambda data_root: find_files(data_root) is not None,
    "cifar10": lambda data_root: any(
        (data_root / path).is_file() for path in (cifar10.TEST_FILE, cifar10.PYTHON_FOLDER / cifar10.TEST_NAME)
    ),
}
"""Data set -> whether it can be shown within seconds, given the data root; all others wait for the button."""
