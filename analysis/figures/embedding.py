"""A data set as points in a plane, coloured by class, by mistake or by how steady the answer is."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.errors import UserError
from analysis.figures.style import ACCENT, SECOND, build_figure, class_color, shorten

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_LEGEND = 12
"""Classes in the legend, the most frequent ones; the others share one entry."""
OTHERS = "others"
UNKNOWN = "not known"
COLORINGS: dict[str, str] = {
    "class": "Class of the picture",
    "predicted": "Predicted class",
    "error": "Right or wrong",
    "consistency": "Answer stays under shifts",
}
"""What the colour of a point can mean."""


def plot_embedding(
    points: NDArray[np.float32],
    labels: Sequence[str | None],
    predicted: Sequence[str],
    names: Sequence[str],
    coloring: str = "class",
    *,
    is_right: Sequence[bool | None] = (),
    consistency: Sequence[float] | None = None,
) -> "Figure":
    """Every picture a point; what it is and what was seen in it stand at the pointer, its place in ``customdata``.

    Args:
        points: ``(N, 2)``.
        coloring: A key of ``COLORINGS``.
        is_right: For ``error``.
        consistency: For ``consistency``, from 0 to 1.

    Raises:
        UserError: There is no such colouring, or nothing to colour by.
    """
    if coloring not in COLORINGS:
        raise UserError(f"Points are coloured by {', '.join(COLORINGS)}, not by {coloring}.")
    figure = build_figure("", "")
    figure.update_layout(height=520, hovermode="closest", legend={"y": 1.02, "yanchor": "bottom"})
    figure.update_xaxes(showticklabels=False)
    figure.update_yaxes(showticklabels=False, scaleanchor="x")
    texts = [
        f"{shorten(name)}<br>{shorten(label or UNKNOWN)}, seen as {shorten(seen)}"
        for name, label, seen in zip(names, labels, predicted, strict=True)
    ]
    if coloring == "consistency":
        if consistency is None:
            raise UserError("How steady the answers are was not measured; ask for it first.")
        groups: dict[str, list[int]] = {"": list(range(len(points)))}
    else:
        groups = _GROUPS[coloring](labels, predicted, is_right)
    for group, members in groups.items():
        marker = {"size": 7, "opacity": 0.75, "color": _color(group)}
        if coloring == "consistency" and consistency is not None:
            bar = {"title": "stays", "tickformat": ".0%"}
            marker |= {"color": list(consistency), "colorscale": "Cividis", "cmin": 0, "cmax": 1, "colorbar": bar}
        figure.add_scatter(
            x=points[members, 0],
            y=points[members, 1],
            mode="markers",
            name=shorten(group),
            showlegend=bool(group),
            marker=marker,
            text=[texts[member] for member in members],
            customdata=members,
            hovertemplate="%{text}<extra></extra>",
        )
    return figure


def _color(group: str) -> str:
    return {"right": ACCENT, "wrong": SECOND, UNKNOWN: "#94a3b8", OTHERS: "#94a3b8"}.get(group) or class_color(group)


def _by_class(values: Sequence[str | None]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for member, value in enumerate(values):
        groups.setdefault(value or UNKNOWN, []).append(member)
    ranked = sorted(groups, key=lambda name: -len(groups[name]))
    for name in ranked[MAX_LEGEND:] if len(ranked) > MAX_LEGEND + 1 else []:
        groups.setdefault(OTHERS, []).extend(groups.pop(name))
    return groups


def _by_error(is_right: Sequence[bool | None]) -> dict[str, list[int]]:
    words = {True: "right", False: "wrong", None: UNKNOWN}
    groups = {word: [i for i, value in enumerate(is_right) if value is key] for key, word in words.items()}
    return {word: members for word, members in groups.items() if members}


_GROUPS: dict[str, Callable[..., dict[str, list[int]]]] = {
    "class": lambda labels, predicted, is_right: _by_class(labels),
    "predicted": lambda labels, predicted, is_right: _by_class(predicted),
    "error": lambda labels, predicted, is_right: _by_error(is_right),
}
