"""Labelled pictures to evaluate models on, opened one at a time, before any model's preprocessing."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from models import cifar10
from models.data import DATASETS, load_dataset
from models.errors import ModelsError
from models.folders import FolderSource, ZipSource, hash_files, open_zip, sort_into_classes
from models.images import open_image
from models.shapes import ShapesConfig

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
        categories: Names of the classes.
        labels: ``(N,)`` int64, indices into ``categories``.
        image_ids: A name for each image that no other image of the set has.
        picture: Opens the i-th picture; raises :class:`models.images.ImageError` if it cannot be read.
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

    def __len__(self) -> int:
        return len(self.labels)


@contextmanager
def open_evaluation_data(
    name_or_path: str | Path, *, data_root: str | Path, seed: int = 0, shapes: ShapesConfig | None = None
) -> Iterator[EvaluationData]:
    """Opens the test split of a known set, or all pictures of a folder or zip with one folder per class.

    Args:
        name_or_path: A key of ``DATASETS``, or a path.
        data_root: Where the files of known sets are kept.
        seed: Decides what is drawn for shapes, and which digits are the test split.
        shapes: What to draw for shapes.

    Raises:
        ModelsError: Nothing of that name, or its files are missing, damaged or without class folders.
    """
    name = str(name_or_path)
    if name in _TEST_FILES:
        categories, load_test = _TEST_FILES[name]
        yield _from_arrays(name, categories, *load_test(data_root))
    elif name in DATASETS:
        dataset = load_dataset(name, data_root=data_root, seed=seed, shapes=shapes)
        yield _from_arrays(name, dataset.categories, dataset.test.images.numpy(), dataset.test.labels.numpy())
    elif Path(name).is_dir():
        source = FolderSource(Path(name))
        yield _from_files(source, Path(name), [source.path / file for file in source.names()])
    elif Path(name).is_file():
        with open_zip(Path(name)) as archive, TemporaryDirectory(prefix="convscope-") as scratch:
            yield _from_files(ZipSource(archive, Path(name).name, Path(scratch)), Path(name), [Path(name)])
    else:
        raise ModelsError(
            f"There is no data set or folder {name!r}; choose {', '.join(KNOWN_SETS)}, or give a folder or zip "
            "with one folder of pictures per class."
        )


KNOWN_SETS = tuple(DATASETS)


def map_labels(names: Sequence[str], categories: Sequence[str]) -> tuple[int, ...]:
    """Finds the classes of a data set among those of a model.

    A class is found by its very name; else by its name in any case, with spaces, dashes or underscores between
    words; else, for ImageNet's classes, by its WordNet number such as n02123045; else by its index. Names that
    two of the model's classes share ("crane") are not found.

    Args:
        names: Of the data set's classes.
        categories: Of the model's classes.

    Returns:
        For each name the index into ``categories``, or -1.
    """
    exact, similar = _index(categories), _index([_normalized(category) for category in categories])
    synsets = _imagenet_synsets() if len(categories) == 1000 and any(map(_WORDNET_ID.fullmatch, names)) else {}
    labels = []
    for name in names:
        number = int(name) if _SHORT_NUMBER.fullmatch(name) else len(categories)
        index = number if number < len(categories) else -1
        labels.append(exact.get(name, similar.get(_normalized(name), synsets.get(name, index))))
    return tuple(labels)


def _index(names: Sequence[str]) -> dict[str, int]:
    """Name -> index, or -1 for a name that is there twice."""
    found: dict[str, int] = {}
    for index, name in enumerate(names):
        found[name] = -1 if name in found else index
    return found


def _normalized(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


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
    version = hashlib.sha256(np.ascontiguousarray(images))
    version.update(np.asarray(labels, np.int64))
    return EvaluationData(name, categories, np.asarray(labels, np.int64), ids, picture, version.hexdigest())


def _from_files(source: FolderSource | ZipSource, path: Path, files: Sequence[Path]) -> EvaluationData:
    """The pictures of a folder or zip at ``path``, which consists of ``files``."""
    members, skipped = sort_into_classes(source.names(), path.name)
    categories = tuple(sorted({category for category, _ in members}))
    labels = np.array([categories.index(category) for category, _ in members], np.int64)

    def picture(index: int) -> Image.Image:
        with source.open(members[index][1]) as local:
            return open_image(local)

    ids = tuple(str(name) for _, name in members)
    version = hash_files(path, files)
    return EvaluationData(path.name, categories, labels, ids, picture, version, tuple(skipped))
