"""A network before it exists: what each layer would make, cost and see for the pictures of a data set."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from analysis.errors import UserError
from analysis.network.summary import Summary, summarize
from models.data import cifar10, digits, fashion_mnist
from models.data.class_layout import sort_into_classes
from models.data.datasets import DATASETS, OWN_PICTURES
from models.data.folders import open_source
from models.data.shapes import SHAPES
from models.names import find_path, make_readable
from models.networks.options import ArchitectureConfig
from models.networks.table import ARCHITECTURES, sketch_model
from models.settings import build_config

CONTENTS = {
    "fashion_mnist": (1, len(fashion_mnist.CATEGORIES)),
    "shapes": (3, len(SHAPES)),
    "digits": (1, len(digits.CATEGORIES)),
    "cifar10": (3, len(cifar10.CATEGORIES)),
}
"""Data set -> (channels, classes), known without loading it. Own pictures always have 3 channels."""
ASSUMED_CLASSES = 2


@dataclass(frozen=True)
class DataKind:
    """What of a data set decides the shapes in a network; ``note`` says what had to be assumed."""

    in_channels: int
    num_classes: int
    image_size: int
    note: str = ""


def find_kind(dataset: str | Path | None, image_size: int | None = None, num_classes: int | None = None) -> DataKind:
    """What is known of a data set without opening its pictures.

    Args:
        dataset: A key of ``DATASETS``, or a folder or zip of own pictures; None where it is not chosen yet.

    Raises:
        UserError: A folder or zip that cannot be trained on.
    """
    if dataset in DATASETS:
        return DataKind(*CONTENTS[dataset], image_size or DATASETS[dataset].image_size)
    side = image_size or OWN_PICTURES.image_size
    if num_classes is None and dataset is not None:
        num_classes = _count_classes(Path(dataset))
    if num_classes is None:
        note = f"No pictures are chosen yet: this is for colour pictures in {ASSUMED_CLASSES} classes."
        return DataKind(3, ASSUMED_CLASSES, side, note)
    return DataKind(3, num_classes, side)


def fit_kind(architecture: str, options: Mapping[str, object], kind: DataKind) -> DataKind:
    """The pictures as a training sees them that is told no size: pretrained networks have one of their own.

    Args:
        kind: The pictures, at the size that the data set has them.

    Raises:
        UserError: As for :func:`summarize_network`.
    """
    if _find_config(architecture).image_size is not None:
        return kind
    return replace(kind, image_size=_build_config(architecture, options, kind, None).image_size)


def summarize_network(architecture: str, options: Mapping[str, object], kind: DataKind) -> Summary:
    """The layers of a network for one picture, worked out from shapes alone; the last answers are remembered.

    Args:
        options: What is chosen of it; all else has its default.

    Raises:
        UserError: There is no such architecture or option, or what is chosen cannot work with such pictures.
    """
    return _summarize(_build_config(architecture, options, kind, kind.image_size))


def _find_config(architecture: str) -> type[ArchitectureConfig]:
    if architecture not in ARCHITECTURES:
        raise UserError(f"There is no architecture {architecture!r}; there are {', '.join(ARCHITECTURES)}.")
    config_class, _ = ARCHITECTURES[architecture]
    return config_class


def _build_config(
    architecture: str, options: Mapping[str, object], kind: DataKind, image_size: int | None
) -> ArchitectureConfig:
    from_data = {"num_classes": kind.num_classes, "in_channels": kind.in_channels, "image_size": image_size}
    return build_config(_find_config(architecture), {**options, **from_data})


@lru_cache(maxsize=64)
def _summarize(config: ArchitectureConfig) -> Summary:
    network = sketch_model(config).to("meta")  # also the few buffers that are computed when it is built
    side = config.image_size
    return summarize(network, torch.empty(1, config.in_channels, side, side, device="meta"))


def _count_classes(path: Path) -> int:
    path = find_path(path)
    try:
        facts = path.stat()
    except OSError as error:
        raise UserError(f"There is no folder or zip file {make_readable(path.name)}.") from error
    return _count_named_classes(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=64)
def _count_named_classes(path: Path, *_version: int) -> int:
    with open_source(path) as source:
        return len(sort_into_classes(source).categories)
