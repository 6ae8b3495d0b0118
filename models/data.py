"""Data sets as tensors in memory, split into train, validation and test."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.errors import ModelsError
from models.preprocessing import Preprocessing
from models.shapes import SHAPES, ShapesConfig, make_shapes
from models.validation import check_integer

Progress = Callable[[float, str], None]
"""Called with the fraction done and what is being done."""

FASHION_VALIDATION = 5000
HELD_OUT = 0.15
"""Share of a set without an official split that goes to validation, and again to test."""


@dataclass(frozen=True)
class Split:
    """Images ``(N, C, H, W)`` uint8 and labels ``(N,)`` int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits over the same categories; ``skipped`` says which files were left out and why."""

    name: str
    categories: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    skipped: tuple[str, ...] = ()
    augmentations: tuple[str, ...] = ()

    @property
    def in_channels(self) -> int:
        """1 for grey pictures, 3 for colour."""
        return self.train.images.shape[1]

    @property
    def image_size(self) -> int:
        """Side of the square pictures in pixels."""
        return self.train.images.shape[2]

    def preprocessing(self) -> Preprocessing:
        """The steps that lead from any picture to this set's input, with the train set's mean and std."""
        mean, std = _channel_statistics(self.train.images)
        return Preprocessing(crop_size=self.image_size, resize_size=self.image_size, mean=mean, std=std)


@dataclass(frozen=True)
class DatasetSpec:
    """A table entry: how a named set is loaded, at which picture size, and what may change in training."""

    title: str
    load: Callable[..., Dataset]
    image_size: int
    augmentations: tuple[str, ...]


def load_dataset(
    name_or_path: str | Path,
    *,
    data_root: str | Path,
    seed: int,
    image_size: int | None = None,
    shapes: ShapesConfig | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Loads a set of the table ``DATASETS``, or the user's own pictures from a folder or zip.

    Args:
        name_or_path: A key of ``DATASETS``, or a folder or .zip with one folder of pictures per class.
        data_root: Where downloaded sets are kept.
        seed: Decides the split, and what is drawn for shapes.
        image_size: Side in pixels; by default the set's own.
        shapes: What to draw for the set "shapes".
        progress: Told about long loads.

    Raises:
        ModelsError: Nothing of that name, or its files are missing, damaged or too few.
    """
    spec = find_spec(name_or_path)
    image_size = image_size or spec.image_size
    check_integer("image_size", image_size, 8, 256)
    return spec.load(
        str(name_or_path),
        augmentations=spec.augmentations,
        data_root=Path(data_root),
        seed=seed,
        image_size=image_size,
        shapes=shapes or ShapesConfig(),
        progress=progress or (lambda fraction, message: None),
    )


def find_spec(name_or_path: str | Path) -> DatasetSpec:
    """The table entry for a name, or the one for own pictures if it is a path that exists.

    Raises:
        ModelsError: Neither a known name nor an existing path.
    """
    if str(name_or_path) in DATASETS:
        return DATASETS[str(name_or_path)]
    if Path(name_or_path).exists():
        return OWN_PICTURES
    raise ModelsError(
        f"There is no data set or folder {str(name_or_path)!r}; choose {' or '.join(DATASETS)}, or give a "
        "folder or zip with one folder of pictures per class."
    )


def _load_fashion_mnist(name: str, *, augmentations, data_root, seed, image_size, progress, **_) -> Dataset:
    from models.fashion_mnist import CATEGORIES, load_fashion_mnist

    progress(0.0, "Reading Fashion-MNIST")
    (train_images, train_labels), (test_images, test_labels) = load_fashion_mnist(data_root)
    labels = train_labels.astype(np.int64)
    num_validation = min(FASHION_VALIDATION, len(labels) // 6)
    kept, held_out = _stratified(labels, num_validation, seed)
    return Dataset(
        name=name,
        categories=CATEGORIES,
        train=_grey_split(train_images[kept], labels[kept], image_size),
        validation=_grey_split(train_images[held_out], labels[held_out], image_size),
        test=_grey_split(test_images, test_labels.astype(np.int64), image_size),
        augmentations=augmentations,
    )


def _load_shapes(name: str, *, augmentations, seed, image_size, shapes, progress, **_) -> Dataset:
    progress(0.0, "Drawing shapes")
    images, labels = make_shapes(shapes, seed=seed, image_size=image_size)
    return _split_three_ways(name, tuple(SHAPES), images, labels, seed, augmentations=augmentations)


def _load_own_pictures(name: str, *, augmentations, seed, image_size, progress, **_) -> Dataset:
    from models.folders import load_folder

    loaded = load_folder(Path(name), image_size=image_size, progress=progress)
    return _split_three_ways(
        Path(name).stem,
        loaded.categories,
        loaded.images,
        loaded.labels,
        seed,
        skipped=loaded.skipped,
        augmentations=augmentations,
    )


DATASETS = {
    "fashion_mnist": DatasetSpec("Fashion-MNIST, 28 x 28 grey", _load_fashion_mnist, 28, ("translate", "flip")),
    # No flip: it would undo the settings "left" and "right".
    "shapes": DatasetSpec("Drawn shapes, 32 x 32 colour", _load_shapes, 32, ("translate",)),
}
OWN_PICTURES = DatasetSpec(
    "Own pictures: a folder or zip, one folder per class",
    _load_own_pictures,
    64,
    ("translate", "flip", "brightness"),
)


def _split_three_ways(name, categories, images, labels, seed, **rest) -> Dataset:
    size = max(len(categories), round(HELD_OUT * len(labels)))
    others, test = _stratified(labels, size, seed)
    train, validation = _stratified(labels[others], size, seed)
    parts = {"train": others[train], "validation": others[validation], "test": test}
    splits = {
        part: Split(torch.from_numpy(images[index]), torch.from_numpy(labels[index])) for part, index in parts.items()
    }
    return Dataset(name=name, categories=categories, **splits, **rest)


def _stratified(labels: np.ndarray, held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices that stay and that are held out, with every class in proportion."""
    from sklearn.model_selection import train_test_split

    index = np.arange(len(labels))
    kept, held = train_test_split(index, test_size=held_out, random_state=seed, stratify=labels)
    return np.sort(kept), np.sort(held)


def _grey_split(images: np.ndarray, labels: np.ndarray, image_size: int) -> Split:
    from torchvision.transforms.v2.functional import resize

    tensor = torch.tensor(images)[:, None]
    if image_size != tensor.shape[-1]:
        tensor = resize(tensor, [image_size, image_size], antialias=True)
    return Split(tensor, torch.tensor(labels))


def _channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of each channel in [0, 1], exactly, from counts of the 256 values."""
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        share = torch.bincount(images[:, channel].flatten(), minlength=256).double()
        share /= share.sum()
        mean = (share * values).sum()
        means.append(round(mean.item(), 6))
        # Pictures of one colour only must not divide by zero.
        stds.append(round(max((share * (values - mean) ** 2).sum().sqrt().item(), 1e-3), 6))
    return tuple(means), tuple(stds)
