"""What makes an evaluation worth its time: data with classes that the model has; and how long it takes here."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from analysis.consistency.design import Settings
from analysis.consistency.protocols import PROTOCOLS
from analysis.errors import UserError
from lab.evaluation.config import EvaluationConfig
from lab.evaluation.predict import CHUNK, Voter
from lab.evaluation.run import choose_settings
from lab.session import Lab
from models.cache import LoadedModel
from models.data import cifar10, digits, fashion_mnist
from models.data.datasets import DATASETS, HELD_OUT, find_spec
from models.data.labelled import EvaluationData, map_labels, open_evaluation_data
from models.data.shapes import SHAPES, ShapesConfig
from models.registry import RUN_PREFIX
from models.runs.run import read_run
from models.training.config import TrainingConfig
from models.training.foreign_runs import find_dataset
from models.zoo.spec import ModelSpec

SETS = {
    "fashion_mnist": (fashion_mnist.CATEGORIES, 10_000),
    "cifar10": (cifar10.CATEGORIES, 10_000),
    "shapes": (tuple(SHAPES), round(HELD_OUT * ShapesConfig.num_images)),
    "digits": (digits.CATEGORIES, 270),
}
"""Known set -> its classes, and how many test pictures it has; it need not be loaded, or downloaded, for that."""
TITLES = {"fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "shapes": "drawn shapes", "digits": "digits"}
MAX_NAMES = 3
BATCH = EvaluationConfig.batch_size
MEASURE_SECONDS = 0.4
START_SECONDS = 8.0
"""Until an evaluation is at work, and for the checks at its end."""

_measured: dict[tuple[str, str, int], float] = {}
"""Device, model and its version -> seconds for a view: measured once on this machine."""


@dataclass(frozen=True)
class Outlook:
    """What an evaluation will take.

    Attributes:
        pictures: How many pictures are asked about.
        views: How many times each is seen, at most.
        seconds: Of the whole; None where weights have to be downloaded first.
        is_limit: Whether it may take less, as a picture is over once it is wrong.
    """

    pictures: int
    views: int
    seconds: float | None
    is_limit: bool


def look_ahead(lab: Lab, config: EvaluationConfig) -> Outlook:
    """What an evaluation will take here.

    Raises:
        UserError: Nothing would come of it: the data cannot be read, a model lacks their classes, or the
            protocol cannot be applied to it. It says what fits.
    """
    categories, available = _find_classes(config)
    for model in config.models:
        _check_classes(lab, lab.registry.get(model), config.data, categories)
    pictures, protocol = min(config.limit or available, available), PROTOCOLS[config.protocol]
    seconds, views, is_limit, is_here = START_SECONDS, 0, False, True
    for model in config.models:
        spec = lab.registry.get(model)
        settings = choose_settings(config, spec.preprocessing)
        protocol.frame(settings)
        design = protocol.design(["0"], settings)
        views, is_limit = max(views, design.shifts.shape[1]), design.stops_early
        is_here &= spec.is_cached
        if is_here:
            seconds += pictures * design.shifts.shape[1] * measure_seconds(lab, model)
    return Outlook(pictures, views, seconds if is_here else None, is_limit)


def measure_seconds(lab: Lab, model: str) -> float:
    """Seconds that one view of a picture takes, cut out and asked about: the quickest of some on a blank picture."""
    key = lab.models.device.type, model, lab.registry.get(model).version
    if key not in _measured:
        with lab.use(model) as (loaded, _), TemporaryDirectory() as folder:
            end, count, seconds = (
                time.perf_counter() + MEASURE_SECONDS,
                1,
                [_time_chunk(loaded, 1, Path(folder, "0"))],
            )
            while time.perf_counter() < end:
                count = min(4 * count, CHUNK)
                seconds.append(_time_chunk(loaded, count, Path(folder, str(len(seconds)))))
        _measured[key] = min(seconds)
    return _measured[key]


def _time_chunk(loaded: LoadedModel, count: int, folder: Path) -> float:
    """Seconds for a view, where so many blank pictures are seen at once."""
    prep = loaded.spec.preprocessing
    blank = Image.new("RGB", (prep.crop_size, prep.crop_size))
    ids, rows = tuple(map(str, range(count))), np.arange(count)
    data = EvaluationData("blank", ("0",), np.zeros(count, np.int64), ids, lambda index: blank, "")
    settings = Settings(prep.crop_size, prep.resize_size, "zero")
    protocol = PROTOCOLS["exact"]
    design, framing = protocol.design(ids, settings), protocol.frame(settings)
    start = time.perf_counter()
    Voter(loaded, data, data.labels, rows, design, framing, settings, BATCH).chunk(0, folder)
    return (time.perf_counter() - start) / (count * design.shifts.shape[1])


def find_known_data(lab: Lab, model: str) -> tuple[str, dict] | None:
    """What a model was trained on, if that is here, and the fields of a config that divide it as the training did."""
    if not model.startswith(RUN_PREFIX):
        return ("fashion_mnist", {}) if model == "fashion_cnn" else None
    try:
        run = read_run(lab.runs_root, model.removeprefix(RUN_PREFIX).partition("@")[0])
        data = find_dataset(run)
        find_spec(data)
        if data not in DATASETS:
            return data, {}
        trained = TrainingConfig.from_dict(run.config)
    except UserError:
        return None
    seed = trained.seed if trained.split_seed is None else trained.split_seed
    return data, {"split_seed": seed, "shapes": trained.shapes}


def _find_classes(config: EvaluationConfig) -> tuple[tuple[str, ...], int]:
    """The classes of the data, and how many pictures there are."""
    if config.data == "shapes":
        return SETS["shapes"][0], round(HELD_OUT * config.shapes.num_images)
    if config.data in SETS:
        return SETS[config.data]
    with open_evaluation_data(config.data, data_root=config.data_root) as data:
        return data.categories, len(data)


def _check_classes(lab: Lab, spec: ModelSpec, data: str, categories: Sequence[str]) -> None:
    """Refuses data whose classes a model does not have, and says what fits."""
    if _knows(spec, categories, data):
        return
    count = sum(index >= 0 for index in map_labels(categories, spec.categories)) if data != "digits" else 0
    title = TITLES.get(data, Path(data).name)
    fitting = [TITLES[name] for name, (names, _) in SETS.items() if _knows(spec, names, name)]
    own = f"your own pictures, in folders called after its classes{_list(spec.categories)}"
    others = [
        other.name
        for other in lab.registry.list_specs()
        if other.source != "torchvision" and _knows(other, categories, data)
    ]
    advice = f" Or choose {' or '.join(others[:MAX_NAMES])} in the sidebar, which has them." if others else ""
    raise UserError(
        f"{spec.name} has {count or 'none'} of the {len(categories)} classes of {title}{_list(categories)}, so how "
        "often it is right would say nothing. "
        f"What fits it: {', or '.join([*fitting, own])}.{advice}"
    )


def _knows(spec: ModelSpec, categories: Sequence[str], data: str) -> bool:
    """Whether a model has all classes of a known set, or some of own pictures."""
    if data == "digits":  # whose names would be taken for the numbers of any classes
        return tuple(categories) == spec.categories
    found = [index >= 0 for index in map_labels(categories, spec.categories)]
    return all(found) if data in SETS else any(found)


def _list(names: Sequence[str]) -> str:
    more = ", …" if len(names) > MAX_NAMES else ""
    return f" ({', '.join(names[:MAX_NAMES])}{more})"
