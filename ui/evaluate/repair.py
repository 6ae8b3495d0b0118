"""The repair bench: known cures for shift sensitivity, each trained equally long, and what they cost and bring."""

from typing import Any

import gradio as gr
from markupsafe import Markup

from analysis.errors import UserError
from analysis.figures.evaluation import plot_arm_layers, plot_arms
from analysis.grammar import count
from lab.comparisons.repair_config import RepairConfig, find_data, list_cures
from lab.documents import read_document
from lab.evaluation.outlook import measure_seconds
from models.registry import RUN_PREFIX
from models.runs.run import Run
from ui.services import Services
from ui.widgets.chart import Chart
from ui.widgets.downloads import ResultFiles
from ui.widgets.estimate import tell_start
from ui.widgets.events import HIDDEN, Block, Values
from ui.widgets.html import describe_estimate, explain_this, sentence_html, table_html
from ui.widgets.job_view import JobView, Result, describe_time
from ui.widgets.own_data import OWN, build_own_data, find_own_data, offer_folders
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
    return _Repair(services, bench).view


class _Repair:
    def __init__(self, services: Services, bench: Workbench):
        self.services, self.lab, self.bench = services, services.lab, bench
        with gr.Row(elem_classes="controls"):
            self.arms = gr.CheckboxGroup([], label="Cures to compare", elem_id="repair-arms", min_width=320, scale=4)
            self.steps = gr.Number(
                RepairConfig.steps, precision=0, minimum=1, label="Training steps each", min_width=130
            )
        with gr.Accordion("Data, test, seed", open=False), gr.Row(elem_classes="controls"):
            self.data = gr.Dropdown(
                list(DATA.items()), value=SAME, label="Trained on", elem_id="repair-data", min_width=220
            )
            self.limit = gr.Number(RepairConfig.limit, precision=0, minimum=10, label="Test pictures", min_width=110)
            self.max_shift = gr.Slider(
                1, 14, RepairConfig.max_shift, step=1, label="Largest shift, px", min_width=140
            )
            self.blur_size = gr.Slider(2, 5, RepairConfig.blur_size, step=1, label="Blur size", min_width=120)
            self.seed = gr.Number(0, precision=0, minimum=0, label="Seed", min_width=80)
        with gr.Row(visible=False) as self.own:
            self.upload, self.folder = build_own_data(services, "repair-folder")
        with gr.Row(elem_classes="start"):
            self.start = gr.Button(
                "Start the repair bench",
                variant="primary",
                elem_id="repair-start",
                interactive=False,
                min_width=260,
                scale=0,
            )
            self.said = gr.HTML(elem_id="repair-estimate")
        self.note = gr.HTML(elem_id="repair-note")
        self.view = JobView(services, "repair", EMPTY, lambda: _build_result(services))
        explain_this(EXPLANATION)
        self.wire()

    def wire(self) -> None:
        """Wires what happens: with every choice the time it will take is told, or what keeps it from starting."""
        fields: list[Block] = [self.arms, self.steps, self.data, self.upload, self.folder, self.limit]
        fields += [self.max_shift, self.blur_size, self.seed]
        inputs: set[Any] = {self.bench.model, *fields}
        self.view.form, self.view.fit = fields, self.fit
        self.view.fitted = [self.arms, self.note, self.own, self.folder, self.start, self.said]
        self.view.wire_start(self.start, self.begin, inputs)
        chosen = (self.arms, self.steps, self.data, self.folder, self.limit)
        events = [*(each.input for each in chosen), self.upload.upload, self.upload.clear]
        shown = [self.own, self.start, self.said]
        gr.on(events, self.plan, inputs, shown, **HIDDEN, trigger_mode="always_last")

    def fit(self, values: Values) -> Values:
        """Offers the cures that the model of the sidebar can have, and says why it cannot have the others."""
        folders: Values = {self.folder: offer_folders(self.services)}
        try:
            found = list_cures(values[self.bench.model], self.lab.runs_root)
        except UserError:
            return folders | {self.arms: gr.update(choices=[], value=[]), self.note: "", **self.plan(values)}
        names = [arm.name for arm in found if not arm.obstacle]
        kept = [name for name in values[self.arms] or RepairConfig.arms if name in names]
        obstacles = [[arm.title, arm.obstacle] for arm in found if arm.obstacle]
        choices = [(arm.title, arm.name) for arm in found if not arm.obstacle]
        return folders | {
            self.arms: gr.update(choices=choices, value=kept),
            self.note: table_html(["not for this model", "why"], obstacles) if obstacles else "",
            **self.plan(values | {self.arms: kept}),
        }

    def plan(self, values: Values) -> Values:
        """Says how long it takes here; or why it cannot start."""
        return {self.own: gr.update(visible=values[self.data] == OWN)} | tell_start(
            self.start, self.said, lambda: self.estimate(self.read(values))
        )

    def estimate(self, config: RepairConfig) -> str:
        """How long it takes, in words."""
        return (
            f"Roughly {describe_time(self.expect(config))} if this machine does nothing else: "
            f"{count(len(config.arms), 'network')}, {count(config.steps, 'training step')} each."
        )

    def expect(self, config: RepairConfig) -> float:
        """How many seconds it takes here."""
        # A step goes forward and back, about three times a forward pass; the test looks at each picture shifted.
        pictures = 3 * config.steps * config.batch_size + (config.limit or 0) * (config.shifts + 3)
        return len(config.arms) * pictures * measure_seconds(self.lab, config.start_from)

    def read(self, values: Values) -> RepairConfig:
        """What is to be compared; UserError where that is not said."""
        model, data = values[self.bench.model], values[self.data]
        list_cures(model, self.lab.runs_root)
        if not values[self.arms]:
            raise UserError("Choose at least one cure to compare.")
        own = find_own_data(self.services, values[self.upload], values[self.folder]) if data == OWN else data
        return RepairConfig(
            start_from=model,
            dataset=find_data(model, self.lab.runs_root) if data == SAME else own,
            arms=tuple(values[self.arms]),
            steps=values[self.steps],
            blur_size=int(values[self.blur_size]),
            limit=values[self.limit],
            max_shift=int(values[self.max_shift]),
            seed=values[self.seed],
            data_root=str(self.lab.data_root),
            device=self.lab.models.device.type,
        )

    def begin(self, values: Values) -> str:
        """Starts the bench in the background."""
        config = self.read(values)
        title = f"repair-{config.start_from.removeprefix(RUN_PREFIX)}"
        is_upload = values[self.data] == OWN and config.dataset == values[self.upload]
        upload = "dataset" if is_upload else None
        return self.services.jobs.start_program(
            "repair", config.to_dict(), title, upload, seconds=self.expect(config)
        )


def _build_result(services: Services) -> Result:
    finding = gr.HTML(elem_id="repair-finding")
    scatter = Chart(visible=False, elem_id="repair-plot")
    layers = Chart(visible=False, elem_id="repair-layers")
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
    head = ["network", "accuracy", "consistency", "worst logit change", "model"]
    return sentence_html(_compare(arms)) + table_html(head, rows)


def _compare(arms: list[dict]) -> str:
    """What the most consistent arm has gained, and what that has cost."""
    best = max(arms, key=lambda arm: arm["consistency"]["value"])
    text = f"Most consistent: {best['title']}, {describe_estimate(best['consistency'], in_words=True)}"
    base = next((arm for arm in arms if arm.get("arm") == "as_is"), None)
    accuracy = describe_estimate(best["accuracy"], in_words=True)
    if base is None or best is base:
        return f"{text}, with accuracy {accuracy}."
    gained, lost = (100 * (best[name]["value"] - base[name]["value"]) for name in ("consistency", "accuracy"))
    cost = f"costs {-lost:.1f} points of accuracy" if lost < 0 else f"gains {lost:.1f} points of accuracy too"
    return f"{text}: {gained:+.1f} points against the network as it is. It {cost}: {accuracy}."
