"""Evaluations over data sets as interactive charts (plotly)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.figures.style import LINE_COLORS, build_figure, draw_line, with_colors

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

CURVES = {"distance": "distance of the shifts, px", "phase": "distance modulo stride, px"}
"""Kind of curve in an evaluation's document -> title of its horizontal axis."""


def plot_consistency(models: Sequence[dict], kind: str) -> "Figure | None":
    """Consistency by distance or by phase, one line with its interval for each model; None without points.

    Args:
        models: The part ``models`` of an evaluation's document.
        kind: A key of ``CURVES``.
    """
    figure = build_figure("shift consistency", CURVES[kind])
    for model, color in with_colors(models):
        points = [point for point in model["curves"][kind] if point["value"] is not None]
        if points:
            x, y = [point[kind] for point in points], [point["value"] for point in points]
            hover, name = "%{x} px: %{y:.2%}", model["model"]
            draw_line(figure, x, y, color, hover, error_y=_reach(points), name=name)
    return figure.update_yaxes(tickformat=".0%") if figure.data else None


def plot_depth_errors(models: Sequence[dict]) -> "Figure | None":
    """Aligned error at one pixel down each network, with intervals; None where no layer was measured.

    Args:
        models: The part ``models`` of an evaluation's document; old ones hold no intervals and are left out.
    """
    figure = build_figure("layer error at a shift by 1 px", "depth, from input to output")
    for model, color in with_colors(models):
        layers = [layer for layer in model.get("layers", ()) if isinstance(layer["error"], dict)]
        layers = [layer for layer in layers if layer["error"]["value"] is not None]
        errors = [layer["error"] for layer in layers]
        texts = [f"{layer['name']}, stride {layer['stride']}" for layer in layers]
        values = [error["value"] for error in errors]
        _draw_depth(figure, values, texts, color, "error", name=model["model"], error_y=_reach(errors))
    return figure.update_yaxes(rangemode="tozero") if figure.data else None


def plot_arms(arms: Sequence[dict]) -> "Figure | None":
    """Accuracy against consistency of the arms of a repair bench, with intervals both ways; None without arms.

    Args:
        arms: With ``title``, and ``accuracy`` and ``consistency`` as ``{value, low, high}``.
    """
    figure = build_figure("shift consistency", "accuracy without a shift")
    for arm, color in with_colors(arms):
        x, y = arm["accuracy"], arm["consistency"]
        if x["value"] is None or y["value"] is None:
            continue
        figure.add_scatter(
            x=[x["value"]],
            y=[y["value"]],
            error_x=_reach([x]),
            error_y=_reach([y]),
            name=arm["title"],
            mode="markers",
            marker={"size": 11, "color": color},
            hovertemplate=arm["title"] + "<br>accuracy %{x:.2%}<br>consistency %{y:.2%}<extra></extra>",
        )
    figure.update_layout(height=420, legend={"y": -0.2, "yanchor": "top"})
    return figure.update_xaxes(tickformat=".1%").update_yaxes(tickformat=".1%") if figure.data else None


def plot_arm_layers(arms: Sequence[dict]) -> "Figure | None":
    """The layer meters of the arms: phase spread down each network; None without layers.

    It compares no maps, so it is fair to adaptive sampling, which chooses another grid at every shift.

    Args:
        arms: With ``title`` and ``layers``, each a layer meter with ``stride``, ``phase_spread`` and ``error``.
    """
    figure = build_figure("phase spread", "depth, from input to output")
    for arm, color in with_colors(arms):
        layers = [layer for layer in arm["layers"] if layer["phase_spread"] is not None]
        values, texts = [layer["phase_spread"] for layer in layers], [_describe_layer(layer) for layer in layers]
        _draw_depth(figure, values, texts, color, "phase spread", name=arm["title"])
    figure.update_layout(height=360, showlegend=False)  # the colours of the chart above
    return figure.update_yaxes(rangemode="tozero") if figure.data else None


def _draw_depth(
    figure: "Figure", values: Sequence[float], texts: Sequence[str], color: str, what: str, **more
) -> None:
    """A line down one network, unless nothing was measured; networks may have different layers."""
    places = [index / max(len(values) - 1, 1) for index in range(len(values))]
    if places:
        draw_line(figure, places, values, color, f"%{{text}}<br>{what} %{{y:.3g}}", text=texts, **more)


def _describe_layer(layer: dict) -> str:
    error = "" if layer["error"] is None else f", error at 1 px {layer['error']:.2g}"
    return f"{layer['name']}, stride {layer['stride']}{error}"


def _reach(estimates: Sequence[dict]) -> dict:
    """Error bars from the value of each estimate to the ends of its interval; none where it has no interval."""
    above = [None if each["high"] is None else each["high"] - each["value"] for each in estimates]
    below = [None if each["low"] is None else each["value"] - each["low"] for each in estimates]
    return {"type": "data", "array": above, "arrayminus": below, "thickness": 1}


def plot_traces(rows: Sequence[dict], names: dict[str, str]) -> "Figure":
    """Probability of the followed class along one-pixel shifts, one line for each picture.

    Args:
        rows: With ``picture``, ``shifts`` as ``[dx, dy]``, and ``probabilities``.
    """
    figure = build_figure("probability of the class", "step along the diagonal, px")
    for row, color in with_colors(rows[: len(LINE_COLORS)]):
        y, name = row["probabilities"], names[row["picture"]]
        draw_line(figure, list(range(len(y))), y, color, "step %{x}: %{y:.1%}", name=name)
    return figure.update_yaxes(tickformat=".0%", range=[0, 1])
