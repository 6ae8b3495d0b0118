"""Matched arms: networks that differ in one thing, trained on the same data with the same seeds, side by side."""

from pathlib import Path

import gradio as gr

from analysis.errors import UserError
from analysis.figures.training import plot_seed_bands
from analysis.grammar import count
from lab.comparisons.claims import PRESETS, configure_preset
from lab.comparisons.config import ArmsConfig
from lab.comparisons.report import write_csv
from lab.comparisons.variations import VARIATIONS, vary
from lab.documents import read_document
from lab.training_outlook import estimate_arms
from models.data.datasets import DATASETS
from models.runs.run import Run
from models.training.config import TrainingConfig
from ui.services import Services
from ui.train.comparison_view import (
    count_tested,
    describe_preset,
    describe_variation,
    describe_verdict,
    read_curves,
    tabulate,
)
from ui.train.settings.form import TrainForm
from ui.widgets.chart import Chart
from ui.widgets.downloads import ResultFiles
from ui.widgets.errors import answers_errors
from ui.widgets.estimate import tell_start
from ui.widgets.events import QUICK, Block, Values, read_values
from ui.widgets.html import empty_html, explain_this
from ui.widgets.job_view import JobView, Result, describe_time
from ui.widgets.switch import Switch

OWN = "own"
MAX_SEEDS = 5
PLOTS = {"val_accuracy": "arms-validation", "train_accuracy": "arms-training"}
"""Measure of a chart -> its elem_id."""
EMPTY = (
    "No comparison yet. Choose a claim, or choose what to vary, and start: each arm is trained with several seeds, "
    "and curves, a table with intervals and a verdict appear here."
)
EXPLANATION = """
All **arms** of a seed see the same pictures in the same order and begin with the same random numbers; only what is
compared differs. Another **seed** draws everything anew: the split, the order, the first weights. So a difference is
taken seed by seed, and its 95 % interval (Student's t) says what these seeds can show and what may be chance: with
one seed there is none, with three it is wide. The bands in the charts reach from the lowest seed to the highest.
**Training accuracy** in the table is measured after the training on pictures as they are, without dropout; in the
chart it is the running mean of the training itself. The **gap** is training minus validation accuracy. **Steps**
count until an arm has the accuracy that all arms of that seed come to. They are found by validation within the epochs
on at most 1,000 pictures, which the chart shows, and lie between two measurements: that distance is part of the
interval. A dash: an arm does not come clearly above guessing. "At most": it had the accuracy when first measured.
**Shift consistency** is the share of pairs of shifts (up to 3 pixels each way) that get the same answer.
"""


def build_arms_panel(services: Services, form: TrainForm) -> tuple[JobView, "Controls"]:
    """Lays out the panel and wires it; what all arms share is what the form says."""
    controls = Controls()
    with gr.Row(elem_classes="controls"):
        start = gr.Button("Start the comparison", variant="primary", elem_id="arms-start", min_width=280, scale=0)
        said = gr.HTML(elem_id="arms-estimate", padding=False)
    view = JobView(services, "arms", EMPTY, lambda: _build_result(services))
    explain_this(EXPLANATION)

    def expect(values: Values) -> Values:
        """How long the comparison takes, or why there is none."""
        return tell_start(start, said, lambda: estimate(controls.read(services, form, values)[1]))

    chosen = {*controls.inputs, *form.inputs}
    view.form, view.fit, view.fitted = [*chosen], expect, [start, said]
    controls.wire(form, view)

    def begin(values: Values) -> str:
        """Starts the comparison in the background."""
        name, config = controls.read(services, form, values)
        is_file = (
            config.base.dataset not in DATASETS and Path(config.base.dataset).is_file()
        )  # an upload, which may vanish
        upload, seconds = "dataset" if is_file else None, estimate_arms(config)
        return services.jobs.start_program("arms", config.to_dict(), f"arms-{name}", upload, seconds=seconds)

    view.wire_start(start, begin, chosen)
    return view, controls


def estimate(config: ArmsConfig) -> str:
    """How long a comparison takes here, in words. Raises UserError: an arm is not possible with its data."""
    what, seconds = f"{count(len(config.arms), 'arm')} with {count(config.seeds, 'seed')} each", estimate_arms(config)
    if seconds is None:
        return f"How long it takes is known once the pictures are open: {what}."
    return f"About {describe_time(seconds)} if this machine does nothing else: {what}."


class Controls:
    """What is compared: a claim, or values of one setting.

    Attributes:
        link: The claim that a link asks for; empty once it is chosen.
    """

    def __init__(self) -> None:
        with gr.Row(elem_classes="controls"):
            presets = [(preset.title, name) for name, preset in PRESETS.items()]
            self.preset = gr.Dropdown(
                [*presets, ("What I choose to vary", OWN)],
                value=next(iter(PRESETS)),
                label="Compare",
                elem_id="arms-preset",
                min_width=300,
                scale=3,
            )
            self.seeds = gr.Slider(
                1, MAX_SEEDS, ArmsConfig.seeds, step=1, label="Seeds", elem_id="arms-seeds", min_width=160
            )
            self.on_form = gr.Checkbox(
                False,
                label="Use the data of “Single run”",
                info="Instead of the claim's own",
                elem_id="arms-on-form",
                min_width=220,
            )
        with gr.Row(elem_classes="controls") as self.own:
            names = [(variation.title, name) for name, variation in VARIATIONS.items()]
            self.varied = gr.Dropdown(
                names, value="dropout", label="What to vary", elem_id="arms-vary", min_width=220
            )
            self.values = gr.Dropdown(
                [],
                value=[],
                multiselect=True,
                allow_custom_value=True,
                label="Values",
                info="The first is what the others are compared with; type others",
                elem_id="arms-values",
                min_width=260,
                scale=2,
            )
            self.shifts = gr.Checkbox(
                False,
                label="Test on moved pictures",
                info="Up to 3 pixels each way",
                elem_id="arms-shifts",
                min_width=220,
            )
        self.note = gr.HTML(describe_preset(next(iter(PRESETS))), elem_id="arms-note")
        self.inputs = (self.preset, self.seeds, self.on_form, self.varied, self.values, self.shifts)
        self.link = gr.Textbox("", visible="hidden", elem_id="link-arms")

    def choose(self, name: str) -> Values:
        """What chooses a claim, as a link does."""
        return {self.preset: name, self.note: describe_preset(name), self.link: ""}

    @property
    def chosen(self) -> list[Block]:
        """What :meth:`choose` gives values."""
        return [self.preset, self.note, self.link]

    def wire(self, form: TrainForm, view: JobView) -> None:
        """Shows the controls that count, and says what they decide, and how long that takes."""
        Switch(self.preset, {self.own: [OWN], self.on_form: list(PRESETS)})

        @answers_errors(
            lambda message: {self.values: gr.update(choices=[], value=[]), self.note: empty_html(message)}
        )
        def offer(values: Values) -> Values:
            """Offers the values that the chosen network can have, or says why there are none."""
            if values[self.preset] != OWN:
                return {self.note: describe_preset(values[self.preset])}
            chosen = values[self.varied]
            variation, base = VARIATIONS[chosen], form.read_config(values)
            if obstacle := variation.obstacle(base):
                raise UserError(f"{variation.title} cannot be varied here: {obstacle}")
            texts = list(variation.suggest(base))
            note = describe_variation(chosen, variation.shifts)
            offered = gr.update(choices=texts, value=texts)
            updates: Values = {self.values: offered, self.shifts: variation.shifts, self.note: note}
            return updates

        def fit(values: Values) -> Values:
            """The same, and how long that takes."""
            offered = offer(values)
            return offered | view.fit(values | read_values(offered))

        def restate(values: Values) -> Values:
            """Says what decides now; where there is nothing to start, the note says why."""
            is_own = values[self.preset] == OWN and values[self.values]
            said = {self.note: describe_variation(values[self.varied], values[self.shifts])} if is_own else {}
            return said | view.fit(values)

        told = {"inputs": {*view.form}, "outputs": [self.values, self.shifts, self.note, *view.fitted], **QUICK}
        gr.on([self.preset.input, self.varied.input], fit, **told)
        changes = [self.seeds.release, *(part.input for part in (self.on_form, self.values, self.shifts))]
        gr.on(changes, restate, **told, trigger_mode="always_last")

    def read(self, services: Services, form: TrainForm, values: Values) -> tuple[str, ArmsConfig]:
        """What is compared in a word, and the comparison; UserError where there is nothing to compare."""
        name, seeds, varied = values[self.preset], int(values[self.seeds]), values[self.varied]
        if name == OWN:
            return varied, vary(
                form.read_config(values), varied, values[self.values], seeds, shifts=bool(values[self.shifts])
            )
        place = {"data_root": str(services.lab.data_root), "device": services.lab.models.device.type}
        data = _find_data(form.read_config(values)) if values[self.on_form] else {}
        return name, configure_preset(name, seeds, {**place, **data})


def _find_data(base: TrainingConfig) -> dict:
    """What the form says about the data."""
    return {"dataset": base.dataset, "image_size": base.image_size, "shapes": base.shapes}


def _build_result(services: Services) -> Result:
    finding = gr.HTML(elem_id="arms-finding")
    with gr.Row():
        plots = [Chart(visible=False, elem_id=elem_id, min_width=300) for elem_id in PLOTS.values()]
    table = gr.HTML(elem_id="arms-table")
    files = ResultFiles(services, "arms", {"json": "Everything (JSON)", "csv": "Every network (CSV)"})

    def show(run: Run | None) -> tuple:
        nothing = ("", *[gr.update(value=None, visible=False)] * len(plots), "", *files.withdraw())
        if run is None:
            return nothing
        try:
            config = ArmsConfig.from_dict(run.config)
        except UserError as error:
            return (empty_html(f"The settings of this run cannot be read: {error}"), *nothing[1:])
        figures = [plot_seed_bands(read_curves(run, config, measure), measure) for measure in PLOTS]
        charts = [gr.update(value=figure, visible=figure is not None) for figure in figures]
        found = read_document(run)
        offered = files.offer(run.name, json=found, csv=_write_csv(found)) if found is not None else files.withdraw()
        return describe_verdict(run, config, count_tested(found)), *charts, tabulate(run, config), *offered

    return [finding, *plots, table, *files.outputs], show


def _write_csv(document: dict) -> str:
    try:
        return write_csv(document)
    except (KeyError, TypeError, AttributeError):  # a file that somebody has changed
        return ""
