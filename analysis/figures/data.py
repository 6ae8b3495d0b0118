"""Data sets as interactive charts (plotly)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from analysis.errors import UserError
from analysis.figures.style import ACCENT, SECOND, THIRD, build_figure
from analysis.figures.training import shorten

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLORS = {"train": ACCENT, "validation": SECOND, "test": THIRD}
MAX_NAMED = 60
"""Classes whose names fit under the bars; with more the pointer shows them."""


def plot_class_balance(categories: Sequence[str], counts: Mapping[str, Sequence[int]]) -> "Figure":
    """Pictures of each class as bars, with the splits on top of each other.

    Args:
        categories: Names of the classes; two may be the same.
        counts: ``train``, ``validation`` and ``test``, or some of them -> number of pictures of each class.

    Raises:
        UserError: A split has other classes than there are names.
    """
    from plotly.graph_objects import Bar

    figure = build_figure("pictures", "class")
    names = [shorten(name) for name in categories]
    for split, numbers in counts.items():
        if len(numbers) != len(categories):
            raise UserError(f"There are {len(categories)} classes, but {len(numbers)} counts for {split}.")
        figure.add_trace(
            Bar(
                x=list(range(len(categories))),
                y=list(numbers),
                customdata=names,
                name=split,
                marker={"color": COLORS[split]},
                hovertemplate=f"%{{customdata}}<br>{split}: %{{y}}<extra></extra>",
            )
        )
    figure.update_layout(barmode="stack", bargap=0.2).update_yaxes(rangemode="tozero")
    if len(categories) > MAX_NAMED:
        return figure.update_xaxes(showticklabels=False)
    return figure.update_xaxes(tickvals=list(range(len(categories))), ticktext=names)
