"""Runs side by side: their curves in one chart, their results, and the settings in which they differ."""

import json
from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from analysis.errors import Progress, UserError
from analysis.figures.training import RUN_MEASURES, plot_runs
from lab.runs.compare import compare_runs
from models.runs.run import Run
from ui.services import Services
from ui.train.results.runs_table import comparison_html
from ui.widgets.downloads import MadeFile
from ui.widgets.errors import shows_errors
from ui.widgets.events import QUICK, Update
from ui.widgets.html import empty_html

MAX_COMPARED = 6
EMPTY = (
    "Choose two to six runs, here or by the boxes of the table: their curves in one chart, their results, and the "
    "settings in which they differ."
)


def build_run_comparison(services: Services, timer: gr.Timer) -> gr.Dropdown:
    """Lays out the comparison and wires it; returns the choice of runs.

    Args:
        services: The lab and what goes with it.
        timer: Ticks while the panel is open, so that the curves of runs at work grow.
    """
    with gr.Row(elem_classes="controls"):
        compare = gr.Dropdown(
            [],
            value=[],
            multiselect=True,
            max_choices=MAX_COMPARED,
            allow_custom_value=True,  # or gradio refuses all that is asked while a chosen run is being deleted
            label="Compare",
            info=f"Two to {MAX_COMPARED} runs",
            elem_id="runs-compare",
            min_width=280,
            scale=3,
        )
        measure = gr.Dropdown(
            [(title.capitalize(), name) for name, (title, _) in RUN_MEASURES.items()],
            value="val_accuracy",
            label="Curve",
            info="After each epoch, by step",
            elem_id="runs-measure",
            min_width=200,
        )
    plot = gr.Plot(show_label=False, visible=False, elem_id="runs-plot")
    results = gr.HTML(empty_html(EMPTY), elem_id="runs-results")
    with gr.Row(elem_classes="controls", visible=False) as files:
        document = gr.Button("Comparison (JSON)", size="sm", min_width=160, elem_id="runs-json", scale=0)
    made = MadeFile(services, "runs-comparison")
    seen = gr.State(None)

    def show(names: list[str] | None, measure: str, last: object) -> tuple | Update:
        """Shows the comparison as it is now; nothing is sent while nothing changes."""
        runs = read_runs(services, names or [])
        version = [measure, *((run.name, run.state, len(run.metrics)) for run in runs)]
        if version == last:
            return gr.skip()
        if len(runs) < 2:
            return (
                gr.update(value=None, visible=False),
                empty_html(EMPTY),
                gr.update(visible=False),
                *made.forget(),
                version,
            )
        figure = plot_runs([(run.name, run.metrics) for run in runs], measure)
        if figure is not None:  # six names need several lines on a phone, and above the curves there is one
            figure.update_layout(height=380, legend={"y": -0.25, "yanchor": "top"}, margin_t=20)
        chart = gr.update(value=figure, visible=figure is not None)
        return chart, comparison_html(compare_runs(runs)), gr.update(visible=True), *made.forget(), version

    def write(names: list[str] | None, report: Progress) -> tuple[Path, str]:
        runs = read_runs(services, names or [])
        if len(runs) < 2:
            raise UserError("Choose at least two runs to compare.")
        path = services.write_file("comparison.json", json.dumps(compare_runs(runs).to_json(), allow_nan=False))
        return Path(path), f"results and settings of {', '.join(run.name for run in runs)}."

    outputs = [plot, results, files, *made.outputs, seen]
    gr.on(
        [compare.change, measure.input, timer.tick],
        shows_errors(show),
        [compare, measure, seen],
        outputs,
        trigger_mode="always_last",
        **QUICK,
    )
    made.wire(document, "Writing the comparison", write, compare)
    return compare


def read_runs(services: Services, names: Sequence[str]) -> list[Run]:
    """The trainings of these names that there still are, at most ``MAX_COMPARED``."""
    runs = []
    for name in dict.fromkeys(names):
        try:
            runs.append(services.jobs.read(name))
        except UserError:  # deleted by somebody else
            continue
    return [run for run in runs if run.kind == "training"][:MAX_COMPARED]
