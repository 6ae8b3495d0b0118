"""Evaluations over data sets as interactive charts (plotly)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.figures.style import ACCENT, SECOND, THIRD, build_figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLORS = (ACCENT, SECOND, THIRD, "#db2777", "#7c3aed", "#0891b2", "#65a30d", "#dc2626", "#a16207", "#475569")
CURVES = {
    "distance": "distance of the shifts, px",
    "phase": "distance modulo stride, px",
}
"""Kind of curve in an evaluation's document -> title of its horizontal axis."""


def plot_consistency(models: Sequence[dict], kind: str) -> "Figure | None":
    """Consistency by distance or by phase, one line with its interval for each model; None without points.

    Args:
        models: The part ``models`` of an evaluation's document.
        kind: A key of ``CURVES``.
    """
    from plotly.graph_objects import Scatter

    figure = build_figure("shift consistency", CURVES[kind])
    for number, model in enumerate(models):
        points = [point for point in model["curves"][kind] if point["value"] is not None]
        if points:
            figure.add_trace(
                Scatter(
                    x=[point[kind] for point in points],
                    y=[point["value"] for point in points],
                    error_y=_reach(points),
                    name=model["model"],
                    mode="lines+markers",
                    line={"color": COLORS[number % len(COLORS)]},
                    hovertemplate="%{x} px: %{y:.2%}<extra></extra>",
                )
            )
    return figure.update_yaxes(tickformat=".0%") if figure.data else None


def plot_layer_errors(models: Sequence[dict]) -> "Figure | None":
    """Aligned error at one pixel down each network, with intervals; None where no layer was measured.

    Args:
        models: The part ``models`` of an evaluation's document; old ones hold no intervals and are left out.
    """
    from plotly.graph_objects import Scatter

    figure = build_figure("layer error at a shift by 1 px", "depth, from input to output")
    for number, model in enumerate(models):
        layers = [layer for layer in model.get("layers", ()) if isinstance(layer["error"], dict)]
        layers = [layer for layer in layers if layer["error"]["value"] is not None]
        if layers:
            last = max(len(layers) - 1, 1)
            figure.add_trace(
                Scatter(
                    x=[index / last for index in range(len(layers))],
                    y=[layer["error"]["value"] for layer in layers],
                    error_y=_reach([layer["error"] for layer in layers]),
                    text=[f"{layer['name']}, stride {layer['stride']}" for layer in layers],
                    name=model["model"],
                    mode="lines+markers",
                    line={"color": COLORS[number % len(COLORS)]},
                    hovertemplate="%{text}<br>error %{y:.3g}<extra></extra>",
                )
            )
    return figure.update_yaxes(rangemode="tozero") if figure.data else None


def plot_arms(arms: Sequence[dict]) -> "Figure | None":
    """Accuracy against consistency of the arms of a repair bench, with intervals both ways; None without arms.

    Args:
        arms: With ``title``, and ``accuracy`` and ``consistency`` as ``{value, low, high}``.
    """
    from plotly.graph_objects import Scatter

    figure = build_figure("shift consistency", "accuracy without a shift")
    for number, arm in enumerate(arms):
        x, y = arm["accuracy"], arm["consistency"]
        if x["value"] is None or y["value"] is None:
            continue
        figure.add_trace(
            Scatter(
                x=[x["value"]],
                y=[y["value"]],
                error_x=_reach([x]),
                error_y=_reach([y]),
                name=arm["title"],
                mode="markers",
                marker={"size": 11, "color": COLORS[number % len(COLORS)]},
                hovertemplate=arm["title"] + "<br>accuracy %{x:.2%}<br>consistency %{y:.2%}<extra></extra>",
            )
        )
    figure.update_layout(height=420, legend={"y": -0.2, "yanchor": "top"})
    return figure.update_xaxes(tickformat=".1%").update_yaxes(tickformat=".1%") if figure.data else None


def plot_arm_layers(arms: Sequence[dict]) -> "Figure | None":
    """The layer meters of the arms: phase spread down each network; None without layers.

    It compares no maps, so it is fair to adaptive sampling, which chooses another grid at every shift.

    Args:
        arms: With ``title`` and ``layers``, each a layer meter with ``stride``, ``phase_spread`` and ``error``.
    """
    from plotly.graph_objects import Scatter

    figure = build_figure("phase spread", "depth, from input to output")
    for number, arm in enumerate(arms):
        layers = [layer for layer in arm["layers"] if layer["phase_spread"] is not None]
        if layers:
            last = max(len(layers) - 1, 1)
            figure.add_trace(
                Scatter(
                    x=[index / last for index in range(len(layers))],  # arms may have different layers
                    y=[layer["phase_spread"] for layer in layers],
                    text=[_describe_layer(layer) for layer in layers],
                    name=arm["title"],
                    mode="lines+markers",
                    line={"color": COLORS[number % len(COLORS)]},
                    hovertemplate="%{text}<br>phase spread %{y:.3g}<extra></extra>",
                )
            )
    figure.update_layout(height=360, showlegend=False)  # the colours of the chart above
    return figure.update_yaxes(rangemode="tozero") if figure.data else None


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
        names: What the pictures are called.
    """
    from plotly.graph_objects import Scatter

    figure = build_figure("probability of the class", "step along the diagonal, px")
    for number, row in enumerate(rows[: len(COLORS)]):
        figure.add_trace(
            Scatter(
                x=list(range(len(row["probabilities"]))),
                y=row["probabilities"],
                name=names[row["picture"]],
                mode="lines+markers",
                line={"color": COLORS[number]},
                hovertemplate="step %{x}: %{y:.1%}<extra></extra>",
            )
        )
    return figure.update_yaxes(tickformat=".0%", range=[0, 1])
