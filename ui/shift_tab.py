"""What happens when the cat moves sideways? Predictions and feature maps before and after a shift."""

import gradio as gr

from analysis.equivariance import MapComparison
from analysis.figures import plot_layer_errors
from analysis.layers import Layer, outline
from analysis.overlay import render_map
from analysis.pictures import draw_pixels, hatch
from analysis.shift import BOUNDARIES
from lab import ShiftResult
from ui import Services
from ui.components import (
    Tab,
    bars_html,
    empty_html,
    explain_this,
    figure_html,
    format_percent,
    one_of,
    scale_html,
    sentence_html,
)
from ui.errors import clears_on_errors, shows_errors
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
The picture is moved by whole pixels **at the size the network sees**, after resizing and before normalisation.
*Shift consistency* asks whether the predicted class stays; *equivariance* asks whether feature maps move along:
$z_l(T_d x)$, the map of the shifted picture, is compared with $A_d z_l(x)$, the map of the original moved by
$d / s_l$ cells, where $s_l$ is the layer's stride. Relative error: $\\|z_l(T_d x) - A_d z_l(x)\\| / \\|A_d z_l(x)\\|$
over all cells whose source lies inside the map. Fractions of a cell are interpolated by Fourier shift when the
picture wraps around, else by Lanczos-3. Strides that do not divide the shift, padding, and new content at the
border all make the error grow. (Zhang 2019; Azulay & Weiss 2019.)
"""


def build_shift_tab(services: Services, bench: Workbench) -> Tab:
    """Lays out the tab and wires what happens inside it."""
    with gr.Row(elem_classes="controls"):
        dx = gr.Slider(
            -MAX_SHIFT, MAX_SHIFT, 3, step=1, label="dx: pixels to the right", elem_id="shift-dx", min_width=220
        )
        dy = gr.Slider(-MAX_SHIFT, MAX_SHIFT, 0, step=1, label="dy: pixels down", elem_id="shift-dy", min_width=220)
        boundary = gr.Dropdown(
            [(rule.title, name) for name, rule in BOUNDARIES.items()],
            value="zero",
            label="Uncovered border",
            elem_id="shift-boundary",
            min_width=180,
        )
    with gr.Row(elem_classes="controls nudges"):
        nudges = [
            gr.Button(label, size="sm", min_width=84, elem_id=f"nudge-{key}")
            for key, label in (("left", "← 1 px"), ("right", "1 px →"), ("up", "↑ 1 px"), ("down", "↓ 1 px"))
        ]
        back = gr.Button("Back to 0, 0", size="sm", min_width=110, elem_id="nudge-zero")
    view = gr.HTML(
        empty_html("Choose a picture on the left."),
        elem_id="shift-view",
        js_on_load=_ARROW_KEYS,
        html_template="${value}",
    )
    with gr.Row(elem_classes="controls"):
        layer = gr.Dropdown([], label="Feature maps of layer", elem_id="shift-layer", min_width=260)
        channel = gr.Number(
            -1, precision=0, label="Channel (-1: the strongest)", elem_id="shift-channel", min_width=180
        )
    maps = gr.HTML(elem_id="shift-maps")
    with gr.Accordion("Error at every layer", open=False):
        plot = gr.Plot(show_label=False, elem_id="shift-layers")
    with gr.Row(elem_classes="controls"):
        examples = [gr.Button(title, size="sm", min_width=180) for title in EXAMPLES]
    explain_this(EXPLANATION)

    settings = [dx, dy, boundary, layer, channel]

    def show(image, model, dx, dy, boundary, layer, channel, report) -> tuple:
        if image is None:
            return empty_html("Choose a picture on the left, then move it with the sliders."), "", None
        result = services.lab.shift(
            services.lab.open_image(image),
            model,
            int(dx),
            int(dy),
            boundary,
            layer=layer,
            channel=None if channel is None or channel < 0 else int(channel),
            progress=report,
        )
        return _show_result(result), _show_maps(result.comparison), plot_layer_errors(result.layers)

    def find_limit(model) -> int:
        """How far the sliders go: a quarter of the network's input."""
        return max(1, services.lab.registry.get(model).preprocessing.crop_size // 4)

    @shows_errors
    def show_example(model, title):
        """The settings of an example, no further than the sliders go."""
        dx, dy, boundary = EXAMPLES[title]
        limit = find_limit(model)
        return min(max(dx, -limit), limit), min(max(dy, -limit), limit), boundary

    @clears_on_errors(lambda message: (empty_html(message), "", None))
    def measure(image, model, dx, dy, boundary, layer, channel, request: gr.Request, progress=gr.Progress()):
        """Shifts the picture and shows what changed."""
        with services.watch(request, progress, "Downloading weights", "shift") as report:
            return show(image, model, dx, dy, boundary, layer, channel, report)

    @clears_on_errors(lambda message: (gr.skip(), gr.skip(), gr.skip(), empty_html(message), "", None))
    def refresh(image, model, tab, dx, dy, boundary, layer, channel, request: gr.Request, progress=gr.Progress()):
        """Fits the controls to the model, then measures."""
        if tab != "shift":
            return gr.skip()
        with services.watch(request, progress, "Downloading weights", "shift", is_refresh=True) as report:
            layers = services.lab.layers(model, report)
            limit = find_limit(model)
            dx, dy = (min(max(int(d), -limit), limit) for d in (dx, dy))
            choices = [(_describe(item), item.name) for item in layers if item.is_feature_map and item.stride]
            layer = layer if layer in [name for _, name in choices] else _first_shown(layers)
            sliders = [gr.update(minimum=-limit, maximum=limit, value=value) for value in (dx, dy)]
            shown = show(image, model, dx, dy, boundary, layer, channel, report)
        return (*sliders, gr.update(choices=choices, value=layer), *shown)

    inputs, outputs = [bench.image, bench.model, *settings], [view, maps, plot]
    update = {
        "fn": measure,
        "inputs": inputs,
        "outputs": outputs,
        "api_visibility": "private",
        "show_progress": "minimal",
        "trigger_mode": "always_last",
    }
    gr.on([dx.release, dy.release, boundary.input, layer.input, channel.input], **update)
    for button, slider, step in zip(nudges, (dx, dx, dy, dy), (-1, 1, -1, 1), strict=True):
        button.click(None, slider, slider, js=_step_js(slider.elem_id, step)).then(**update)
    back.click(None, None, [dx, dy], js="() => [0, 0]").then(**update)
    for button in examples:
        button.click(show_example, [bench.model, button], [dx, dy, boundary], api_visibility="private").then(**update)
    return Tab(
        refresh,
        [bench.image, bench.model, bench.tab, *settings],
        [dx, dy, layer, *outputs],
        looks_at=[bench.image, bench.model],
        linked={"dx": (dx, _read_distance), "dy": (dy, _read_distance), "boundary": (boundary, one_of(BOUNDARIES))},
    )


def describe_shift(dx: int, dy: int) -> str:
    """In words: Shifted 3 px right and 2 px up."""
    parts = [f"{abs(d)} px {names[d > 0]}" for d, names in ((dx, ("left", "right")), (dy, ("up", "down"))) if d]
    return "Shifted " + " and ".join(parts) if parts else "Not shifted"


def _show_result(result: ShiftResult) -> str:
    before, after = result.before[0], result.after[0]
    where = describe_shift(result.dx, result.dy)
    of_before = before.probability + result.probability_change
    change = f"{format_percent(before.probability)} → {format_percent(of_before)}"
    if result.same_top1:
        text = f"{where}: still {before.category}, {change}."
    else:
        text = f"{where}: {before.category} ({change}) becomes {after.category}."
    rule = BOUNDARIES[result.boundary]
    pictures = (
        ("Original", draw_pixels(result.before_pixels), result.before),
        (where, draw_pixels(result.after_pixels, result.is_real), result.after),
    )
    columns = "".join(
        f'<div class="column">{figure_html(picture, title, f"{title}: {tops[0].category}")}'
        f"{bars_html(tops, mark=before.index)}</div>"
        for title, picture, tops in pictures
    )
    note = f'<p class="note">{rule.explanation} Hatched pixels are invented. Arrow keys move the picture.</p>'
    return sentence_html(text, "good" if result.same_top1 else "bad") + f'<div class="pair">{columns}</div>' + note


def _show_maps(comparison: MapComparison | None) -> str:
    if comparison is None:
        return empty_html("This model has no feature map to compare.")
    error = comparison.relative_error
    finding = "nothing can be compared at this shift" if error is None else f"relative error {error:.2g}"
    limit = comparison.limit
    figures = ""
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
    return sentence_html(text) + f'<div class="triple">{figures}</div>' + scale_html(limit)


def _read_distance(text: str) -> int:
    return min(max(int(text), -MAX_SHIFT), MAX_SHIFT)


def _describe(layer: Layer) -> str:
    return f"{layer.name}  ({' x '.join(map(str, layer.output_shape))}, stride {layer.stride})"


def _first_shown(layers: tuple[Layer, ...]) -> str | None:
    legible = [layer for layer in outline(layers) if min(layer.output_shape[1:]) >= LEGIBLE_SIDE]
    shown = legible or [layer for layer in layers if layer.is_feature_map and layer.stride]
    return shown[-1].name if shown else None


def _step_js(slider_id: str, step: int) -> str:
    """Moves a slider by one step in the browser, within its ends, without asking the server."""
    return (
        "(value) => { const range = document.querySelector("
        f"'#{slider_id} input[type=range]'); return Math.min(Math.max(value + ({step}), +range.min), +range.max); }}"
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
