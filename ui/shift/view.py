"""A shift as HTML: the picture and the best classes before and after, and the feature maps of a layer."""

from markupsafe import Markup

from analysis.attribution.overlay import render_map
from analysis.equivariance.align import MapComparison
from analysis.figures.drawing import draw_pixels, hatch
from analysis.network.layers import Layer, MapLayer, outline
from analysis.shift.move import BOUNDARIES
from lab.results import ShiftResult
from ui.widgets.html import (
    bars_html,
    describe_shift,
    empty_html,
    figure_html,
    format_percent,
    join_html,
    note_html,
    notes_html,
    scale_html,
    sentence_html,
)

MAP_SIDE = 168
LEGIBLE_SIDE = 14
"""The layer shown first is the deepest whose maps still have this many cells a side."""


def show_result(result: ShiftResult) -> Markup:
    """The finding in words, and both pictures with their best classes."""
    before, after = result.before[0], result.after[0]
    where = describe_shift(result.dx, result.dy)
    of_before = before.probability + result.probability_change
    change = f"{format_percent(before.probability)} → {format_percent(of_before)}"
    text = f"{where}: still {before.category}, {change}"
    if not result.same_top1:
        text = f"{where}: {before.category} ({change}) becomes {after.category}"
    text += f"; margin {result.margin_before:+.2g} → {result.margin_after:+.2g}."
    if result.near_tie:
        text += " A near-tie: the two best logits are so close that rounding alone may swap them."
    rule = BOUNDARIES[result.boundary]
    pictures = (
        ("Original", draw_pixels(result.before_pixels), result.before),
        (where, draw_pixels(result.after_pixels, result.is_real), result.after),
    )
    columns = join_html(
        Markup('<div class="column">{}{}</div>').format(
            figure_html(picture, title, f"{title}: {tops[0].category}"), bars_html(tops, mark=before.index)
        )
        for title, picture, tops in pictures
    )
    twin = (
        "This is the circular twin: the same weights with every padded operation wrapping around. It is another "
        f"network: without a shift it says {before.category}, {format_percent(before.probability)}. "
    )
    hint = "Hatched pixels are invented. Arrow keys move the picture."
    note = note_html(f"{twin if result.is_twin else ''}{rule.explanation} {hint}") + notes_html(result.notes)
    finding = sentence_html(text, "good" if result.same_top1 else "bad")
    return finding + Markup('<div class="pair">{}</div>').format(columns) + note


def show_maps(comparison: MapComparison | None) -> Markup:
    """The map of the shifted picture, the shifted map of the original, and their difference, on one scale."""
    if comparison is None:
        return empty_html("This model has no feature map to compare.")
    error = comparison.relative_error
    finding = "nothing can be compared at this shift" if error is None else f"relative error {error:.2g}"
    limit = comparison.limit
    figures = Markup("")
    for title, values in (
        ("Map of the shifted picture", comparison.of_shifted),
        ("Map of the original, shifted", comparison.shifted_map),
        ("Difference", comparison.difference),
    ):
        drawn = render_map(values[None], sign="signed", scale=limit or 1.0, size=MAP_SIDE)
        if values is not comparison.of_shifted:
            drawn = hatch(drawn, ~comparison.is_valid)
        figures += figure_html(drawn, title, f"{title}, {finding}")
    text = (
        f"Layer {comparison.layer}, channel {comparison.channel} of {comparison.num_channels}, stride "
        f"{comparison.stride}: {finding} over all channels."
    )
    return sentence_html(text) + Markup('<div class="triple">{}</div>').format(figures) + scale_html(limit)


def describe_layer(layer: Layer) -> str:
    """Name, size and stride, for a list of layers."""
    return f"{layer.name}  ({' x '.join(map(str, layer.output_shape))}, stride {layer.stride})"


def find_first_shown(layers: tuple[Layer, ...]) -> str | None:
    """The layer that is shown before one is chosen."""
    legible = [layer for layer in outline(layers) if min(layer.size) >= LEGIBLE_SIDE]
    shown = legible or [layer for layer in layers if isinstance(layer, MapLayer)]
    return shown[-1].name if shown else None
