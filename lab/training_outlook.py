"""How long a training will take on this machine, from the pace of a few of its steps."""

import threading
import time
from dataclasses import replace
from itertools import count

import torch

from lab.comparisons.config import ArmsConfig, DataFacts
from lab.comparisons.measure import MAX_SHIFT, MAX_TRAIN_PICTURES, NUM_MOVED
from lab.evaluation.outlook import measure_seconds
from lab.network_summary import find_kind
from lab.session import Lab
from models.data.datasets import HELD_OUT, VALIDATION
from models.devices import resolve_device
from models.networks.table import ARCHITECTURES
from models.training.config import TrainingConfig
from models.training.lr_finder import STEPS
from models.zoo.backbones import DEFAULT_BACKBONE

START_SECONDS = 3.0
"""Until the first step, and for what is written at the end."""
MEASURE_SECONDS, LEAST_STEPS = 0.4, 12
LONGEST_SECONDS, FEW_STEPS = 2.0, 3
"""After so long few steps are enough; the first one is slow."""
FEW = 8
"""Pictures in a step of a pretrained network, which takes long with each."""
FORWARD_SHARE = 1 / 3
"""Of what a training step takes, about so much is the forward pass that validation and test consist of."""
OFFICIAL = {
    "fashion_mnist": (60_000 - VALIDATION, VALIDATION, 10_000),
    "cifar10": (50_000 - VALIDATION, VALIDATION, 10_000),
    "digits": (1257, 270, 270),
}
"""Known set -> its pictures for training, validation and test."""

_measured: dict[tuple, float] = {}
"""Network and machine -> seconds for a picture of a training step: measured once."""
_guard = threading.Lock()


def estimate_training(config: TrainingConfig) -> float | None:
    """Seconds that a training takes if the machine does nothing else; None where its set is not a known one."""
    found = _count_pictures(config)
    return None if found is None else START_SECONDS + _count_passes(config, *found) * _measure_step(config)


def estimate_arms(config: ArmsConfig) -> float | None:
    """The same of all trainings of a comparison, with what is measured of their networks.

    Raises:
        UserError: An arm is not possible with these data.
    """
    found, kind = _count_pictures(config.base), find_kind(config.base.dataset, config.base.image_size)
    if found is None:
        return None
    facts = DataFacts(found[0], kind.num_classes, kind.in_channels, kind.image_size)
    seconds = 0.0
    for training in (arm.configure(config.base, facts) for arm in config.arms):
        train, validation, test = _count_pictures(training) or found
        measured = min(train, MAX_TRAIN_PICTURES)
        if config.shifts:
            measured += (2 * MAX_SHIFT + 1) ** 2 * min(test, NUM_MOVED)
        passes = _count_passes(training, train, validation, test) + FORWARD_SHARE * measured
        seconds += passes * _measure_step(training)
    return START_SECONDS + config.seeds * seconds


def estimate_rates(config: TrainingConfig) -> float:
    """The same of a search for a learning rate, but for opening the data."""
    return START_SECONDS + STEPS * config.batch_size * _measure_step(config)


def estimate_transfer(lab: Lab, pictures: int) -> float | None:
    """The same of the last layer of a pretrained network, which sees each picture once; None without its weights."""
    if not lab.registry.get(DEFAULT_BACKBONE).is_cached:
        return None
    return START_SECONDS + pictures * measure_seconds(lab, DEFAULT_BACKBONE)


def _count_pictures(config: TrainingConfig) -> tuple[int, int, int] | None:
    """Pictures for training, validation and test."""
    held_out = round(HELD_OUT * config.shapes.num_images)
    shapes = {"shapes": (config.shapes.num_images - 2 * held_out, held_out, held_out)}
    found = (OFFICIAL | shapes).get(config.dataset)
    return found and (min(config.train_limit or found[0], found[0]), *found[1:])


def _count_passes(config: TrainingConfig, train: int, validation: int, test: int) -> float:
    """How many times a picture goes through training steps; the forward passes of measurements count as parts."""
    if config.architecture == "transfer" and config.model.get("mode", "frozen") == "frozen":
        return FORWARD_SHARE * (train + validation + test)  # the backbone sees each picture once
    return config.epochs * train + FORWARD_SHARE * (config.epochs * validation + test)


def _measure_step(config: TrainingConfig) -> float:
    kind = find_kind(config.dataset, config.image_size)
    config = replace(config, device=resolve_device(config.device).type)
    key = config.device, config.architecture, str(config.model), config.batch_size, kind
    with _guard:  # two at once would slow each other
        if key not in _measured:
            with torch.random.fork_rng(), torch.enable_grad():
                _measured[key] = _time_steps(config, kind.in_channels, kind.num_classes, kind.image_size)
        return _measured[key]


def _time_steps(config: TrainingConfig, in_channels: int, num_classes: int, side: int) -> float:
    """Seconds for a picture in the quickest of some steps on a batch of blank pictures."""
    sizes = {"num_classes": num_classes, "in_channels": in_channels, "image_size": side}
    network = ARCHITECTURES[config.architecture][1](config.architecture_config(**sizes))
    network = network.to(device=config.device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    size = min(config.batch_size, FEW) if config.architecture == "transfer" else config.batch_size
    inputs = torch.zeros(size, in_channels, side, side, device=config.device)
    labels = torch.zeros(size, dtype=torch.long, device=config.device)
    seconds: list[float] = []
    threads = torch.get_num_threads() if config.device == "cpu" else 0
    begun = time.perf_counter()
    for step in count():
        elapsed = time.perf_counter() - begun
        if step >= (FEW_STEPS if elapsed > LONGEST_SECONDS else LEAST_STEPS) and elapsed >= MEASURE_SECONDS:
            break
        start, busy = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(inputs), labels)
        loss.backward()
        optimizer.step()
        loss.item()
        seconds.append(time.perf_counter() - start)
        if threads:  # what it would take if nobody else wanted the processor
            seconds.append((time.process_time() - busy) / threads)
    return min(seconds) / size
