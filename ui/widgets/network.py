"""A network as a picture in which a layer is chosen, with a plain list of the layers beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from analysis.figures.network_drawing import draw_network
from analysis.network.layers import Layer
from ui.widgets.events import Values


@dataclass(frozen=True)
class NetworkPicture:
    """The drawing, the list that always says the same, and what to listen to.

    Attributes:
        drawing: The drawing, in which ``select`` means that a layer was clicked.
        layer: The chosen layer, for the inputs of listeners.
    """

    drawing: gr.HTML
    layer: gr.Dropdown

    def on_choice(self, **work: Any) -> None:
        """Does ``work``, described as for a listener, when a layer is chosen in the drawing or in the list."""
        gr.on([self.layer.input, self.drawing.select], **work)

    def show(
        self,
        layers: Sequence[Layer],
        chosen: str | None,
        picture: tuple[int, ...] = (),
        choices: Sequence[tuple[str, str]] | None = None,
    ) -> Values:
        """Updates for another network.

        Args:
            layers: Of ``Lab.layers``.
            chosen: The layer to begin with.
            picture: Shape ``(C, H, W)`` of the network's input.
            choices: What the list says of each layer that can be chosen, and its name; by default all feature maps.
        """
        if choices is None:
            choices = [(layer.name, layer.name) for layer in layers if layer.is_feature_map]
        allowed = [name for _, name in choices]
        return {
            self.drawing: draw_network(layers, chosen, picture, allowed),
            self.layer: gr.update(choices=choices, value=chosen),
        }


def build_network_picture(label: str = "Layer", elem_id: str = "network") -> NetworkPicture:
    """Lays out the drawing and, below it, the list, and keeps the two together."""
    drawing = gr.HTML(elem_id=elem_id, css_template=_STYLE, js_on_load=_SCRIPT, apply_default_css=False)
    layer = gr.Dropdown([], label=label, elem_id=f"{elem_id}-layer", min_width=260)
    drawing.select(None, None, layer, js=_TAKE.replace("ELEM_ID", elem_id))
    layer.input(None, layer, None, js=_MARK.replace("ELEM_ID", elem_id))
    return NetworkPicture(drawing, layer)


_STYLE = """
.network { color: var(--body-text-color, #1f2937); container-type: inline-size; font-size: 0.85rem; }
.key { display: flex; flex-wrap: wrap; gap: 0.2rem 0.9rem; margin: 0 0 0.4rem; }
.key span { align-items: center; display: inline-flex; gap: 0.35rem; }
.key span::before { background: var(--fill); border: 1.5px solid var(--edge); border-radius: 3px; content: "";
  flex: none; height: 0.7rem; width: 0.9rem; }
.key .none::before { background: none; border: 1.5px dashed currentColor; }
.key .share::before { background: currentColor; border: 0; border-radius: 0; height: 3px; }
[data-kind=conv] { --hue: #3b82f6; }
[data-kind=pool] { --hue: #f59e0b; }
[data-kind=linear] { --hue: #10b981; }
[data-kind=attention] { --hue: #d946ef; }
[data-kind=norm] { --hue: #8b5cf6; }
[data-kind=activation] { --hue: #ef4444; }
[data-kind=shape], [data-kind=other] { --hue: #94a3b8; }
[data-kind=block] { --hue: #06b6d4; }
.key span, g[role=option] { --edge: var(--hue);
  --fill: color-mix(in srgb, var(--hue) 22%, var(--background-fill-primary, white)); }
.strip { margin: 0 0 0.4rem; }
.strip[hidden] { display: none; }
.strip .strip { margin-left: 1rem; }
.inside { align-items: baseline; display: flex; gap: 0.6rem; margin: 0; }
.inside button { background: none; border: 1px solid var(--border-color-primary); border-radius: 4px; cursor: pointer;
  min-height: 1.5rem; padding: 0 0.5rem; }
.scroll { overflow: auto; max-height: min(70vh, 640px); }
.said { margin: 0.2rem 0 0; min-height: 2.6em; }
svg { display: block; font-family: inherit; height: auto; margin: 0; max-width: var(--width);
  min-width: calc(0.88 * var(--width)); width: 100%; }
svg text { fill: var(--body-text-color, #1f2937); }
g[role=option] { cursor: pointer; outline: none; }
g[role=option] rect { fill: var(--fill); stroke: var(--edge); stroke-width: 1.25; }
g[role=option] text { font-size: 10.5px; text-anchor: middle; pointer-events: none; }
g[role=option] text.called { font-size: 12px; font-weight: 600; }
g.minor[role=option] text { font-size: 9px; }
.sees, .seen { stroke: var(--edge); stroke-width: 3; opacity: 0.3; }
.seen { stroke: var(--body-text-color, #1f2937); opacity: 1; }
g.deep .stack { fill: none; stroke: var(--edge); stroke-width: 1.5; }
g[aria-disabled=true]:not(.deep) { cursor: default; }
g[aria-disabled=true] rect { stroke-dasharray: 3 2; }
g[role=option]:hover rect { --fill: color-mix(in srgb, var(--hue) 38%, var(--background-fill-primary, white)); }
g[aria-selected=true] rect { stroke: var(--body-text-color, #1f2937); stroke-width: 3; stroke-dasharray: none; }
g[role=option]:focus-visible rect { stroke: var(--color-accent, #2563eb); stroke-width: 3.5; }
g.open rect { --fill: color-mix(in srgb, var(--hue) 38%, var(--background-fill-primary, white)); }
.wires, .arcs { fill: none; stroke: var(--body-text-color, #1f2937); stroke-width: 1.25; opacity: 0.6; }
.arcs { opacity: 0.45; }
.tips { fill: var(--body-text-color, #1f2937); opacity: 0.75; }
.size text { font-size: 10.5px; font-variant-numeric: tabular-nums; }
svg:not(.turned) .down, svg.turned .across { display: none; }
"""

# The strips go down where there is little room; the other place of everything is in data-down.
_SCRIPT = """
const block = element.parentElement.closest("[id]");
const all = (selector) => [...element.querySelectorAll(selector)];
const strip = (name) => all(".strip").find((each) => each.dataset.inside === name);
const box = (name) => all("[data-layer]").find((each) => each.dataset.layer === name);
const inside = (node) => node.closest(".strip").dataset.inside;

const turn = () => {
    const down = element.clientWidth < 560;
    for (const svg of all("svg[role=listbox]")) {
        if (svg.classList.contains("turned") === down) continue;
        svg.classList.toggle("turned", down);
        for (const each of [svg, ...svg.querySelectorAll("[data-down]")]) {
            const name = each === svg ? "viewBox" : each.tagName === "path" ? "d" : "transform";
            const other = each.dataset.down;
            each.dataset.down = each.getAttribute(name);
            each.setAttribute(name, other);
        }
        const size = svg.getAttribute("viewBox").split(" ");
        svg.setAttribute("width", size[2]);
        svg.setAttribute("height", size[3]);
        svg.style.setProperty("--width", `${size[2]}px`);
    }
};
const say = (node) => {
    element.querySelector(".said").textContent = node ? node.querySelector("title").textContent : "";
};
// Shows the strips that lead to a layer, and the one inside it.
const open = (name) => {
    const names = new Set([""]);
    for (let next = name; next && box(next); next = inside(box(next))) names.add(next);
    for (const each of all(".strip")) each.hidden = !names.has(each.dataset.inside);
    for (const each of all("[data-layer]")) {
        each.classList.toggle("open", names.has(each.dataset.layer) && Boolean(strip(each.dataset.layer)));
    }
};
const focus = (node) => {
    const svg = node.closest("svg");
    for (const each of svg.querySelectorAll("[data-layer]")) each.setAttribute("tabindex", each === node ? 0 : -1);
    node.focus();
};
const reveal = (node) => {
    const view = node.closest(".scroll"), [here, there] = [node, view].map((each) => each.getBoundingClientRect());
    if (here.left < there.left || here.right > there.right) view.scrollLeft += here.left - there.left - 40;
    if (here.top < there.top || here.bottom > there.bottom) view.scrollTop += here.top - there.top - 40;
};
const mark = (name) => {
    for (const each of all("[data-layer]")) each.setAttribute("aria-selected", String(each.dataset.layer === name));
    document.dispatchEvent(new CustomEvent("layer-chosen", {detail: {network: block.id, layer: name}}));
};
const choose = (node) => {
    open(node.dataset.layer);
    say(node);
    if (node.getAttribute("aria-disabled") === "true") return;
    mark(node.dataset.layer);
    trigger("select", {layer: node.dataset.layer});
};
const follow = (node) => strip(node.dataset.layer)?.scrollIntoView({block: "nearest"});
const begin = () => {
    turn();
    const chosen = element.querySelector("[aria-selected=true]");
    if (chosen) { open(chosen.dataset.layer); mark(chosen.dataset.layer); }
    for (const each of all(".open, [aria-selected=true]")) reveal(each);
};

element.addEventListener("click", (event) => {
    const node = event.target.closest("[data-layer]");
    if (node) { focus(node); choose(node); follow(node); }
    const closes = event.target.closest(".inside button");
    if (closes) { const outer = box(inside(closes)); open(inside(outer)); focus(outer); }
});
for (const name of ["mouseover", "focusin"]) element.addEventListener(name, (event) => {
    const node = event.target.closest("[data-layer]");
    if (node) say(node);
});
element.addEventListener("mouseleave", () => say(element.querySelector("[aria-selected=true]")));
element.addEventListener("keydown", (event) => {
    const node = event.target.closest("[data-layer]");
    if (!node) return;
    const row = [...node.closest("svg").querySelectorAll("[data-layer]")];
    const at = row.indexOf(node);
    const inner = strip(node.dataset.layer);
    const moves = {
        ArrowRight: () => row[at + 1], ArrowLeft: () => row[at - 1], Home: () => row[0], End: () => row.at(-1),
        ArrowDown: () => { if (inner) { open(node.dataset.layer); return inner.querySelector("[data-layer]"); } },
        ArrowUp: () => box(inside(node)),
    };
    if (event.key === "Enter" || event.key === " ") choose(node);
    else if (moves[event.key]) { const next = moves[event.key](); if (next) focus(next); }
    else return;
    event.preventDefault();
});
element.addEventListener("network", (event) => {
    mark(event.detail);
    open(event.detail);
    say(box(event.detail));
});
block.addEventListener("choose-layer", ({detail}) => { if (box(detail)) choose(box(detail)); });
new ResizeObserver(turn).observe(element);
watch("value", begin);
begin();
"""
_TAKE = """() => document.querySelector("#ELEM_ID [aria-selected=true]").dataset.layer"""
_MARK = """(layer) => {
    const drawing = document.querySelector("#ELEM_ID .network");
    drawing?.dispatchEvent(new CustomEvent("network", {detail: layer, bubbles: true}));
}"""
