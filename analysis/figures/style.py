"""Results as interactive charts (plotly), readable on light and dark pages."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.equivariance.align import LayerError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

ACCENT = "#2563eb"
SECOND = "#d97706"
THIRD = "#059669"
INK = "#7c8594"
GRID = "rgba(125, 135, 150, 0.25)"
HEIGHT = 300


def plot_layer_errors(layers: Sequence[LayerError]) -> "Figure":
    """Relative error down the network; the marker's text is the stride."""
    from plotly.graph_objects import Scatter

    shown = [layer for layer in layers if layer.relative_error is not None]
    figure = build_figure("relative error", "layer, from input to output")
    figure.add_trace(
        Scatter(
            x=[layer.name for layer in shown],
            y=[layer.relative_error for layer in shown],
            customdata=[layer.stride for layer in shown],
            mode="lines+markers",
            line={"color": ACCENT},
            hovertemplate="%{x}<br>stride %{customdata}<br>relative error %{y:.3g}<extra></extra>",
        )
    )
    return figure.update_yaxes(rangemode="tozero")


def build_figure(y_title: str, x_title: str) -> "Figure":
    """An empty chart in the common style, with titled axes."""
    from plotly.graph_objects import Figure

    return Figure(
        layout={
            "height": HEIGHT,
            "margin": {"l": 60, "r": 12, "t": 28, "b": 60},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"color": INK, "size": 13},
            "legend": {"orientation": "h", "y": 1.12, "x": 0},
            "xaxis": {"title": x_title, "gridcolor": GRID, "zeroline": False, "automargin": True},
            "yaxis": {"title": y_title, "gridcolor": GRID, "zeroline": False, "automargin": True},
        }
    )
