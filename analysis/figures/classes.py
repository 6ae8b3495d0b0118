"""The classes of a data set as interactive charts (plotly): their balance, their scores, what they are taken for."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from analysis.confusion import ClassScore, select_classes
from analysis.errors import UserError
from analysis.figures.overlay import DIVERGING
from analysis.figures.style import ACCENT, SECOND, THIRD, build_figure, shorten

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_SHOWN = 60
"""Classes in one chart, or with names under it; of more, those that matter most are shown, and the chart says so."""
MAX_WITH_COUNTS = 20
"""Classes up to which the numbers are written into the cells."""
SPLIT_COLORS = {"train": ACCENT, "validation": SECOND, "test": THIRD}
SHADES = ((0.0, "#eff4ff"), (0.25, "#a9c4fb"), (1.0, "#1d4ed8"))
"""Light to dark blue, on light and on dark pages."""
CHANGE_SHADES = [[position, f"rgb{color}"] for position, color in DIVERGING.items()]


def plot_class_balance(categories: Sequence[str], counts: Mapping[str, Sequence[int]]) -> "Figure":
    """Pictures of each class as bars, with the splits on top of each other.

    Args:
        counts: ``train``, ``validation`` and ``test``, or some of them -> number of pictures of each class.

    Raises:
        UserError: A split has other classes than there are names.
    """
    figure = build_figure("pictures", "class")
    names = [shorten(name) for name in categories]
    for split, numbers in counts.items():
        if len(numbers) != len(categories):
            raise UserError(f"There are {len(categories)} classes, but {len(numbers)} counts for {split}.")
        figure.add_bar(
            x=list(range(len(categories))),
            y=list(numbers),
            customdata=names,
            name=split,
            marker={"color": SPLIT_COLORS[split]},
            hovertemplate=f"%{{customdata}}<br>{split}: %{{y}}<extra></extra>",
        )
    figure.update_layout(barmode="stack", bargap=0.2).update_yaxes(rangemode="tozero")
    if len(categories) > MAX_SHOWN:  # the pointer shows their names
        return figure.update_xaxes(showticklabels=False)
    return figure.update_xaxes(tickvals=list(range(len(categories))), ticktext=names)


def plot_confusion(counts: Tensor, categories: Sequence[str]) -> "Figure":
    """A confusion matrix: the colour is the share of the true class, the text the number of pictures.

    ``customdata`` of every cell begins with ``[true, predicted, pictures]``, the classes as indices. Of more than
    ``MAX_SHOWN`` classes, only those that are most often confused are shown, and the title says so.

    Args:
        counts: ``(K, K)``; ``[true, predicted]`` is a number of pictures.
    """
    chosen = select_classes(counts, MAX_SHOWN)
    totals = counts.sum(1).tolist()
    shares = [
        [count / totals[true] if totals[true] else None for count in counts[true, chosen].tolist()] for true in chosen
    ]
    figure = _plot_matrix(counts, shares, chosen, categories, "most confused", "%{customdata[2]}")
    figure.update_traces(colorscale=SHADES, zmin=0, zmax=1, colorbar={"title": "share", "tickformat": ".0%"})
    return figure


def plot_confusion_difference(difference: Tensor, categories: Sequence[str]) -> "Figure":
    """How a confusion matrix has changed: red cells have more pictures than before, blue ones fewer, white as many.

    More on the diagonal is better, more beside it is worse. Otherwise as :func:`plot_confusion`.

    Args:
        difference: ``(K, K)``: numbers of pictures after minus before.
    """
    chosen = select_classes(difference, MAX_SHOWN)
    values = difference[chosen][:, chosen]
    limit = int(values.abs().max()) or 1
    number = "%{customdata[2]:+d}"
    figure = _plot_matrix(difference, values.tolist(), chosen, categories, "most changed", number, sign="+")
    figure.update_traces(colorscale=CHANGE_SHADES, zmin=-limit, zmax=limit, zmid=0, colorbar={"title": "change"})
    return figure


def plot_class_scores(scores: Sequence[ClassScore]) -> "Figure":
    """The accuracy of each class with its interval; of more than ``MAX_SHOWN`` classes, the worst ones.

    Args:
        scores: Of :meth:`analysis.confusion.Confusion.score_classes`; classes without pictures are left out.
    """
    known = [score for score in scores if score.recall.value is not None]
    worst = sorted(known, key=lambda score: (score.recall.value, score.index))[:MAX_SHOWN]
    shown = sorted(worst, key=lambda score: score.index)
    figure = build_figure("accuracy of the class", "")
    below, above = zip(*(score.recall.error_bars for score in shown), strict=True) if shown else ((), ())
    figure.add_bar(
        x=_name_axis([score.category for score in shown]),
        y=[score.recall.value for score in shown],
        error_y={"type": "data", "array": above, "arrayminus": below, "thickness": 1},
        customdata=[[score.index, score.pictures, _describe_precision(score)] for score in shown],
        marker={"color": ACCENT},
        hovertemplate="%{x}: %{y:.1%} of %{customdata[1]} pictures right<br>%{customdata[2]}<extra></extra>",
    )
    if len(shown) < len(known):
        _set_title(figure, f"The {len(shown)} worst of {len(known)} classes")
    return figure.update_xaxes(type="category").update_yaxes(tickformat=".0%", range=[0, 1])


def _plot_matrix(
    counts: Tensor,
    values: Sequence[Sequence[float | None]],
    chosen: Sequence[int],
    categories: Sequence[str],
    choice: str,
    number: str,
    sign: str = "",
) -> "Figure":
    names = _name_axis([categories[index] for index in chosen])
    numbers = [counts[true, chosen].tolist() for true in chosen]
    with_counts = len(chosen) <= MAX_WITH_COUNTS
    figure = build_figure("true class", "predicted class")
    figure.add_heatmap(
        x=names,
        y=names,
        z=values,
        customdata=[
            [
                [true, predicted, count, "picture" if abs(count) == 1 else "pictures"]
                for predicted, count in zip(chosen, row, strict=True)
            ]
            for true, row in zip(chosen, numbers, strict=True)
        ],
        text=[[f"{count:{sign}d}" if count else "" for count in row] for row in numbers] if with_counts else None,
        texttemplate="%{text}" if with_counts else None,
        xgap=1,
        ygap=1,
        hoverongaps=False,
        hovertemplate=f"true %{{y}}, predicted %{{x}}: {number} %{{customdata[3]}}<extra></extra>",
    )
    if len(chosen) < len(categories):
        _set_title(figure, f"The {len(chosen)} {choice} of {len(categories)} classes")
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False, autorange="reversed")
    return figure.update_layout(height=min(max(140 + 26 * len(chosen), 320), 900))


def _name_axis(categories: Sequence[str]) -> list[str]:
    """Names that are all different, as places on an axis have to be."""
    names: list[str] = []
    for category in categories:
        name, number = shorten(category), 2
        while name in names:
            name, number = f"{shorten(category)} ({number})", number + 1
        names.append(name)
    return names


def _describe_precision(score: ClassScore) -> str:
    if score.precision is None:
        return "never predicted"
    return f"{score.precision:.1%} of the {score.predicted} pictures predicted as it are"


def _set_title(figure: "Figure", text: str) -> None:
    figure.update_layout(title={"text": text, "font": {"size": 13}, "x": 0, "y": 0.99}, margin={"t": 48})
