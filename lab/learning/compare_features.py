"""All hand-made features beside three networks, as a run: ``JOB``. A stopped one goes on from its finished rows."""

import io
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from analysis.errors import Cancelled, Progress
from analysis.features.classifiers import CLASSIFIERS
from analysis.features.kinds import KINDS
from analysis.features.words import learn_words
from lab.comparisons.measure import list_moved, predict_classes
from lab.comparisons.train import train_arm
from lab.documents import read_measurements
from lab.learning.features import DEFAULT_LIMIT, MAX_LIMIT, Exam, Measured, grade, measure_features, part_of, set_exam
from models.checkpoints import load_run_model
from models.data.datasets import find_spec
from models.devices import DEVICES, resolve_device
from models.ordinary_files import is_ordinary
from models.runs.files import append_line, write_bytes
from models.runs.job import Job, Listener
from models.runs.queue import device_turn
from models.runs.run import Run
from models.runs.stop import StopRequest
from models.runs.writer import RunWriter
from models.settings import Choice, Flag, Integer, Stored, Text, checked_dataclass
from models.training.config import TrainingConfig

NETWORKS = {"linear": "Linear network", "mlp": "MLP", "small_cnn": "Small CNN"}
"""Architecture -> what the table calls it; they learn their features from the pixels."""
TITLES = {name: kind.title for name, kind in KINDS.items()} | NETWORKS
REPORT_SECONDS = 0.5
KEY = ("kind", "classifier")
PICTURES = "pictures.npz"
MAX_TEMPLATES = 32
"""Of a bank, those with the largest weights."""


@checked_dataclass
class FeaturesConfig(Stored):
    """The config.json of a run; ``limit`` pictures at most to learn from, and as many for the test."""

    dataset: Annotated[str, Text("a name or the path of a folder or zip", min_length=1)] = "fashion_mnist"
    limit: Annotated[int, Integer(2, MAX_LIMIT)] = DEFAULT_LIMIT
    networks: Annotated[bool, Flag()] = True
    epochs: Annotated[int, Integer(1, 100)] = 10
    seed: Annotated[int, Integer(0, 2**31)] = 0
    device: Annotated[str, Choice(DEVICES)] = "auto"
    data_root: Annotated[str, Text("the path of a folder")] = "data"

    def __post_init__(self):
        find_spec(self.dataset)
        self.training("linear")  # checks that they fit each other

    def training(self, architecture: str) -> TrainingConfig:
        """How a network is trained: on the pictures that the classifiers of features learn from."""
        return TrainingConfig(
            dataset=self.dataset,
            architecture=architecture,
            train_limit=self.limit,
            epochs=self.epochs,
            seed=self.seed,
            device=self.device,
            data_root=self.data_root,
            batch_size=64,
            learning_rate=0.05,
            snapshots=False,
        )

    @property
    def num_rows(self) -> int:
        """What is compared: kinds of features with each classifier, and networks."""
        return len(KINDS) * len(CLASSIFIERS) + (len(NETWORKS) if self.networks else 0)

    @property
    def num_parts(self) -> int:
        """Kinds of features, and networks: features are taken once for all classifiers."""
        return len(KINDS) + (len(NETWORKS) if self.networks else 0)


def _measure_all(
    config: FeaturesConfig, exam: Exam, run_dir: Path, known: set[tuple], stop: StopRequest, progress: Progress
) -> Iterator[Measured]:
    """Every row that is not known yet; networks become runs named after this one."""
    for number, kind in enumerate(KINDS):
        wanted = [name for name in CLASSIFIERS if (kind, name) not in known]
        if wanted:
            part = part_of(progress, number / config.num_parts, (number + 1) / config.num_parts)
            yield from measure_features(exam, kind, wanted, part)
    for number, name in enumerate(NETWORKS if config.networks else (), len(KINDS)):
        if (name, "") not in known:
            part = part_of(progress, number / config.num_parts, (number + 1) / config.num_parts)
            yield _measure_network(config, exam, name, run_dir, stop, part)


def _measure_network(
    config: FeaturesConfig, exam: Exam, name: str, run_dir: Path, stop: StopRequest, progress: Progress
) -> Measured:
    def hear(line: dict) -> None:
        if line["kind"] == "epoch":
            progress(line["epoch"], 2 * config.epochs)

    arm = name_arm(run_dir, name)
    run = train_arm(config.training(name), arm, stop, hear)
    module, _, preprocessing = load_run_model(arm)
    module = module.to(resolve_device(config.device)).eval()
    started = time.perf_counter()
    predicted = predict_classes(module, preprocessing, exam.test.images, progress=lambda done, total: stop.check())
    seconds = (run.result_number("seconds") or 0.0) + time.perf_counter() - started
    windows, votes = list_moved(exam.moved.images, preprocessing), []
    for number, window in enumerate(windows):
        progress(len(windows) + number, 2 * len(windows))
        votes.append(predict_classes(module, preprocessing, window))
    right = (predicted == exam.test.labels).numpy()
    return grade(exam, (name, ""), right, torch.stack(votes, dim=1), seconds, exam.train.images[0].numel())


def name_arm(run_dir: Path, network: str) -> Path:
    """Where the run of a network is kept."""
    return run_dir.with_name(f"{run_dir.name}-{network}")


def _draw(config: FeaturesConfig, exam: Exam, run_dir: Path, progress: Progress) -> dict[str, NDArray[np.float32]]:
    """What can be seen of the features: the visual dictionary, and the templates of each network.

    Returns:
        ``words (K, C, p, p)``, and with networks ``linear (classes, C, H, W)``, ``mlp (M, C, H, W)`` and ``small_cnn
        (M, C, k, k)``, the weights of their first layers.
    """
    found = {"words": learn_words(exam.train.images.numpy(), exam.seed, progress).words}
    for name in NETWORKS if config.networks else ():
        module, _, _ = load_run_model(name_arm(run_dir, name))
        weights = next(
            layer.weight.detach().float() for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)
        )
        if weights.dim() == 2:
            weights = weights.unflatten(1, exam.train.images.shape[1:])
        strongest = weights.flatten(1).norm(dim=1).argsort(descending=True)[:MAX_TEMPLATES].sort().values
        found[name] = (weights if name == "linear" else weights[strongest]).numpy()
    return found


def read_pictures(run: Run) -> dict[str, NDArray[np.float32]]:
    """What :func:`_draw` has left in a run; nothing before it is finished, or where it is damaged."""
    path = run.path / PICTURES
    if run.state != "finished" or not is_ordinary(path):
        return {}
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (OSError, EOFError, KeyError, ValueError, RuntimeError, ImportError, zipfile.BadZipFile):
        return {}
    return {name: array for name, array in found.items() if _is_drawable(array)}


def _is_drawable(array: NDArray) -> bool:
    is_small = array.ndim == 4 and 0 < array.size <= 2**24
    return is_small and array.dtype == np.float32 and bool(np.isfinite(array).all())


def describe(rows: Sequence[dict]) -> str:
    """What the table says, in a sentence or two; nothing before there are two rows."""
    if len(rows) < 2:
        return ""
    by_hand = [row for row in rows if row["kind"] in KINDS]
    learned = [row for row in rows if row["kind"] in NETWORKS]

    def best(found: Sequence[dict], share: str) -> dict:
        return max(found, key=lambda row: row[share]["value"])

    first = best(by_hand or rows, "accuracy")
    text = f"Right most often, of what was made by hand: {_tell(first, 'accuracy')}"
    if learned:
        other = best(learned, "accuracy")
        text += f"; of what is learned: {_tell(other, 'accuracy')}"
        if not _stand_apart(first["accuracy"], other["accuracy"]):
            text += ", which may be chance: the intervals overlap"
    kept, *others = sorted(rows, key=lambda row: -row["consistency"]["value"])
    text += f". When pictures move by up to 3 pixels, the answer stays most often with {_tell(kept, 'consistency')}"
    if not _stand_apart(kept["consistency"], others[0]["consistency"]):
        text += f" (by chance, perhaps: {name_row(others[0])} is near)"
    return f"{text}, and least often with {_tell(others[-1], 'consistency')}."


def name_row(row: dict) -> str:
    """What a row is about: the features, and what decides from them."""
    decides = CLASSIFIERS[row["classifier"]].title if row["classifier"] in CLASSIFIERS else ""
    return f"{TITLES[row['kind']]} + {decides}" if decides else TITLES[row["kind"]]


def _tell(row: dict, share: str) -> str:
    return f"{name_row(row)}, {100 * row[share]['value']:.1f} %"


def _stand_apart(one: dict, other: dict) -> bool:
    ends = one["low"], one["high"], other["low"], other["high"]
    return None not in ends and (one["high"] < other["low"] or other["high"] < one["low"])


def _compare_in_turn(config: FeaturesConfig, writer: RunWriter, stop: StopRequest, listen: Listener) -> dict:
    """``listen`` is told every new row."""
    started, device = time.monotonic(), resolve_device(config.device).type
    rows = read_measurements(writer.run_dir, "features", KEY)
    before = len(rows)

    def tell(**more: object) -> None:
        writer.update(rows=rows, sentence=describe(rows), **more)

    writer.update(device=device)
    with device_turn(writer.run_dir, device, stop) as my_turn:
        if not my_turn:
            raise Cancelled
        started = time.monotonic()
        writer.update(state="running", message="")
        report = _report_sometimes(writer, stop, started)
        exam = set_exam(config.dataset, config.data_root, config.limit, config.seed, lambda *_: stop.check())
        known = {(row["kind"], row["classifier"]) for row in rows}
        for measured in _measure_all(config, exam, writer.run_dir, known, stop, report):
            rows.append(measured.to_json())
            append_line(writer.run_dir / "measurements.jsonl", rows[-1])
            tell(message=f"{len(rows)} rows of the table are there.")
            listen(rows[-1])
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **_draw(config, exam, writer.run_dir, lambda *_: stop.check()))
        write_bytes(writer.run_dir / PICTURES, file.getvalue())
    return {
        "config": config.to_dict(),
        "rows": rows,
        "sentence": describe(rows),
        "data": {"name": exam.dataset.name, "notes": list(exam.dataset.warnings)},
        "seconds": time.monotonic() - started if not before else sum(row["seconds"] for row in rows),
    }


def _report_sometimes(writer: RunWriter, stop: StopRequest, started: float) -> Progress:
    """Notes how far the work is, twice a second at most; raises Cancelled after a request to stop."""
    due = 0.0

    def report(done: int, total: int) -> None:
        nonlocal due
        stop.check()
        if (now := time.monotonic()) >= due:
            due = now + REPORT_SECONDS
            left = (now - started) / done * (total - done) if done else None
            writer.update(step=done, total_steps=total, seconds_left=left)

    return report


JOB = Job(
    kind="features",
    read_config=FeaturesConfig.from_dict,
    work=_compare_in_turn,
    summarize=lambda document: {"result": {name: document[name] for name in ("seconds", "sentence")}},
    describe=lambda document: f"finished in {document['seconds']:.1f} s. {document['sentence']}",
    stopped="Stopped; the rows that were finished are kept.",
    go_on="The run {run} was stopped; the same command goes on from its finished rows.",
)
