"""Evaluation over a data set: accuracy and shift consistency by a published protocol, for several models at once."""

from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from analysis.consistency.protocols import PROTOCOLS
from analysis.errors import UserError
from analysis.figures.evaluation import CURVES, plot_consistency, plot_depth_errors
from analysis.grammar import count
from analysis.shift.move import BOUNDARIES
from lab.documents import read_document
from lab.evaluation.config import EvaluationConfig
from lab.evaluation.outlook import TITLES, find_known_data, look_ahead
from lab.spreadsheet import to_csv
from models.data.datasets import DATASETS
from models.names import describe_skipped
from models.runs.run import Run
from ui.services import Services
from ui.widgets.chart import Chart
from ui.widgets.downloads import ResultFiles
from ui.widgets.estimate import describe_outlook, tell_start
from ui.widgets.events import HIDDEN, Block, Values
from ui.widgets.html import (
    describe_estimate,
    explain_this,
    format_percent,
    join_html,
    sentence_html,
    table_html,
)
from ui.widgets.job_view import JobView, Result
from ui.widgets.own_data import OWN, build_own_data, find_own_data, offer_folders
from ui.workbench import Workbench

SAME = "same"
DATA = {
    "Its own, which it was trained on": SAME,
    "Fashion-MNIST (test)": "fashion_mnist",
    "CIFAR-10 (test)": "cifar10",
    "Drawn shapes (test)": "shapes",
    "Digits (test)": "digits",
    "Own pictures": OWN,
}
PROTOCOLS_OWN_BOUNDARY = "protocol"
PAIRED = ["paired difference", "accuracy", "consistency", "McNemar's p"]
EMPTY = (
    "No evaluation yet. Press “Evaluate”: the model of the sidebar, and those it is compared with, see the test "
    "pictures under many shifts. It goes on in the background, also when this page is closed."
)
STATISTICS = {
    "accuracy": "accuracy",
    "mean_accuracy": "mean over shifts",
    "worst_case_accuracy": "worst case",
    "consistency": "consistency",
    "near_ties": "near-ties",
    "kappa": "kappa",
    "joint_correct": "both correct",
    "one_pixel_change_axis": "change at 1 px",
    "mac": "mean abs. change",
}
"""What the table shows of the statistics; the files have all of them."""
EXPLANATION = """
*Accuracy* is measured without a shift, on average over the shifts, and in the worst case (right at every shift
tried). *Consistency* is the chance that two shifts of the same picture give the same class; *kappa* is what is left
of it beyond agreement by chance, as accurate models agree more often anyway. *Both correct* is the chance that both
shifts give the right class. *Mean abs. change* is that of the probability of the class. Brackets are 95 % intervals
from drawing pictures (not shifts) again and again; differences between models are paired: the same draws for both.
The protocol decides which shifts are drawn: `exact` estimates the chance itself without bias, the others repeat
published code to the letter. Definitions: docs/equivariance.md.
"""


def build_evaluation_panel(services: Services, bench: Workbench) -> JobView:
    """Lays out the panel and wires it."""
    return _Evaluation(services, bench).view


class _Evaluation:
    def __init__(self, services: Services, bench: Workbench):
        self.services, self.lab, self.bench = services, services.lab, bench
        with gr.Row(elem_classes="controls"):
            self.data = gr.Dropdown(
                list(DATA.items()), value=SAME, label="Data", elem_id="eval-data", min_width=240, scale=2
            )
            self.limit = gr.Number(
                1000, precision=0, minimum=1, label="Pictures", elem_id="eval-limit", min_width=100
            )
            self.shifts = gr.Slider(2, 64, EvaluationConfig.shifts, step=1, label="Shifts each", min_width=150)
            self.twin = gr.Checkbox(False, label="Circular twins", info="Padding wraps around", min_width=200)
        with gr.Row(visible=False) as self.own:
            self.upload, self.folder = build_own_data(services, "eval-folder")
        with gr.Accordion("Protocol, border, seed", open=False), gr.Row(elem_classes="controls"):
            self.protocol = gr.Dropdown(
                [(f"{name}: {protocol.title}", name) for name, protocol in PROTOCOLS.items()],
                value="exact",
                label="Protocol",
                elem_id="eval-protocol",
                min_width=260,
            )
            self.boundary = gr.Dropdown(
                _list_boundaries("exact"), value=PROTOCOLS_OWN_BOUNDARY, label="Uncovered border", min_width=220
            )
            self.max_shift = gr.Number(0, precision=0, label="Largest shift (0: the protocol's)", min_width=190)
            self.seed = gr.Number(0, precision=0, minimum=0, label="Seed", min_width=80)
        with gr.Row(elem_classes="start"):
            self.start = gr.Button(
                "Evaluate", variant="primary", elem_id="eval-start", interactive=False, min_width=160, scale=0
            )
            self.said = gr.HTML(elem_id="eval-estimate")
        self.view = JobView(services, "evaluation", EMPTY, lambda: _build_result(services))
        explain_this(EXPLANATION)
        self.wire()

    def wire(self) -> None:
        """Wires what happens: with every choice the time it will take is told, or what keeps it from starting."""
        fields: list[Block] = [self.data, self.upload, self.folder, self.protocol, self.boundary, self.limit]
        fields += [self.shifts, self.max_shift, self.seed, self.twin]
        inputs: set[Any] = {self.bench.model, self.bench.compare, *fields}
        self.view.form, self.view.fit = fields, self.fit
        self.view.fitted = [self.data, self.own, self.folder, self.start, self.said]
        self.view.wire_start(self.start, self.begin, inputs)
        shown = [self.own, self.start, self.said]
        chosen = (self.data, self.folder, self.boundary, self.limit, self.max_shift, self.twin)
        events = [*(each.input for each in chosen), self.shifts.release, self.upload.upload, self.upload.clear]
        gr.on(events, self.plan, inputs, shown, **HIDDEN, trigger_mode="always_last")
        self.protocol.input(self.follow_protocol, inputs, [self.boundary, *shown], **HIDDEN)

    def fit(self, values: Values) -> Values:
        """Begins with data that the model knows, and tells what comes of that."""
        data = values[self.data]
        known = find_known_data(self.lab, values[self.bench.model])
        if data == SAME and known is None:
            data = OWN
        elif data == OWN and known is not None and not values[self.upload] and not values[self.folder]:
            data = SAME
        own = "not here" if known is None else TITLES.get(known[0], Path(known[0]).name)
        choices = [(f"Its own: {own}", SAME), *((name, key) for name, key in DATA.items() if key != SAME)]
        # Its own is offered in any case: what the browser asks next may still have the value of before.
        offered = gr.update(choices=choices, value=data)
        folders: Values = {self.folder: offer_folders(self.services)}
        return {self.data: offered, **folders, **self.plan(values | {self.data: data})}

    def follow_protocol(self, values: Values) -> Values:
        """Offers the borders of the protocol."""
        offered = gr.update(choices=_list_boundaries(values[self.protocol]), value=PROTOCOLS_OWN_BOUNDARY)
        return {self.boundary: offered, **self.plan(values | {self.boundary: PROTOCOLS_OWN_BOUNDARY})}

    def plan(self, values: Values) -> Values:
        """Says how long it takes here; or why it cannot start, and what would fit."""
        return {self.own: gr.update(visible=values[self.data] == OWN)} | tell_start(
            self.start, self.said, lambda: self.estimate(values)
        )

    def estimate(self, values: Values) -> str:
        """How long it takes, in words; UserError where nothing could come of it."""
        config = self.read(values)
        said = describe_outlook(look_ahead(self.lab, config), len(config.models))
        if values[self.data] == SAME and config.data not in DATASETS:
            said += " All pictures of the folder are asked about, also those that it was trained on."
        return said

    def read(self, values: Values) -> EvaluationConfig:
        """What is to be evaluated; UserError where that is not said."""
        rule, model = values[self.boundary], values[self.bench.model]
        for name in self.bench.list_models(values):
            self.lab.models.check(name)
        return EvaluationConfig(
            models=tuple(self.bench.list_models(values)),
            **self.find_data(values, model),
            protocol=values[self.protocol],
            boundary=None if rule == PROTOCOLS_OWN_BOUNDARY else rule,
            limit=values[self.limit] or None,
            shifts=int(values[self.shifts]),
            max_shift=values[self.max_shift] or None,
            seed=values[self.seed],
            twin=bool(values[self.twin]),
            device=self.lab.models.device.type,
            data_root=str(self.lab.data_root),
            checks=True,
        )

    def find_data(self, values: Values, model: str) -> dict:
        """The data set, and how its test pictures are found; UserError where there is none."""
        if values[self.data] == OWN:
            try:
                return {"data": find_own_data(self.services, values[self.upload], values[self.folder])}
            except UserError as error:
                raise UserError(f"{error} The folders are called after classes of {model}.") from error
        if values[self.data] != SAME:
            return {"data": values[self.data]}
        known = find_known_data(self.lab, model)
        if known is None:
            raise UserError(f"What {model} was trained on is not here; choose other data.")
        data, division = known
        return {"data": data, **division}

    def begin(self, values: Values) -> str:
        """Starts an evaluation in the background."""
        config = self.read(values)
        outlook = look_ahead(self.lab, config)  # refuses what nothing would come of
        title = f"evaluate-{Path(config.data).stem}"
        is_upload = values[self.data] == OWN and config.data == values[self.upload]
        upload = "data" if is_upload else None
        return self.services.jobs.start_program(
            "evaluation", config.to_dict(), title, upload, seconds=outlook.seconds
        )


def _list_boundaries(protocol: str) -> list[tuple[str, str]]:
    allowed = PROTOCOLS[protocol].boundaries
    own = f"The protocol's: {BOUNDARIES[allowed[0]].title.lower()}"
    return [(own, PROTOCOLS_OWN_BOUNDARY), *((BOUNDARIES[name].title, name) for name in allowed)]


def _build_result(services: Services) -> Result:
    finding = gr.HTML(elem_id="eval-finding")
    with gr.Row():
        plots = [Chart(visible=False, elem_id=f"eval-{kind}", min_width=320) for kind in (*CURVES, "layers")]
    files = ResultFiles(services, "eval", {"csv": "Statistics (CSV)", "json": "Everything (JSON)"})

    def show(run: Run | None) -> tuple:
        found = read_document(run) if run else None
        if run is None or found is None:
            return "", *(gr.update(value=None, visible=False) for _ in plots), *files.withdraw()
        figures = [plot_consistency(found["models"], kind) for kind in CURVES] + [plot_depth_errors(found["models"])]
        charts = [gr.update(value=figure, visible=figure is not None) for figure in figures]
        return _describe(found), *charts, *files.offer(run.name, csv=_write_csv(found), json=found)

    return [finding, *plots, *files.outputs], show


def _describe(document: dict) -> Markup:
    """The finding in words, a row for each model, the differences, and the protocol."""
    models = document["models"]
    first = models[0]
    accuracy = describe_estimate(first["statistics"]["accuracy"], in_words=True)
    consistency = describe_estimate(first["statistics"]["consistency"], in_words=True)
    protocol = document["protocol"]
    text = (
        f"{first['model']} on {count(first['num_images'], 'picture')} of {document['data']['name']}: accuracy "
        f"{accuracy}, shift consistency {consistency}."
    )
    rows = [
        [model["model"], *(describe_estimate(model["statistics"].get(name)) for name in STATISTICS)]
        for model in models
    ]
    parts = [sentence_html(text), table_html(["model", *STATISTICS.values()], rows, "Each model")]
    if document["pairs"]:
        differences = [
            [
                f"{pair['a']} minus {pair['b']}",
                describe_estimate(pair["accuracy"], is_difference=True),
                describe_estimate(pair["consistency"], is_difference=True),
                "–" if pair["mcnemar_p"] is None else f"{pair['mcnemar_p']:.2g}",
            ]
            for pair in document["pairs"]
        ]
        parts.append(table_html(PAIRED, differences, "Paired differences"))
    data = document["data"]
    notes = [*filter(None, (describe_skipped(data["skipped"]), *data.get("notes", ())))]
    notes += [f"Protocol {protocol['name']}, border {protocol['boundary']}: {protocol['description']}"]
    notes += [f"{model['model']}: {note}" for model in models for note in model["notes"]]
    notes += [_describe_published(model) for model in models if model.get("published")]
    parts += [table_html(["rules and notes"], [[note] for note in notes], "Rules and notes")]
    return join_html(parts)


def _describe_published(model: dict) -> str:
    row = model["published"]
    return (
        f"{model['model']}, published: accuracy {format_percent(row['accuracy'], 2)}, "
        f"consistency {format_percent(row['consistency'], 2)} "
        f"({row['source']})."
    )


def _write_csv(document: dict) -> str:
    columns = ("model", "statistic", "value", "low", "high")
    rows = (
        {"model": model["model"], "statistic": statistic, **estimate}
        for model in document["models"]
        for statistic, estimate in model["statistics"].items()
    )
    return to_csv(columns, rows)
