"""A network as a picture in HTML and SVG: a strip of boxes for all of it, and one for the inside of each part.

Of all strips those are shown that lead to the chosen layer. Every element that moves when the strips go down instead
of across has its other place in ``data-down``. Colours are up to the page, by classes and ``data-kind``. There are no
ids, so several drawings can stand on one page.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from analysis.figures.network_layout import (
    LINE,
    NAME_PIXELS,
    Label,
    Layout,
    Rectangle,
    lay_out,
    name_box,
    note_box,
    shorten,
)
from analysis.figures.network_parts import Part, Strip, describe_part, list_strips
from analysis.grammar import count
from analysis.network.layers import Layer

TITLES = {
    "conv": "convolution",
    "pool": "pooling",
    "linear": "linear",
    "attention": "attention",
    "norm": "normalisation",
    "activation": "activation",
    "shape": "reshape or dropout",
    "block": "block of layers",
    "other": "other",
}
"""Kind of a box -> what the key calls it."""
SHORT_NAMES = {"norm": "norm", "StochasticDepth": "depth", "Dropout": "drop", "Identity": "identity"}
"""Kind or type of a minor part -> what stands in its narrow box."""
_SVG = Markup(
    '<svg role="listbox" aria-label="{}" viewBox="0 0 {:g} {:g}" data-down="0 0 {:g} {:g}" width="{:g}" height="{:g}"'
    ' style="--width: {:g}px" xmlns="http://www.w3.org/2000/svg">{}</svg>'
)
_STRIP = Markup('<div class="strip" data-inside="{}"{}>{}<div class="scroll" tabindex="-1">{}</div></div>')
_CAPTION = Markup('<p class="inside">{}. {} <button type="button">Close</button></p>')
_PATH = Markup('<path class="{}" d="{}" data-down="{}"/>')
_OPTION = Markup(
    '<g role="option" class="{}" data-kind="{}" data-layer="{}" aria-selected="{}"{} tabindex="{}"'
    ' transform="translate({:g} {:g})" data-down="translate({:g} {:g})"><title>{}</title>{}</g>'
)
_BOX = Markup(
    '<rect width="{:g}" height="{:g}" rx="6"/><text x="{:g}" y="20" class="called">{}</text>'
    '<text x="{:g}" y="34" class="type">{}</text>'
)
_STACK = Markup('<path class="stack" d="M5 -4H{:g}"/><path class="stack" d="M9 -7H{:g}"/>')
_BAR = Markup('<path class="sees" d="M6 {0:g}H{1:g}"/><path class="seen" d="M6 {0:g}h{2:g}"/>')
_MINOR = Markup(
    '<rect x="1" width="{:g}" height="{:g}" rx="3"/><text transform="translate({:g} {:g}) rotate(-90)">{}</text>'
)
_FRAME = Markup('<rect width="{:g}" height="{:g}" rx="10"/><text x="{:g}" y="14.5" class="called">{}</text>')
_SIZE = Markup(
    '<g class="size"><g transform="translate({:g} {:g})" class="across"><text text-anchor="middle">{}</text></g>'
    '<g transform="translate({:g} {:g})" class="down"><text>{}</text></g></g>'
)


def draw_network(
    layers: Sequence[Layer],
    chosen: str | None = None,
    picture: tuple[int, ...] = (),
    allowed: Collection[str] | None = None,
) -> Markup:
    """The drawing of a network, with all that is inside its parts.

    Args:
        layers: Of :func:`analysis.network.layers.list_layers`.
        chosen: Name of the layer that is marked.
        picture: Shape ``(C, H, W)`` of the network's input, if its size is to stand at the first arrow.
        allowed: Names of the layers that can be chosen, by default those with a feature map; others can be opened.
    """
    allowed = frozenset([layer.name for layer in layers if layer.is_feature_map] if allowed is None else allowed)
    strips = list(list_strips(layers))
    kinds = {part.kind for strip in strips for box in strip.boxes for part in box.parts}
    entry = Markup('<span {}="{}">{}</span>')
    key = [entry.format("data-kind", kind, title) for kind, title in TITLES.items() if kind in kinds]
    if not all(layer.name in allowed for layer in layers):
        key.append(entry.format("class", "none", "cannot be chosen here"))
    if picture:
        key.append(entry.format("class", "share", "how much of the picture’s width a cell sees"))
    shapes: dict[str, tuple[int, ...]] = {layer.name: layer.output_shape for layer in layers} | {"": picture}
    drawer, shown = _Drawer(chosen, allowed, shapes), _find_shown(strips, chosen)
    drawn = (drawer.draw_strip(strip, is_shown=strip.name in shown) for strip in strips)
    said = (describe_part(part) for strip in strips for part in strip.list_parts() if part.name == chosen)
    html = Markup('<div class="network"><p class="key">{}</p>{}<p class="said">{}</p></div>')
    empty = "" if strips else "No part of this network is called on its own."
    return html.format(Markup("").join(key), Markup("").join(drawn), next(said, empty))


def _find_shown(strips: Sequence[Strip], chosen: str | None) -> set[str]:
    """The strips that lead to the chosen layer, and the one inside it."""
    outer = {part.name: strip.name for strip in strips for part in strip.list_parts()}
    shown = {"", *([chosen] if chosen else [])}
    while chosen in outer:
        chosen = outer[chosen]
        shown.add(chosen)
    return shown


@dataclass(frozen=True)
class _Drawer:
    """Draws the strips of one network; ``shapes`` are those of the outputs of all calls, and of the picture."""

    chosen: str | None
    allowed: frozenset[str]
    shapes: Mapping[str, tuple[int, ...]]

    def draw_strip(self, strip: Strip, *, is_shown: bool) -> Markup:
        reads = strip.inside.layer.reads if strip.inside else ("",)
        enters = self.shapes.get(reads[0], ()) if len(reads) == 1 else ()
        across, down = (lay_out(strip, down=is_down, picture=enters) for is_down in (False, True))
        label = f"Inside {strip.name}, {note_box(strip.inside)}" if strip.inside else "The layers of the network"
        sizes = (across.width, across.height, down.width, down.height, across.width, across.height, across.width)
        svg = _SVG.format(label, *sizes, Markup("").join(self._draw_contents(strip, across, down)))
        more = f"Not drawn: {count(across.hidden_arcs, 'more connection')}." if across.hidden_arcs else ""
        caption = _CAPTION.format(label, more) if strip.inside else ""
        return _STRIP.format(strip.name, "" if is_shown else Markup(' hidden=""'), caption, svg)

    def _draw_contents(self, strip: Strip, across: Layout, down: Layout) -> Iterator[Markup]:
        if across.arcs:
            yield _PATH.format("arcs", across.arcs, down.arcs)
        yield _PATH.format("wires", across.wires, down.wires)
        yield _PATH.format("tips", across.tips, down.tips)
        for label, turned in zip(across.sizes, down.sizes, strict=True):
            yield _draw_size(label, turned)
        # One of them can be reached with the Tab key, the others from there.
        names = [part.name for part in strip.list_parts()]
        first = self.chosen if self.chosen in names else strip.boxes[0].part.name
        for (part, here, line), (_, there, turned_line) in zip(across.frames, down.frames, strict=True):
            yield _PATH.format("wires", line, turned_line)
            yield self._draw_option(part, here, there, _draw_frame(part, here), "frame", first)
        for box, turned_box in zip(across.boxes, down.boxes, strict=True):
            (part, here), (_, there) = box[0], turned_box[0]
            look = "deep" if part.parts else "plain"
            yield self._draw_option(part, here, there, self._draw_box(part, here), look, first)
            for (minor, at), (_, turned_at) in zip(box[1:], turned_box[1:], strict=True):
                yield self._draw_option(minor, at, turned_at, _draw_minor(minor, at), "minor", first)

    def _draw_option(
        self, part: Part, here: Rectangle, there: Rectangle, body: Markup, look: str, first: str | None
    ) -> Markup:
        """What can be chosen, or only be looked into."""
        is_chosen = "true" if part.name == self.chosen else "false"
        state = "" if part.name in self.allowed else Markup(' aria-disabled="true"')
        tabindex = 0 if part.name == first else -1
        places = (here.x, here.y, there.x, there.y)
        return _OPTION.format(
            look, part.kind, part.name, is_chosen, state, tabindex, *places, describe_part(part), body
        )

    def _draw_box(self, part: Part, at: Rectangle) -> Markup:
        """A box with its name, what it is, and a bar for how much a cell sees; one with parts looks like a stack."""
        middle, side = at.width / 2, max(self.shapes[""][1:], default=0)
        html = _STACK.format(at.width - 5, at.width - 9) if part.parts else Markup("")
        html += _BOX.format(at.width, at.height, middle, name_box(part), middle, note_box(part))
        sees = part.layer.receptive_field
        if part.layer.is_feature_map and sees and side:
            share = 1 if part.layer.sees_all else min(sees / side, 1)
            html += _BAR.format(at.height - 5, at.width - 6, (at.width - 12) * share)
        return html


def _draw_size(label: Label, turned: Label) -> Markup:
    """The size of what flows, in lines across and in one line down."""
    line = Markup('<tspan x="0" dy="{}">{}</tspan>')
    lines = Markup("").join(line.format(LINE if number else 0, text) for number, text in enumerate(label.lines))
    return _SIZE.format(label.x, label.y, lines, turned.x, turned.y, "".join(turned.lines))


def _draw_minor(part: Part, at: Rectangle) -> Markup:
    short = SHORT_NAMES.get(part.layer.type) or SHORT_NAMES.get(part.kind) or part.layer.type
    short += "+act" if any(inner.kind == "activation" for inner in part.parts) else ""
    short = short if len(short) <= 9 else f"{short[:7]}…"
    return _MINOR.format(at.width - 1, at.height, at.width / 2 + 4, at.height / 2, short)


def _draw_frame(part: Part, at: Rectangle) -> Markup:
    return _FRAME.format(at.width, at.height, at.width / 2, shorten(name_box(part), at.width - 14, NAME_PIXELS))
