"""Evaluating models over a data set: :func:`evaluate`, or ``JOB`` as a run.

Chunks of images are computed independently, by one process or by several (``torchrun``), and kept in files until
the evaluation is complete: one that was interrupted goes on where it was. Nothing in the statistics depends on
how many processes took part.
"""

import hashlib
import json
import os
import shutil
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from analysis.consistency.design import Settings
from analysis.consistency.protocols import PROTOCOLS
from analysis.consistency.votes import Votes
from analysis.errors import Cancelled, Progress, explained, no_progress
from lab.evaluation.config import EvaluationConfig
from lab.evaluation.distributed import Processes, all_processes, settled
from lab.evaluation.layer_checks import check_model
from lab.evaluation.predict import CHUNK, Chunk, Voter
from lab.evaluation.report import ModelVotes, describe_environment, describe_protocol, find_published, report
from lab.session import Lab
from models.checkpoints import pack_weights
from models.data.labelled import EvaluationData, map_labels, open_evaluation_data
from models.data.preprocessing import Preprocessing
from models.devices import resolve_device
from models.runs.job import Job, Listener
from models.runs.queue import device_turn
from models.runs.stop import StopRequest
from models.runs.writer import RunWriter


def evaluate(lab: Lab, config: EvaluationConfig, work_dir: Path, progress: Progress = no_progress) -> dict:
    """Evaluates models over a data set.

    Args:
        lab: Knows the models; its device is used.
        config: What to evaluate. Its ``device`` is for whoever makes the lab.
        work_dir: Where finished chunks are kept. Once all are there the statistics are worked out and they
            are removed; until then the same evaluation, started again, goes on from them.
        progress: Told the chunks done and in total, of this process; may raise ``Cancelled`` between two.

    Returns:
        The JSON-ready document; an empty one in all processes but the first.

    Raises:
        Cancelled: In every process, if the progress of one of them raised it.
        UserError: A model or the data cannot be used; the protocol cannot be applied.
    """
    start, boundary = time.perf_counter(), _boundary(config)
    for name in config.models:  # what cannot be done is said before the data are loaded
        PROTOCOLS[config.protocol].frame(choose_settings(config, lab.registry.get(name).preprocessing))
    with (
        settled(config.threads, lab.models.device) as threads,
        all_processes(lab.models.device.type) as processes,
        _open(config) as data,
    ):
        rows = _choose(data, config)
        task = _Task(lab, config, work_dir, data, rows, processes, threads, progress)
        results = [task.run(number) for number in range(len(config.models))]
        document = {}
        if processes.is_main:
            models, pairs, problems = report([votes for votes in results if votes is not None], config.seed)
            if config.checks:
                for model in models:
                    model |= check_model(
                        lab, model["model"], data, rows.tolist(), boundary, twin=config.twin, seed=config.seed
                    )
            document = {
                "protocol": describe_protocol(config.protocol, boundary),
                "data": {
                    "name": data.name,
                    "num_images": len(rows),
                    "skipped": [*data.skipped, *problems],
                    "notes": list(data.notes),
                },
                "environment": describe_environment(lab.models.device, threads, processes.count, config.seed),
                "models": models,
                "pairs": pairs,
                "seconds": time.perf_counter() - start,
            }
    if document:
        for folder in task.folders:
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # others may still be at work in it
            work_dir.rmdir()
    return document


@dataclass
class _Task:
    """The models, one after the other, with what they have in common."""

    lab: Lab
    config: EvaluationConfig
    work_dir: Path
    data: EvaluationData
    rows: np.ndarray
    processes: Processes
    threads: int
    progress: Progress
    folders: list[Path] = field(default_factory=list)

    def run(self, number: int) -> ModelVotes | None:
        """This process's share of the chunks of one model; the first process gets all of them."""
        config, name = self.config, self.config.models[number]
        with self.lab.use(name) as (loaded, facts):
            spec = loaded.spec
            settings = choose_settings(config, spec.preprocessing)
            protocol = PROTOCOLS[config.protocol]
            framing = protocol.frame(settings)
            design = protocol.design([self.data.image_ids[row] for row in self.rows], settings)
            classes = map_labels(self.data.categories, spec.categories)
            labels = np.array(classes)[self.data.labels]
            voter = Voter(
                loaded, self.data, labels, self.rows, design, framing, settings, config.batch_size, config.twin
            )
            sha256 = pack_weights(loaded.module)[1]
            folder = self.work_dir / self._key(name, sha256)
            self.folders.append(folder)
            with explained(f"The evaluation cannot be stored in {self.work_dir}"):
                chunk = self._vote(voter, number, folder)
        if chunk is None:
            return None
        described = {
            "model": name,
            "twin": config.twin,
            "weights_sha256": sha256,
            "stride": (stride := max((layer.stride or 1 for layer in facts.layers), default=1)),
            "framing": {"window": settings.window, **asdict(framing)},
            "shifts": design.facts,
            "batch_size": voter.batch_size,
            "published": find_published(config, name, classes),
        }
        unknown = tuple(name for name, index in zip(self.data.categories, classes, strict=True) if index < 0)
        return ModelVotes(described, chunk, design, stride, unknown)

    def _vote(self, voter: Voter, number: int, folder: Path) -> Chunk | None:
        own = range(self.processes.rank, voter.num_chunks, self.processes.count)
        total, done, finished = len(own) * len(self.config.models), len(own) * number, []
        is_stopped = False
        try:
            self.progress(done, total)
            for index in own:
                finished.append((index, voter.chunk(index, folder)))
                done += 1
                self.progress(done, total)
        except Cancelled:  # the others wait for this process: they have to be told
            is_stopped = True
        stops, batch_sizes = zip(*self.processes.gather([(is_stopped, voter.batch_size)]), strict=True)
        if any(stops):
            raise Cancelled
        voter.batch_size = min(batch_sizes)
        gathered = dict(self.processes.gather(finished))
        if not self.processes.is_main:
            return None
        chunks = [gathered[index] for index in range(voter.num_chunks)]
        return Chunk(Votes.join([c.votes for c in chunks]), np.concatenate([c.problems for c in chunks]))

    def _key(self, name: str, sha256: str) -> str:
        """Changes with everything that decides the votes of a model."""
        settings = self.config.to_dict() | {"models": name, "threads": self.threads, "checks": False}
        settings |= {"data": self.data.name, "data_root": ""}  # the same data under another path
        versions = [torch.__version__, self.lab.models.device.type, CHUNK, sha256, self.data.version]
        ids = [self.data.image_ids[row] for row in self.rows]
        return hashlib.sha256(json.dumps([settings, versions, ids]).encode()).hexdigest()[:24]


def choose_settings(config: EvaluationConfig, prep: Preprocessing) -> Settings:
    """What a protocol needs to know of a model with this preprocessing."""
    return Settings(
        window=prep.crop_size,
        resize=prep.resize_size,
        boundary=_boundary(config),
        max_shift=config.max_shift,
        num_shifts=config.shifts,
        seed=config.seed,
        per_image=config.per_image,
        scale=config.scale,
    )


def _boundary(config: EvaluationConfig) -> str:
    assert config.boundary is not None  # the protocol's own was put in its place
    return config.boundary


def _open(config: EvaluationConfig) -> AbstractContextManager[EvaluationData]:
    return open_evaluation_data(config.data, data_root=config.data_root, seed=config.split_seed, shapes=config.shapes)


def _choose(data: EvaluationData, config: EvaluationConfig) -> np.ndarray:
    """The images that take part, in the order of the data: a smaller limit keeps some of those of a larger."""
    if config.limit is None or config.limit >= len(data):
        return np.arange(len(data))

    def digest(row: int) -> bytes:
        return hashlib.sha256(f"limit/{config.seed}/{data.image_ids[row]}".encode()).digest()

    return np.sort(sorted(range(len(data)), key=digest)[: config.limit])


def evaluate_as_run(lab: Lab, config: EvaluationConfig, run_dir: Path) -> dict:
    """Makes a run of an evaluation, or takes it up again, and computes it here, on all processes that take part.

    Returns:
        The document; an empty one in all processes but the first, and in all of several if the run was stopped.

    Raises:
        UserError: There is such a run already, this only process was stopped, or as for :func:`evaluate`.
    """
    if int(os.environ.get("RANK", "0")) > 0:  # torchrun numbers its processes
        return _take_part(lab, config, run_dir)
    return JOB.start(config, run_dir) or {}


def _take_part(lab: Lab, config: EvaluationConfig, run_dir: Path) -> dict:
    """What all processes but the first do; the first one keeps the run."""
    with StopRequest(run_dir) as stop, suppress(Cancelled):
        evaluate(lab, config, run_dir / "chunks", stop.check)
    return {}


def _evaluate_in_turn(config: EvaluationConfig, writer: RunWriter, stop: StopRequest, listen: Listener) -> dict:
    """A stop takes effect within one chunk; started again, the run goes on from the last finished one."""
    started = time.perf_counter()
    device = resolve_device(config.device).type

    def report_chunk(done: int, total: int) -> None:
        stop.check()
        rate = (time.perf_counter() - started) / done if done else None
        left = None if rate is None else rate * (total - done)
        writer.update(state="running", message="", step=done, total_steps=total, seconds_left=left)

    writer.update(device=device)
    with device_turn(writer.run_dir, device, stop) as my_turn:
        if not my_turn:
            raise Cancelled
        writer.update(state="preparing")
        lab = Lab(device=config.device, data_root=Path(config.data_root), runs_root=writer.run_dir.parent)
        return evaluate(lab, config, writer.run_dir / "chunks", report_chunk)


JOB = Job(
    kind="evaluation",
    read_config=EvaluationConfig.from_dict,
    work=_evaluate_in_turn,
    summarize=lambda document: {"result": {name: document[name] for name in ("seconds", "pairs")}},
    describe=lambda document: f"finished in {document['seconds']:.1f} s",
    stopped="Stopped; the chunks that were finished are kept.",
    go_on="The run {run} was stopped; the same command goes on from its finished chunks.",
)
