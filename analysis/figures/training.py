"""What a training wrote down, as interactive charts (plotly) that stay light however long it runs.

Records come from files: a value that is no number is left out, never drawn and never an error.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.figures.curves import Curve, decimate, read_curve, read_number
from analysis.figures.style import ACCENT, HEIGHT, SECOND, THIRD, build_figure, draw_line, shorten, with_colors
from analysis.grammar import count

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_LAYERS = 10
LEGEND_LINE = 22


@dataclass(frozen=True)
class LayerMeasure:
    """What a chart of layers shows: ``read`` takes it from one layer's record, None where there is none."""

    title: str
    read: Callable[[Mapping], float | None]
    is_log: bool = False
    is_share: bool = False


def _read_share(key: str) -> Callable[[Mapping], float | None]:
    def read(layer: Mapping) -> float | None:
        part, total = read_number(layer, key), read_number(layer, "channels")
        return part / total if part is not None and total and 0 <= part <= total else None

    return read


LAYER_MEASURES = {
    "weight_norm": LayerMeasure("norm of the weights", lambda layer: read_number(layer, "weight_norm"), is_log=True),
    "gradient_norm": LayerMeasure(
        "norm of the gradient", lambda layer: read_number(layer, "gradient_norm"), is_log=True
    ),
    "dead": LayerMeasure("dead channels", _read_share("dead"), is_share=True),
    "saturated": LayerMeasure("saturated channels", _read_share("saturated"), is_share=True),
}
RUN_MEASURES = {
    "val_accuracy": ("validation accuracy", ".0%"),
    "val_loss": ("validation loss", None),
    "train_accuracy": ("training accuracy", ".0%"),
    "train_loss": ("training loss", None),
}
"""Key of an epoch's record -> title and format of the vertical axis."""


def plot_loss(records: Sequence[Mapping], steps_per_epoch: float) -> "Figure":
    """The loss of the training, many points an epoch, and of the validation, one point an epoch.

    Args:
        records: Lines of metrics.jsonl: ``kind``, ``step``, ``train_loss`` and, for epochs, ``val_loss``.
        steps_per_epoch: Optimiser steps, for the horizontal axis.
    """
    figure = build_figure("loss", "epoch")
    for key, title, color in (("train_loss", "training", SECOND), ("val_loss", "validation", ACCENT)):
        _add_line(figure, read_curve(records, key, steps_per_epoch), title, color, f"{title} loss %{{y:.4f}}")
    return figure


def plot_accuracy(records: Sequence[Mapping], steps_per_epoch: float) -> "Figure":
    """Training and validation accuracy, and after each epoch the generalisation gap between them, shaded.

    Args:
        records: Lines of metrics.jsonl: ``kind``, ``step``, ``train_accuracy`` and, for epochs, ``val_accuracy``.
    """
    figure = build_figure("accuracy", "epoch")
    for key, title, color in (("train_accuracy", "training", SECOND), ("val_accuracy", "validation", ACCENT)):
        _add_line(figure, read_curve(records, key, steps_per_epoch), title, color, f"{title} accuracy %{{y:.2%}}")
    gap = _read_gap(records, steps_per_epoch)
    _add_line(figure, gap, "gap", THIRD, "training minus validation %{y:.2%}", fill="tozeroy", dash="dot")
    return figure.update_yaxes(tickformat=".0%")


def plot_learning_rate(records: Sequence[Mapping], steps_per_epoch: float) -> "Figure":
    """The learning rate, which the schedule changes."""
    return _plot_one(records, steps_per_epoch, "learning_rate", "learning rate", "learning rate %{y:.3g}")


def plot_throughput(records: Sequence[Mapping], steps_per_epoch: float) -> "Figure":
    """Pictures trained on in a second."""
    text = "%{y:,.0f} pictures a second"
    return _plot_one(records, steps_per_epoch, "samples_per_second", "pictures a second", text)


def _plot_one(records: Sequence[Mapping], steps_per_epoch: float, key: str, title: str, text: str) -> "Figure":
    figure = build_figure(title, "epoch")
    _add_line(figure, read_curve(records, key, steps_per_epoch), title, ACCENT, text)
    return figure.update_yaxes(rangemode="tozero")


def plot_rates(rates: Sequence[float], losses: Sequence[float], suggestion: float | None) -> "Figure":
    """A learning-rate range test: the smoothed loss at every rate that was tried, and where the suggested one is.

    Args:
        rates: Rising.
    """
    figure = build_figure("smoothed loss", "learning rate")
    hover = "rate %{x:.2g}: loss %{y:.3g}"
    draw_line(figure, list(rates), list(losses), ACCENT, hover, mode="lines", showlegend=False)
    if suggestion is not None:
        figure.add_vline(x=suggestion, line={"color": SECOND, "dash": "dash"})
        # A text, unlike a line, is placed by the exponent on a logarithmic axis.
        figure.add_annotation(x=math.log10(suggestion), y=1, yref="paper", text=f"{suggestion:g}", showarrow=False)
    return figure.update_xaxes(type="log", dtick=1, exponentformat="power")


def plot_layers(records: Sequence[Mapping], measure: str) -> "Figure | None":
    """One measure of each layer over the training; None where there is nothing to show.

    Of more than ``MAX_LAYERS`` layers, norms are shown of layers at even distances from the first to the last,
    shares of the layers where they grow largest; the axis says how many.

    Args:
        records: Lines of metrics.jsonl; those of kind "layers" have ``step`` and ``layers``.
        measure: A key of ``LAYER_MEASURES``.
    """
    wanted = LAYER_MEASURES[measure]
    curves = _read_layers(records, wanted)
    shown = _choose_layers(curves, wanted)
    figure = build_figure(wanted.title, "step")
    for name, color in with_colors(shown):
        _add_line(figure, curves[name], name, color, "%{y:.0%}" if wanted.is_share else "%{y:.3g}")
    if len(shown) < len(curves):
        figure.update_xaxes(title=f"step ({len(shown)} of {count(len(curves), 'layer')})")
    if wanted.is_log:
        figure.update_yaxes(type="log", exponentformat="power")
    else:
        figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    above = LEGEND_LINE * math.ceil(len(shown) / 2)  # pixels for the names, which are too many for one line
    legend = {"yanchor": "bottom", "y": 1}
    return figure.update_layout(height=HEIGHT + above, margin_t=28 + above, legend=legend) if figure.data else None


def plot_runs(runs: Sequence[tuple[str, Sequence[Mapping]]], measure: str) -> "Figure | None":
    """Several runs in one chart over optimiser steps, one colour for each; None where nothing was measured.

    Args:
        measure: A key of ``RUN_MEASURES``.
    """
    title, tickformat = RUN_MEASURES[measure]
    figure = build_figure(title, "step")
    for (name, records), color in with_colors(runs):
        epochs = [record for record in records if record.get("kind") == "epoch"]
        text = f"%{{y:{'.2%' if tickformat else '.4f'}}} at step %{{x}}"
        _add_line(figure, read_curve(epochs, measure), name, color, text, markers=True)
    return figure.update_yaxes(tickformat=tickformat) if figure.data else None


def plot_seed_bands(arms: Sequence[tuple[str, Sequence[Sequence[Mapping]]]], measure: str) -> "Figure | None":
    """The mean of each arm over its seeds, and a band from the lowest to the highest seed; None without points.

    Only steps that all seeds of an arm have reached count, so the mean is always over the same ones.

    Args:
        arms: Title of each arm and the points of each of its seeds, with ``step`` and the measure.
        measure: A key of ``RUN_MEASURES``.
    """
    title, tickformat = RUN_MEASURES[measure]
    figure = build_figure(title, "step")
    for (name, seeds), color in with_colors(arms):
        _add_band(figure, name, seeds, measure, color)
    return figure.update_yaxes(tickformat=tickformat) if figure.data else None


def _read_gap(records: Sequence[Mapping], steps_per_epoch: float) -> Curve:
    keys = ("step", "train_accuracy", "val_accuracy")
    epochs = ([read_number(record, key) for key in keys] for record in records if record.get("kind") == "epoch")
    points = [
        (step / steps_per_epoch, train - validation)
        for step, train, validation in epochs
        if step is not None and train is not None and validation is not None
    ]
    return Curve([x for x, _ in points], [y for _, y in points])


def _read_layers(records: Sequence[Mapping], measure: LayerMeasure) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    for record in records:
        step, layers = read_number(record, "step"), record.get("layers")
        if record.get("kind") != "layers" or step is None or not isinstance(layers, list):
            continue
        for layer in layers:
            if not isinstance(layer, dict) or not isinstance(layer.get("name"), str):
                continue
            value = measure.read(layer)
            if value is not None and (value > 0 or not measure.is_log):
                curve = curves.setdefault(layer["name"], Curve([], []))
                curve.x.append(step)
                curve.y.append(value)
    return curves


def _choose_layers(curves: Mapping[str, Curve], measure: LayerMeasure) -> list[str]:
    names = list(curves)
    if len(names) <= MAX_LAYERS:
        return names
    if measure.is_share:
        largest = sorted(names, key=lambda name: -max(curves[name].y))[:MAX_LAYERS]
        return [name for name in names if name in largest]
    return [names[round(number * (len(names) - 1) / (MAX_LAYERS - 1))] for number in range(MAX_LAYERS)]


def _add_line(
    figure: "Figure", curve: Curve, name: str, color: str, text: str, *, markers: bool = False, **style: str
) -> None:
    """Adds a line unless it has no points; a line of few points shows them."""
    if not curve.x:
        return
    points = decimate(curve)
    name = shorten(name)
    figure.add_scatter(
        x=points.x,
        y=points.y,
        name=name,
        mode="lines+markers" if markers or len(points.x) <= 60 else "lines",
        line={"color": color, "dash": style.get("dash", "solid")},
        marker={"size": 5},
        fill=style.get("fill"),
        fillcolor=_fade(color),
        hovertemplate=f"{name}: {text}<extra></extra>",
    )


def _add_band(figure: "Figure", name: str, seeds: Sequence[Sequence[Mapping]], measure: str, color: str) -> None:
    curves = [dict(zip(*read_curve(records, measure), strict=True)) for records in seeds]
    steps = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    if not steps:
        return
    values = [[curve[step] for curve in curves] for step in steps]
    low, high = [min(row) for row in values], [max(row) for row in values]
    quiet = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "legendgroup": name}
    if len(curves) > 1:
        figure.add_scatter(x=steps, y=low, **quiet)
        figure.add_scatter(x=steps, y=high, fill="tonexty", fillcolor=_fade(color), **quiet)
    seeds_text = count(len(curves), "seed")
    number = ".2%" if RUN_MEASURES[measure][1] else ".4f"
    figure.add_scatter(
        x=steps,
        y=[math.fsum(row) / len(row) for row in values],
        customdata=list(zip(low, high, strict=True)),
        name=f"{shorten(name)} ({seeds_text})",
        legendgroup=name,
        mode="lines+markers",
        line={"color": color},
        marker={"size": 5},
        hovertemplate=f"{shorten(name)}: %{{y:{number}}}, {seeds_text} from %{{customdata[0]:{number}}} "
        f"to %{{customdata[1]:{number}}}<extra></extra>",
    )


def _fade(color: str) -> str:
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.12)"
