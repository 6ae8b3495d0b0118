"""What happens when the cat moves sideways? Predictions and feature maps before and after a shift."""

import math

import gradio as gr
from markupsafe import Markup

from analysis.attribution.overlay import render_map
from analysis.equivariance.align import MapComparison
from analysis.figures.drawing import draw_pixels, hatch
from analysis.figures.shift import plot_shift_errors
from analysis.network.layers import Layer, outline
from analysis.shift.move import BOUNDARIES
from lab.session import ShiftResult
from ui.services import Services
from ui.shift.controls import PADDINGS, ShiftControls, find_limit
from ui.shift.layer_meter import build_layer_meter_panel
from ui.shift.self_check import build_self_check_panel
from ui.shift.shift_map import build_shift_map_panel
from ui.widgets.distance import Distance
from ui.widgets.errors import clears_on_errors, shows_errors
from ui.widgets.html import (
    Tab,
    bars_html,
    describe_shift,
    empty_html,
    explain_this,
    figure_html,
    format_percent,
    join_html,
    note_html,
    notes_html,
    one_of,
    open_picture,
    scale_html,
    sentence_html,
)
from ui.workbench import Workbench

MAX_SHIFT = 56
"""A quarter of the usual 224 pixels; the sliders follow the model."""
MAP_SIDE = 168
LEGIBLE_SIDE = 14
"""The layer shown first is the deepest whose maps still have this many cells a side."""
EXAMPLES = {
    "3 px right, black border": (3, 0, "zero"),
    "1 px down, edge stretched": (0, 1, "replicate"),
    "As far right as it goes, wrapped around": (MAX_SHIFT, 0, "circular"),
    "5 px left, 4 px up, mirrored": (-5, -4, "reflect"),
}
EXPLANATION = """
The picture is moved **at the size the network sees**, after resizing and before normalisation.
*Shift consistency* asks whether the predicted class stays; *equivariance* asks whether feature maps move along:
$z_l(T_d x)$, the map of the shifted picture, is compared with $A_d z_l(x)$, the map of the original moved by
$d / s_l$ cells, where $s_l$ is the layer's stride. Relative error:
$\\|z_l(T_d x) - A_d z_l(x)\\| / \\|A_d z_l(x) - m\\|$ over all cells whose source lies inside the map, with
$m$ the mean of each channel over a few samples: the same in the maps, in the chart and in the layer meter. Fractions
of a pixel or cell are interpolated by Fourier shift when the picture wraps around, else by Lanczos-3. Strides that do
not divide the shift, padding, and new content at the border all make the error grow; the layer meter tells them
apart. (Zhang 2019; Azulay & Weiss 2019.)
"""


def build_shift_tab(services: Services, bench: Workbench) -> Tab:
    """Lays out the tab and wires what happens inside it."""
    controls, step = _build_controls()
    dx, dy = controls.dx, controls.dy
    with gr.Row(elem_classes="controls nudges"):
        nudges = [
            gr.Button(label, size="sm", min_width=84, elem_id=f"nudge-{key}")
            for key, label in (("left", "← 1 step"), ("right", "1 step →"), ("up", "↑ 1 step"), ("down", "↓ 1 step"))
        ]
        back = gr.Button("Back to 0, 0", size="sm", min_width=110, elem_id="nudge-zero")
    view = gr.HTML(
        empty_html("Choose a picture on the left."),
        elem_id="shift-view",
        js_on_load=_ARROW_KEYS,
        html_template="${value}",
    )
    with gr.Row(elem_classes="controls"):
        examples = [gr.Button(title, size="sm", min_width=180) for title in EXAMPLES]
    with gr.Tabs(elem_id="shift-parts") as parts, gr.Tab("Maps"):
        with gr.Row(elem_classes="controls"):
            layer = gr.Dropdown([], label="Feature maps of layer", elem_id="shift-layer", min_width=260)
            channel = gr.Number(
                -1, precision=0, label="Channel (-1: the strongest)", elem_id="shift-channel", min_width=180
            )
        maps = gr.HTML(elem_id="shift-maps")
        with gr.Accordion("Error at every layer", open=False):
            plot = gr.Plot(show_label=False, elem_id="shift-layers")
    settings = [dx, dy, controls.boundary, controls.padding, layer, channel]

    def show(image, model, dx, dy, boundary, padding, layer, channel, request, progress, report) -> tuple:
        if image is None:
            return empty_html("Choose a picture on the left, then move it with the sliders."), "", None
        result = services.lab.shift(
            open_picture(services, image, request, progress),
            model,
            float(dx),
            float(dy),
            boundary,
            twin=padding == "circular",
            layer=layer,
            channel=None if channel is None or channel < 0 else int(channel),
            progress=report,
        )
        return _show_result(result), _show_maps(result.comparison), plot_shift_errors(result.layers)

    @shows_errors
    def show_example(model, title):
        """The settings of an example, no further than the sliders go."""
        dx, dy, boundary = EXAMPLES[title]
        limit = find_limit(services.lab, model)
        return min(max(dx, -limit), limit), min(max(dy, -limit), limit), boundary

    @clears_on_errors(lambda message: (empty_html(message), "", None))
    def measure(image, model, dx, dy, boundary, padding, layer, channel, request: gr.Request, progress=gr.Progress()):
        """Shifts the picture and shows what changed."""
        with services.watch(request, progress, "Downloading weights", "shift") as report:
            return show(image, model, dx, dy, boundary, padding, layer, channel, request, progress, report)

    load = {
        "fn": measure,
        "inputs": [bench.image, bench.model, *settings],
        "outputs": [view, maps, plot],
        "api_visibility": "private",
        "show_progress": "minimal",
        "trigger_mode": "always_last",
    }
    with parts:
        with gr.Tab("All shifts"):
            build_shift_map_panel(services, bench, controls, load)
        with gr.Tab("Layers"):
            build_layer_meter_panel(services, bench, controls)
        with gr.Tab("Self-check"):
            build_self_check_panel(services, bench)
    explain_this(EXPLANATION)

    @clears_on_errors(lambda message: (*[gr.skip()] * 3, empty_html(message), "", None))
    def refresh(
        image,
        model,
        tab,
        dx,
        dy,
        boundary,
        padding,
        layer,
        channel,
        request: gr.Request,
        progress=gr.Progress(),
    ):
        """Fits the controls to the model, then measures."""
        if tab != "shift":
            return gr.skip()
        with services.watch(request, progress, "Downloading weights", "shift", is_refresh=True) as report:
            layers = services.lab.layers(model, report)
            limit = find_limit(services.lab, model)
            asked, (dx, dy) = (dx, dy), (min(max(d, -limit), limit) for d in (dx, dy))
            choices = [(_describe(item), item.name) for item in layers if item.is_feature_map and item.stride]
            layer = layer if layer in [name for _, name in choices] else _first_shown(layers)
            # A value is sent only where it has to change: the visitor may have moved on in the meantime.
            sliders = [
                gr.update(minimum=-limit, maximum=limit, **({} if value == old else {"value": value}))
                for value, old in zip((dx, dy), asked, strict=True)
            ]
            shown = show(image, model, dx, dy, boundary, padding, layer, channel, request, progress, report)
        return (*sliders, gr.update(choices=choices, value=layer), *shown)

    releases = [dx.release, dy.release, controls.boundary.input, controls.padding.input, layer.input, channel.input]
    gr.on(releases, **load)
    for button, slider, sign in zip(nudges, (dx, dx, dy, dy), (-1, 1, -1, 1), strict=True):
        button.click(None, slider, slider, js=_step_js(slider.elem_id, sign)).then(**load)
    back.click(None, None, [dx, dy], js="() => [0, 0]").then(**load)
    for button in examples:
        button.click(show_example, [bench.model, button], [dx, dy, controls.boundary], api_visibility="private").then(
            **load
        )
    step.input(lambda size: [gr.update(step=size)] * 2, step, [dx, dy], queue=False, api_visibility="private")
    return Tab(
        refresh,
        [bench.image, bench.model, bench.tab, *settings],
        [dx, dy, layer, view, maps, plot],
        looks_at=[bench.image, bench.model],
        linked={
            "dx": (dx, _read_distance),
            "dy": (dy, _read_distance),
            "boundary": (controls.boundary, one_of(BOUNDARIES)),
            "padding": (controls.padding, one_of(PADDINGS)),
        },
    )


def _build_controls() -> tuple[ShiftControls, gr.Dropdown]:
    """The controls, and the size of the steps that sliders, buttons and arrow keys make."""
    with gr.Row(elem_classes="controls"):
        dx = Distance(-MAX_SHIFT, MAX_SHIFT, 3, step=1, label="dx, px right", elem_id="shift-dx", min_width=220)
        dy = Distance(-MAX_SHIFT, MAX_SHIFT, 0, step=1, label="dy, px down", elem_id="shift-dy", min_width=220)
        step = gr.Dropdown(
            [("1 px", 1), ("1/2 px", 0.5), ("1/4 px", 0.25)],
            value=1,
            label="Step",
            elem_id="shift-step",
            min_width=90,
        )
        boundary = gr.Dropdown(
            [(rule.title, name) for name, rule in BOUNDARIES.items()],
            value="zero",
            label="Uncovered border",
            elem_id="shift-boundary",
            min_width=180,
        )
        padding = gr.Dropdown(
            [(title, name) for name, title in PADDINGS.items()],
            value="trained",
            label="Network padding",
            elem_id="shift-padding",
            min_width=190,
        )
    return ShiftControls(dx, dy, boundary, padding), step


def _show_result(result: ShiftResult) -> Markup:
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


def _show_maps(comparison: MapComparison | None) -> Markup:
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


def _read_distance(text: str) -> float:
    """The nearest quarter of a pixel that the sliders reach; ValueError for what is no finite number."""
    distance = float(text)
    if not math.isfinite(distance):
        raise ValueError(text)
    return round(4 * min(max(distance, -MAX_SHIFT), MAX_SHIFT)) / 4


def _describe(layer: Layer) -> str:
    return f"{layer.name}  ({' x '.join(map(str, layer.output_shape))}, stride {layer.stride})"


def _first_shown(layers: tuple[Layer, ...]) -> str | None:
    legible = [layer for layer in outline(layers) if min(layer.output_shape[1:]) >= LEGIBLE_SIDE]
    shown = legible or [layer for layer in layers if layer.is_feature_map and layer.stride]
    return shown[-1].name if shown else None


def _step_js(slider_id: str, sign: int) -> str:
    """Moves a slider by one of its steps in the browser, within its ends, without asking the server."""
    return (
        f"(value) => {{ const range = document.querySelector('#{slider_id} input[type=range]'); "
        f"return Math.min(Math.max(value + ({sign}) * +range.step, +range.min), +range.max); }}"
    )


_ARROW_KEYS = """
element.tabIndex = 0;
element.setAttribute("role", "group");
element.setAttribute("aria-label", "Original and shifted picture; arrow keys shift by one pixel");
const names = {ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down"};
element.addEventListener("keydown", (event) => {
    const name = names[event.key];
    if (!name) return;
    event.preventDefault();
    document.getElementById("nudge-" + name).click();
});
"""
