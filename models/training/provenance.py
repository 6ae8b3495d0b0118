"""Where a result comes from: which data a training used, bit for bit, and on what it ran."""

import hashlib
import json
import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath

import torch
from torch import Tensor

from analysis.errors import UserError
from analysis.grammar import count
from models.data.dataset import Dataset, Split
from models.settings import check_integer

PACKAGES = ("torchvision", "numpy", "accelerate", "safetensors", "scikit-learn")
"""Those whose version may change what a training gives."""
SPLITS = ("train", "validation", "test")
MAX_IDS = 10**9
_RANGE = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10}))?")


def identify_data(dataset: Dataset) -> dict:
    """The content of data.json: name, category names, SHA-256, and for each split its size and ids.

    The hash of a split is that of its pictures and labels in their order, with their shape; the hash of the whole
    is that of the three and of the category names. About 30 ms for Fashion-MNIST.
    """
    splits = {name: _describe_split(getattr(dataset, name), len(dataset.categories)) for name in SPLITS}
    categories = list(dataset.categories)
    whole = json.dumps([categories, *(split["sha256"] for split in splits.values())])
    return {
        "name": dataset.name,
        "categories": categories,
        "image_size": dataset.image_size,
        "in_channels": dataset.in_channels,
        "sha256": hashlib.sha256(whole.encode()).hexdigest(),
        "splits": splits,
    }


def describe_config(config: Mapping) -> dict:
    """A training's configuration without where data lie on this machine: of a path it keeps the last part."""
    places = {"dataset": PurePath(str(config.get("dataset"))).name, "data_root": "data"}
    return {**config, **{name: place for name, place in places.items() if name in config}}


def describe_environment(device: str) -> dict:
    """The content of environment.json: versions, number of threads and the device, without the machine's name.

    Args:
        device: "cpu", "cuda" or "mps": what the training runs on.
    """
    on_cuda = device == "cuda" and torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,  # says also what it was built for
        **{package: _find_version(package) for package in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "device": device,
        "device_name": torch.cuda.get_device_name() if on_cuda else torch.backends.cpu.get_cpu_capability(),
        "cuda": torch.version.cuda if on_cuda else None,
        "threads": torch.get_num_threads(),
    }


def format_ids(ids: Tensor) -> str:
    """Different numbers from 0 on as ranges in rising order: ``[7, 0, 1, 2]`` is "0-2,7"."""
    values = ids.cpu().sort().values
    if not len(values):
        return ""
    breaks = (values.diff() != 1).nonzero().flatten() + 1
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), breaks])
    ends = torch.cat([breaks, torch.tensor([len(values)])]) - 1
    pairs = zip(values[starts].tolist(), values[ends].tolist(), strict=True)
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in pairs)


def read_ranges(text: object) -> list[tuple[int, int]]:
    """The inverse of :func:`format_ids`, as (first, last) of each range, for text that may come from anyone.

    Raises:
        UserError: No such text.
    """
    if not isinstance(text, str):
        raise UserError("ids must be ranges of numbers such as 0-2,7.")
    ranges, previous = [], -1
    for part in text.split(",") if text else ():
        found = _RANGE.fullmatch(part)
        if not found:
            raise UserError(f"ids must be ranges of numbers such as 0-2,7, not {part[:40]!r}.")
        low, high = int(found[1]), int(found[2] or found[1])
        if not previous < low <= high < MAX_IDS:
            raise UserError(f"ids must rise and stay below {MAX_IDS}, which {part!r} does not.")
        ranges.append((low, high))
        previous = high
    return ranges


def check_data(values: dict) -> None:
    """Checks the content of a data.json that may come from anyone.

    Raises:
        UserError: Something is missing or contradicts the rest.
    """
    categories, splits = values.get("categories"), values.get("splits")
    if not isinstance(values.get("name"), str) or not is_sha256(values.get("sha256")):
        raise UserError("name and sha256 must say which data these are.")
    if not isinstance(categories, list) or not all(isinstance(name, str) for name in categories):
        raise UserError("categories must be a list of names.")
    if not isinstance(splits, dict) or set(splits) != set(SPLITS):
        raise UserError(f"splits must be {', '.join(SPLITS)}.")
    for name, split in splits.items():
        if not isinstance(split, dict) or not is_sha256(split.get("sha256")):
            raise UserError(f"the split {name} has no sha256.")
        check_integer(f"count of {name}", split.get("count"), 0, MAX_IDS)
        num_ids = sum(last - first + 1 for first, last in read_ranges(split.get("ids")))
        if num_ids != split["count"]:
            raise UserError(f"the split {name} has {count(split['count'], 'picture')} but {count(num_ids, 'id')}.")


def is_sha256(value: object) -> bool:
    """Whether this is a SHA-256 in hex, as ``hexdigest`` writes it."""
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _describe_split(split: Split, num_classes: int) -> dict:
    images, labels = split.images.cpu().contiguous(), split.labels.cpu().contiguous()
    digest = hashlib.sha256(f"{tuple(images.shape)} {images.dtype} {labels.dtype}\n".encode())
    digest.update(images.numpy().data)
    digest.update(labels.numpy().data)
    return {
        "count": len(labels),
        "per_class": torch.bincount(labels, minlength=num_classes).tolist(),
        "sha256": digest.hexdigest(),
        "ids": format_ids(split.ids),
    }


def _find_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
