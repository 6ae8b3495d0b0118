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
from ui.widgets.chart import Chart
from ui.widgets.downloads import MadeFile
from ui.widgets.events import Block, Values
from ui.widgets.html import empty_html

MAX_COMPARED = 6
EMPTY = (
    "Choose two to six runs, here or by the boxes of the table: their curves in one chart, their results, and the "
    "settings in which they differ."
)


class RunComparison:
    """The choice of runs, and what comes of it.

    Args:
        services: The lab and what goes with it.

    Attributes:
        chosen: The names of the runs.
        measure: Which curve is drawn.
        inputs: Of :meth:`show`.
        outputs: Of :meth:`show`.
    """

    def __init__(self, services: Services):
        self._services = services
        with gr.Row(elem_classes="controls"):
            self.chosen = gr.Dropdown(
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
            self.measure = gr.Dropdown(
                [(title.capitalize(), name) for name, (title, _) in RUN_MEASURES.items()],
                value="val_accuracy",
                label="Curve",
                info="After each epoch, by step",
                elem_id="runs-measure",
                min_width=200,
            )
        self._plot = Chart(visible=False, elem_id="runs-plot")
        self._results = gr.HTML(empty_html(EMPTY), elem_id="runs-results")
        with gr.Row(elem_classes="controls", visible=False) as self._files:
            document = gr.Button("Comparison (JSON)", size="sm", min_width=160, elem_id="runs-json", scale=0)
        self._made = MadeFile(services, "runs-comparison")
        self._seen = gr.State(None)
        self.inputs: list[Block] = [self.chosen, self.measure, self._seen]
        self.outputs: list[Block] = [self._plot, self._results, self._files, *self._made.outputs, self._seen]
        self._made.wire(document, "Writing the comparison", self.write, self.chosen)

    def show(self, values: Values) -> Values:
        """The comparison as it is now; nothing while nothing changes."""
        runs, measure = read_runs(self._services, values[self.chosen] or []), values[self.measure]
        version = [measure, *((run.name, run.state, len(run.metrics)) for run in runs)]
        if version == values[self._seen]:
            return {}
        forgotten: Values = dict(zip(self._made.outputs, self._made.forget(), strict=True))
        updates: Values = {**forgotten, self._seen: version, self._files: gr.update(visible=len(runs) > 1)}
        if len(runs) < 2:
            return updates | {self._plot: gr.update(value=None, visible=False), self._results: empty_html(EMPTY)}
        figure = plot_runs([(run.name, run.metrics) for run in runs], measure)
        if figure is not None:  # six names need several lines on a phone, and above the curves there is one
            figure.update_layout(height=380, legend={"y": -0.25, "yanchor": "top"}, margin_t=20)
        chart = gr.update(value=figure, visible=figure is not None)
        return updates | {self._plot: chart, self._results: comparison_html(compare_runs(runs))}

    def write(self, names: list[str] | None, report: Progress) -> tuple[Path, str]:
        """A file with results and settings, and what it is."""
        runs = read_runs(self._services, names or [])
        if len(runs) < 2:
            raise UserError("Choose at least two runs to compare.")
        text = json.dumps(compare_runs(runs).to_json(), allow_nan=False)
        path = self._services.write_file("comparison.json", text)
        return Path(path), f"results and settings of {', '.join(run.name for run in runs)}."


def read_runs(services: Services, names: Sequence[str]) -> list[Run]:
    """The trainings of these names that there still are, at most ``MAX_COMPARED``."""
    runs = []
    for name in dict.fromkeys(names):
        try:
            runs.append(services.jobs.read(name))
        except UserError:  # deleted by somebody else
            continue
    return [run for run in runs if run.kind == "training"][:MAX_COMPARED]
