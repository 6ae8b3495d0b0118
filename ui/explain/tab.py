"""Which pixels speak for a class: a grid of methods, classes and models; and what the layers respond to."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import gradio as gr
from PIL import Image

from analysis.attribution.methods import METHODS
from analysis.errors import UserError
from analysis.figures.overlay import COLORMAPS
from ui.explain.drawers import Drawers
from ui.explain.files import write_maps, write_regions
from ui.explain.grid import (
    AUTO,
    NOTHING,
    Cell,
    Grid,
    compute,
    read_classes,
    read_methods,
    read_removed,
    read_versus,
    write_removed,
)
from ui.explain.sentences import SIGNS
from ui.explain.settings import (
    BASELINE_TITLES,
    check_settings,
    describe_methods,
    read_settings,
    write_settings,
)
from ui.explain.view import list_classes, list_facts, show_grid
from ui.services import Action, Services
from ui.widgets.downloads import MadeFile
from ui.widgets.errors import inform
from ui.widgets.events import Block, Tab, Values
from ui.widgets.html import empty_html, explain_this, one_of, open_picture
from ui.workbench import Workbench

ASSETS = Path(__file__).parents[2] / "assets" / "explain"
LIKELY_FIRST = 5
MAX_CLASSES = 4
DEFAULT_METHOD = "grad_cam"
EXAMPLES = {
    "Where is the evidence?": ("grad_cam", "positive"),
    "What adds up to the difference in score?": ("integrated_gradients", "signed"),
    "What if a patch is covered?": ("occlusion", "signed"),
    "Do three methods agree?": ("grad_cam,integrated_gradients,occlusion", "positive"),
}
EXPLANATION = """
Every method gives each pixel a **signed** number: positive speaks for the class, negative against it. The overlay
colours it over the picture, and the line encloses the strongest part. Colours end at a percentile of all maps of a
method, so one bright pixel cannot hide the rest. Point at a map, or press the arrow keys on it, to read the number
at the same place in all of them; in brackets, its share of the strongest colour of either sign. What is explained
is the logit $f_k(x)$ of the chosen class, before softmax. An explanation tells what the *model* uses, which need
not be what is true about the picture. "Half of the evidence lies in 9 % of the picture" counts the strongest pixels
first until half of the map's sum is reached; the *ninths* are those of a grid of three by three.
"""


def build_explain_tab(services: Services, bench: Workbench) -> Tab:
    """Lays out the tab and wires what happens inside it."""
    return _Explain(services, bench).wire()


class _Explain:
    def __init__(self, services: Services, bench: Workbench):
        self.services, self.lab, self.bench = services, services.lab, bench
        with gr.Row(elem_id="explain"):
            with gr.Column(min_width=200, scale=1, elem_classes="narrow"):
                self._lay_out_controls()
            with gr.Column(min_width=320, scale=4):
                self._lay_out_stage()
                with gr.Row(elem_classes="start"):
                    self.save = gr.Button(
                        "Signed maps as numbers", size="sm", scale=0, min_width=190, elem_id="explain-npy"
                    )
                    self.regions = gr.Button(
                        "Strongest regions (CSV)", size="sm", scale=0, min_width=170, elem_id="explain-csv"
                    )
                    self.file = MadeFile(services, "explain-file")
        with gr.Row(elem_classes="controls"):
            self.examples = {gr.Button(title, size="sm", min_width=160): each for title, each in EXAMPLES.items()}
        self.facts = gr.HTML(elem_id="explain-facts", js_on_load=_TELL)
        self.drawers = Drawers(services, bench)
        explain_this(EXPLANATION)
        self.removed = gr.Textbox("[]", visible="hidden", elem_id="explain-removed")
        self.grid = gr.State(None)  # what is on the stage

    def _lay_out_controls(self) -> None:
        tables = f"const TABLE = {describe_methods()}, BASELINES = {json.dumps(BASELINE_TITLES)};\n"
        self.methods = gr.HTML(
            DEFAULT_METHOD,
            html_template='<div class="methods" role="group" aria-label="Methods"></div>',
            js_on_load=tables + _read("methods.js"),
            elem_id="explain-methods",
        )
        self.settings = gr.HTML(
            "",
            html_template='<div class="settings" role="group" aria-label="Settings"></div>',
            js_on_load=tables + _read("settings.js"),
            elem_id="explain-settings",
        )
        self.target = gr.Dropdown(
            [("Predicted class", AUTO)],
            value=[AUTO],
            multiselect=True,
            max_choices=MAX_CLASSES,
            label="Explain the classes",
            elem_id="explain-target",
        )
        self.versus = gr.Dropdown(
            [("Nothing: its own score", NOTHING)],
            value=NOTHING,
            label="Compared with the class",
            elem_id="explain-versus",
        )

    def _lay_out_stage(self) -> None:
        """How maps are drawn, which the browser does by itself, and the maps."""
        self.looks = gr.HTML(
            html_template=_read("looks.html"),
            js_on_load=f"const COLORMAPS = {json.dumps([*COLORMAPS])};\n{_read('looks.js')}",
            elem_id="explain-looks",
            padding=False,
        )
        self.sign = gr.Textbox(SIGNS[0], visible="hidden", elem_id="explain-sign")
        script = _read("maps.js") + _read("stage.js")
        self.view = gr.HTML(empty_html("Choose a picture on the left."), js_on_load=script, elem_id="explain-view")

    def wire(self) -> Tab:
        """Wires what happens, and says what the page has to know."""
        bench = self.bench
        what = [self.methods, self.target, self.versus, self.removed, self.settings]
        own: list[tuple[Block, str]] = [(self.target, "input")]  # of a single choice, gradio raises input twice
        own += [(each, "select") for each in (self.methods, self.settings, self.versus, self.view)]
        own += [(button, "click") for button in self.examples]
        self.own = [part for part, _ in own]
        self.view.select(None, None, self.removed, js="() => window.convscopeRemoved")
        self.looks.release(None, None, self.sign, js="() => window.convscopeLooks.sign")
        for button, doing, write in (
            (self.save, "Writing the maps", write_maps),
            (self.regions, "Writing the regions", write_regions),
        ):
            self.file.wire(button, doing, partial(write, self.services), self.grid)
        self.drawers.wire()
        return Tab(
            self.show,
            [*what, self.sign, self.grid, *self.drawers.inputs],
            [self.view, *what, self.sign, self.facts, self.grid, *self.file.outputs, *self.drawers.outputs],
            lambda message: {self.view: empty_html(message), self.grid: None},
            looks_at=[bench.image, bench.model, bench.compare],
            is_kept=True,
            triggers=own,
            linked={
                "method": (self.methods, read_methods),
                "class": (self.target, read_classes),
                "versus": (self.versus, read_versus),
                "settings": (self.settings, check_settings),
                "show": (self.sign, one_of(SIGNS)),
            },
        )

    def show(self, values: Values, action: Action) -> Values:
        """Computes what the grid lacks; of another picture or model, also fits methods, classes and layers to it."""
        chosen: Values = {}
        if action.source in self.examples:
            methods, sign = self.examples[action.source]
            chosen = {self.methods: methods, self.sign: sign, self.removed: "[]"}
        values = values | chosen
        path = self.bench.find_picture(values)
        picture = open_picture(self.services, path, action)
        fitted = {} if action.source in self.own else self.fit(values, picture, action)
        own = (self.methods, self.target, self.versus, self.settings) if fitted else ()
        values |= {part: fitted[part].get("value", values[part]) for part in own}
        grid = self.read(values)
        grid, cells = self.compute(picture, grid, values[self.grid], action)
        shown: Values = {
            self.view: show_grid(grid, cells, values[self.sign]),
            self.methods: ",".join(grid.methods),
            self.removed: write_removed(grid.removed),
            self.settings: write_settings(grid.settings),
            self.grid: grid,
            **dict(zip(self.file.outputs, self.file.forget(), strict=True)),
        }
        if list(grid.classes) != values[self.target]:
            shown[self.target] = fitted.get(self.target, gr.update()) | {"value": list(grid.classes)}
        if grid.versus != (values[self.versus] or NOTHING):
            shown[self.versus] = fitted.get(self.versus, gr.update()) | {"value": grid.versus}
        if action.source in (*self.own, self.bench.compare):
            return chosen | fitted | shown
        return chosen | fitted | shown | self.drawers.show(values, action)

    def read(self, values: Values) -> Grid:
        """What is asked for.

        Raises:
            UserError: It is nothing that the page offers.
        """
        try:
            methods = read_methods(values[self.methods])
        except (AttributeError, ValueError) as error:
            raise UserError(f"The methods are {', '.join(METHODS)}.") from error
        return Grid(
            picture=str(self.bench.find_picture(values)),
            methods=tuple(methods.split(",")),
            classes=tuple(values[self.target] or [AUTO]),
            models=tuple(self.bench.list_models(values)),
            removed=read_removed(values[self.removed]),
            versus=values[self.versus] or NOTHING,
            settings=read_settings(values[self.settings] or ""),
        ).tidy()

    def compute(
        self, picture: Image.Image, grid: Grid, before: Grid | None, action: Action
    ) -> tuple[Grid, list[Cell]]:
        """The maps of a grid; of what was shown before, where the visitor cancels and nothing new has come of it."""
        known = before.keys if before is not None else []
        cells = compute(self.lab, picture, grid, known, action.report)
        action.settle()
        if any(cell.is_cancelled for cell in cells):
            inform("Cancelled: what was computed until then stays.")
        is_nothing = not any(cell.found for cell in cells) and any(cell.is_cancelled for cell in cells)
        if is_nothing and before is not None and (before.picture, before.models) == (grid.picture, grid.models):
            return before, compute(self.lab, picture, before, known, action.report)
        return grid, cells

    def _fit_versus(self, versus: str, choices: list[tuple[str, str]]) -> dict:
        """The classes that others can be compared with; one that the model does not have becomes none."""
        offered = gr.update(choices=[("Nothing: its own score", NOTHING), *choices[1:]])
        if versus not in (NOTHING, *(value for _, value in choices[1:])):
            offered["value"] = NOTHING
        return offered

    def fit(self, values: Values, picture: Image.Image, action: Action) -> Values:
        """What can be chosen for the model; choices that it does not have become others."""
        model, classes = values[self.bench.model], values[self.target] or [AUTO]
        layers = self.lab.layers(model, action.report("Opening the model"))
        reasons = self.lab.obstacles(model)
        methods = [name for name in str(values[self.methods]).split(",") if name in METHODS and name not in reasons]
        known_best = self.lab.classify(picture, model, LIKELY_FIRST)
        spec = self.lab.registry.get(model)
        choices = list_classes(spec.categories, [each.index for each in known_best.predictions])
        maps = [layer.name for layer in layers if layer.is_feature_map]
        # The classes are sent only where they have to change: the visitor may have chosen others in the meantime.
        offered, known = gr.update(choices=choices), {value for _, value in choices}
        if not set(classes) <= known:
            offered["value"] = [each for each in classes if each in known] or [AUTO]
        fitting = methods or [next(name for name in METHODS if name not in reasons)]
        return {
            self.facts: list_facts(reasons, maps, self.lab.foretell(model)),
            self.versus: self._fit_versus(values[self.versus], choices),
            self.methods: gr.update(value=",".join(fitting)),
            self.target: offered,
            self.settings: _fit_settings(values[self.settings] or "", maps),
        }


def _fit_settings(text: str, layers: Sequence[str]) -> dict:
    """The same settings, but for a layer that the model does not have."""
    pairs = [pair for pair in text.split(",") if not pair.startswith("layer:") or pair[6:] in layers]
    return gr.update(value=",".join(pairs)) if ",".join(pairs) != text else gr.update()


def _read(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


_TELL = """
const tell = () => document.dispatchEvent(new Event("explain-facts"));
watch("value", tell);
tell();
"""
