"""A grid of explanations as HTML: each map with its name and what it says, and how they can be compared."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path
from typing import TypeVar

from markupsafe import Markup

from analysis.attribution.methods import METHODS
from analysis.figures.drawing import draw_pixels
from analysis.figures.overlay import Concentration, find_concentration, measure_scale, render_map, render_overlay
from analysis.grammar import count
from lab.session import Explanation
from ui.explain.grid import AUTO, MAX_MAPS, SECOND, Cell, Grid, write_removed
from ui.widgets.downloads import name_file
from ui.widgets.html import (
    figure_html,
    format_percent,
    join_html,
    note_html,
    notes_html,
    png_uri,
    scale_html,
    sentence_html,
    text_html,
)

SIDE, SMALL_SIDE = 448, 224
"""Pixels of a map that stands alone, and of one of several."""
MAX_COLUMNS = 4
SIGNS = {
    "Strength, either sign": "absolute",
    "For the class": "positive",
    "Against the class": "negative",
    "Both signs (red for, blue against)": "signed",
}
HALVES = {
    "absolute": "Half of the strength",
    "positive": "Half of the evidence for it",
    "negative": "Half of the evidence against it",
    "signed": "Half of the evidence of either sign",
}
FLAT = {
    "absolute": "The map is the same everywhere: this method finds no pixel that matters for this class.",
    "positive": "No pixel speaks for this class; choose another kind of evidence.",
    "negative": "No pixel speaks against this class; choose another kind of evidence.",
    "signed": "The map is the same everywhere: this method finds no pixel that matters for this class.",
}
PLACES = (
    ("upper left", "upper middle", "upper right"),
    ("left", "middle", "right"),
    ("lower left", "lower middle", "lower right"),
)
Part = TypeVar("Part")
EVEN = 1.5 / 9
"""No ninth of the picture that holds less of a map stands out."""


def list_classes(categories: tuple[str, ...], likely: list[int]) -> list[tuple[str, str]]:
    """The predicted class, the second guess, then the likely ones, then all others by number."""
    order = dict.fromkeys([*likely, *range(len(categories))])
    named = ((label, label) for label in (f"{categories[i]} ({i})" for i in order))
    return [("Predicted class", AUTO), ("Second guess", SECOND), *named]


def list_obstacles(reasons: dict[str, str]) -> Markup:
    """The methods that cannot work on a model, and why; the list of methods reads them, too."""
    notes = notes_html(f"{METHODS[name].title} is off: {reason}" for name, reason in reasons.items())
    return Markup('<div data-off="{}">{}</div>').format(json.dumps(reasons), notes)


def show_grid(grid: Grid, cells: Sequence[Cell], sign: str, opacity: float, colors: str) -> Markup:
    """The maps, and what to know when comparing them.

    Args:
        grid: What is compared.
        cells: Its maps, as :func:`ui.explain.grid.compute` gives them.
        sign: A value of ``SIGNS``.
        opacity: Of the overlays, from 0 to 1.
        colors: A key of ``COLORMAPS``.
    """
    scales = measure_scales(cells, sign)
    drawn = _Drawn(grid, scales, sign, opacity, colors)
    is_alone = len(cells) == 1 and cells[0].found is not None
    shown = _show_alone(drawn, cells[0]) if is_alone else _show_many(drawn, cells)
    buttons = _BUTTONS if any(scales.values()) else Markup("")
    if grid.removed:
        taken = "map" if len(grid.removed) == 1 else count(len(grid.removed), "map")
        buttons += Markup('<button type="button" data-removed="[]">Show the {} taken away</button>').format(taken)
    notes = _explain_methods(drawn, cells)
    notes += notes_html(dict.fromkeys(note for cell in cells if cell.found for note in cell.found.notes))
    html = Markup('<div class="explained" data-file="{}">{}<div class="pad">{}</div>{}{}</div>')
    return html.format(name_grid(grid), shown, buttons, notes, _DIALOG)


def measure_scales(cells: Sequence[Cell], sign: str) -> dict[str, float]:
    """The strongest colour of each method, common to all of its maps."""
    values: dict[str, list] = {}
    for cell in cells:
        if cell.found is not None:
            values.setdefault(cell.key[0], []).append(cell.found.attribution.values)
    return {method: measure_scale(*maps, sign=sign) for method, maps in values.items()}


def name_grid(grid: Grid) -> str:
    """What a picture of a grid is called, without its ending: picture, models, methods."""
    return name_file(Path(grid.picture).stem, "+".join(grid.models), "+".join(grid.methods))


def name_class(found: Explanation) -> str:
    """The class that is explained, and how likely the model takes it to be."""
    role = "the predicted class" if found.is_top1 else "not the predicted class"
    return f"{found.target.category} ({format_percent(found.target.probability)}, {role})"


def describe(found: Explanation, sign: str) -> str:
    """Where the map is strong, in a sentence."""
    where = find_concentration(found.attribution.values, sign)
    if where is None or found.attribution.is_flat:
        return FLAT[sign]
    return f"{HALVES[sign]} lies in {format_percent(where.area)} of the picture, {_place(where)}."


def _place(where: Concentration) -> str:
    if where.share < EVEN:
        return "spread over all of it"
    return f"most in the {PLACES[where.row][where.column]} ({format_percent(where.share)} in that ninth)"


@dataclass(frozen=True)
class _Drawn:
    """How the maps of a grid are drawn."""

    grid: Grid
    scales: dict[str, float]
    sign: str
    opacity: float
    colors: str

    def overlay(self, found: Explanation, size: int) -> str:
        """The address of the map over its picture, which is all there is where the map is zero."""
        picture = render_overlay(
            found.pixels,
            found.attribution.values,
            opacity=self.opacity,
            colormap=self.colors,
            sign=self.sign,
            size=size,
            scale=self.scales[found.attribution.method],
        )
        return png_uri(picture)

    def bar(self, method: str) -> Markup:
        """The scale of a method's maps."""
        scale = self.scales[method]
        return scale_html(scale) if self.sign == "signed" else scale_html(scale, colors=self.colors)


def _show_alone(drawn: _Drawn, cell: Cell) -> Markup:
    """A single map, large, with the picture and the map alone beside it."""
    assert cell.found is not None
    found, values = cell.found, cell.found.attribution.values
    method, sign = METHODS[cell.key[0]], drawn.sign
    name = f"{method.title} for {name_class(found)}, {found.attribution.seconds:.1f} s."
    rest = " ".join((describe(found, sign), *found.attribution.remarks))
    said = Markup("{} <span>{}</span>").format(name, rest)
    scale = drawn.scales[cell.key[0]]
    if not scale:
        return sentence_html(said, "bad")
    alone = render_map(values, colormap=drawn.colors, sign=sign, scale=scale, size=SIDE)
    figures = (
        _figure(drawn, cell, SIDE, f"{name} {describe(found, sign)}")
        + figure_html(draw_pixels(found.pixels), "What the network sees", "The picture at network input size")
        + figure_html(alone, "The map alone", name)
    )
    return Markup('{}<div class="evidence">{}</div>{}').format(sentence_html(said), figures, drawn.bar(cell.key[0]))


def _figure(drawn: _Drawn, cell: Cell, size: int, said: str) -> Markup:
    """A map that a click enlarges, with its caption in a saved picture."""
    assert cell.found is not None
    uri = drawn.overlay(cell.found, size)
    html = Markup(
        '<figure class="picture map"><button type="button" class="enlarge" title="Enlarge"><img src="{}" alt="{}">'
        '</button><figcaption data-said="{}">The line holds the strongest tenth</figcaption></figure>'
    )
    return html.format(uri, said, f"{said} {cell.key[2]}")


def _show_many(drawn: _Drawn, cells: Sequence[Cell]) -> Markup:
    """The grid: the axis with most choices goes from left to right."""
    grid, keys = drawn.grid, [cell.key for cell in cells]
    used = [{key[axis] for key in keys} for axis in range(3)]
    names = (grid.methods, grid.classes, grid.models)
    axes = [[name for name in order if name in found] for order, found in zip(names, used, strict=True)]
    across = max(range(3), key=lambda axis: len(axes[axis]))
    found = {_drop(key, across) for key in keys}
    rows = [row for row in product(*_drop(axes, across)) if row in found]
    count = len(axes[across])
    columns = count if count <= MAX_COLUMNS else -(-count // -(-count // MAX_COLUMNS))
    deep = -(-count // columns)
    places = {
        key: (
            1 + rows.index(_drop(key, across)) * deep + axes[across].index(key[across]) // columns,
            1 + axes[across].index(key[across]) % columns,
        )
        for key in keys
    }
    figures = join_html(_small(drawn, cell, *places[cell.key]) for cell in cells)
    html = Markup('{}<div class="maps rows-{}" style="--columns: {}">{}</div>{}')
    return html.format(
        sentence_html(_summarize(grid, axes, len(cells))),
        min(len(rows) * deep, 3),
        columns,
        figures,
        _compare_scales(drawn),
    )


def _drop(parts: Sequence[Part], axis: int) -> tuple[Part, ...]:
    return (*parts[:axis], *parts[axis + 1 :])


def _summarize(grid: Grid, axes: Sequence[Collection[str]], shown: int) -> str:
    words = ("method", "class", "model")
    counts = ", ".join(count(len(axis), word) for axis, word in zip(axes, words, strict=True))
    text = f"{count(shown, 'map')}: {counts}."
    if (wanted := len(grid.keys)) > MAX_MAPS:
        text = f"The first {MAX_MAPS} of {wanted} maps: take away a method, a class or a model to see the others."
    return text


def _small(drawn: _Drawn, cell: Cell, row: int, column: int) -> Markup:
    """One of several maps, or why there is none."""
    method, asked, model = cell.key
    found = cell.found
    title = METHODS[method].title
    named = {AUTO: "predicted class", SECOND: "second guess"}.get(asked, asked.rpartition(" (")[0])
    if found is not None:
        named = f"{found.target.category}, {format_percent(found.target.probability)}"
        named += ", predicted" if found.is_top1 else ""
    if len(drawn.grid.models) > 1:
        named += f", {model}"
    said = describe(found, drawn.sign) if found is not None else ""
    name = f"{title}: {named}"
    if found is not None:
        html = Markup('<button type="button" class="enlarge" title="Enlarge"><img src="{}" alt="{}"></button>')
        picture = html.format(drawn.overlay(found, SMALL_SIDE), name)
    else:
        again = Markup('<button type="button" data-removed="{}">Compute it</button>')
        offer = again.format(write_removed(drawn.grid.removed)) if cell.is_cancelled else Markup("")
        picture = Markup('<div class="missing"><span>{}</span>{}</div>').format(text_html(cell.problem), offer)
    html = Markup(
        '<figure class="map" style="grid-area: {} / {}">{}'
        '<button type="button" class="remove" data-removed="{}" title="Take this map away" '
        'aria-label="Take away {}">×</button><figcaption data-said="{}"><strong>{}</strong>: {}. <span>{}</span>'
        "</figcaption></figure>"
    )
    without = write_removed({*drawn.grid.removed, cell.key})
    caption = f"{name}{'' if len(drawn.grid.models) > 1 else f', {model}'}. {said}"
    return html.format(row, column, picture, without, name, text_html(caption), title, named, text_html(said))


def _compare_scales(drawn: _Drawn) -> Markup:
    """A bar for each method."""
    bar = Markup("<figure><figcaption>{}</figcaption>{}</figure>")
    bars = join_html(bar.format(METHODS[name].title, drawn.bar(name)) for name, top in drawn.scales.items() if top)
    text = "A method has one colour scale for all its classes and models. "
    text += "Methods have units of their own: compare colours within a method, and places between methods."
    return Markup('<div class="scales">{}</div>{}').format(bars, note_html(text))


def _explain_methods(drawn: _Drawn, cells: Sequence[Cell]) -> Markup:
    """What each method shows; and of several maps, what to know about single ones."""
    notes = []
    for name, of_it in groupby(cells, key=lambda cell: cell.key[0]):
        about = (
            METHODS[name].explanation if len(cells) == 1 else f"{METHODS[name].title}: {METHODS[name].explanation}"
        )
        for cell in of_it if len(cells) > 1 else ():
            if cell.found is not None and (remarks := cell.found.attribution.remarks):
                about += f" {cell.found.target.category}, {cell.key[2]}: {' '.join(remarks)}"
        notes.append(about)
    return notes_html(notes)


_BUTTONS = Markup(
    '<button type="button" data-copy>Copy as a picture</button>'
    '<button type="button" data-save>Save as a picture</button>'
)
_DIALOG = Markup('<dialog><img alt=""><p></p><form method="dialog"><button>Close</button></form></dialog>')
