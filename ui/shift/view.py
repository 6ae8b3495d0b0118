"""A shift as HTML: the picture and the best classes before and after, and the feature maps of a layer."""

from markupsafe import Markup

from analysis.equivariance.align import MapComparison
from analysis.figures.drawing import hatch
from analysis.figures.overlay import render_map
from analysis.network.layers import Layer, MapLayer, outline
from ui.widgets.html import (
    empty_html,
    figure_html,
    scale_html,
    sentence_html,
)

MAP_SIDE = 168
LEGIBLE_SIDE = 14
"""The layer shown first is the deepest whose maps still have this many cells a side."""


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
