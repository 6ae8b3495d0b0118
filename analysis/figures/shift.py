"""Shift maps and layer meters as interactive charts (plotly)."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from analysis.equivariance.align import LayerError
from analysis.equivariance.meter import LayerMeter, PhaseErrors
from analysis.figures.style import ACCENT, INK, LINE_COLORS, SECOND, THIRD, build_figure, draw_line
from analysis.shift.shift_map import ShiftMap

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAP_SIDE = 330
MAX_COLUMNS = 3
CAUSES = {
    "stride": ("stride", "#db2777", "/"),
    "padding": ("padding", "#7c3aed", "x"),
    "position": ("position", "#0891b2", "."),
    None: ("not told apart", "#475569", ""),
}
"""Cause of an own error -> its name, colour and pattern; the lines have other colours."""
MAX_NAMED = 9
"""Classes with a colour of their own; all rarer ones share the last one."""
MAP_COLORS = (*LINE_COLORS[:MAX_NAMED], "#94a3b8")


@dataclass(frozen=True)
class Panel:
    """One map of a figure: its title, the classes' names, and the stride whose lattice is drawn."""

    title: str
    map: ShiftMap
    categories: Sequence[str]
    stride: int | None


@dataclass(frozen=True)
class _Coloring:
    title: str
    values: Callable[[Panel, list[str]], Tensor]
    options: Callable[[Sequence[Panel], list[str]], dict]


def plot_shift_maps(panels: Sequence[Panel], color_by: str, marked: tuple[float, float] | None = None) -> "Figure":
    """Maps side by side on one colour scale, with the lattice of the total stride and the flipped cells outlined.

    Args:
        panels: At least one; all with the same distances.
        color_by: A key of ``COLORINGS``.
        marked: The shift ``(dx, dy)`` that is looked at elsewhere.
    """
    from plotly.subplots import make_subplots

    columns = min(len(panels), MAX_COLUMNS)
    rows = -(-len(panels) // columns)
    titles = [panel.title for panel in panels]
    figure = make_subplots(rows, columns, subplot_titles=titles, horizontal_spacing=0.08, vertical_spacing=0.14)
    coloring = COLORINGS[color_by]
    names = _name_classes(panels)
    for number, panel in enumerate(panels):
        place = {"row": number // columns + 1, "col": number % columns + 1}
        distances = panel.map.distances
        figure.add_heatmap(
            x=distances,
            y=distances,
            z=coloring.values(panel, names).tolist(),
            customdata=_describe_cells(panel),
            coloraxis="coloraxis",
            hovertemplate="dx %{x}, dy %{y}<br>%{customdata}<extra></extra>",
            **place,
        )
        for trace in (_outline(panel.map), _mark(marked, distances)):
            if trace:
                figure.add_scatter(**trace, hoverinfo="skip", showlegend=False, **place)
        for line in _draw_lattice(panel.stride, distances):
            figure.add_shape(**line, **place)
    end = panels[0].map.distances[-1] + 0.5
    plain = {"constrain": "domain", "showgrid": False, "zeroline": False}
    figure.update_xaxes(title="dx", range=[-end, end], **plain)
    figure.update_yaxes(title="dy", range=[end, -end], **plain)
    for number in range(1, len(panels) + 1):  # every map keeps its own cells square
        axis = "" if number == 1 else str(number)
        figure.layout[f"yaxis{axis}"].scaleanchor = f"x{axis}"
    return figure.update_layout(
        height=MAP_SIDE * rows + 90,
        margin={"l": 50, "r": 12, "t": 36, "b": 44},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": INK, "size": 13},
        coloraxis=coloring.options(panels, names),
    )


def _probability_axis(panels: Sequence[Panel], names: list[str]) -> dict:
    return {"colorscale": "viridis", "cmin": 0, "cmax": 1, "colorbar": _bar("probability", tickformat=".0%")}


def _margin_axis(panels: Sequence[Panel], names: list[str]) -> dict:
    limit = max(float(panel.map.margin.abs().max()) for panel in panels) or 1.0
    return {"colorscale": "RdBu", "cmin": -limit, "cmax": limit, "colorbar": _bar("margin")}


def _class_axis(panels: Sequence[Panel], names: list[str]) -> dict:
    shares = [(index / len(names), (index + 1) / len(names)) for index in range(len(names))]
    scale = [[end, MAP_COLORS[index]] for index, ends in enumerate(shares) for end in ends]
    ticks = {"tickvals": list(range(len(names))), "ticktext": [_shorten(name) for name in names]}
    return {"colorscale": scale, "cmin": -0.5, "cmax": len(names) - 0.5, "colorbar": _bar("class", **ticks)}


def _bar(title: str, **ticks) -> dict:
    return {"title": {"text": title, "side": "right"}, "thickness": 14, "len": 0.9, **ticks}


def _class_numbers(panel: Panel, names: list[str]) -> Tensor:
    numbers = {name: index for index, name in enumerate(names)}
    values = [[numbers.get(panel.categories[i], len(names) - 1) for i in row] for row in panel.map.top1.tolist()]
    return torch.tensor(values)


COLORINGS = {
    "probability": _Coloring("Probability", lambda panel, names: panel.map.probability, _probability_axis),
    "class": _Coloring("Predicted class", _class_numbers, _class_axis),
    "margin": _Coloring("Margin of the logit", lambda panel, names: panel.map.margin, _margin_axis),
}
"""What the colour of a cell says: title, values of a panel, and the shared colour axis."""


def _name_classes(panels: Sequence[Panel]) -> list[str]:
    """The classes that get a colour of their own, most frequent first; the last one stands for all others."""
    counts = Counter(panel.categories[i] for panel in panels for i in panel.map.top1.flatten().tolist())
    names = [name for name, _ in counts.most_common()]
    return names if len(names) <= MAX_NAMED else [*names[:MAX_NAMED], "other classes"]


def _describe_cells(panel: Panel) -> list[list[str]]:
    shown = panel.map
    target = panel.categories[shown.target]
    rows = zip(shown.top1.tolist(), shown.probability.tolist(), shown.margin.tolist(), strict=True)
    return [
        [f"{panel.categories[i]}<br>{target} {p:.1%}, margin {m:+.2f}" for i, p, m in zip(*row, strict=True)]
        for row in rows
    ]


def _outline(shown: ShiftMap) -> dict:
    """Lines around the regions of flipped cells; empty where there are none."""
    low = shown.distances[0]
    flipped = torch.nn.functional.pad(shown.flipped, (1, 1, 1, 1))
    x: list[float | None] = []
    y: list[float | None] = []
    across = (flipped[1:, :] != flipped[:-1, :]).nonzero().tolist()  # horizontal edges
    along = (flipped[:, 1:] != flipped[:, :-1]).nonzero().tolist()  # vertical edges
    for row, column in across:
        x += [column - 1.5 + low, column - 0.5 + low, None]
        y += [row - 0.5 + low] * 2 + [None]
    for row, column in along:
        x += [column - 0.5 + low] * 2 + [None]
        y += [row - 1.5 + low, row - 0.5 + low, None]
    return {"x": x, "y": y, "mode": "lines", "line": {"color": "#ef4444", "width": 2.5}} if x else {}


def _mark(marked: tuple[float, float] | None, distances: Sequence[int]) -> dict:
    if marked is None or max(map(abs, marked)) > distances[-1]:
        return {}
    look = {"symbol": "circle-open", "size": 13, "color": "white", "line": {"width": 3}}
    return {"x": [marked[0]], "y": [marked[1]], "mode": "markers", "marker": look, "name": "shown"}


def _draw_lattice(stride: int | None, distances: Sequence[int]) -> list[dict]:
    """Lines through the shifts by whole cells of the deepest feature map."""
    if not stride or stride < 2:
        return []
    end = distances[-1] + 0.5
    line = {"color": "rgba(255, 255, 255, 0.75)", "width": 1, "dash": "dot"}
    lattice = [d for d in distances if d % stride == 0]
    upright = [{"type": "line", "x0": d, "x1": d, "y0": -end, "y1": end, "line": line} for d in lattice]
    level = [{"type": "line", "x0": -end, "x1": end, "y0": d, "y1": d, "line": line} for d in lattice]
    return upright + level


def _shorten(name: str) -> str:
    return name if len(name) <= 18 else name[:17] + "…"


def plot_meter(
    layers: Sequence[LayerMeter],
    phases: Sequence[PhaseErrors],
    own: Mapping[str, tuple[float | None, str | None]],
) -> "Figure":
    """Errors down the network: of the shift measured, of shifts in and out of phase, and each layer's own as a bar.

    Bars have colour and pattern of their cause.

    Layers are named at the pointer only; below the chart are their strides: pixels per cell.

    Args:
        layers: Of one shift; those that could not be measured are left out.
        phases: Of the main layers, whose names are the horizontal axis.
        own: The own error and its cause, a key of ``CAUSES`` or ``none``, by name.
    """
    figure = build_figure("relative error", "layers, by pixels per cell")
    errors = {layer.name: layer.error for layer in layers}
    names = [phase.name for phase in phases]
    bars = [own.get(name, (None, None)) for name in names]
    for cause, (word, color, shape) in CAUSES.items():
        sizes = [size if because == cause else None for size, because in bars]
        if any(sizes):
            title, pattern = (
                f"own error: {word}",
                {"shape": shape, "size": 6, "fillmode": "overlay", "fgcolor": "white"},
            )
            marker = {"color": color, "line": {"width": 0}, "pattern": pattern}
            hover = f"%{{x}}<br>{title}, %{{y:.3g}}<extra></extra>"
            figure.add_bar(x=names, y=sizes, name=title, marker=marker, hovertemplate=hover)
    curves = {
        "this shift": ([errors.get(name) for name in names], ACCENT, "solid"),
        "1 px (out of phase)": ([phase.out_of_phase for phase in phases], SECOND, "dash"),
        "1 cell (in phase)": ([phase.in_phase for phase in phases], THIRD, "dot"),
    }
    for title, (values, color, dash) in curves.items():
        hover, line = f"%{{x}}<br>{title}: %{{y:.3g}}", {"color": color, "dash": dash}
        draw_line(figure, names, values, color, hover, name=title, line=line, marker={"size": 4})
    ticks = {}
    for stride, group in groupby(enumerate(phases), key=lambda item: item[1].stride):
        first, *_, last = (place for place, _ in [*group] * 2)
        ticks[(first + last) / 2] = str(stride)
        edge = {"type": "line", "x0": first - 0.5, "x1": first - 0.5, "yref": "paper", "y0": -0.03, "y1": 1}
        figure.add_shape(**edge, line={"color": INK, "width": 1, "dash": "dot"})
    figure.update_xaxes(tickvals=list(ticks), ticktext=list(ticks.values()), tickangle=0, showgrid=False)
    figure.update_layout(
        height=380,
        barmode="stack",  # one above the other, for each layer has one only
        bargap=0.1,
        margin={"l": 60, "r": 12, "t": 12, "b": 60},
        legend={"y": 1.02, "yanchor": "bottom"},
    )
    return figure.update_yaxes(rangemode="tozero")


def plot_shift_errors(layers: Sequence[LayerError]) -> "Figure":
    """Relative error of one shift down the network; at the pointer with the stride."""
    shown = [layer for layer in layers if layer.relative_error is not None]
    figure = build_figure("relative error", "layer, from input to output")
    names, errors = [layer.name for layer in shown], [layer.relative_error for layer in shown]
    hover = "%{x}<br>stride %{customdata}<br>relative error %{y:.3g}"
    draw_line(figure, names, errors, ACCENT, hover, customdata=[layer.stride for layer in shown])
    return figure.update_yaxes(rangemode="tozero")
