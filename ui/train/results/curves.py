"""How a training goes: what it is at, and its curves, live."""

import html
import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from markupsafe import Markup

from analysis.errors import UserError
from analysis.figures.curves import read_number, smooth_epochs
from analysis.figures.training import plot_accuracy, plot_layers, plot_learning_rate, plot_loss, plot_throughput
from analysis.grammar import count
from models.runs.run import UNFINISHED, Run
from ui.services import Services
from ui.train.results.panel import Panel
from ui.train.results.runs_table import describe_share
from ui.widgets.errors import hide_paths
from ui.widgets.events import HIDDEN, Block, Update, Values
from ui.widgets.html import (
    empty_html,
    format_count,
    join_html,
    list_html,
    progress_html,
    sentence_html,
)
from ui.widgets.job_view import busy_html, count_before, describe_wait

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

WATCH_SECONDS = 1.0
NO_RUN = "No training yet. Choose an example or settings above, then start: curves appear here within seconds."
TONES = {"finished": "good", "failed": "bad", "damaged": "bad"}
CHARTS: dict[str, Callable[[Sequence[Mapping], float], "Figure | None"]] = {
    "loss": lambda records, steps: plot_loss(smooth_epochs(records, "train_loss", steps), steps),
    "accuracy": lambda records, steps: plot_accuracy(_smooth_accuracy(records, steps), steps),
    "rate": plot_learning_rate,
    "speed": plot_throughput,
    "weights": lambda records, steps: plot_layers(records, "weight_norm"),
    "gradients": lambda records, steps: plot_layers(records, "gradient_norm"),
    "dead": lambda records, steps: plot_layers(records, "dead"),
    "saturated": lambda records, steps: plot_layers(records, "saturated"),
}
"""Name -> a chart of the records of a run, given the steps of an epoch. The first two are always open."""
Ends = dict[str, dict[str, float]]
"""Name of a chart -> name of a line in it -> how far right it reaches."""
ASSETS = Path(__file__).parents[3] / "assets"


class Curves(Panel):
    """What a run is at, its curves and its log.

    Attributes:
        followed: What :meth:`follow` gives the values of, as its timer ticks.
    """

    def __init__(self, services: Services, run: gr.Dropdown):
        self.services, self.run = services, run
        self.status = gr.HTML(empty_html(NO_RUN), elem_id="train-status")
        self.charts = gr.HTML(
            "{}",
            html_template=(ASSETS / "train_curves.html").read_text(encoding="utf-8"),
            js_on_load=(ASSETS / "train_curves.js").read_text(encoding="utf-8"),
            elem_id="train-curves",
            padding=False,
        )
        with gr.Accordion("Log", open=False) as self.drawer:
            self.log = gr.Textbox(show_label=False, lines=8, max_lines=16, interactive=False, container=False)
        self.timer, self.seen = gr.Timer(WATCH_SECONDS, active=False), gr.State(None)
        self.inputs: list[Block] = [run, self.seen]
        self.outputs: list[Block] = [self.status, self.charts, self.log, self.seen, self.timer]
        self.followed = [self.status, self.charts, self.seen, self.timer]
        self.timers = [self.timer]

    def wire(self, show: Callable[[Values], Values], inputs: set, outputs: Sequence[Block]) -> None:
        """Lets the log be read."""
        self.drawer.expand(self.read_log, self.run, self.log, **HIDDEN)

    def refresh(self, values: Values) -> Values:
        """A run as it is now, the whole of it."""
        updates = self.look(values[self.run], None)
        return updates | {self.log: self.read_log(values[self.run])}

    def follow(self, values: Values) -> Values | Update:
        """What has changed of the run."""
        return self.look(values[self.run], values[self.seen]) or gr.skip()

    def read_log(self, name: str | None) -> str:
        """The end of what the run's process printed."""
        try:
            return hide_paths(self.services.jobs.read(name).log_tail) if name else ""
        except UserError:
            return ""

    def look(self, name: str | None, last: list | None) -> Values:
        """What is to be sent of a run, given what was sent last; nothing while nothing changes."""
        try:
            current = self.services.jobs.read(name) if name else None
            before = count_before(self.services, current) if current else 0
        except UserError as error:
            return self.say_nothing(str(error), last)
        if current is None:
            return self.say_nothing(NO_RUN, last)
        records = current.metrics
        version = [current.state, current.message, before, len(records), current.silence]
        if last and last[:2] == [name, version]:
            return {}
        text = sentence_html(describe_run(current, before), TONES.get(current.state, "")) + _bar(current)
        updates: Values = {
            self.status: text + _warn(current) + _list_skipped(current),
            self.timer: gr.update(active=current.state in UNFINISHED),
        }
        steps = find_epoch(current)
        if last and last[0] == name and last[2] == steps and last[1][3] == len(records):
            return updates | {self.seen: [name, version, *last[2:]]}
        ends = last[3] if last and last[0] == name and last[2] == steps else None
        said, ends = write_charts(current, steps, ends)
        return updates | {self.charts: said, self.seen: [name, version, steps, ends]}

    def say_nothing(self, reason: str, last: list | None) -> Values:
        """Nothing but why there is no run."""
        if last == [reason]:
            return {}
        return {
            self.status: empty_html(reason),
            self.charts: "{}",
            self.seen: [reason],
            self.timer: gr.update(active=False),
        }


def find_epoch(run: Run) -> float | None:
    """Optimiser steps of an epoch; None where neither status nor records tell."""
    total, epochs = (as_positive(run.status.get(name)) for name in ("total_steps", "epochs"))
    if total and epochs:
        return max(total / epochs, 1)
    for record in reversed(run.metrics):
        step, epoch = (as_positive(read_number(record, name)) for name in ("step", "epoch"))
        if record.get("kind") == "epoch" and step and epoch:
            return max(step / epoch, 1)
    return None


def as_positive(value: object) -> float | None:
    """A number above 0, or None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None


def write_charts(run: Run, steps: float | None, ends: Ends | None) -> tuple[str, Ends]:
    """The charts of a run as JSON for ``assets/train_curves.js``, and how far right each of their lines reaches.

    Args:
        run: The run.
        steps: Optimiser steps of an epoch; None where they are not known, and are counted instead of epochs.
        ends: How far right the lines reach that the browser has: it gets only what is beyond. None: it has none.
    """
    charts = {name: _read_chart(plot(run.metrics, steps or 1)) for name, plot in CHARTS.items()}
    if steps is None:
        for chart in charts.values():
            chart["x"] = "step"
    reach = {name: {line["name"]: line["x"][-1] for line in chart["series"]} for name, chart in charts.items()}
    known = ends or {}
    is_less = any(
        end > reach[name].get(line, end) for name, lines in known.items() for line, end in lines.items()
    )  # what was done has been taken back, and is done again
    if ends is None or is_less:
        return _to_json({"run": run.name, "charts": charts}), reach
    more: dict[str, dict] = {}
    for name, chart in charts.items():
        if chart["series"] and not known[name]:
            more[name] = chart
            continue
        grown = [_cut(line, known[name].get(line["name"])) for line in chart["series"]]
        if any(line["x"] for line in grown):
            more[name] = {"series": [line for line in grown if line["x"]]}
    return _to_json({"run": run.name, "more": more}), reach


def _cut(line: dict, end: float | None) -> dict:
    """What of a line is right of ``end``; without its looks where the browser has the rest of it."""
    if end is None:
        return line
    start = bisect_right(line["x"], end)
    return {"name": line["name"], "x": line["x"][start:], "y": line["y"][start:]}


def _read_chart(figure: "Figure | None") -> dict:
    if figure is None:
        return {"x": "step", "y": "", "series": []}
    layout = figure.layout
    return {
        "x": layout.xaxis.title.text,
        "y": layout.yaxis.title.text,
        "percent": bool(layout.yaxis.tickformat),
        "log": layout.yaxis.type == "log",
        "zero": layout.yaxis.rangemode == "tozero" or bool(layout.yaxis.tickformat),
        "series": [
            {
                "name": html.unescape(trace.name),  # plotly reads some HTML
                "color": trace.line.color,
                "dash": trace.line.dash == "dot",
                "fill": trace.fill is not None,
                "x": [_round(value) for value in trace.x],
                "y": [_round(value) for value in trace.y],
            }
            for trace in figure.data
        ],
    }


def _round(value: float) -> float:
    return float(f"{value:.6g}")


def _to_json(document: dict) -> str:
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def _smooth_accuracy(records: Sequence[Mapping], steps: float) -> list[Mapping]:
    return smooth_epochs(records, "train_accuracy", steps)


def describe_run(run: Run, before: int = 0) -> str:
    """What a training is at, in a sentence; ``before`` is how many jobs come first while it waits."""
    status = run.status
    if run.state == "running" and "samples_per_second" in status:
        epoch = f"epoch {max(status.get('epoch', 1), 1)} of {status.get('epochs', 1)}"
        speed = f"{format_count(status['samples_per_second'])} pictures a second"
        until = run.silence or f"about {status.get('seconds_left', 0):.0f} s left"
        return f"{run.name}: running, {epoch}, {speed}, {until}."
    accuracy = {part: run.result_number(f"{part}_accuracy") for part in ("test", "val")}
    if accuracy["test"] is not None and accuracy["val"] is not None:
        measured = (
            f"test accuracy {describe_share(accuracy['test'], run.count_pictures('test'))}, "
            f"validation {describe_share(accuracy['val'], run.count_pictures('validation'))}"
        )
        epochs, seconds = run.result_number("epochs") or 0, run.result_number("seconds") or 0
        after = f"{count(round(epochs), 'epoch')} and {seconds:.0f} s"
        text = f"{run.name}: {run.state} after {after}, {measured}. {run.message}"
        return text.rstrip()
    notes = {
        "queued": describe_wait(before),
        "stopped": "The model so far can be used, and “Go on” continues the training." if run.has_model else "",
    }
    silence = f", {run.silence}" if run.silence else ""
    return f"{run.name}: {run.state}{silence}. {run.message} {notes.get(run.state, '')}".rstrip()


def _warn(run: Run) -> Markup:
    sentences = run.status.get("warning", "").splitlines()
    return join_html(sentence_html(sentence, "bad") for sentence in sentences)


def _list_skipped(run: Run) -> Markup:
    """The files that were left out; the run keeps at most the first hundred."""
    skipped = run.status.get("skipped") or []
    number = f"{len(skipped)}{' or more' if len(skipped) >= 100 else ''}"
    summary = f"{number} {'file was' if len(skipped) == 1 else 'files were'} left out"
    return list_html(summary, skipped) if skipped else Markup("")


def _bar(run: Run) -> Markup:
    return progress_html(run.fraction_done) + busy_html(run, "Stop…") if run.state in UNFINISHED else Markup("")
