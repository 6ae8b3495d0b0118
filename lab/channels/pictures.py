"""The pictures that channels are asked about: data sets that are on this machine, and the samples."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from analysis.errors import UserError
from lab.data_overview import is_quick
from lab.lru import RecentResults
from lab.own_pictures import list_folders
from lab.session import Lab
from models.cache import LoadedModel
from models.data.dataset import pick_evenly
from models.data.datasets import DATASETS
from models.data.decoding.formats import ImageError
from models.data.images import open_image
from models.data.labelled import EvaluationData, map_labels, open_evaluation_data
from models.data.samples import Sample, find_fitting, list_samples
from models.settings import check_integer
from models.zoo.spec import ModelSpec

SAMPLES = "samples"
"""The data set of the sample pictures that fit a model."""
MAX_LIMIT = 50_000
MAX_KEPT_BYTES = 64 * 2**20
"""Of known sets that stay in memory, so that another channel's patches are there at once."""

_OPENED: RecentResults[EvaluationData] = RecentResults(MAX_KEPT_BYTES)


@dataclass
class Pictures:
    """Some pictures of a data set, at even distances.

    Attributes:
        places: ``(N,)``: the number in ``data`` of each.
        unreadable: Names of those that could not be opened, as far as that is known.
    """

    data: EvaluationData
    places: Tensor
    unreadable: list[str] = field(default_factory=list)
    _labels: dict[tuple[str, ...], tuple[int, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.places)

    def name(self, number: int) -> str:
        """What the picture is called."""
        return self.data.image_ids[int(self.places[number])]

    def category(self, number: int) -> str:
        """The name of its class in the data set; nothing where it is not known."""
        label = int(self.data.labels[int(self.places[number])])
        return self.data.categories[label] if label >= 0 else ""

    def label(self, spec: ModelSpec, number: int) -> int:
        """The index of its class among those of a model; -1 where the model does not have it, or none is known."""
        label = int(self.data.labels[int(self.places[number])])
        return self.list_labels(spec)[label] if label >= 0 else -1

    def list_labels(self, spec: ModelSpec) -> tuple[int, ...]:
        """The index among a model's classes of each class of the data set, or -1."""
        if spec.categories not in self._labels:
            self._labels[spec.categories] = map_labels(self.data.categories, spec.categories)
        return self._labels[spec.categories]

    def pixels(self, spec: ModelSpec, number: int) -> Tensor:
        """As the network sees it, ``(C, H, W)`` in [0, 1]. Raises ImageError: it cannot be read."""
        return spec.preprocessing.to_pixels(self.data.picture(int(self.places[number])))

    def open(self, spec: ModelSpec, numbers: Sequence[int]) -> tuple[list[int], list[Tensor]]:
        """Those that can be read, with their pixels."""
        found: dict[int, Tensor] = {}
        for number in numbers:
            try:
                found[number] = self.pixels(spec, number)
            except ImageError:
                self.unreadable.append(self.name(number))
        return [*found], [*found.values()]

    def load(self, loaded: LoadedModel, numbers: Sequence[int]) -> tuple[list[int], Tensor]:
        """Those that can be read, with their network input ``(N, C, H, W)``."""
        readable, pixels = self.open(loaded.spec, numbers)
        return readable, loaded.to_inputs(torch.stack(pixels)) if pixels else torch.empty(0)


def list_data(lab: Lab, model: str) -> dict[str, str]:
    """What can be looked at without a download: title -> the name that :func:`open_pictures` takes."""
    samples = {"Sample pictures": SAMPLES} if find_samples(lab.registry.get(model)) else {}
    known = {spec.title: name for name, spec in DATASETS.items() if is_quick(name, lab.data_root)}
    return samples | known | {folder: str(lab.data_root / folder) for folder in list_folders(lab.data_root)}


def count_pictures(lab: Lab, model: str, data: str, limit: int) -> int:
    """How many pictures :func:`open_pictures` would open."""
    with open_pictures(lab, model, data, limit) as pictures:
        return len(pictures)


@contextmanager
def open_pictures(lab: Lab, model: str, data: str, limit: int) -> Iterator[Pictures]:
    """Opens at most ``limit`` pictures of a data set's test split, at even distances.

    Args:
        data: ``samples``, a key of ``DATASETS``, or a folder or zip.

    Raises:
        UserError: There are no such pictures, or a limit that makes no sense.
    """
    check_integer("limit", limit, 1, MAX_LIMIT)
    if data == SAMPLES:
        found = _open_samples(lab.registry.get(model))
        yield Pictures(found, pick_evenly(len(found), limit))
    elif data in DATASETS:
        key = (data, str(lab.data_root))
        known = _OPENED.get(key)
        if known is None:
            with open_evaluation_data(data, data_root=lab.data_root) as known:
                _OPENED.keep(key, known, len(known) * np.asarray(known.picture(0)).nbytes)
        yield Pictures(known, pick_evenly(len(known), limit))
    else:
        with open_evaluation_data(data, data_root=lab.data_root) as found:
            yield Pictures(found, pick_evenly(len(found), limit))


def find_samples(spec: ModelSpec) -> list[Sample]:
    """The samples that fit a model; those with as many colours where nobody knows what it was trained on."""
    kinds = ("garments",) if spec.preprocessing.num_channels == 1 else ("photographs", "shapes")
    return find_fitting(spec.trained_on) or [each for each in list_samples().values() if each.kind in kinds]


def _open_samples(spec: ModelSpec) -> EvaluationData:
    samples = find_samples(spec)
    if not samples:
        raise UserError("There are no sample pictures on this machine; choose another data set.")
    names = tuple(sample.name for sample in samples)
    version = hashlib.sha256(b"".join(sample.path.read_bytes() for sample in samples)).hexdigest()
    unknown = np.full(len(samples), -1, np.int64)
    return EvaluationData(SAMPLES, (), unknown, names, lambda index: open_image(samples[index].path), version)
