"""Matched arms: one base configuration, one thing varied, several seeds, and what can be said of the difference.

:func:`run_arms`, or ``JOB`` as a run. Every (arm, seed) is an ordinary
training run beside the comparison's own directory, NAME-ARM-SEED, and so a model of the registry. All arms of a seed
see the same pictures in the same order: random numbers depend on seed and step alone
(:mod:`models.training.random_streams`). They are trained seed by seed, so that what a stopped comparison has is
comparable; finished arms are kept.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.errors import Cancelled, UserError
from lab.comparisons.config import Arm, ArmsConfig, DataFacts
from lab.comparisons.measure import (
    MAX_SHIFT,
    count_answers,
    describe_data,
    find_guessing,
    measure_accuracy,
    measure_translation,
    open_data,
)
from lab.comparisons.readings import CONFIDENCE
from lab.comparisons.report import complete, summarize
from lab.comparisons.train import find_arm, train_arm
from lab.documents import check_arm_measurement, check_trained_arm
from models.checkpoints import load_run_model
from models.data.dataset import Dataset
from models.devices import resolve_device
from models.problems import is_disk_full
from models.runs.files import append_line, pack_lines, read_lines, write_bytes
from models.runs.job import Job, Listener, ignore
from models.runs.queue import device_turn
from models.runs.run import Run
from models.runs.stop import StopRequest
from models.runs.writer import RunWriter
from models.training.config import TrainingConfig
from models.training.provenance import describe_environment
from models.training.setup import choose_pictures

CURVE = ("step", "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "sample_accuracy")
"""What is kept of each epoch, and of each validation within one."""
POINTS = ("epoch", "sample")
"""Kinds of lines of metrics.jsonl that are points of an arm's curve."""


@dataclass(frozen=True)
class Treatment:
    """One training of a comparison; ``run`` is the name of the run that holds it."""

    arm: Arm
    seed: int
    run: str
    training: TrainingConfig


def plan_arms(config: ArmsConfig, name: str, facts: DataFacts) -> tuple[Treatment, ...]:
    """All trainings in their order: seed by seed. Raises UserError: an arm is not possible with these data."""
    arms = [(arm, arm.configure(config.base, facts)) for arm in config.arms]
    return tuple(
        Treatment(arm, seed, f"{name}-{arm.name}-{seed}", replace(training, seed=seed))
        for seed in config.all_seeds
        for arm, training in arms
    )


class _Comparison:
    """The state of one job: what is planned, measured and shown."""

    def __init__(self, config: ArmsConfig, writer: RunWriter, stop: StopRequest):
        self.config, self.writer, self.stop = config, writer, stop
        self.run_dir, self.root = writer.run_dir, writer.run_dir.parent
        self.started, self.epochs_here, self.epochs_before = time.monotonic(), 0, 0
        self._data: tuple[object, Dataset] | None = None

    def run(self) -> dict:
        self.writer.update(state="preparing", message="Opening the data")
        dataset = self._open(self.config.base)
        self.facts = describe_data(dataset)
        self.guessing = find_guessing(dataset, self.config.base)
        self.treatments = plan_arms(self.config, self.run_dir.name, self.facts)
        self.arms = [
            {
                "name": arm.name,
                "title": arm.title,
                "parameters": _count_parameters(arm.configure(self.config.base, self.facts), self.facts),
            }
            for arm in self.config.arms
        ]
        runs = [find_arm(treatment.training, self.root / treatment.run) for treatment in self.treatments]
        self._collect_lines(runs)
        self.epochs = [_count_epochs(treatment.training, self.facts) for treatment in self.treatments]
        self.networks: list[dict] = []
        self.writer.update(total_steps=sum(self.epochs))
        for number in range(len(self.treatments)):
            self._work_on(number)
            self._show()
        if not self._measured():
            raise UserError(f"No arm could be trained. {self.networks[0]['message']}")
        return self._document()

    def _work_on(self, number: int) -> None:
        """Trains one arm with one seed, unless that is done, and measures it."""
        treatment = self.treatments[number]
        per_seed = len(self.config.arms)
        place = f"Seed {treatment.seed}, arm {number % per_seed + 1} of {per_seed}: {treatment.arm.title}"
        self.writer.update(state="running", message=place)
        self.epochs_before = sum(self.epochs[:number])
        known = {"arm": treatment.arm.name, "seed": treatment.seed, "run": treatment.run}
        try:
            run = train_arm(treatment.training, self.root / treatment.run, self.stop, self._listen(treatment))
            found = self._measure(treatment, run)
        except UserError as error:
            if is_disk_full(error):  # for this one to go on once there is room
                raise
            # An arm that diverges is a finding, and the others go on.
            self.networks.append({**known, "state": "failed", "message": str(error)})
            return
        self.networks.append({**known, "state": "finished", **found})

    def _measure(self, treatment: Treatment, run: Run) -> dict:
        result = run.result or {}
        path, key = (
            self.run_dir / "measurements.jsonl",
            {"run": run.name, "weights_sha256": result.get("weights_sha256")},
        )
        points = _points(run)
        check_trained_arm(run, points)
        lines = [line for line in read_lines(path) if key.items() <= line.items()]
        if lines:
            kept = lines[-1]
            check_arm_measurement(path, kept)
        else:
            kept = {**key, **self._test(treatment)}
            append_line(path, kept)
        return {
            **{name: value for name, value in kept.items() if name != "run"},
            **{name: result.get(name) for name in ("val_accuracy", "test_accuracy", "seconds")},
            "curve": [_keep(line) for line in points if line["kind"] == "epoch"],
            "samples": [
                {"step": line["step"], "accuracy": line["sample_accuracy"]}
                for line in points
                if "sample_accuracy" in line
            ],
        }

    def _test(self, treatment: Treatment) -> dict:
        device = resolve_device(treatment.training.device)
        dataset = self._open(treatment.training)
        # As a rival of other runs that wait.
        self.writer.update(state="queued", device=device.type)
        with device_turn(self.run_dir, device.type, self.stop) as my_turn:
            if not my_turn:
                raise Cancelled
            self.writer.update(state="running")
            module, _, preprocessing = load_run_model(self.root / treatment.run)
            module = module.to(device).eval()
            pictures = choose_pictures(treatment.training, dataset)
            size, check = treatment.training.batch_size, self.stop.check
            share = measure_accuracy(module, preprocessing, pictures, batch_size=size, progress=check)
            found: dict[str, Any] = {"train_accuracy": share}
            if self.config.shifts:
                moved = measure_translation(module, preprocessing, dataset.test, batch_size=size, progress=check)
                found |= {"consistency": moved.consistency, "shifted_accuracy": moved.accuracy}
            return found | {"counted": count_answers(len(pictures), len(dataset.validation), len(dataset.test))}

    def _open(self, config: TrainingConfig) -> Dataset:
        key = (config.data_seed, config.picture_size)
        if self._data is None or self._data[0] != key:
            self._data = (key, open_data(config))
        return self._data[1]

    def _listen(self, treatment: Treatment) -> Callable[[dict], None]:
        def listen(line: dict) -> None:
            if line["kind"] in POINTS:
                self.writer.add_metrics(_to_line(treatment, line))
            if line["kind"] == "epoch":
                self.epochs_here += 1  # since the last "Go on", as the clock
                done = self.epochs_before + line["epoch"]
                left = (time.monotonic() - self.started) / self.epochs_here * (sum(self.epochs) - done)
                self.writer.update(step=done, seconds_left=left)

        return listen

    def _collect_lines(self, runs: Sequence[Run | None]) -> None:
        """Begins metrics.jsonl with what earlier attempts have of the arms' curves."""
        lines = [
            _to_line(treatment, line)
            for treatment, run in zip(self.treatments, runs, strict=True)
            if run is not None and run.state != "damaged"  # that one begins anew
            for line in _points(run)
        ]
        write_bytes(self.run_dir / "metrics.jsonl", pack_lines(lines))

    def _measured(self) -> list[dict]:
        return [network for network in self.networks if network["state"] == "finished"]

    def _summarize(self) -> dict:
        config, chance = self.config, 1 / self.facts.num_classes
        found = summarize(self.arms, self._measured(), config.question, config.direction, chance, self.guessing)
        failed = [network for network in self.networks if network["state"] == "failed"]
        if failed:
            found["sentence"] = f"{failed[0]['run']} failed: {failed[0]['message']} {found['sentence']}".strip()
        return found

    def _show(self) -> None:
        found = self._summarize()
        self.writer.update(rows=found["rows"], sentence=found["sentence"], also=found["also"])

    def _document(self) -> dict:
        config, found = self.config, self._summarize()
        return {
            "title": config.title,
            "claim": config.claim,
            "question": config.question,
            **found,
            "targets": {str(seed): target for seed, target in found["targets"].items()},  # as JSON has it
            "networks": complete(self.arms, self.networks, self.guessing),
            "num_seeds": config.seeds,
            "confidence": CONFIDENCE,
            "max_shift": MAX_SHIFT if config.shifts else None,
            "chance": 1 / self.facts.num_classes,
            "least_target": self.guessing.clearly_above,
            "seconds": sum(network.get("seconds") or 0.0 for network in self.networks),
            "environment": describe_environment(resolve_device(config.base.device).type),
            "config": config.to_dict(),
        }


def run_arms(config: ArmsConfig, writer: RunWriter, stop: StopRequest, listen: Listener = ignore) -> dict:
    """Trains every arm with every seed and compares them.

    While it goes on, metrics.jsonl of the comparison gets every epoch of every arm as a line, and ``rows`` and
    ``sentence`` of status.json are the table so far.

    Args:
        listen: Not called; the files of the run say it all.

    Returns:
        ``{title, claim, question, rows, sentence, targets, networks, ...}``, ready for JSON: the table of
        :func:`lab.comparisons.report.summarize`, and every trained network with its ``curve``.

    Raises:
        Cancelled: It was stopped.
        UserError: The data cannot be used, or no arm could be trained.
    """
    return _Comparison(config, writer, stop).run()


def _count_parameters(training: TrainingConfig, facts: DataFacts) -> int:
    return training.architecture_config(**facts.shape | {"image_size": training.picture_size}).num_parameters


def _count_epochs(training: TrainingConfig, facts: DataFacts) -> int:
    if training.max_steps is None:
        return training.epochs
    pictures = min(training.train_limit or facts.num_train, facts.num_train)
    return math.ceil(training.max_steps / max(1, pictures // min(training.batch_size, pictures)))


def _points(run: Run) -> list[dict]:
    return [line for line in run.metrics if line.get("kind") in POINTS]


def _keep(line: dict) -> dict:
    return {name: line[name] for name in CURVE if name in line}


def _to_line(treatment: Treatment, line: dict) -> dict:
    return {"kind": line["kind"], "arm": treatment.arm.name, "seed": treatment.seed, **_keep(line)}


JOB = Job(
    kind="arms",
    read_config=ArmsConfig.from_dict,
    work=run_arms,
    summarize=lambda document: {"result": {name: document[name] for name in ("seconds", "sentence")}},
    describe=lambda document: document["sentence"],
    stopped="Stopped; what was trained is kept, and it can go on.",
    go_on="The comparison was stopped; the same command goes on with what was trained.",
)
