"""Published experiments, one click each: a table of them, and ``JOB``, which runs one.

An experiment yields measurements one after the other; after each of them its summary is a complete, if
smaller, table. A run that was stopped keeps what it has, and goes on from there when it is started again.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from analysis.errors import Cancelled, Progress, UserError, no_progress
from lab.documents import read_measurements
from lab.experiments import location_bias, red_green, traces
from lab.experiments.red_green_network import RedGreenConfig
from lab.session import Lab
from models.devices import resolve_device
from models.runs.files import append_line
from models.runs.job import Job
from models.runs.queue import device_turn
from models.runs.run import check_name
from models.runs.stop import StopRequest
from models.runs.submit import next_name
from models.runs.writer import RunWriter
from models.settings import Stored, build_config, check_choice, to_plain

Publish = Callable[[dict, Callable[[], dict]], None]
"""Given each new measurement, and what makes the document so far: summing up again and again takes its time."""
PUBLISH_SECONDS = 0.5
MAX_SHOWN = 50
"""Rows in status.json, which is read every second."""
MAX_KEPT = 200
"""Rows, and measurements, in a document; measurements.jsonl has them all."""


@dataclass(frozen=True)
class Experiment:
    """A table entry.

    Attributes:
        explanation: What was published, and where.
        config: Dataclass of its settings, with defaults for a class of students.
        key: The entries of a measurement that tell it from the others.
        measure: ``measure(lab, config, run_dir, progress, known)`` yields measurements, ready for JSON;
            ``known`` are earlier ones by the values of ``key``, which it yields again as they are.
        summarize: ``summarize(config, measurements)`` gives ``rows``, ``sentence`` and what else it has.
        full: The settings of the published protocol where the defaults are smaller.
    """

    name: str
    title: str
    explanation: str
    config: type
    key: tuple[str, ...]
    measure: Callable[..., Iterator[dict]]
    summarize: Callable[..., dict]
    full: dict = field(default_factory=dict)

    def _find_key(self, measurement: dict) -> tuple:
        return tuple(measurement[name] for name in self.key)

    def run(
        self,
        lab: Lab,
        config: object,
        run_dir: Path,
        progress: Progress = no_progress,
        publish: Publish = lambda measurement, make_document: None,
        known: Sequence[dict] = (),
    ) -> dict:
        """Runs the experiment in this process; it takes no turn on the device.

        Args:
            run_dir: Trained models become runs beside it, named after it.
            progress: Called between epochs and pictures; may raise Cancelled, which stops the experiment.
            publish: Told each measurement that is not among the known.
            known: Measurements of an earlier run with the same settings.

        Returns:
            ``{experiment, title, config, state, rows, sentence, measurements, num_measurements, note, seconds,
            ...}``, ready for JSON; ``state`` is "finished" or "stopped". Only the first ``MAX_KEPT`` rows and
            measurements are in it; the other entries count all.

        Raises:
            UserError: The models, data or settings cannot be used; pictures and model do not fit.
        """
        started = time.perf_counter()
        measured: list[dict] = []

        def document(state: str) -> dict:
            facts = {"experiment": self.name, "title": self.title, "config": to_plain(config), "state": state}
            found = self.summarize(config, measured)
            kept = {"rows": found["rows"][:MAX_KEPT], "measurements": measured[:MAX_KEPT]}
            numbers = {"num_measurements": len(measured), "seconds": time.perf_counter() - started}
            return facts | found | kept | numbers | {"note": _describe_kept(len(measured))}

        try:
            earlier = {self._find_key(measurement): measurement for measurement in known}
            for measurement in self.measure(lab, config, run_dir, progress, earlier):
                measured.append(measurement)
                if self._find_key(measurement) not in earlier:
                    publish(measurement, lambda: document("running"))
        except Cancelled:
            return document("stopped")
        return document("finished")


def _describe_kept(count: int) -> str:
    if count <= MAX_KEPT:
        return ""
    return f"The first {MAX_KEPT} of {count} measurements; measurements.jsonl in the folder of the run has them all."


EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            name="red_green",
            title="Red-Green: a network that should not know where",
            explanation=(
                "Kayhan and van Gemert, CVPR 2020. A class is the order of two squares, but in training each class "
                "has its own half of the picture. In the second test the squares are in the other half. Networks "
                "with a global maximum should not notice, and do, through the borders of their convolutions."
            ),
            config=RedGreenConfig,
            key=("convolution", "seed"),
            measure=red_green.measure,
            summarize=red_green.summarize,
            full={"repeats": 10, "epochs": 50, "optimizer": "adadelta", "learning_rate": 1.0},
        ),
        Experiment(
            name="location_bias",
            title="Location bias: trained on the left, tested on the right",
            explanation=(
                "After Kayhan and van Gemert, CVPR 2020, and Biscione and Bowers, JMLR 2021: small networks see "
                "shapes on the left only. How much do they lose on the right, if all cells (flatten), their mean "
                "(gap), or the best single cell (scan) decide?"
            ),
            config=location_bias.LocationBiasConfig,
            key=("head", "seed"),
            measure=location_bias.measure,
            summarize=location_bias.summarize,
            full={"repeats": 10, "epochs": 20, "num_images": 8000, "num_test": 6000},
        ),
        Experiment(
            name="traces",
            title="Traces: probability along one-pixel shifts",
            explanation=(
                "Zhang, ICML 2019, follows the probability of the right class along 33 diagonal one-pixel shifts; "
                "Azulay and Weiss, 2018, count how often one pixel changes the class (9 crops, 8 steps). With "
                "ImageNet's validation pictures and the weights of 2020, these are the published protocols. "
                "Full size is 1001 pictures, as in the second; Zhang's takes a limit of 50,000."
            ),
            config=traces.TracesConfig,
            key=("picture",),
            measure=traces.measure,
            summarize=traces.summarize,
            full={"limit": 1001},
        ),
    )
}


@dataclass(frozen=True)
class ExperimentConfig(Stored):
    """Which experiment with which settings: the config.json of a run; ``settings`` may be given as a dictionary."""

    experiment: str
    settings: Any = field(default_factory=dict)

    def __post_init__(self):
        check_choice("experiment", self.experiment, EXPERIMENTS)
        kind = EXPERIMENTS[self.experiment].config
        if not isinstance(self.settings, kind):
            object.__setattr__(self, "settings", build_config(kind, self.settings))

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """See :meth:`models.settings.Stored.from_dict`."""
        if not isinstance(values, dict) or "experiment" not in values:
            raise UserError(f"The settings must name an experiment: {', '.join(EXPERIMENTS)}.")
        return super().from_dict(values)


def configure(experiment: str, settings: dict, *, full: bool = False) -> ExperimentConfig:
    """An experiment with these settings instead of its defaults, or of the published protocol's where ``full``.

    Raises:
        UserError: No such experiment, an unknown setting or a value out of range.
    """
    check_choice("experiment", experiment, EXPERIMENTS)
    return ExperimentConfig(experiment, (EXPERIMENTS[experiment].full if full else {}) | settings)


def place_run(runs_root: str | Path, config: ExperimentConfig, name: str | None = None) -> Path:
    """The run directory of an experiment of this name, or by default of the experiment's with the next free number.

    Raises:
        UserError: A bad name.
    """
    return Path(runs_root) / check_name(name or next_name(runs_root, config.experiment))


def _run_in_turn(config: ExperimentConfig, writer: RunWriter, stop: StopRequest, publish: Publish) -> dict:
    """Runs an experiment in turn with the other runs on the device.

    While it runs, ``rows`` and ``sentence`` in status.json are the table so far, and every measurement becomes a
    line of measurements.jsonl, from which a run that is started again goes on. There is a document also after a stop,
    which takes effect within an epoch or a picture.
    """
    device = resolve_device(config.settings.device).type
    measurements = writer.run_dir / "measurements.jsonl"
    known = read_measurements(writer.run_dir, config.experiment, EXPERIMENTS[config.experiment].key)
    may_show, may_report = _Sometimes(), _Sometimes()
    started = time.monotonic()

    def keep(measurement: dict, make_document: Callable[[], dict]) -> None:
        append_line(measurements, measurement)
        publish(measurement, make_document)
        if may_show():
            writer.update(**_show(make_document()))

    def report(done: int, total: int) -> None:
        stop.check()
        if may_report():
            left = (time.monotonic() - started) / done * (total - done) if done else None
            writer.update(step=done, total_steps=total, seconds_left=left)

    writer.update(device=device)
    with device_turn(writer.run_dir, device, stop):
        started = time.monotonic()
        writer.update(state="running")
        lab = Lab(device=config.settings.device, runs_root=writer.run_dir.parent)
        run = EXPERIMENTS[config.experiment].run
        # After a stop in the queue it ends at its first report, with an empty table.
        return run(lab, config.settings, writer.run_dir, report, keep, known)


class _Sometimes:
    """True at most once in ``PUBLISH_SECONDS``: the files of a run are written again and again."""

    def __init__(self):
        self._next = 0.0

    def __call__(self) -> bool:
        is_due = time.monotonic() >= self._next
        if is_due:
            self._next = time.monotonic() + PUBLISH_SECONDS
        return is_due


def _show(document: dict) -> dict:
    return {"rows": document["rows"][:MAX_SHOWN], "sentence": document["sentence"]}


def _summarize(document: dict) -> dict:
    result = {"seconds": document["seconds"], "sentence": document["sentence"]}
    return _show(document) | {"state": document["state"], "result": result}


JOB = Job(
    kind="experiment",
    read_config=ExperimentConfig.from_dict,
    work=_run_in_turn,
    summarize=_summarize,
    describe=lambda document: f"{document['state']} in {document['seconds']:.1f} s. {document['sentence']}",
)
