"""Labelled pictures to evaluate models on, opened one at a time, before any model's preprocessing."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from analysis.errors import UserError
from models.data import cifar10
from models.data.class_layout import Source, sort_into_classes
from models.data.datasets import DATASETS, load_dataset
from models.data.folders import hash_files, list_files, open_source
from models.data.images import open_image
from models.data.shapes import ShapesConfig
from models.names import compose, find_path, make_readable, simplify

CIFAR10_CATEGORIES, CIFAR10_FILE = cifar10.CATEGORIES, cifar10.TEST_FILE
_TEST_FILES = {"cifar10": (cifar10.CATEGORIES, cifar10.load_test)}
"""Sets whose test pictures have a file of their own, so that the others are not needed."""
_WORDNET_ID = re.compile(r"n\d{8}")
_SHORT_NUMBER = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True)
class EvaluationData:
    """A labelled data set.

    Attributes:
        name: How it was asked for, without the folders above it.
        labels: ``(N,)`` int64, indices into ``categories``.
        image_ids: A name for each image that no other image of the set has.
        picture: Opens the i-th picture; raises :class:`models.data.decoding.formats.ImageError` if it cannot be read.
        version: Changes when the pictures do; of files it tells the place, the sizes and the times.
        skipped: "file: reason" for the files that were left out.
    """

    name: str
    categories: tuple[str, ...]
    labels: np.ndarray
    image_ids: tuple[str, ...]
    picture: Callable[[int], Image.Image]
    version: str
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


@contextmanager
def open_evaluation_data(
    name_or_path: str | Path, *, data_root: str | Path, seed: int = 0, shapes: ShapesConfig | None = None
) -> Iterator[EvaluationData]:
    """Opens the test split of a known set, or the pictures of a folder or zip with one folder per class.

    Where folders such as train, val and test divide them, those of test are meant, or else of val.

    Args:
        seed: Decides what is drawn for shapes, and which digits are the test split.

    Raises:
        UserError: Nothing of that name, or its files are missing, damaged or without class folders.
    """
    name = str(name_or_path)
    if name in _TEST_FILES:
        categories, load_test = _TEST_FILES[name]
        yield _from_arrays(name, categories, *load_test(find_path(data_root)))
    elif name in DATASETS:
        dataset = load_dataset(name, data_root=data_root, seed=seed, shapes=shapes)
        yield _from_arrays(name, dataset.categories, dataset.test.images.numpy(), dataset.test.labels.numpy())
    elif find_path(name).exists():
        with open_source(Path(name)) as source:
            yield _from_files(source, Path(name))
    else:
        raise UserError(
            f"There is no data set or folder {make_readable(name)!r}; choose {', '.join(KNOWN_SETS)}, or give a "
            "folder or zip with one folder of pictures per class."
        )


KNOWN_SETS = tuple(DATASETS)


def map_labels(names: Sequence[str], categories: Sequence[str]) -> tuple[int, ...]:
    """Finds the classes of a data set among those of a model.

    A class is found by its very name; else by its name with letters composed (NFC); else in any case and width, with
    spaces, dashes or underscores between words; else, for ImageNet's classes, by its WordNet number such as
    n02123045; else by its index. Names that two of the model's classes share ("crane") are not found.

    Returns:
        For each name the index into ``categories``, or -1.
    """
    ways = [(way, _index([way(category) for category in categories])) for way in (str, compose, simplify)]
    synsets = _imagenet_synsets() if len(categories) == 1000 and any(map(_WORDNET_ID.fullmatch, names)) else {}
    labels = []
    for name in names:
        number = int(name) if _SHORT_NUMBER.fullmatch(name) else len(categories)
        index = number if number < len(categories) else -1
        found = next((known[way(name)] for way, known in ways if way(name) in known), None)
        labels.append(synsets.get(name, index) if found is None else found)
    return tuple(labels)


def _index(names: Sequence[str]) -> dict[str, int]:
    """Name -> index, or -1 for a name that is there twice."""
    found: dict[str, int] = {}
    for index, name in enumerate(names):
        found[name] = -1 if name in found else index
    return found


def _imagenet_synsets() -> dict[str, int]:
    """WordNet number -> index among ImageNet-1k's classes."""
    from timm.data import ImageNetInfo

    return {name: index for index, name in enumerate(ImageNetInfo().label_names())}


def _from_arrays(name: str, categories: tuple[str, ...], images: np.ndarray, labels: np.ndarray) -> EvaluationData:
    """A set in memory: images ``(N, C, H, W)`` uint8."""

    def picture(index: int) -> Image.Image:
        image = images[index]
        return Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))

    ids = tuple(f"{name}/{index}" for index in range(len(labels)))
    version = hashlib.sha256(np.ascontiguousarray(images).data)
    version.update(np.ascontiguousarray(labels, np.int64).data)
    return EvaluationData(name, categories, np.asarray(labels, np.int64), ids, picture, version.hexdigest())


def _from_files(source: Source, path: Path) -> EvaluationData:
    layout = sort_into_classes(source)
    parts = {member.part for member in layout.members}
    part = next((part for part in ("test", "validation") if part in parts), None)
    members = [member for member in layout.members if part in (None, member.part)]
    categories = layout.categories
    numbers = {category: number for number, category in enumerate(categories)}

    def picture(index: int) -> Image.Image:
        with source.open(members[index].name) as local:
            return open_image(local)

    return EvaluationData(
        name=source.title,
        categories=categories,
        labels=np.array([numbers[member.category] for member in members], np.int64),
        image_ids=tuple(str(member.name) for member in members),
        picture=picture,
        version=hash_files(path, list_files(path)),
        skipped=layout.skipped,
        notes=layout.notes + ((f"Only the {part} pictures are evaluated.",) if part else ()),
    )
