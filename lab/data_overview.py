"""What a data set holds, before anything is trained on it: balance, mean pictures, examples, and warnings."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from analysis.errors import Progress, no_progress
from models.data import DATASETS, Dataset, Split, find_spec, load_dataset
from models.duplicates import NearDuplicates, find_near_duplicates
from models.folders import hash_files, list_files
from models.shapes import ShapesConfig
from models.validation import check_integer

SPLITS = ("train", "validation", "test")
MAX_PREVIEWS = 1000
"""Examples of all classes together; with many classes each shows fewer, at least one."""
MAX_RATIO = 10
"""Training pictures of the largest class for each one of the smallest before it is said."""
SHOWN_SKIPPED = 100
CACHE_BYTES = 64 * 2**20
_CHUNK = 1024


@dataclass(frozen=True)
class DataOverview:
    """A data set at a glance.

    Attributes:
        counts: Split -> number of pictures of each class, in the order of ``categories``.
        mean: Of each channel of the train split, in [0, 1].
        std: Likewise.
        class_means: ``(K, C, H, W)`` uint8, the mean training picture of each class.
        preview: Training pictures of each class, spread evenly over it, with labels and ids.
        preview_names: Where each of them came from.
        skipped: Files that were left out, and why.
        duplicates: Pictures that look alike across splits; None where that says nothing about the data.
        warnings: Sentences for the user.
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


class OverviewCache:
    """The overviews asked for last, within a number of bytes; safe in several threads."""

    def __init__(self, max_bytes: int = CACHE_BYTES):
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, DataOverview] = OrderedDict()

    def get(self, key: Hashable) -> DataOverview | None:
        """The overview kept under this key."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: Hashable, overview: DataOverview) -> None:
        """Keeps an overview, and drops the ones that were not asked for the longest."""
        with self._lock:
            self._kept[key] = overview
            self._kept.move_to_end(key)
            while self._kept and sum(kept.num_bytes for kept in self._kept.values()) > self.max_bytes:
                self._kept.popitem(last=False)


_recent = OverviewCache()


def describe_data(
    name_or_path: str | Path,
    *,
    data_root: str | Path,
    seed: int,
    image_size: int | None = None,
    shapes: ShapesConfig | None = None,
    per_class: int = 8,
    progress: Progress = no_progress,
    cache: OverviewCache | None = None,
) -> DataOverview:
    """Loads a data set and looks at it; the same question about the same files is answered from memory.

    Args:
        name_or_path: A key of ``DATASETS``, or a folder or zip of own pictures.
        data_root: Where the files of known sets are kept.
        seed: Decides the split, and what is drawn for shapes.
        image_size: Side in pixels; by default the set's own.
        shapes: What to draw for the set "shapes".
        per_class: Examples of each class.
        progress: Counts percent; may cancel.
        cache: Where answers are kept; by default one for the whole process.

    Raises:
        ModelsError: Nothing of that name, or its files are missing, damaged or too few.
    """
    check_integer("per_class", per_class, 1, 100)
    check_integer("seed", seed, 0, 2**32 - 1)
    cache, spec = cache or _recent, find_spec(name_or_path)
    shapes = shapes or ShapesConfig()
    version = "" if str(name_or_path) in DATASETS else hash_files(Path(name_or_path), list_files(Path(name_or_path)))
    key = (str(name_or_path), version, str(data_root), seed, image_size or spec.image_size, shapes, per_class)
    if (known := cache.get(key)) is not None:
        return known
    options = {"data_root": data_root, "seed": seed, "image_size": image_size, "shapes": shapes}
    dataset = load_dataset(name_or_path, **options, progress=_percent(progress, 0, 75))
    class_means = measure_class_means(dataset.train, len(dataset.categories), progress=_percent(progress, 75, 80))
    duplicates = None
    if spec.check_duplicates:
        duplicates = find_near_duplicates(dataset, progress=_percent(progress, 80, 100))
    overview = _summarize(dataset, class_means, duplicates, per_class)
    cache.keep(key, overview)
    progress(100, 100)
    return overview


def measure_class_means(
    split: Split, num_classes: int, progress: Callable[[float, str], None] = lambda fraction, message: None
) -> Tensor:
    """The mean picture of each class, ``(K, C, H, W)`` uint8; black for a class without pictures."""
    shape = split.images.shape[1:]
    sums = torch.zeros((num_classes, shape.numel()), dtype=torch.int64)
    for start in range(0, len(split), _CHUNK):
        progress(start / len(split), "Averaging pictures")
        chunk = slice(start, start + _CHUNK)
        sums.index_add_(0, split.labels[chunk], split.images[chunk].flatten(1).long())
    counts = torch.bincount(split.labels, minlength=num_classes).clamp(min=1)
    return (sums.double() / counts[:, None]).round().to(torch.uint8).view(num_classes, *shape)


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
    warnings = []
    if dataset.skipped:
        files = "file was" if len(dataset.skipped) == 1 else "files were"
        warnings.append(f"{len(dataset.skipped)} {files} left out; the first: {dataset.skipped[0]}")
    most, least = int(np.argmax(counts)), int(np.argmin(counts))
    if counts[most] > MAX_RATIO * counts[least]:
        warnings.append(
            f"The class {dataset.categories[most]} has {counts[most]} training pictures, "
            f"{dataset.categories[least]} only {counts[least]}; accuracy will mostly be about the large classes."
        )
    if duplicates is not None and (sentence := duplicates.describe(dataset)):
        warnings.append(sentence)
    return tuple(warnings)


def _percent(progress: Progress, start: int, end: int) -> Callable[[float, str], None]:
    """A callback for fractions that counts from ``start`` to ``end`` percent."""
    return lambda fraction, message: progress(round(start + fraction * (end - start)), 100)
