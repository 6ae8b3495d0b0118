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
from lab.channels.filters import read_filters
from ui.explain.channel import Channel
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
FILTER_SIDE = 24
ASK = "What does it look for?"
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
        self.channel = Channel(services, bench)
        with gr.Accordion("Filters of the first layer", open=False) as self.filters_drawer:
            self.filters = build_tiles("filters-view")
        # Whether the drawers are open; the browser says so with whatever is asked next.
        self.sees_features, self.sees_filters = (gr.Textbox("", visible="hidden") for _ in range(2))
        seen = [self.sees_features, self.sees_filters]
        self.inputs: list[Block] = [self.layer, self.page, *seen, *self.channel.inputs]
        self.of_features: list[Block] = [self.network.drawing, self.layer, self.page, self.features]
        self.outputs: list[Block] = [*self.of_features, self.filters, *self.channel.outputs]

    def wire(self) -> None:
        """Wires what happens in them."""
        channel, asked = self.channel, self._list_asked()
        of_channel: list[Block] = [self.layer, *channel.outputs]
        self._wire_drawer(self.features_drawer, self.sees_features, self.show_features, self.of_features)
        self._wire_drawer(self.filters_drawer, self.sees_filters, self.show_filters, [self.filters])
        self._wire_drawer(channel.drawer, channel.is_seen, self.show_channel, of_channel)
        turned = [self.page, self.features, *of_channel]
        self.network.on_choice(fn=self._handler(self.turn), inputs=asked, outputs=turned, **HIDDEN)
        turn = self._handler(self.show_channels)
        self.page.input(turn, asked, [self.page, self.features], **HIDDEN, trigger_mode="always_last")
        choices = [channel.channel.input, channel.data.select, channel.limit.select]
        gr.on(choices, self._handler(self.show_channel), asked, of_channel, **HIDDEN, trigger_mode="always_last")
        channel.find.click(self._handler(self.find_patches), asked, of_channel, **HIDDEN)
        # From a tile to its channel.
        self.features.select(None, None, channel.channel, js=_TAKE_TILE)
        self.features.select(self._handler(self.open_channel), asked, [channel.drawer, *of_channel], **HIDDEN)

    def _list_asked(self) -> set[Any]:
        return {*self.bench.inputs, *self.inputs}

    def _wire_drawer(self, drawer: gr.Accordion, is_seen: gr.Textbox, show: Show, outputs: Sequence[Block]) -> None:
        """What is in a drawer is computed when it is opened; that it is closed concerns the browser alone."""
        drawer.expand(None, None, is_seen, js="() => 'yes'")
        drawer.collapse(None, None, is_seen, js="() => ''")
        handler = self._handler(lambda values, action: show(values | {is_seen: "yes"}, action))
        drawer.expand(handler, self._list_asked(), outputs, **HIDDEN)

    def _handler(self, show: Show) -> Callable[..., Values]:
        @shows_errors
        def handle(values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Values:
            """Shows what is in a drawer."""
            with self.services.act(request, progress, "explain-drawer") as action:
                return show(values, action)

        return handle

    def show(self, values: Values, action: Action) -> Values:
        """All drawers, for another picture or model."""
        shown = self.show_features(values, action) | self.show_filters(values, action)
        return shown | self.show_channel(values, action)

    def turn(self, values: Values, action: Action) -> Values:
        """The maps of another layer, and the channel of it that is looked at."""
        return self.show_channels(values, action) | self.show_channel(values, action)

    def show_channel(self, values: Values, action: Action, *, now: bool = False) -> Values:
        """Draws the page of one channel, where it is looked at; ``now`` finds its patches, however long it takes."""
        if not values[self.channel.is_seen]:
            return {}
        model, layer = values[self.bench.model], values[self.layer]
        layers = self.lab.layers(model, action.report("Downloading weights"))
        names = [each.name for each in layers if each.is_feature_map]
        chosen = layer if layer in names else find_legible(layers)
        if chosen is None:
            return self.channel.clear("This model has no feature map.")
        picture = open_picture(self.services, self.bench.find_picture(values), action)
        fitted = {} if chosen == layer else {self.layer: gr.update(choices=names, value=chosen)}
        return fitted | self.channel.show(values, action, chosen, picture, now=now)

    def find_patches(self, values: Values, action: Action) -> Values:
        """The same, and the patches, which may take minutes."""
        return self.show_channel(values | {self.channel.is_seen: "yes"}, action, now=True)

    def open_channel(self, values: Values, action: Action) -> Values:
        """The page of the channel whose tile was chosen."""
        # Where the drawer is closed, that it opens asks for its content.
        return {self.channel.drawer: gr.update(open=True)} | self.show_channel(values, action)

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
        found = read_filters(self.lab, values[self.bench.model], action.report("Downloading weights"))
        shown = found.filters[:MAX_FILTERS]
        factor = max(1, FILTER_SIDE // shown.shape[-1])
        large = (np.kron(picture, np.ones((factor, factor, 1), np.uint8)) for picture in draw_filters(shown))
        tiles = tiles_html(((picture, found.name(number)) for number, picture in enumerate(large)), found.what)
        return {self.filters: sentence_html(found.describe()) + tiles}


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
    return sentence_html(text) + tiles_html(pictures, "Channel", ASK) + scale_html(limit, colors=colors)


def find_legible(layers: Sequence[Layer]) -> str | None:
    """The layer whose maps are shown before one is chosen: the deepest with ``LEGIBLE_SIDE`` cells a side."""
    maps = [layer for layer in layers if layer.is_feature_map]
    legible = [layer for layer in maps if min(layer.output_shape[1:]) >= LEGIBLE_SIDE]
    shown = legible[-1:] or maps[:1]
    return shown[0].name if shown else None


def build_tiles(elem_id: str) -> gr.HTML:
    """Where :func:`tiles_html` is shown: a click on a tile, or Enter, enlarges it."""
    return gr.HTML(elem_id=elem_id, js_on_load=_ENLARGE)


def tiles_html(pictures: Iterable[tuple[np.ndarray, str]], what: str, question: str = "") -> Markup:
    """Small pictures ``(H, W, 3)`` with numbers, as many in a row as fit; each can be enlarged.

    Args:
        pictures: With their numbers.
        what: What is numbered, such as "Channel".
        question: On a button below the enlarged one, which selects it.
    """
    tile = Markup('<button type="button" title="Enlarge"><img src="{}" alt="{} {}"><span>{}</span></button>')
    tiles = join_html(tile.format(png_uri(picture), what, number, number) for picture, number in pictures)
    ask = Markup('<button type="button" class="ask">{}</button>').format(question) if question else ""
    large = Markup('<dialog><img alt=""><p></p><form method="dialog">{}<button>Close</button></form></dialog>')
    return Markup('<div class="tiles">{}</div>{}').format(tiles, large.format(ask))


_ENLARGE = """
element.addEventListener("click", (event) => {
    const dialog = element.querySelector("dialog"), tile = event.target.closest(".tiles button");
    if (event.target === dialog) dialog.close();
    if (event.target.closest(".ask")) {
        dialog.close();
        trigger("select");
    }
    if (!tile) return;
    const small = tile.querySelector("img"), large = dialog.querySelector("img");
    window.convscopeTile = tile.textContent;
    large.src = small.src;
    large.alt = dialog.querySelector("p").textContent = small.alt;
    dialog.showModal();
});
"""
_TAKE_TILE = """() => {
    setTimeout(() => document.querySelector("#channel-drawer").scrollIntoView({behavior: "smooth"}), 300);
    return Number(window.convscopeTile);
}"""
