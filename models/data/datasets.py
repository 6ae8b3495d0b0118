"""The table of data sets: how each is loaded, and divided into train, validation and test."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch

from analysis.errors import MessageProgress, UserError, explained
from models.data.dataset import Dataset, Split
from models.data.preprocessing import resize_all
from models.data.shapes import SHAPES, ShapesConfig, make_shapes
from models.names import find_path, make_readable, readable_path
from models.settings import check_integer

VALIDATION = 5000
"""Pictures of an official train set that are held out for validation."""
HELD_OUT = 0.15
"""Share of a set without an official split that goes to validation, and again to test."""
MAX_BYTES = 4 * 2**30
"""What the resized pictures of a set may take in memory."""


@dataclass(frozen=True)
class DatasetSpec:
    """A table entry: how a named set is loaded, at which picture size, and what may change in training.

    ``check_duplicates`` says whether pictures that look alike in two splits are worth a warning. They are among
    own photographs; drawn shapes, digits and small garments look alike by their nature, and CIFAR-10's official
    split is what published numbers mean.
    """

    title: str
    load: Callable[..., Dataset]
    image_size: int
    augmentations: tuple[str, ...]
    check_duplicates: bool = False


def load_dataset(
    name_or_path: str | Path,
    *,
    data_root: str | Path,
    seed: int,
    image_size: int | None = None,
    shapes: ShapesConfig | None = None,
    progress: MessageProgress | None = None,
) -> Dataset:
    """Loads a set of the table ``DATASETS``, or the user's own pictures from a folder or zip.

    Args:
        name_or_path: A key of ``DATASETS``, or a folder or .zip with one folder of pictures per class.
        data_root: Where downloaded sets are kept.
        seed: Decides the split, and what is drawn for shapes.
        image_size: Side in pixels; by default the set's own.

    Raises:
        UserError: Nothing of that name, or its files are missing, damaged or too few.
    """
    spec = find_spec(name_or_path)
    image_size = image_size or spec.image_size
    check_integer("image_size", image_size, 8, 512)
    return spec.load(
        str(name_or_path),
        augmentations=spec.augmentations,
        data_root=find_path(data_root),
        seed=seed,
        image_size=image_size,
        shapes=shapes or ShapesConfig(),
        progress=progress or (lambda fraction, message: None),
    )


def find_spec(name_or_path: str | Path) -> DatasetSpec:
    """The table entry for a name, or the one for own pictures if it is a path that exists.

    Raises:
        UserError: Neither a known name nor an existing path, or one that may not be looked at.
    """
    if str(name_or_path) in DATASETS:
        return DATASETS[str(name_or_path)]
    # Without a permission, or with far too long a name.
    with explained(f"{make_readable(name_or_path)[:200]} cannot be read"):
        if find_path(name_or_path).exists():
            return OWN_PICTURES
    raise UserError(
        f"There is no data set or folder {make_readable(name_or_path)!r}; choose {' or '.join(DATASETS)}, or give a "
        "folder or zip with one folder of pictures per class."
    )


def full_path(name_or_path: str) -> str:
    """The name of a known set, or the whole readable path of another: what means the same in every folder."""
    return name_or_path if name_or_path in DATASETS else readable_path(find_path(name_or_path).resolve())


def _load_fashion_mnist(name: str, *, data_root, seed, image_size, progress, **rest) -> Dataset:
    from models.data.fashion_mnist import CATEGORIES, load_fashion_mnist

    progress(0.0, "Reading Fashion-MNIST")
    train, test = ((images[:, None], labels) for images, labels in load_fashion_mnist(data_root))
    return _keep_test(name, CATEGORIES, train, test, seed, image_size, rest["augmentations"])


def _load_shapes(name: str, *, seed, image_size, shapes, progress, **rest) -> Dataset:
    _check_memory(shapes.num_images, 3, image_size, name)
    images, labels = make_shapes(
        shapes, seed=seed, image_size=image_size, progress=lambda fraction: progress(fraction, "Drawing shapes")
    )
    return _split_three_ways(name, tuple(SHAPES), images, labels, seed, augmentations=rest["augmentations"])


def _load_digits(name: str, *, seed, image_size, progress, **rest) -> Dataset:
    from models.data.digits import CATEGORIES, load_digits

    progress(0.0, "Reading digits")
    images, labels = load_digits()
    _check_memory(len(images), 1, image_size, name)
    images = resize_all(images[:, None], image_size).numpy()
    return _split_three_ways(name, CATEGORIES, images, labels, seed, augmentations=rest["augmentations"])


def _load_cifar10(name: str, *, data_root, seed, image_size, progress, **rest) -> Dataset:
    from models.data.cifar10 import CATEGORIES, load_cifar10

    official = load_cifar10(data_root, progress=progress)
    return _keep_test(name, CATEGORIES, *official, seed, image_size, rest["augmentations"])


def _load_own_pictures(name: str, *, seed, image_size, progress, **rest) -> Dataset:
    from models.data.folders import load_folder

    loaded = load_folder(Path(name), image_size=image_size, progress=progress)
    dataset = _split_three_ways(
        PurePath(make_readable(name)).stem,
        loaded.categories,
        loaded.images,
        loaded.labels,
        seed,
        parts=loaded.parts,
        skipped=loaded.skipped,
        augmentations=rest["augmentations"],
        file_names=loaded.names,
    )
    given = set(loaded.parts) - {None}
    drawn = {part: getattr(dataset, part) for part in ("validation", "test") if given and part not in given}
    notes = [f"{len(split)} of the pictures for training are kept for the {part}." for part, split in drawn.items()]
    return replace(dataset, notes=(*loaded.notes, *notes))


DATASETS = {
    "fashion_mnist": DatasetSpec("Fashion-MNIST, 28 x 28 grey", _load_fashion_mnist, 28, ("translate", "flip")),
    # No flip: it would undo the settings "left" and "right".
    "shapes": DatasetSpec("Drawn shapes, 32 x 32 colour", _load_shapes, 32, ("translate",)),
    # Enlarged from 8 x 8: five halvings, as in VGG, need 32 pixels.
    "digits": DatasetSpec("Digits, 8 x 8 grey, enlarged to 32 x 32", _load_digits, 32, ("translate",)),
    "cifar10": DatasetSpec("CIFAR-10, 32 x 32 colour", _load_cifar10, 32, ("translate", "flip")),
}
OWN_PICTURES = DatasetSpec(
    "Own pictures: a folder or zip, one folder per class",
    _load_own_pictures,
    64,
    ("translate", "flip", "color"),
    check_duplicates=True,
)


def _keep_test(name, categories, train, test, seed, image_size, augmentations) -> Dataset:
    """A set with an official test part; ``train`` and ``test`` are images (N, C, H, W) uint8 and labels (N,)."""
    num_train = len(train[1])
    kept, held_out = hold_out(train[1].astype(np.int64), min(VALIDATION, num_train // 6), seed)

    def part(images: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> Split:
        _check_memory(len(images), images.shape[1], image_size, name)
        return Split(resize_all(images, image_size), torch.tensor(labels.astype(np.int64)), torch.tensor(ids))

    return Dataset(
        name=name,
        categories=categories,
        train=part(train[0][kept], train[1][kept], kept),
        validation=part(train[0][held_out], train[1][held_out], held_out),
        test=part(test[0], test[1], num_train + np.arange(len(test[1]))),
        augmentations=augmentations,
        source_parts=(("train", num_train), ("test", len(test[1]))),
    )


def _split_three_ways(name, categories, images, labels, seed, parts=None, **rest) -> Dataset:
    found = divide(labels, parts or [None] * len(labels), seed)
    splits: dict[str, Any] = {
        part: Split(torch.from_numpy(images[index]), torch.from_numpy(labels[index]), torch.from_numpy(index))
        for part, index in found.items()
    }
    return Dataset(name=name, categories=categories, **splits, **rest)


def _check_memory(count: int, channels: int, image_size: int, name: str) -> None:
    num_bytes = count * channels * image_size**2
    if num_bytes > MAX_BYTES:
        raise UserError(
            f"{count} pictures of {image_size} x {image_size} pixels from {name} take {num_bytes / 2**30:.1f} GB of "
            f"memory; at most {MAX_BYTES / 2**30:g} GB are possible, so choose a smaller image size."
        )


def divide(labels: np.ndarray, parts: Sequence[str | None], seed: int) -> dict[str, np.ndarray]:
    """Sorted indices of each part: as it is given, and what is not given drawn from what is for training.

    Args:
        labels: ``(N,)`` int64.
        parts: Of each picture "train", "validation" or "test"; None is for training too.
        seed: Decides what is drawn; every class has its share in it.
    """
    given = np.array([part or "train" for part in parts])
    found = {part: np.flatnonzero(given == part) for part in ("train", "validation", "test")}
    train = found["train"]
    size = max(len(np.unique(labels[train])), round(HELD_OUT * len(train)))
    for part in ("test", "validation"):
        if not len(found[part]):
            kept, held = hold_out(labels[train], size, seed)
            train, found[part] = train[kept], train[held]
    return found | {"train": train}


def hold_out(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices that stay and that are held out, with every class in proportion."""
    from sklearn.model_selection import train_test_split

    index = np.arange(len(labels))
    kept, held = train_test_split(index, test_size=count, random_state=seed, stratify=labels)
    return np.sort(kept), np.sort(held)
