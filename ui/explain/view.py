"""An explanation as HTML and files: the overlay, what is said beside it, and the channels of a layer."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import gradio as gr
import numpy as np
from markupsafe import Markup
from torch import Tensor

from analysis.attribution.methods import METHODS
from analysis.figures.drawing import draw_pixels
from analysis.figures.overlay import measure_scale, render_map, render_overlay
from analysis.network.layers import Layer
from lab.session import Explanation
from ui.services import Services
from ui.widgets.events import Update
from ui.widgets.html import (
    figure_html,
    format_percent,
    join_html,
    note_html,
    notes_html,
    png_uri,
    scale_html,
    sentence_html,
)

AUTO = "auto"
"""Stands for the predicted class in the list of classes."""
SIDE = 448
SIGNS = {
    "Strength, either sign": "absolute",
    "For the class": "positive",
    "Against the class": "negative",
    "Both signs (red for, blue against)": "signed",
}
MAPS_PER_PAGE = 48
LEGIBLE_SIDE = 14
MAP_SIDE = 112


def list_classes(categories: tuple[str, ...], likely: list[int]) -> list[tuple[str, str]]:
    """The predicted class, then the likely ones, then all others by number."""
    order = dict.fromkeys([*likely, *range(len(categories))])
    return [("Predicted class", AUTO), *((label, label) for label in (f"{categories[i]} ({i})" for i in order))]


def read_target(label: str) -> int | None:
    """The index at the end of a label; the name before it keeps another model's class 5 from being taken."""
    return None if label == AUTO else int(label.rpartition("(")[2].rstrip(")"))


def list_obstacles(reasons: dict[str, str]) -> Markup:
    """The methods that cannot work on a model, and why."""
    return notes_html(f"{METHODS[name].title} is off: {reason}" for name, reason in reasons.items())


def show_explanation(
    services: Services, result: Explanation, sign: str, opacity: float, colors: str
) -> tuple[Markup, Update, Update]:
    """The pictures with what they say, and updates of the buttons that save overlay and signed map.

    Args:
        services: Where files are kept.
        result: The explanation.
        sign: A value of ``SIGNS``.
        opacity: Of the overlay, from 0 to 1.
        colors: A key of ``COLORMAPS``.
    """
    values, target = result.attribution.values, result.target
    method = METHODS[result.attribution.method]
    role = "the predicted class" if result.is_top1 else "not the predicted class"
    text = f"{method.title} for {target.category} ({format_percent(target.probability)}, {role})"
    text += f", {result.attribution.seconds:.1f} s."
    remarks = "".join(f" {remark}" for remark in result.attribution.remarks)
    scale = measure_scale(values, sign=sign)
    if result.attribution.is_flat or scale == 0:
        off = gr.update(interactive=False)
        return sentence_html(f"{text}{remarks} {_FLAT[sign]}", "bad"), off, off
    overlay = render_overlay(
        result.pixels, values, opacity=opacity, colormap=colors, sign=sign, scale=scale, size=SIDE
    )
    alone = render_map(values, colormap=colors, sign=sign, scale=scale, size=SIDE)
    figures = (
        figure_html(overlay, "Overlay; the line holds the strongest tenth", text)
        + figure_html(draw_pixels(result.pixels), "What the network sees", "The picture at network input size")
        + figure_html(alone, "The map alone", text)
    )
    note = note_html(method.explanation) + notes_html(result.notes)
    bar = scale_html(scale) if sign == "signed" else scale_html(scale, colors=colors)
    picture, raw = (gr.update(value=str(path), interactive=True) for path in _write_files(services, result, overlay))
    html = Markup('{}<div class="evidence">{}</div>{}{}').format(sentence_html(text + remarks), figures, bar, note)
    return html, picture, raw


_FLAT = {
    "absolute": "The map is the same everywhere: this method finds no pixel that matters for this class.",
    "positive": "No pixel speaks for this class; choose another kind of evidence.",
    "negative": "No pixel speaks against this class; choose another kind of evidence.",
    "signed": "The map is the same everywhere: this method finds no pixel that matters for this class.",
}


def _write_files(services: Services, result: Explanation, overlay: np.ndarray) -> tuple[Path, Path]:
    from PIL import Image

    stem = f"{result.attribution.method}-{result.target.index}"
    picture, raw = services.new_file(f"{stem}.png"), services.new_file(f"{stem}.npy")
    Image.fromarray(overlay).save(picture)
    np.save(raw, result.attribution.values.numpy(), allow_pickle=False)
    return picture, raw


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
