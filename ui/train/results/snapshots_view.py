"""One moment of a training as sentences and pictures, on a scale that is the same at all moments."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from analysis.confusion import Confusion
from analysis.figures.drawing import draw_pixels
from analysis.figures.overlay import render_map
from analysis.grammar import count
from analysis.network.health import LayerHealth, describe_health
from lab.runs.examples import Examples
from lab.runs.snapshot_view import Scales, SnapshotView, draw_filters_on
from lab.runs.snapshots import SnapshotConsistency
from models.runs.run import Run
from ui.widgets.html import (
    bars_html,
    describe_estimate,
    empty_html,
    figure_html,
    format_percent,
    grid_html,
    note_html,
    notes_html,
    scale_html,
    sentence_html,
    table_html,
)

THUMBNAIL_SIDE = 72
SIDE = 224
FILTER_SIDE = 56
MAP_SIDE = 56


def describe_moment(run: Run, steps: Sequence[int], step: int, view: SnapshotView) -> Markup:
    """Where in the training this is, and what the network makes of the picture."""
    total, epochs = run.status.get("total_steps") or steps[-1], run.status.get("epochs")
    place = f", epoch {step * epochs / total:.1f} of {epochs}" if epochs and total else ""
    best = view.predictions[0]
    said = "rightly" if best.index == view.target.index else f"wrongly, as it is {view.target.category}"
    moment = "Before the first step" if step == 0 else f"After step {step:,} of {total:,}{place}"
    return sentence_html(
        f"{moment}: the picture is taken for {best.category} ({format_percent(best.probability)}), {said}."
    )


def draw_picture(examples: Examples, view: SnapshotView, scales: Scales) -> Markup:
    """The picture, the saliency map of its class, and the most probable classes."""
    picture = draw_pixels(examples.images[view.index].float() / 255, size=SIDE)
    saliency = render_map(view.saliency, scale=scales.saliency, size=SIDE)
    figures = figure_html(picture, f"Picture {view.index}: {view.target.category}", "The example picture")
    figures += figure_html(saliency, f"Saliency for {view.target.category}", "Strength of the gradient at each pixel")
    bars = bars_html(view.predictions, mark=view.target.index)
    shown = Markup('<div class="triple">{}<div>{}</div></div>').format(figures, bars)
    return shown + scale_html(scales.saliency, colors="inferno")


def draw_filters(view: SnapshotView, scales: Scales) -> Markup:
    """The filters of the first layer."""
    if view.filters is None:
        return empty_html("The first layer sees no picture, so its weights cannot be drawn as one.")
    pictures = (_enlarge(picture, FILTER_SIDE) for picture in draw_filters_on(view.filters, scales.filters))
    text = _say_number("filters of the first layer", len(view.filters), view.num_filters)
    ends = f"Black −{scales.filters:.2g}, grey 0, white +{scales.filters:.2g}."
    grid = grid_html((picture, str(number)) for number, picture in enumerate(pictures))
    return note_html(f"{text} {ends}") + grid


def draw_maps(view: SnapshotView, scales: Scales) -> Markup:
    """The feature maps of the chosen layer."""
    if view.maps is None:
        return empty_html("This network has no feature maps.")
    sign, colors = ("signed", "diverging") if scales.is_signed else ("positive", "viridis")
    draw = partial(render_map, sign=sign, colormap="viridis", scale=scales.maps, size=MAP_SIDE)
    grid = grid_html((draw(values[None]), str(number)) for number, values in enumerate(view.maps))
    text = _say_number(f"feature maps of {view.layer or ''}", len(view.maps), view.num_maps)
    return note_html(text) + grid + scale_html(scales.maps, colors=colors)


def describe_measures(moment: int, step: int, found: Confusion, consistency: SnapshotConsistency) -> Markup:
    """Accuracy and shift consistency, with the step they belong to; ``moment`` is its place on the slider."""
    accuracy = describe_estimate(found.accuracy.to_json(), in_words=True)
    pictures, share = count(len(found), "validation picture"), format_percent(consistency.value, 0)
    text = sentence_html(
        f"After step {step:,}: accuracy {accuracy} on {pictures}, shift consistency {share} (up to "
        f"{consistency.max_shift} px)."
    )
    return Markup('<div data-moment="{}">{}</div>').format(moment, text)


def list_health(layers: Sequence[LayerHealth]) -> Markup:
    """Dead and saturated channels of every activation, and what stands out."""
    rows = [
        [layer.name, f"{layer.dead} of {layer.channels}", "–" if layer.saturated is None else layer.saturated]
        for layer in layers
    ]
    if not rows:
        return empty_html("This network has no activations whose channels could be dead.")
    table = table_html(["activation", "dead channels", "saturated"], rows)
    return table + notes_html(describe_health(layers)[:2])


def draw_thumbnails(examples: Examples, chosen: Sequence[int]) -> list[tuple[NDArray[np.uint8], str]]:
    """The example pictures to choose from, with their classes."""
    return [
        (
            draw_pixels(examples.images[index].float() / 255, size=THUMBNAIL_SIDE),
            examples.categories[examples.labels[index]],
        )
        for index in chosen
    ]


def _enlarge(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Every pixel as a square, to about ``side``."""
    factor = max(1, round(side / picture.shape[1]))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _say_number(what: str, shown: int, total: int) -> str:
    return f"All {total} {what}." if shown == total else f"The first {shown} of {total} {what}."
