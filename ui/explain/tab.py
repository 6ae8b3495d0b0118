"""Which pixels speak for a class, what the layers respond to, and the first filters."""

import gradio as gr
import numpy as np
from markupsafe import Markup
from PIL import Image

from analysis.attribution.methods import METHODS
from analysis.figures.drawing import draw_filters
from analysis.figures.overlay import COLORMAPS
from ui.explain.view import (
    AUTO,
    MAPS_PER_PAGE,
    SIGNS,
    list_classes,
    list_obstacles,
    read_target,
    show_explanation,
    show_features,
)
from ui.services import Action, Services
from ui.widgets.events import QUICK, Block, Tab, Update, Values
from ui.widgets.html import empty_html, explain_this, grid_html, one_of, open_picture
from ui.workbench import Workbench

MAX_FILTERS = 256
LIKELY_FIRST = 5
DEFAULT_METHOD = "grad_cam"
EXAMPLES = {
    "Where is the evidence?": ("grad_cam", "positive"),
    "What adds up to the difference in score?": ("integrated_gradients", "signed"),
    "What if a patch is covered?": ("occlusion", "signed"),
}
EXPLANATION = """
Every method gives each pixel a **signed** number: positive speaks for the class, negative against it. The overlay
colours it over the picture, and the line encloses the strongest tenth of the pixels. Colours end at the 99.5th
percentile, so one bright pixel cannot hide the rest. What is explained is the logit $f_k(x)$ of the chosen class,
before softmax. An explanation tells what the *model* uses, which need not be what is true about the picture.
"""
Shown = tuple[Markup, Update, Update]
"""Of the explanation, and of the buttons that save its overlay and its signed map."""


def build_explain_tab(services: Services, bench: Workbench) -> Tab:
    """Lays out the tab and wires what happens inside it."""
    return _Explain(services, bench).wire()


class _Explain:
    def __init__(self, services: Services, bench: Workbench):
        self.services, self.lab, self.bench = services, services.lab, bench
        self.method = gr.State(DEFAULT_METHOD)
        with gr.Row(elem_classes="methods"):
            self.buttons = {
                name: gr.Button(m.title, size="sm", min_width=130, elem_id=f"method-{name}")
                for name, m in METHODS.items()
            }
        self.obstacles = gr.HTML(elem_id="explain-obstacles")
        self._lay_out_controls()
        self.view = gr.HTML(empty_html("Choose a picture on the left."), elem_id="explain-view")
        with gr.Row(elem_classes="controls"):
            self.files = [
                gr.DownloadButton("Overlay (PNG)", size="sm", interactive=False, elem_id="explain-png"),
                gr.DownloadButton("Signed map (npy)", size="sm", interactive=False, elem_id="explain-npy"),
            ]
        with gr.Accordion("Feature maps of a layer", open=False) as features_panel:
            with gr.Row(elem_classes="controls"):
                self.layer = gr.Dropdown([], label="Layer", elem_id="features-layer", min_width=260)
                label = f"Page of {MAPS_PER_PAGE} channels"
                self.page = gr.Number(1, precision=0, minimum=1, label=label, min_width=120)
            self.features = gr.HTML(elem_id="features-view")
        with gr.Accordion("Filters of the first layer", open=False) as filters_panel:
            self.filters = gr.HTML(elem_id="filters-view")
        self.panels = {"features": features_panel, "filters": filters_panel}
        with gr.Row(elem_classes="controls"):
            self.examples = {title: gr.Button(title, size="sm", min_width=200) for title in EXAMPLES}
        explain_this(EXPLANATION)
        self.open_panels = gr.State(())
        self.shown = [self.view, *self.files]

    def _lay_out_controls(self) -> None:
        with gr.Row(elem_classes="controls"):
            self.target = gr.Dropdown(
                [("Predicted class", AUTO)],
                value=AUTO,
                label="Explain the class",
                elem_id="explain-target",
                min_width=220,
            )
            self.sign = gr.Dropdown(
                list(SIGNS.items()), value="positive", label="Show evidence", elem_id="explain-sign", min_width=200
            )
            self.opacity = gr.Slider(0, 1, 0.5, step=0.05, label="Opacity", elem_id="explain-opacity", min_width=160)
            self.colors = gr.Dropdown(
                list(COLORMAPS), value=next(iter(COLORMAPS)), label="Colours", elem_id="explain-colors", min_width=120
            )

    def wire(self) -> Tab:
        """Wires what happens, and says what the page has to know."""
        bench, settings = self.bench, [self.method, self.target, self.sign, self.opacity, self.colors]
        chosen: list[tuple[Block, str]] = [
            (each, "input") for each in (self.target, self.sign, self.colors, self.layer, self.page)
        ]
        chosen += [(self.opacity, "release"), *((panel, "expand") for panel in self.panels.values())]
        chosen += [(button, "click") for button in (*self.buttons.values(), *self.examples.values())]
        for name, panel in self.panels.items():
            panel.collapse(
                lambda panels, name=name: tuple(p for p in panels if p != name),
                *(self.open_panels, self.open_panels),
                **QUICK,
            )
        return Tab(
            self.show,
            [*settings, self.layer, self.page, self.open_panels],
            [
                *(*self.buttons.values(), self.obstacles, self.method, self.sign, self.target, self.layer, self.page),
                *(self.features, self.filters, self.open_panels, *self.shown),
            ],
            lambda message: dict(zip(self.shown, _clear(message), strict=True)),
            looks_at=[bench.image, bench.model],
            is_kept=True,
            triggers=chosen,
            linked={"method": (self.method, one_of(METHODS)), "show": (self.sign, one_of(SIGNS.values()))},
        )

    def choose(self, source: object, values: Values) -> Values:
        """What a click on a button, or the opening of a panel, chooses."""
        methods = {button: name for name, button in self.buttons.items()}
        examples = {button: EXAMPLES[title] for title, button in self.examples.items()}
        panels = {panel: name for name, panel in self.panels.items()}
        if source in methods:
            return {self.method: methods[source]}
        if source in examples:
            method, sign = examples[source]
            return {self.method: method, self.sign: sign}
        if source in panels:
            return {self.open_panels: (*values[self.open_panels], panels[source])}
        return {}

    def show(self, values: Values, action: Action) -> Values:
        """Fits methods, classes and layers to the model, then explains."""
        chosen = self.choose(action.source, values)
        values = values | chosen
        picture = open_picture(self.services, self.bench.find_picture(values), action)
        fitted = self.fit(values, picture, action)
        values |= {self.method: fitted[self.method], self.page: fitted[self.page]}
        values |= {part: fitted[part].get("value", values[part]) for part in (self.target, self.layer)}
        return {
            **chosen,
            **fitted,
            **dict(zip(self.shown, self.explain(values, picture, action), strict=True)),
            self.features: self.show_features(values, picture),
            self.filters: self.show_filters(values),
        }

    def fit(self, values: Values, picture: Image.Image, action: Action) -> Values:
        """What can be chosen for the model; choices that it does not have become others."""
        model, asked, layer = (values[each] for each in (self.bench.model, self.target, self.layer))
        layers = [
            item.name for item in self.lab.layers(model, action.report("Downloading weights")) if item.is_feature_map
        ]
        reasons = self.lab.obstacles(model)
        method = values[self.method]
        if method in reasons:
            method = next(name for name in METHODS if name not in reasons)
        likely = [p.index for p in self.lab.classify(picture, model, LIKELY_FIRST).predictions]
        choices = list_classes(self.lab.registry.get(model).categories, likely)
        # The class is sent only where it has to change: the visitor may have chosen another one in the meantime.
        classes = gr.update(choices=choices)
        if asked not in [value for _, value in choices]:
            classes["value"] = AUTO
        has_layer = layer in layers
        if not has_layer:
            layer = self.lab.default_layer(model) or (layers[-1] if layers else None)
        return {
            **dict(zip(self.buttons.values(), _mark(method, reasons), strict=True)),
            self.obstacles: list_obstacles(reasons),
            self.method: method,
            self.target: classes,
            self.layer: gr.update(choices=layers, value=layer),
            self.page: (values[self.page] or 1) if has_layer else 1,
        }

    def explain(self, values: Values, picture: Image.Image, action: Action) -> Shown:
        """Computes the map of the chosen method, or redraws the one at hand."""
        method = values[self.method]
        result = self.lab.explain(
            *(picture, values[self.bench.model], method, read_target(values[self.target])),
            progress=action.report(METHODS[method].title),
            loading=action.report("Downloading weights"),
        )
        return show_explanation(self.services, result, values[self.sign], values[self.opacity], values[self.colors])

    def show_features(self, values: Values, picture: Image.Image) -> str:
        """Draws one page of the channels of a layer on one colour scale, if its panel is open."""
        layer = values[self.layer]
        if "features" not in values[self.open_panels] or not layer:
            return ""
        maps = self.lab.extract(picture, values[self.bench.model], layer)
        return show_features(maps, layer, int(values[self.page]))

    def show_filters(self, values: Values) -> str:
        """Draws the kernels of the first convolution, if their panel is open."""
        if "filters" not in values[self.open_panels]:
            return ""
        pictures = draw_filters(self.lab.first_filters(values[self.bench.model])[:MAX_FILTERS])
        return grid_html((np.kron(p, np.ones((8, 8, 1), np.uint8)), str(i)) for i, p in enumerate(pictures))


def _clear(message: str) -> Shown:
    return empty_html(message), gr.update(interactive=False), gr.update(interactive=False)


def _mark(chosen: str, reasons: dict[str, str]) -> list[Update]:
    """Updates of the method buttons: the chosen one stands out, those with a reason against them are off."""
    variants = {True: "primary", False: "secondary"}
    return [gr.update(variant=variants[name == chosen], interactive=name not in reasons) for name in METHODS]
