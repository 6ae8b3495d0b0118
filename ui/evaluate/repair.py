"""The repair bench: known cures for shift sensitivity, each trained equally long, and what they cost and bring."""

from typing import Any

import gradio as gr
from markupsafe import Markup

from analysis.errors import UserError
from analysis.figures.evaluation import plot_arm_layers, plot_arms
from lab.comparisons.repair_config import RepairConfig, find_data, list_cures
from lab.documents import read_document
from models.registry import RUN_PREFIX
from models.runs.run import Run
from ui.services import Services
from ui.widgets.downloads import ResultFiles
from ui.widgets.events import Values
from ui.widgets.html import describe_estimate, empty_html, explain_this, sentence_html, table_html
from ui.widgets.job_view import JobView, Result
from ui.widgets.own_data import OWN, build_own_data, find_own_data
from ui.workbench import Workbench

SAME = "same"
DATA = {
    "What the model was trained on": SAME,
    "Fashion-MNIST": "fashion_mnist",
    "Drawn shapes": "shapes",
    "Own pictures": OWN,
}
EMPTY = (
    "No repair bench yet. Choose a small network in the sidebar (fashion_cnn, or a run of the Train tab) and cures, "
    "then start: each arm becomes a model of its own, beside a plot of accuracy against consistency."
)
EXPLANATION = """
Every arm starts from the same weights and is trained the same number of steps, on the same pictures in the same
order; only the cure differs, and *as it is* has none. **Circular padding** lets every padded operation wrap around;
**blur** puts a low-pass filter before every downsampling (Zhang 2019); **adaptive polyphase sampling** keeps the
strongest of the four grids (Chaman & Dokmanić 2021), with circular padding and global pooling this makes a network
exactly invariant to circular shifts; **random shifts** only teach it. *Worst logit change* is the largest relative
change of the logits over the circular shifts of one picture: 0 up to rounding means exactly invariant. The lower
chart is the *phase spread* of every layer: how much its pooled features depend on where the grid falls.
"""


def build_repair_panel(services: Services, bench: Workbench) -> JobView:
    """Lays out the panel and wires it."""
    with gr.Row(elem_classes="controls"):
        arms = gr.CheckboxGroup([], label="Cures to compare", elem_id="repair-arms", min_width=320, scale=4)
        steps = gr.Number(RepairConfig.steps, precision=0, minimum=1, label="Training steps each", min_width=130)
        blur_size = gr.Slider(2, 5, RepairConfig.blur_size, step=1, label="Blur size", min_width=120)
        limit = gr.Number(RepairConfig.limit, precision=0, minimum=10, label="Test pictures", min_width=110)
        max_shift = gr.Slider(1, 14, RepairConfig.max_shift, step=1, label="Largest shift, px", min_width=140)
        seed = gr.Number(0, precision=0, minimum=0, label="Seed", min_width=80)
        data_set = gr.Dropdown(
            list(DATA.items()), value=SAME, label="Trained on", elem_id="repair-data", min_width=220
        )
    with gr.Row(visible=False) as own:
        upload, folder = build_own_data(services, "repair-folder")
    with gr.Row(elem_classes="controls"):
        start = gr.Button("Start the repair bench", variant="primary", elem_id="repair-start", min_width=260, scale=0)
    note = gr.HTML(elem_id="repair-note")
    view = JobView(services, "repair", EMPTY, lambda: _build_result(services))
    explain_this(EXPLANATION)

    def fit(values: Values) -> Values:
        """Offers the cures that the model of the sidebar can have, and says why it cannot have the others."""
        try:
            found = list_cures(values[bench.model], services.lab.runs_root)
        except UserError as error:
            return {arms: gr.update(choices=[], value=[]), note: empty_html(str(error))}
        names = [arm.name for arm in found if not arm.obstacle]
        kept = [name for name in values[arms] or RepairConfig.arms if name in names]
        obstacles = [[arm.title, arm.obstacle] for arm in found if arm.obstacle]
        choices = [(arm.title, arm.name) for arm in found if not arm.obstacle]
        return {
            arms: gr.update(choices=choices, value=kept),
            note: table_html(["not for this model", "why"], obstacles),
        }

    def begin(values: Values) -> str:
        """Starts the bench in the background."""
        model, data, chosen = (values[each] for each in (bench.model, data_set, arms))
        if not chosen:
            raise UserError("Choose at least one cure to compare.")
        dataset = find_own_data(services, values[upload], values[folder]) if data == OWN else data
        config = RepairConfig(
            start_from=model,
            dataset=find_data(model, services.lab.runs_root) if data == SAME else dataset,
            arms=tuple(chosen),
            steps=values[steps],
            blur_size=int(values[blur_size]),
            limit=values[limit],
            max_shift=int(values[max_shift]),
            seed=values[seed],
            data_root=str(services.lab.data_root),
            device=services.lab.models.device.type,
        )
        title = f"repair-{model.removeprefix(RUN_PREFIX)}"
        is_upload = data == OWN and dataset == values[upload]
        return services.jobs.start_program("repair", config.to_dict(), title, "dataset" if is_upload else None)

    inputs: set[Any] = {bench.model, arms, steps, blur_size, limit, max_shift, seed, data_set, upload, folder}
    view.wire_start(start, begin, inputs)
    data_set.input(lambda name: gr.update(visible=name == OWN), data_set, own, queue=False, api_visibility="private")
    view.fitted, view.fit = [arms, note], fit
    return view


def _build_result(services: Services) -> Result:
    finding = gr.HTML(elem_id="repair-finding")
    scatter = gr.Plot(show_label=False, visible=False, elem_id="repair-plot")
    layers = gr.Plot(show_label=False, visible=False, elem_id="repair-layers")
    files = ResultFiles(services, "repair", {"json": "Everything (JSON)"})

    def show(run: Run | None) -> tuple:
        found = read_document(run) if run else None
        if run is None or found is None:
            hidden = gr.update(value=None, visible=False)
            return "", hidden, hidden, *files.withdraw()
        figures = [plot_arms(found["arms"]), plot_arm_layers(found["arms"])]
        charts = [gr.update(value=figure, visible=figure is not None) for figure in figures]
        return _describe(found), *charts, *files.offer(run.name, json=found)

    return [finding, scatter, layers, *files.outputs], show


def _describe(document: dict) -> Markup:
    arms = document["arms"]
    rows = [
        [
            arm["title"],
            describe_estimate(arm["accuracy"]),
            describe_estimate(arm["consistency"]),
            f"{arm['circular_logit_error']:.1e}",
            f"run/{arm['run']}",
        ]
        for arm in arms
    ]
    best = max(arms, key=lambda arm: arm["consistency"]["value"])
    text = f"Most consistent: {best['title']}, {describe_estimate(best['consistency'])}."
    return sentence_html(text) + table_html(["arm", "accuracy", "consistency", "worst logit change", "model"], rows)
