"""The rows of published experiments as tables and charts."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from analysis.figures.evaluation import plot_traces
from ui.widgets.html import describe_estimate, table_html

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def show_rows(experiment: str, rows: list[dict]) -> tuple[Markup, "Figure | None"]:
    """HTML and, where there is one, a chart for the rows of an experiment."""
    return _TABLES[experiment](rows)


def _show_red_green(rows: list[dict]) -> tuple[Markup, None]:
    def spread(cell: dict) -> str:
        return f"{100 * cell['mean']:.1f} ± {100 * cell['std']:.1f} %"

    cells = [
        [
            row["title"],
            spread(row["similar"]),
            spread(row["dissimilar"]),
            f"{spread(row['published_similar'])} / {spread(row['published_dissimilar'])}",
            "0, to the last bit" if row["identical"] else f"{row['max_logit_difference']:.2g}",
            row["repeats"],
        ]
        for row in rows
    ]
    head = ["borders", "similar", "dissimilar", "published", "largest change of a logit", "networks"]
    return table_html(head, cells), None


def _show_location_bias(rows: list[dict]) -> tuple[Markup, None]:
    def interval(cell: dict) -> str:
        return describe_estimate({**cell, "value": cell["mean"]})

    cells = [
        [row["head"], *(interval(row[key]) for key in ("left", "right", "drop")), row["repeats"]] for row in rows
    ]
    return table_html(["head", "objects on the left", "objects on the right", "drop", "networks"], cells), None


def _show_traces(rows: list[dict]) -> tuple[Markup, "Figure"]:
    names = {row["picture"]: str(escape(row["picture"].rpartition("/")[2])) for row in rows}
    return Markup(""), plot_traces(rows, names)


_TABLES: dict[str, Callable] = {
    "red_green": _show_red_green,
    "location_bias": _show_location_bias,
    "traces": _show_traces,
}
