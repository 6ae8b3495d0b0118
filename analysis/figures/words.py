"""What a chart shows, in words, for those who do not see it."""

from collections.abc import Sequence
from html import unescape
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_TRACES = 12


def describe_figure(figure: "Figure") -> str:
    """Of every curve its ends, its lowest and its highest point; of every map the lowest and the highest cell.

    Args:
        figure: With scatter, bar and heatmap traces; those that nothing is said about at the pointer are left out.
    """
    layout = figure.layout
    x_title, y_title = layout.xaxis.title.text, layout.yaxis.title.text
    traces = [trace for trace in figure.data if trace.hoverinfo != "skip"]
    titles = [note.text for note in layout.annotations]
    parts = [f"{y_title} against {x_title}" if x_title and y_title else ""]
    for number, trace in enumerate(traces[:MAX_TRACES]):
        name = trace.name or (titles[number] if len(titles) == len(traces) else "")
        words = (_describe_map if trace.type == "heatmap" else _describe_points)(trace, layout)
        parts.append(f"{name}: {words}" if name else words)
    if len(traces) > MAX_TRACES:
        parts.append(f"and {len(traces) - MAX_TRACES} more")
    return unescape("; ".join(filter(None, parts)) + ".")


def _describe_points(trace: Any, layout: Any) -> str:
    x, y = _read(trace.x), _read(trace.y)
    known = [i for i in range(len(y)) if y[i] is not None and np.isfinite(float(y[i]))]
    points = [(_format(x[i], layout.xaxis.tickformat), float(y[i])) for i in known]
    if not points:
        return "nothing"
    lowest, highest = min(points, key=lambda point: point[1]), max(points, key=lambda point: point[1])
    chosen = [("from", points[0]), ("to", points[-1])] if trace.type == "scatter" else []
    chosen = [*chosen, ("lowest", lowest), ("highest", highest)] if len(points) > 1 else [("", lowest)]
    texts = (f"{word} {_format(value, layout.yaxis.tickformat)} at {place}" for word, (place, value) in chosen)
    return ", ".join(map(str.strip, texts))


def _describe_map(trace: Any, layout: Any) -> str:
    values = np.array([[np.nan if cell is None else cell for cell in row] for row in _read(trace.z)], dtype=float)
    if not np.isfinite(values).any():
        return "nothing"
    bar = layout.coloraxis.colorbar if trace.coloraxis else trace.colorbar
    said = [f"{bar.title.text or 'values'} in {values.shape[0]} rows and {values.shape[1]} columns"]
    named = dict(zip(_read(bar.tickvals), _read(bar.ticktext), strict=False))
    if named:  # numbers stand for names
        return ", ".join([*said, *(f"{named.get(each, each)} {share:.3g} %" for each, share in _count(values))])
    for word, index in (("lowest", np.nanargmin(values)), ("highest", np.nanargmax(values))):
        row, column = divmod(int(index), values.shape[1])
        place = f"{layout.yaxis.title.text} {_format(_read(trace.y)[row])}"
        place += f", {layout.xaxis.title.text} {_format(_read(trace.x)[column])}"
        said.append(f"{word} {_format(values[row, column], bar.tickformat)} at {place}")
    return ", ".join(said)


def _count(values: np.ndarray) -> list[tuple[float, float]]:
    """Each number with the percentage of the cells that it is in, most frequent first."""
    numbers, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(float(numbers[i]), 100 * counts[i] / values.size) for i in order]


def _read(values: Any) -> Sequence:
    """Numbers or names of a trace; nothing where there are none."""
    return () if values is None else values


def _format(value: Any, tickformat: str | None = None) -> str:
    if not isinstance(value, int | float | np.number):
        return str(value)
    return f"{100 * value:.3g} %" if tickformat and tickformat.endswith("%") else f"{value:.3g}"
