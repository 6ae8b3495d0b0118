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
from analysis.grammar import count
from lab.session import Explanation
from ui.explain.grid import AUTO, MAX_MAPS, SECOND, Cell, Grid, Key, write_removed
from ui.explain.packed import pack_maps
from ui.explain.sentences import describe
from ui.explain.settings import describe_settings
from ui.widgets.downloads import name_file
from ui.widgets.html import (
    figure_html,
    format_percent,
    join_html,
    note_html,
    notes_html,
    sentence_html,
    text_html,
)

MAX_COLUMNS = 4
SIDE = 448
"""Pixels a side that a map is drawn with, whatever its size on the screen."""
Part = TypeVar("Part")


def list_classes(categories: tuple[str, ...], likely: list[int]) -> list[tuple[str, str]]:
    """The predicted class, the second guess, then the likely ones, then all others by number."""
    order = dict.fromkeys([*likely, *range(len(categories))])
    named = ((label, label) for label in (f"{categories[i]} ({i})" for i in order))
    return [("Predicted class", AUTO), ("Second guess", SECOND), *named]


def list_facts(reasons: dict[str, str], layers: Sequence[str], seconds: dict[str, float]) -> Markup:
    """What the list of methods and their settings read of a model: why some cannot work, its layers, their time."""
    text = json.dumps({"off": reasons, "layers": layers, "seconds": seconds})
    notes = notes_html(f"{METHODS[name].title} is off: {reason}" for name, reason in reasons.items())
    about = Markup("<details><summary>{} cannot work on this model</summary>{}</details>")
    shown = about.format(count(len(reasons), "method"), notes) if reasons else Markup("")
    return Markup('<div data-facts="{}">{}</div>').format(text, shown)


def show_grid(grid: Grid, cells: Sequence[Cell], sign: str) -> Markup:
    """The maps, which the browser draws, and what to know when comparing them.

    Args:
        grid: What is compared.
        cells: Its maps, as :func:`ui.explain.grid.compute` gives them.
        sign: One of ``SIGNS``, which the browser shows until another one is chosen there.
    """
    found = [cell for cell in cells if cell.found is not None]
    numbers = {cell.key: number for number, cell in enumerate(found)}
    drawn = _Drawn(grid, numbers, sign)
    is_alone = len(cells) == len(found) == 1
    shown = _show_alone(drawn, cells[0]) if is_alone else _show_many(drawn, cells)
    buttons = _BUTTONS if found else Markup("")
    if grid.removed:
        taken = "map" if len(grid.removed) == 1 else count(len(grid.removed), "map")
        buttons += Markup('<button type="button" data-removed="[]">Show the {} taken away</button>').format(taken)
    notes = _explain_methods(cells)
    notes += notes_html(dict.fromkeys(note for cell in cells if cell.found for note in cell.found.notes))
    html = Markup('<div class="explained" data-file="{}">{}<div class="pad">{}</div>{}{}{}</div>')
    return html.format(name_grid(grid), shown, buttons, notes, _DIALOG, pack_maps(found, sign))


def name_grid(grid: Grid) -> str:
    """What a picture of a grid is called, without its ending: picture, models, methods."""
    return name_file(Path(grid.picture).stem, "+".join(grid.models), "+".join(grid.methods))


def name_class(found: Explanation) -> str:
    """The class that is explained, and how likely the model takes it to be; and the one that it is compared with."""
    role = "the predicted class" if found.is_top1 else "not the predicted class"
    name = f"{found.target.category} ({format_percent(found.target.probability)}, {role})"
    return name if found.versus is None else f"{name} rather than {found.versus.category}"


@dataclass(frozen=True)
class _Drawn:
    """What the parts of the page refer to.

    Attributes:
        numbers: Of the maps that there are, as the browser knows them.
    """

    grid: Grid
    numbers: dict[Key, int]
    sign: str

    def canvas(self, cell: Cell, name: str, view: str = "") -> Markup:
        """Where the browser draws a map, as the visitor wants it or, with ``view``, in one way."""
        assert cell.found is not None
        height, width = cell.found.attribution.values.shape[-2:]
        tall = round(SIDE * height / width)
        always = Markup(' data-view="{}"').format(view) if view else ""
        html = Markup('<canvas role="img" aria-label="{}" data-map="{}" width="{}" height="{}"{}></canvas>')
        return html.format(name, self.numbers[cell.key], SIDE, tall, always)

    def enlarge(self, cell: Cell, name: str) -> Markup:
        """A map that a click enlarges, with a mark and the number at the place that is pointed at."""
        html = Markup(
            '<button type="button" class="enlarge" title="Enlarge">{}<span class="mark" hidden></span>'
            '<span class="value" hidden></span></button>'
        )
        return html.format(self.canvas(cell, name))

    def tell_more(self, cell: Cell) -> str:
        """Model, layer and settings, for a saved picture."""
        layer = cell.found.attribution.layer if cell.found is not None else None
        more = (cell.key[2], layer, describe_settings(self.grid.settings, cell.key[0]))
        return ", ".join(filter(None, more))

    def says(self, cell: Cell) -> Markup:
        """Where the map is strong; the browser puts another sentence there for another sign."""
        assert cell.found is not None
        html = Markup('<span data-says="{}">{}</span>')
        return html.format(self.numbers[cell.key], text_html(describe(cell.found, self.sign)[0]))


def _show_alone(drawn: _Drawn, cell: Cell) -> Markup:
    """A single map, large, with the picture and the map alone beside it."""
    assert cell.found is not None
    found, method = cell.found, METHODS[cell.key[0]]
    name = f"{method.title} for {name_class(found)}, {found.attribution.seconds:.1f} s."
    said = Markup("{} <span>{} {}</span>").format(name, drawn.says(cell), " ".join(found.attribution.remarks))
    html = Markup(
        '<figure class="picture map">{}<figcaption data-said="{}">The line holds the strongest part</figcaption>'
        '</figure>{}<figure class="picture">{}<figcaption>The map alone</figcaption></figure>'
    )
    figures = html.format(
        drawn.enlarge(cell, name),
        f"{name[:-1]}, {drawn.tell_more(cell)}.",
        figure_html(draw_pixels(found.pixels), "What the network sees", "The picture at network input size"),
        drawn.canvas(cell, f"The map alone: {name}", "alone"),
    )
    return Markup('{}<div class="evidence">{}</div>{}').format(sentence_html(said), figures, _scale(cell.key[0]))


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
        named += "" if found.versus is None else f", rather than {found.versus.category}"
    if len(drawn.grid.models) > 1:
        named += f", {model}"
    name, said = f"{title}: {named}", Markup("")
    if found is not None:
        picture, said = drawn.enlarge(cell, name), drawn.says(cell)
    else:
        again = Markup('<button type="button" data-removed="{}">Compute it</button>')
        offer = again.format(write_removed(drawn.grid.removed)) if cell.is_cancelled else Markup("")
        picture = Markup('<div class="missing"><span>{}</span>{}</div>').format(text_html(cell.problem), offer)
    html = Markup(
        '<figure class="map" style="grid-area: {} / {}">{}'
        '<button type="button" class="remove" data-removed="{}" title="Take this map away" '
        'aria-label="Take away {}">×</button><figcaption data-said="{}"><strong>{}</strong>: {}. {}'
        "</figcaption></figure>"
    )
    without = write_removed({*drawn.grid.removed, cell.key})
    caption = f"{name}, {drawn.tell_more(cell)}."
    return html.format(row, column, picture, without, name, text_html(caption), title, named, said)


def _compare_scales(drawn: _Drawn) -> Markup:
    """A bar for each method."""
    bar = Markup("<figure><figcaption>{}</figcaption>{}</figure>")
    methods = dict.fromkeys(key[0] for key in drawn.numbers)
    bars = join_html(bar.format(METHODS[name].title, _scale(name)) for name in methods)
    text = "A method has one colour scale for all its classes and models. "
    text += "Methods have units of their own: compare colours within a method, and places between methods."
    return Markup('<div class="scales">{}</div>{}').format(bars, note_html(text))


def _scale(method: str) -> Markup:
    """The colour bar of a method's maps, which the browser fills in."""
    html = Markup('<div class="scale" data-scale="{}"><div class="bar"></div><div class="ends"></div></div>')
    return html.format(method)


def _explain_methods(cells: Sequence[Cell]) -> Markup:
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
    '<button type="button" data-as="copy">Copy as a picture</button>'
    '<button type="button" data-as="png">Save as a picture</button>'
    '<button type="button" data-as="svg">Save as SVG</button>'
)
_DIALOG = Markup(
    '<dialog><canvas width="560" height="560"></canvas><p></p>'
    '<form method="dialog"><button>Close</button></form></dialog>'
)
