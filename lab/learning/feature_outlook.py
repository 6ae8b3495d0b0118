"""How long a comparison of features takes on this machine, from the pace of a few pictures."""

import time
from collections.abc import Callable

import numpy as np
import torch

from analysis.features.kinds import KINDS
from lab.comparisons.measure import MAX_SHIFT, NUM_MOVED
from lab.evaluation.outlook import SETS
from lab.learning.compare_features import NETWORKS, FeaturesConfig
from lab.network_summary import find_kind
from models.networks.table import ARCHITECTURES

START_SECONDS = 4.0
"""Until libraries and pictures are there, and for what is written."""
NETWORK_SECONDS = 1.0
"""For each network: its run is made, and its weights are kept."""
CLASSIFIER_SECONDS = 2e-3
"""For each picture to learn from, of all classifiers together."""
FEW = 12
SLOW = ("hog", "bow")
BACK = 3
"""A step of a training takes about three times a forward pass."""

_measured: dict[tuple[str, int, int], float] = {}


def estimate_features(config: FeaturesConfig) -> float:
    """Seconds, roughly, if the machine does nothing else."""
    kind = find_kind(config.dataset, None)
    tested = min(config.limit, SETS.get(config.dataset, ((), config.limit))[1])
    moved = (2 * MAX_SHIFT + 1) ** 2 * min(tested, NUM_MOVED)
    looked = config.limit + tested + moved
    pace = {name: _measure(name, kind.in_channels, kind.image_size) for name in (*SLOW, *NETWORKS)}
    seconds = START_SECONDS + CLASSIFIER_SECONDS * config.limit + looked * sum(pace[name] for name in SLOW)
    if config.networks:
        passes = BACK * config.epochs * config.limit + tested + moved
        seconds += sum(NETWORK_SECONDS + passes * pace[name] for name in NETWORKS)
    return seconds


def _measure(name: str, channels: int, side: int) -> float:
    """Seconds for a picture, of features or of a network's forward pass; measured once."""
    key = name, channels, side
    if key not in _measured:
        pictures = np.random.default_rng(0).integers(0, 256, (FEW, channels, side, side), np.uint8)
        _measured[key] = min(_time(_prepare(name, pictures)) for _ in range(2)) / FEW
    return _measured[key]


def _prepare(name: str, pictures: np.ndarray) -> Callable[[], object]:
    if name in KINDS:
        extract = KINDS[name].learn(pictures, 0, lambda done, total: None)
        return lambda: extract(pictures)
    kind, build = ARCHITECTURES[name]
    with torch.random.fork_rng(devices=[]):
        network = build(kind(num_classes=10, in_channels=pictures.shape[1], image_size=pictures.shape[2])).eval()
    inputs = torch.from_numpy(pictures).float()
    return lambda: network(inputs)


def _time(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    with torch.inference_mode():
        work()
    return time.perf_counter() - started
