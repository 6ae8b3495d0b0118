"""Evaluation over a data set: accuracy and shift consistency by a published protocol, for several models at once."""

from pathlib import Path

import gradio as gr
from markupsafe import Markup

from analysis.consistency.protocols import PROTOCOLS
from analysis.figures.evaluation import CURVES, plot_consistency, plot_depth_errors
from analysis.shift.move import BOUNDARIES
from lab.documents import read_document
from lab.evaluation.config import EvaluationConfig
from lab.spreadsheet import to_csv
from models.names import describe_skipped
from models.runs.run import Run
from ui.services import Services
from ui.widgets.downloads import ResultFiles
from ui.widgets.events import QUICK, Values
from ui.widgets.html import describe_estimate, explain_this, join_html, sentence_html, table_html
from ui.widgets.job_view import JobView, Result
from ui.widgets.own_data import OWN, build_own_data, find_own_data
from ui.workbench import Workbench

DATA = {
    "Fashion-MNIST (test)": "fashion_mnist",
    "CIFAR-10 (test)": "cifar10",
    "Drawn shapes": "shapes",
    "Own pictures": OWN,
}
PROTOCOLS_OWN_BOUNDARY = "protocol"
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
    with gr.Row(elem_classes="controls"):
        data = gr.Dropdown(
            list(DATA.items()), value="fashion_mnist", label="Data", elem_id="eval-data", min_width=220
        )
        protocol = gr.Dropdown(
            [(f"{name}: {protocol.title}", name) for name, protocol in PROTOCOLS.items()],
            value="exact",
            label="Protocol",
            elem_id="eval-protocol",
            min_width=260,
        )
        boundary = gr.Dropdown(
            _list_boundaries("exact"), value=PROTOCOLS_OWN_BOUNDARY, label="Uncovered border", min_width=220
        )
        limit = gr.Number(1000, precision=0, minimum=1, label="Pictures", elem_id="eval-limit", min_width=100)
        shifts = gr.Slider(2, 64, EvaluationConfig.shifts, step=1, label="Shifts each", min_width=150)
        max_shift = gr.Number(0, precision=0, label="Largest shift (0: default)", min_width=190)
        seed = gr.Number(0, precision=0, minimum=0, label="Seed", min_width=80)
        twin = gr.Checkbox(False, label="Circular twins", info="Padding wraps around", min_width=220)
    with gr.Row(visible=False) as own:
        upload, folder = build_own_data(services, "eval-folder")
    with gr.Row(elem_classes="controls"):
        start = gr.Button("Evaluate", variant="primary", elem_id="eval-start", min_width=160, scale=0)
    view = JobView(services, "evaluation", EMPTY, lambda: _build_result(services))
    explain_this(EXPLANATION)

    def begin(values: Values) -> str:
        """Starts an evaluation in the background."""
        is_own, rule = values[data] == OWN, values[boundary]
        chosen = find_own_data(services, values[upload], values[folder]) if is_own else values[data]
        config = EvaluationConfig(
            models=tuple(dict.fromkeys([values[bench.model], *(values[bench.compare] or [])])),
            data=chosen,
            protocol=values[protocol],
            boundary=None if rule == PROTOCOLS_OWN_BOUNDARY else rule,
            limit=values[limit] or None,
            shifts=int(values[shifts]),
            max_shift=values[max_shift] or None,
            seed=values[seed],
            twin=bool(values[twin]),
            device=services.lab.models.device.type,
            data_root=str(services.lab.data_root),
            checks=True,
        )
        title = f"evaluate-{Path(chosen).stem}"
        is_upload = is_own and chosen == values[upload]
        return services.jobs.start_program("evaluation", config.to_dict(), title, "data" if is_upload else None)

    inputs = {bench.model, bench.compare, data, upload, folder, protocol, boundary, limit, shifts, max_shift, seed}
    view.wire_start(start, begin, {*inputs, twin})
    data.input(lambda name: gr.update(visible=name == OWN), data, own, **QUICK)
    protocol.input(
        lambda name: gr.update(choices=_list_boundaries(name), value=PROTOCOLS_OWN_BOUNDARY),
        protocol,
        boundary,
        **QUICK,
    )
    return view


def _list_boundaries(protocol: str) -> list[tuple[str, str]]:
    allowed = PROTOCOLS[protocol].boundaries
    own = f"The protocol's: {BOUNDARIES[allowed[0]].title.lower()}"
    return [(own, PROTOCOLS_OWN_BOUNDARY), *((BOUNDARIES[name].title, name) for name in allowed)]


def _build_result(services: Services) -> Result:
    finding = gr.HTML(elem_id="eval-finding")
    with gr.Row():
        plots = [
            gr.Plot(show_label=False, visible=False, elem_id=f"eval-{kind}", min_width=320)
            for kind in (*CURVES, "layers")
        ]
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
    consistency = describe_estimate(first["statistics"]["consistency"])
    protocol = document["protocol"]
    text = (
        f"{first['model']} on {first['num_images']} pictures of {document['data']['name']}: accuracy "
        f"{describe_estimate(first['statistics']['accuracy'])}, shift consistency {consistency}."
    )
    rows = [
        [model["model"], *(describe_estimate(model["statistics"].get(name)) for name in STATISTICS)]
        for model in models
    ]
    parts = [sentence_html(text), table_html(["model", *STATISTICS.values()], rows)]
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
        parts.append(table_html(["paired difference", "accuracy", "consistency", "McNemar's p"], differences))
    data = document["data"]
    notes = [*filter(None, (describe_skipped(data["skipped"]), *data.get("notes", ())))]
    notes += [f"Protocol {protocol['name']}, border {protocol['boundary']}: {protocol['description']}"]
    notes += [f"{model['model']}: {note}" for model in models for note in model["notes"]]
    notes += [_describe_published(model) for model in models if model.get("published")]
    parts += [table_html(["rules and notes"], [[note] for note in notes])]
    return join_html(parts)


def _describe_published(model: dict) -> str:
    row = model["published"]
    return (
        f"{model['model']}, published: accuracy {row['accuracy']:.2%}, consistency {row['consistency']:.2%} "
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
