"""What happens when the cat moves sideways? Predictions and feature maps before and after a shift."""

import math

import gradio as gr

from analysis.errors import Progress
from analysis.figures.shift import plot_shift_errors
from analysis.network.layers import MapLayer
from analysis.shift.move import BOUNDARIES
from ui.services import Services
from ui.shift.controls import PADDINGS, ShiftControls, find_limit
from ui.shift.layer_meter import build_layer_meter_panel
from ui.shift.self_check import build_self_check_panel
from ui.shift.shift_map import build_shift_map_panel
from ui.shift.view import describe_layer, find_first_shown, show_maps, show_result
from ui.widgets.distance import Distance
from ui.widgets.errors import clears_on_errors, shows_errors
from ui.widgets.events import PRIVATE, Listener, Tab, Values
from ui.widgets.html import empty_html, explain_this, one_of, open_picture
from ui.workbench import Workbench

MAX_SHIFT = 56
"""A quarter of the usual 224 pixels; the sliders follow the model."""
NUDGES = {"left": "← 1 step", "right": "1 step →", "up": "↑ 1 step", "down": "↓ 1 step"}
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
    return _Shift(services, bench).wire()


class _Shift:
    def __init__(self, services: Services, bench: Workbench):
        self.services, self.lab, self.bench = services, services.lab, bench
        self.controls, self.step = _build_controls()
        with gr.Row(elem_classes="controls nudges"):
            self.nudges = [
                gr.Button(label, size="sm", min_width=84, elem_id=f"nudge-{key}")
                for key, label in (
                    ("left", "← 1 step"),
                    ("right", "1 step →"),
                    ("up", "↑ 1 step"),
                    ("down", "↓ 1 step"),
                )
            ]
            self.back = gr.Button("Back to 0, 0", size="sm", min_width=110, elem_id="nudge-zero")
        self.view = gr.HTML(
            empty_html("Choose a picture on the left."),
            elem_id="shift-view",
            js_on_load=_ARROW_KEYS,
            html_template="${value}",
        )
        with gr.Row(elem_classes="controls"):
            self.examples = [gr.Button(title, size="sm", min_width=180) for title in EXAMPLES]
        with gr.Tabs(elem_id="shift-parts") as parts, gr.Tab("Maps"):
            with gr.Row(elem_classes="controls"):
                self.layer = gr.Dropdown([], label="Feature maps of layer", elem_id="shift-layer", min_width=260)
                self.channel = gr.Number(
                    -1, precision=0, label="Channel (-1: the strongest)", elem_id="shift-channel", min_width=180
                )
            self.maps = gr.HTML(elem_id="shift-maps")
            with gr.Accordion("Error at every layer", open=False):
                self.plot = gr.Plot(show_label=False, elem_id="shift-layers")
        self.shown = [self.view, self.maps, self.plot]
        controls = self.controls
        settings = {controls.dx, controls.dy, controls.boundary, controls.padding, self.layer, self.channel}
        self.load: Listener = {
            "fn": clears_on_errors(_clear)(self.measure),
            "inputs": {bench.image, bench.model, *settings},
            "outputs": self.shown,
            "api_visibility": "private",
            "show_progress": "minimal",
            "trigger_mode": "always_last",
        }
        with parts:
            with gr.Tab("All shifts"):
                build_shift_map_panel(services, bench, controls, self.load)
            with gr.Tab("Layers"):
                build_layer_meter_panel(services, bench, controls)
            with gr.Tab("Self-check"):
                build_self_check_panel(services, bench)
        explain_this(EXPLANATION)

    def wire(self) -> Tab:
        """Wires what happens, and says what the page has to know."""
        load, bench, controls = self.load, self.bench, self.controls
        dx, dy, boundary, padding = controls.dx, controls.dy, controls.boundary, controls.padding
        changed = [boundary.input, padding.input, self.layer.input, self.channel.input]
        gr.on([dx.release, dy.release, *changed], **load)
        for button, slider, sign in zip(self.nudges, (dx, dx, dy, dy), (-1, 1, -1, 1), strict=True):
            button.click(None, slider, slider, js=_step_js(str(slider.elem_id), sign)).then(**load)
        self.back.click(None, None, [dx, dy], js="() => [0, 0]").then(**load)
        for button in self.examples:
            button.click(self.show_example, [bench.model, button], [dx, dy, boundary], **PRIVATE).then(**load)
        self.step.input(
            lambda size: [gr.update(step=size)] * 2, self.step, [dx, dy], queue=False, api_visibility="private"
        )
        return Tab(
            clears_on_errors(lambda message: dict(zip(self.shown, _clear(message), strict=True)))(self.refresh),
            list(load["inputs"]),
            [dx, dy, self.layer, *self.shown],
            looks_at=[bench.image, bench.model],
            linked={
                "dx": (dx, _read_distance),
                "dy": (dy, _read_distance),
                "boundary": (boundary, one_of(BOUNDARIES)),
                "padding": (padding, one_of(PADDINGS)),
            },
        )

    @shows_errors
    def show_example(self, model: str, title: str) -> tuple[float, float, str]:
        """The settings of an example, no further than the sliders go."""
        dx, dy, boundary = EXAMPLES[title]
        limit = find_limit(self.lab, model)
        return min(max(dx, -limit), limit), min(max(dy, -limit), limit), boundary

    def measure(self, values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> tuple:
        """Shifts the picture and shows what changed."""
        with self.services.watch(request, progress, "Downloading weights", "shift") as report:
            return self.show(values, request, progress, report)

    def show(self, values: Values, request: gr.Request, progress: gr.Progress, report: Progress) -> tuple:
        """What is shown of the chosen shift."""
        image, channel = values[self.bench.image], values[self.channel]
        if image is None:
            return _clear("Choose a picture on the left, then move it with the sliders.")
        result = self.lab.shift(
            open_picture(self.services, image, request, progress),
            values[self.bench.model],
            float(values[self.controls.dx]),
            float(values[self.controls.dy]),
            values[self.controls.boundary],
            twin=values[self.controls.padding] == "circular",
            layer=values[self.layer],
            channel=None if channel is None or channel < 0 else int(channel),
            progress=report,
        )
        return show_result(result), show_maps(result.comparison), plot_shift_errors(result.layers)

    def refresh(self, values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Values:
        """Fits the controls to the model, then measures."""
        model, layer = values[self.bench.model], values[self.layer]
        with self.services.watch(request, progress, "Downloading weights", "shift", is_refresh=True) as report:
            layers = self.lab.layers(model, report)
            limit = find_limit(self.lab, model)
            choices = [(describe_layer(item), item.name) for item in layers if isinstance(item, MapLayer)]
            if layer not in [name for _, name in choices]:
                layer = find_first_shown(layers)
            fitted = values | {self.layer: layer}
            updates: Values = {self.layer: gr.update(choices=choices, value=layer)}
            for slider in (self.controls.dx, self.controls.dy):
                fitted[slider] = min(max(values[slider], -limit), limit)
                updates[slider] = gr.update(minimum=-limit, maximum=limit)
                if fitted[slider] != values[slider]:  # else the visitor may have moved on in the meantime
                    updates[slider]["value"] = fitted[slider]
            shown = self.show(fitted, request, progress, report)
        return updates | dict(zip(self.shown, shown, strict=True))


def _clear(message: str) -> tuple:
    return empty_html(message), "", None


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


def _read_distance(text: str) -> float:
    """The nearest quarter of a pixel that the sliders reach; ValueError for what is no finite number."""
    distance = float(text)
    if not math.isfinite(distance):
        raise ValueError(text)
    return round(4 * min(max(distance, -MAX_SHIFT), MAX_SHIFT)) / 4


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
