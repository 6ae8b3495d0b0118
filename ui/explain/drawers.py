"""Drawers of the Explain tab: what the channels of a layer respond to, and the first filters."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gradio as gr
import numpy as np
from markupsafe import Markup
from torch import Tensor

from analysis.figures.drawing import draw_filters
from analysis.figures.overlay import render_map
from analysis.network.layers import Layer
from ui.services import Action, Services
from ui.widgets.errors import shows_errors
from ui.widgets.events import HIDDEN, Block, Values
from ui.widgets.html import empty_html, join_html, open_picture, png_uri, scale_html, sentence_html
from ui.widgets.network import build_network_picture
from ui.workbench import Workbench

MAX_FILTERS = 256
MAPS_PER_PAGE = 48
LEGIBLE_SIDE = 14
MAP_SIDE = 112
Show = Callable[[Values, Action], Values]
"""Values of inputs, and the action that asks -> values of outputs."""


class Drawers:
    """What is in them is computed while they are open.

    Attributes:
        inputs: Of :meth:`show`, beside those of the workbench.
        outputs: Of :meth:`show`.
    """

    def __init__(self, services: Services, bench: Workbench):
        self.services, self.lab, self.bench = services, services.lab, bench
        with gr.Accordion("Feature maps of a layer", open=False) as self.features_drawer:
            self.network = build_network_picture(elem_id="features")
            self.layer = self.network.layer
            self.page = gr.Number(1, precision=0, minimum=1, label="Page", elem_id="features-page", min_width=120)
            self.features = build_tiles("features-view")
        with gr.Accordion("Filters of the first layer", open=False) as self.filters_drawer:
            self.filters = build_tiles("filters-view")
        # Whether the drawers are open; the browser says so with whatever is asked next.
        self.sees_features, self.sees_filters = (gr.Textbox("", visible="hidden") for _ in range(2))
        self.inputs: list[Block] = [self.layer, self.page, self.sees_features, self.sees_filters]
        self.outputs: list[Block] = [self.network.drawing, self.layer, self.page, self.features, self.filters]

    def wire(self) -> None:
        """Wires what happens in them."""
        *features, filters = self.outputs
        self._wire_drawer(self.features_drawer, self.sees_features, self.show_features, features)
        self._wire_drawer(self.filters_drawer, self.sees_filters, self.show_filters, [filters])
        asked: set[Any] = {*self.bench.inputs, self.layer, self.page}
        turn = self._handler(self.show_channels)
        self.network.on_choice(fn=turn, inputs=asked, outputs=[self.page, self.features], **HIDDEN)
        self.page.input(turn, asked, [self.page, self.features], **HIDDEN, trigger_mode="always_last")

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

    def show(self, values: Values, action: Action) -> Values:
        """Both drawers, for another picture or model."""
        return self.show_features(values, action) | self.show_filters(values, action)

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


def count_pages(num_channels: int) -> int:
    """Pages that the channels of a layer take."""
    return max(-(-num_channels // MAPS_PER_PAGE), 1)


def show_features(maps: Tensor, layer: str, page: int) -> Markup:
    """A page of the channels of ``maps (C, h, w)``, strongest first, on one colour scale; ``page`` counts from 1.

    A channel is as strong as its mean magnitude; those that are zero everywhere come last.
    """
    order = maps.abs().mean(dim=(1, 2)).argsort(descending=True, stable=True).tolist()
    first = (min(max(page, 1), count_pages(len(maps))) - 1) * MAPS_PER_PAGE
    shown = order[first : first + MAPS_PER_PAGE]
    limit = float(maps.abs().max())
    sign, colors = ("signed", "diverging") if float(maps.min()) < 0 else ("positive", "viridis")
    pictures = (
        (render_map(maps[i][None], sign=sign, scale=limit or 1.0, size=MAP_SIDE, colormap="viridis"), str(i))
        for i in shown
    )
    num_empty = int((maps.abs().amax(dim=(1, 2)) == 0).sum())
    empty = f" {num_empty} are zero everywhere." if num_empty else ""
    size = " x ".join(map(str, maps.shape))
    text = (
        f"{layer}: {size}. Channels {first + 1} to {first + len(shown)} by strength, all on one colour scale.{empty}"
    )
    return sentence_html(text) + tiles_html(pictures, "Channel") + scale_html(limit, colors=colors)


def find_legible(layers: Sequence[Layer]) -> str | None:
    """The layer whose maps are shown before one is chosen: the deepest with ``LEGIBLE_SIDE`` cells a side."""
    maps = [layer for layer in layers if layer.is_feature_map]
    legible = [layer for layer in maps if min(layer.output_shape[1:]) >= LEGIBLE_SIDE]
    shown = legible[-1:] or maps[:1]
    return shown[0].name if shown else None


def build_tiles(elem_id: str) -> gr.HTML:
    """Where :func:`tiles_html` is shown: a click on a tile, or Enter, enlarges it."""
    return gr.HTML(elem_id=elem_id, js_on_load=_ENLARGE)


def tiles_html(pictures: Iterable[tuple[np.ndarray, str]], what: str) -> Markup:
    """Small pictures ``(H, W, 3)`` with numbers, as many in a row as fit; each can be enlarged.

    Args:
        pictures: With their numbers.
        what: What is numbered, such as "Channel".
    """
    tile = Markup('<button type="button" title="Enlarge"><img src="{}" alt="{} {}"><span>{}</span></button>')
    tiles = join_html(tile.format(png_uri(picture), what, number, number) for picture, number in pictures)
    large = Markup('<dialog><img alt=""><p></p><form method="dialog"><button>Close</button></form></dialog>')
    return Markup('<div class="tiles">{}</div>{}').format(tiles, large)


_ENLARGE = """
element.addEventListener("click", (event) => {
    const dialog = element.querySelector("dialog"), tile = event.target.closest(".tiles button");
    if (event.target === dialog) dialog.close();
    if (!tile) return;
    const small = tile.querySelector("img"), large = dialog.querySelector("img");
    large.src = small.src;
    large.alt = dialog.querySelector("p").textContent = small.alt;
    dialog.showModal();
});
"""
