"""What all interactive charts (plotly) share, readable on light and dark pages."""

import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Item = TypeVar("Item")

ACCENT = "#2563eb"
SECOND = "#d97706"
THIRD = "#059669"
LINE_COLORS = (ACCENT, SECOND, THIRD, "#db2777", "#7c3aed", "#0891b2", "#65a30d", "#dc2626", "#a16207", "#475569")
INK = "#7c8594"
GRID_COLOR = "rgba(125, 135, 150, 0.25)"
HEIGHT = 300
MAX_NAME = 40
"""Characters of a name in a legend."""


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
            "xaxis": {"title": x_title, "gridcolor": GRID_COLOR, "zeroline": False, "automargin": True},
            "yaxis": {"title": y_title, "gridcolor": GRID_COLOR, "zeroline": False, "automargin": True},
        }
    )


def with_colors(items: Iterable[Item]) -> Iterator[tuple[Item, str]]:
    """Each item with a colour of its own, as long as there are some; then they start again."""
    return zip(items, itertools.cycle(LINE_COLORS), strict=False)


def class_color(name: str) -> str:
    """The colour of a class, the same wherever it is shown: a CSS and plotly colour made from its name."""
    number = zlib.crc32(name.encode())
    return f"hsl({number % 360}, {55 + number // 360 % 3 * 15}%, {38 + number // 1080 % 4 * 8}%)"


def draw_line(figure: "Figure", x: Sequence, y: Sequence, color: str, hover: str, **more) -> None:
    """Adds points and the line through them; ``hover`` is the text at the pointer, ``more`` is plotly's."""
    look = {"mode": "lines+markers", "line": {"color": color}} | more
    figure.add_scatter(x=x, y=y, hovertemplate=f"{hover}<extra></extra>", **look)


def shorten(name: str) -> str:
    """A name of bounded length, as plain text: plotly reads some HTML."""
    short = name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
    return short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "% {")
