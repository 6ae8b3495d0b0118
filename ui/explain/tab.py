"""Which pixels speak for a class, what the layers respond to, and the first filters."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
import numpy as np
from markupsafe import Markup
from PIL import Image

from analysis.attribution.methods import METHODS
from analysis.figures.drawing import draw_filters
from analysis.figures.overlay import COLORMAPS
from ui.explain.view import (
    AUTO,
    SIGNS,
    build_tiles,
    count_pages,
    find_legible,
    list_classes,
    list_obstacles,
    read_target,
    show_explanation,
    show_features,
    tiles_html,
)
from ui.services import Action, Services
from ui.widgets.errors import shows_errors
from ui.widgets.events import HIDDEN, Block, Tab, Update, Values
from ui.widgets.html import empty_html, explain_this, one_of, open_picture
from ui.widgets.network import build_network_picture
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
Show = Callable[[Values, Action], Values]
"""Values of inputs, and the action that asks -> values of outputs."""
Shown = tuple[Markup, Update, Update]
"""Of the explanation, and of the buttons that save its overlay and its signed map."""


def build_explain_tab(services: Services, bench: Workbench) -> Tab:
    """Lays out the tab and wires what happens inside it."""
    return _Explain(services, bench).wire()


class _Explain:
    def __init__(self, services: Services, bench: Workbench):
        self.services, self.lab, self.bench = services, services.lab, bench
        self.method = gr.State(DEFAULT_METHOD)
        with gr.Row(elem_id="explain"):
            with gr.Column(min_width=200, scale=1, elem_classes="narrow"):
                self._lay_out_controls()
            with gr.Column(min_width=320, scale=4):
                self.view = gr.HTML(empty_html("Choose a picture on the left."), elem_id="explain-view")
                with gr.Row(elem_classes="controls"):
                    self.files = [
                        gr.DownloadButton("Overlay (PNG)", size="sm", interactive=False, elem_id="explain-png"),
                        gr.DownloadButton("Signed map (npy)", size="sm", interactive=False, elem_id="explain-npy"),
                    ]
        self.obstacles = gr.HTML(elem_id="explain-obstacles")
        with gr.Row(elem_classes="controls"):
            self.examples = {title: gr.Button(title, size="sm", min_width=200) for title in EXAMPLES}
        with gr.Accordion("Feature maps of a layer", open=False) as self.features_drawer:
            self.network = build_network_picture(elem_id="features")
            self.layer = self.network.layer
            self.page = gr.Number(1, precision=0, minimum=1, label="Page", elem_id="features-page", min_width=120)
            self.features = build_tiles("features-view")
        with gr.Accordion("Filters of the first layer", open=False) as self.filters_drawer:
            self.filters = build_tiles("filters-view")
        explain_this(EXPLANATION)
        # Whether the drawers are open; the browser says so with whatever is asked next.
        self.sees_features, self.sees_filters = (gr.Textbox("", visible="hidden") for _ in range(2))
        self.shown = [self.view, *self.files]

    def _lay_out_controls(self) -> None:
        with gr.Group(elem_classes="methods"):
            self.buttons = {
                name: gr.Button(m.title, size="sm", elem_id=f"method-{name}") for name, m in METHODS.items()
            }
        self.target = gr.Dropdown(
            [("Predicted class", AUTO)], value=AUTO, label="Explain the class", elem_id="explain-target"
        )
        self.sign = gr.Dropdown(list(SIGNS.items()), value="positive", label="Show evidence", elem_id="explain-sign")
        self.opacity = gr.Slider(0, 1, 0.5, step=0.05, label="Opacity", elem_id="explain-opacity")
        self.colors = gr.Dropdown(
            list(COLORMAPS), value=next(iter(COLORMAPS)), label="Colours", elem_id="explain-colors"
        )

    def wire(self) -> Tab:
        """Wires what happens, and says what the page has to know."""
        bench, settings = self.bench, [self.method, self.target, self.sign, self.opacity, self.colors]
        chosen: list[tuple[Block, str]] = [(each, "input") for each in (self.target, self.sign, self.colors)]
        chosen += [(self.opacity, "release")]
        chosen += [(button, "click") for button in (*self.buttons.values(), *self.examples.values())]
        features: list[Block] = [self.network.drawing, self.layer, self.page, self.features]
        self._wire_drawer(self.features_drawer, self.sees_features, self.show_features, features)
        self._wire_drawer(self.filters_drawer, self.sees_filters, self.show_filters, [self.filters])
        asked: set[Any] = {*bench.inputs, self.layer, self.page}
        turn = self._handler(self.show_channels)
        self.network.on_choice(fn=turn, inputs=asked, outputs=[self.page, self.features], **HIDDEN)
        self.page.input(turn, asked, [self.page, self.features], **HIDDEN, trigger_mode="always_last")
        return Tab(
            self.show,
            [*settings, self.layer, self.page, self.sees_features, self.sees_filters],
            [
                *(*self.buttons.values(), self.obstacles, self.method, self.sign, self.target, *features),
                *(self.filters, *self.shown),
            ],
            lambda message: dict(zip(self.shown, _clear(message), strict=True)),
            looks_at=[bench.image, bench.model],
            is_kept=True,
            triggers=chosen,
            linked={"method": (self.method, one_of(METHODS)), "show": (self.sign, one_of(SIGNS.values()))},
        )

    def _wire_drawer(self, drawer: gr.Accordion, is_seen: gr.Textbox, show: Show, outputs: Sequence[Block]) -> None:
        """What is in a drawer is computed when it is opened; that it is closed concerns the browser alone."""
        drawer.expand(None, None, is_seen, js="() => 'yes'")
        drawer.collapse(None, None, is_seen, js="() => ''")
        asked: set[Any] = {*self.bench.inputs, self.layer, self.page}
        handler = self._handler(lambda values, action: show(values | {is_seen: "yes"}, action))
        drawer.expand(handler, asked, outputs, **HIDDEN)

    def _handler(self, show: Show) -> Callable[..., Values]:
        @shows_errors
        def handle(values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Values:
            """Shows what is in a drawer."""
            with self.services.act(request, progress, "explain-drawer") as action:
                return show(values, action)

        return handle

    def choose(self, source: object, values: Values) -> Values:
        """What a click on a button chooses."""
        methods = {button: name for name, button in self.buttons.items()}
        examples = {button: EXAMPLES[title] for title, button in self.examples.items()}
        if source in methods:
            return {self.method: methods[source]}
        if source in examples:
            method, sign = examples[source]
            return {self.method: method, self.sign: sign}
        return {}

    def show(self, values: Values, action: Action) -> Values:
        """Explains; of another picture or model, also fits methods, classes and layers to it."""
        chosen = self.choose(action.source, values)
        values = values | chosen
        picture = open_picture(self.services, self.bench.find_picture(values), action)
        if action.source in (self.target, self.sign, self.opacity, self.colors):
            return dict(zip(self.shown, self.explain(values, picture, action), strict=True))
        fitted = self.fit(values, picture, action)
        values |= {self.method: fitted[self.method]}
        values |= {self.target: fitted[self.target].get("value", values[self.target])}
        shown: Values = dict(zip(self.shown, self.explain(values, picture, action), strict=True))
        if action.source in (*self.buttons.values(), *self.examples.values()):
            return {**chosen, **fitted, **shown}
        return {
            **chosen,
            **fitted,
            **shown,
            **self.show_features(values, action),
            **self.show_filters(values, action),
        }

    def fit(self, values: Values, picture: Image.Image, action: Action) -> Values:
        """What can be chosen for the model; choices that it does not have become others."""
        model, asked, method = (values[each] for each in (self.bench.model, self.target, self.method))
        self.lab.layers(model, action.report("Downloading weights"))
        reasons = self.lab.obstacles(model)
        if method in reasons:
            method = next(name for name in METHODS if name not in reasons)
        likely = [p.index for p in self.lab.classify(picture, model, LIKELY_FIRST).predictions]
        choices = list_classes(self.lab.registry.get(model).categories, likely)
        # The class is sent only where it has to change: the visitor may have chosen another one in the meantime.
        classes = gr.update(choices=choices)
        if asked not in [value for _, value in choices]:
            classes["value"] = AUTO
        return {
            **dict(zip(self.buttons.values(), _mark(method, reasons), strict=True)),
            self.obstacles: list_obstacles(reasons),
            self.method: method,
            self.target: classes,
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

    def show_features(self, values: Values, action: Action) -> Values:
        """Draws the network, and the maps of a layer of it, where they are looked at."""
        if not values[self.sees_features]:
            return {}
        model, layer = values[self.bench.model], values[self.layer]
        layers = self.lab.layers(model, action.report("Downloading weights"))
        prep = self.lab.registry.get(model).preprocessing
        page = values[self.page]
        if layer not in [each.name for each in layers if each.is_feature_map]:
            layer, page = find_legible(layers), 1
        drawn = self.network.show(layers, layer, (prep.num_channels, prep.crop_size, prep.crop_size))
        return drawn | self.show_channels(values | {self.layer: layer, self.page: page}, action)

    def show_channels(self, values: Values, action: Action) -> Values:
        """Draws one page of the channels of a layer on one colour scale."""
        layer = values[self.layer]
        if not layer:
            return {self.features: empty_html("This model has no feature map.")}
        picture = open_picture(self.services, self.bench.find_picture(values), action)
        maps = self.lab.extract(picture, values[self.bench.model], layer)
        asked, last = int(values[self.page] or 1), count_pages(len(maps))
        page = min(max(asked, 1), last)
        turned = gr.update(label=f"Page, 1 to {last}", visible=last > 1)
        if page != values[self.page]:
            turned["value"] = page
        return {self.page: turned, self.features: show_features(maps, layer, page)}

    def show_filters(self, values: Values, action: Action) -> Values:
        """Draws the kernels of the first convolution, where they are looked at."""
        if not values[self.sees_filters]:
            return {}
        pictures = draw_filters(self.lab.first_filters(values[self.bench.model])[:MAX_FILTERS])
        large = (np.kron(picture, np.ones((8, 8, 1), np.uint8)) for picture in pictures)
        return {self.filters: tiles_html(((picture, str(i)) for i, picture in enumerate(large)), "Filter")}


def _clear(message: str) -> Shown:
    return empty_html(message), gr.update(interactive=False), gr.update(interactive=False)


def _mark(chosen: str, reasons: dict[str, str]) -> list[Update]:
    """Updates of the method buttons: the chosen one stands out, those with a reason against them are off."""
    variants = {True: "primary", False: "secondary"}
    return [gr.update(variant=variants[name == chosen], interactive=name not in reasons) for name in METHODS]
