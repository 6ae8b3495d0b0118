"""The learning-rate range test as an interactive chart (plotly)."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.figures.style import ACCENT, SECOND, build_figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def plot_rates(rates: Sequence[float], losses: Sequence[float], suggestion: float | None) -> "Figure":
    """The smoothed loss at every rate that was tried, and where the suggested one is.

    Args:
        rates: Rising.
        losses: One for each.
        suggestion: None where there is none.
    """
    from plotly.graph_objects import Scatter

    figure = build_figure("smoothed loss", "learning rate")
    figure.add_trace(
        Scatter(
            x=list(rates),
            y=list(losses),
            mode="lines",
            line={"color": ACCENT},
            showlegend=False,
            hovertemplate="rate %{x:.2g}: loss %{y:.3g}<extra></extra>",
        )
    )
    if suggestion is not None:
        figure.add_vline(x=suggestion, line={"color": SECOND, "dash": "dash"})
        # A text, unlike a line, is placed by the exponent on a logarithmic axis.
        figure.add_annotation(x=math.log10(suggestion), y=1, yref="paper", text=f"{suggestion:g}", showarrow=False)
    return figure.update_xaxes(type="log", dtick=1, exponentformat="power")
