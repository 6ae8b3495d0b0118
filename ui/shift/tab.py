"""What happens when the cat moves? A picture to drag, the map of all its shifts, and what the layers make of one."""

import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr
from PIL import Image

from analysis.errors import UserError
from analysis.figures.shift import plot_shift_errors
from analysis.network.layers import Layer
from analysis.shift.move import BOUNDARIES
from lab.results import ShiftResult
from lab.shifts import MAX_SHIFT, map_picture, open_scene
from ui.services import Action, Services
from ui.shift.controls import PADDINGS, ShiftControls, find_limit
from ui.shift.kept_result import KeptResult
from ui.shift.layer_meter import build_layer_meter_panel
from ui.shift.self_check import build_self_check_panel
from ui.shift.shift_map import build_shift_map_panel
from ui.shift.stage import build_stage, find_most, write_answer, write_map, write_scene
from ui.shift.view import describe_layer, find_first_shown, show_maps
from ui.widgets.chart import Chart
from ui.widgets.distance import Distance
from ui.widgets.errors import shows_errors
from ui.widgets.events import HIDDEN, Block, Tab, Update, Values, Work, read_values
from ui.widgets.html import explain_this, one_of, open_picture
from ui.widgets.network import build_network_picture
from ui.workbench import Workbench

WIDEST = 56
"""A quarter of the usual 224 pixels: where sliders end before a picture is there; then they follow it."""
FARTHEST = 10_000
"""Pixels: further than any picture goes, so that a shift is drawn back to the ends that it has."""
FIRST_LOOK, LONGEST_WAIT = 0.3, 2.0
"""Seconds. A growing map is shown after the first, then each time as many have gone by again, never waiting longer
than the second: a grid has four times the cells of the one before it, and showing it takes time from computing it."""
EXAMPLES = {
    "3 px right, black border": (3, 0, "zero"),
    "1 px down, edge stretched": (0, 1, "replicate"),
    "As far right as it goes, wrapped around": (FARTHEST, 0, "circular"),
    "5 px left, 4 px up, mirrored": (-5, -4, "reflect"),
}
DRAWERS = {
    "map": ("Larger maps, several models, files", build_shift_map_panel),
    "meter": ("Which layer loses the equivariance, and why", build_layer_meter_panel),
    "check": ("Self-check", build_self_check_panel),
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
        with gr.Row(elem_id="shift"):
            with gr.Column(min_width=200, scale=1, elem_classes="narrow"):
                self.controls, self.step, self.reach = _build_controls()
            with gr.Column(min_width=320, scale=4):
                self.stage, self.map, self.answer = build_stage()
        with gr.Row(elem_classes="controls"):
            self.examples = {
                gr.Button(title, size="sm", min_width=180): example for title, example in EXAMPLES.items()
            }
        with gr.Accordion("Feature maps before and after", open=False, elem_id="shift-features") as self.panel:
            self.network = build_network_picture(label="Feature maps of layer", elem_id="shift-network")
            self.layer = self.network.layer
            self.channel = gr.Number(
                -1, precision=0, label="Channel (-1: the strongest)", elem_id="shift-channel", min_width=180
            )
            self.maps = gr.HTML(elem_id="shift-maps")
            self.plot = Chart(elem_id="shift-layers")
        self.is_open = gr.State(False)
        self.kept = []
        for name, (title, build) in DRAWERS.items():
            with gr.Accordion(title, open=False, elem_id=f"shift-{name}"):
                self.kept.append(build(services, bench, self.controls))
        explain_this(EXPLANATION)

    def wire(self) -> Tab:
        """Wires what happens, and says what the page has to know."""
        bench, controls = self.bench, self.controls
        place, rules = [controls.dx, controls.dy], [controls.boundary, controls.padding]
        self._wire_sliders(place)
        asked = {*bench.inputs, *place, *rules, self.layer, self.channel, self.is_open}
        shown = [self.answer, self.maps, self.plot]
        answer: Work = {"fn": shows_errors(self.ask), "inputs": asked, "outputs": shown}
        latest: dict[str, Any] = {**HIDDEN, "trigger_mode": "multiple", "concurrency_limit": None}
        gr.on([self.stage.submit, self.channel.input], **answer, **latest)
        self.network.on_choice(**answer, **latest)
        grow: Work = {
            "fn": shows_errors(self.grow_map),
            "inputs": {*bench.inputs, *rules, self.reach},
            "outputs": self.map,
        }
        gr.on([self.stage.select, self.reach.release], **grow, **latest)
        drawn = [self.network.drawing, self.layer]
        self.panel.expand(
            shows_errors(self.open_maps), asked, [self.is_open, *drawn, *shown], js=_MAPS_OPEN, **HIDDEN
        )
        self.panel.collapse(lambda: False, None, self.is_open, js=_MAPS_CLOSED, **HIDDEN)
        return Tab(
            self.show,
            [*place, *rules, self.reach, self.layer, self.channel, self.is_open, *_join(self.kept, "inputs")],
            [*place, *rules, self.reach, *drawn, self.stage, self.maps, self.plot, *_join(self.kept, "outputs")],
            lambda message: {self.stage: json.dumps({"message": message}), self.maps: "", self.plot: None},
            looks_at=[bench.image, bench.model],
            is_kept=True,
            triggers=[*((part, "select") for part in rules), *((button, "click") for button in self.examples)],
            linked={
                "dx": (controls.dx, _read_distance),
                "dy": (controls.dy, _read_distance),
                "boundary": (controls.boundary, one_of(BOUNDARIES)),
                "padding": (controls.padding, one_of(PADDINGS)),
            },
        )

    def _wire_sliders(self, place: list[Distance]) -> None:
        """In the browser alone, stage and sliders follow each other."""
        self.stage.release(None, None, place, js="() => window.convscopeShift()")
        moved = [event for slider in place for event in (slider.input, slider.release)]
        gr.on(moved, None, place, None, js="(dx, dy) => { window.convscopeMoveTo(dx, dy); }")
        self.step.input(
            lambda size: [gr.update(step=size)] * 2,
            self.step,
            place,
            js="(size) => window.convscopeStep(size)",
            **HIDDEN,
        )

    def show(self, values: Values, action: Action) -> Values:
        """Fits the controls to the model, and puts the picture on the stage, which then asks for the map."""
        bench, controls = self.bench, self.controls
        fitted = self.fit(values, action)
        picture = open_picture(self.services, bench.find_picture(values), action)
        scene = open_scene(self.lab, picture, values[bench.model], fitted[controls.boundary]["value"])
        for slider, (low, high) in zip((controls.dx, controls.dy), scene.limits, strict=True):
            fitted[slider] = _limit(low, high, values[slider], fitted.get(slider))
        values = values | read_values(fitted)
        result = self.measure(values, picture, action)
        place = values[controls.dx], values[controls.dy]
        # The time makes it new also to a browser that shows the same: it asks for a map again.
        shown = write_scene(scene, result) | {"about": self.name_subject(values), "at": place, "made": time.time()}
        forgotten: Values = {}
        for each in self.kept:
            forgotten |= each.forget(values, action)
        return fitted | forgotten | self.show_maps(result, values) | {self.stage: json.dumps(shown)}

    def grow_map(self, values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Iterator[str]:
        """The map of the picture's shifts as it grows, coarse to fine."""
        model, boundary = values[self.bench.model], values[self.controls.boundary]
        with self.services.act(request, progress, "shift-stage-map") as action:
            picture = open_picture(self.services, self.bench.find_picture(values), action)
            reach = min(int(values[self.reach]), find_most(open_scene(self.lab, picture, model, boundary)))
            if not reach:
                return
            parts = map_picture(
                *(self.lab, picture, model, reach, boundary),
                twin=self.is_twin(values),
                progress=action.report("Moving the picture"),
            )
            began, due = time.monotonic(), FIRST_LOOK
            for part in parts:
                elapsed = time.monotonic() - began
                if part.map.is_complete or elapsed > due:
                    yield write_map(part, self.name_subject(values))
                    due = min(2 * elapsed, elapsed + LONGEST_WAIT)

    def fit(self, values: Values, action: Action) -> Values:
        """Choices that the model has; and an example's shift and border, where its button was clicked."""
        model, layer, controls = values[self.bench.model], values[self.layer], self.controls
        layers = self.lab.layers(model, action.report("Downloading weights"))
        if layer not in [item.name for item in layers if item.is_feature_map]:
            layer = find_first_shown(layers)
        updates: Values = {controls.boundary: gr.update(value=values[controls.boundary])}
        if action.source in self.examples:
            dx, dy, boundary = self.examples[action.source]
            updates |= {controls.dx: dx, controls.dy: dy, controls.boundary: gr.update(value=boundary)}
        updates[self.reach] = _limit(1, min(find_limit(self.lab, model), MAX_SHIFT), values[self.reach])
        return updates | self.show_network(values | {self.layer: layer}, layers)

    def show_network(self, values: Values, layers: Sequence[Layer]) -> Values:
        """The list of the network's feature maps, and its picture where that is looked at."""
        prep = self.lab.registry.get(values[self.bench.model]).preprocessing
        choices = [(describe_layer(layer), layer.name) for layer in layers if layer.is_feature_map]
        if not values[self.is_open]:
            return {self.layer: gr.update(choices=choices, value=values[self.layer])}
        picture = prep.num_channels, prep.crop_size, prep.crop_size
        return self.network.show(layers, values[self.layer], picture, choices)

    def ask(
        self, values: Values, event: gr.EventData, request: gr.Request, progress: gr.Progress = gr.Progress()
    ) -> Values:
        """What the network makes of the shift where the picture rests; its feature maps, where they are looked at."""
        if "dx" in (event._data or {}):  # the sliders may not have followed yet
            values = values | _read_place(event, [self.controls.dx, self.controls.dy])
        with self.services.act(request, progress, "shift-answer") as action:
            picture = open_picture(self.services, self.bench.find_picture(values), action)
            result = self.measure(values, picture, action)
        answer = write_answer(result) | {"about": self.name_subject(values)}
        return {self.answer: json.dumps(answer)} | self.show_maps(result, values)

    def open_maps(
        self, values: Values, event: gr.EventData, request: gr.Request, progress: gr.Progress = gr.Progress()
    ) -> Values:
        """The network and its feature maps, when their drawer is opened."""
        values = values | {self.is_open: True}
        shown = self.show_network(values, self.lab.layers(values[self.bench.model]))
        return {self.is_open: True} | shown | self.ask(values, event, request, progress)

    def measure(self, values: Values, picture: Image.Image, action: Action) -> ShiftResult:
        """What the network makes of the shift of the controls."""
        channel = values[self.channel]
        return self.lab.shift(
            picture,
            values[self.bench.model],
            float(values[self.controls.dx]),
            float(values[self.controls.dy]),
            values[self.controls.boundary],
            twin=self.is_twin(values),
            layer=values[self.layer],
            channel=None if channel is None or channel < 0 else int(channel),
            progress=action.report("Downloading weights"),
        )

    def show_maps(self, result: ShiftResult, values: Values) -> Values:
        """The feature maps and the errors down the network, where they are looked at."""
        if not values[self.is_open]:
            return {}
        return {self.maps: show_maps(result.comparison), self.plot: plot_shift_errors(result.layers)}

    def is_twin(self, values: Values) -> bool:
        """Whether the network's circular twin is asked."""
        return values[self.controls.padding] == "circular"

    def name_subject(self, values: Values) -> str:
        """What a shift is a shift of, so that no answer is taken for one about something else."""
        rules = values[self.controls.boundary], self.is_twin(values)
        subject = self.bench.find_picture(values), values[self.bench.model], *rules
        return hashlib.sha256(repr(subject).encode()).hexdigest()


def _limit(low: int, high: int, now: float, wanted: float | None = None) -> Update:
    """The ends of a slider, and the value within them that is wanted, or nearest to the one that it has."""
    fitting = min(max(now if wanted is None else wanted, low), high)
    ends = gr.update(minimum=low, maximum=max(high, low + 1))  # gradio takes no slider without room
    # A value that stays is not sent: the visitor may have moved on in the meantime.
    return ends if fitting == now else ends | {"value": fitting}


def _join(parts: list[KeptResult], name: str) -> list[Block]:
    return [component for part in parts for component in getattr(part, name)]


def _read_place(event: gr.EventData, sliders: list[Distance]) -> Values:
    """The shift that an event of the stage is about.

    Raises:
        UserError: No finite numbers.
    """
    try:
        place = [_read_distance(event._data[axis]) for axis in ("dx", "dy")]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError("A shift must be two finite numbers.") from error
    return dict(zip(sliders, place, strict=True))


def _build_controls() -> tuple[ShiftControls, gr.Dropdown, Distance]:
    """The controls, the size of a step, and how far the map reaches."""
    dx = Distance(-WIDEST, WIDEST, 0, step=1, label="dx, px right", elem_id="shift-dx")
    dy = Distance(-WIDEST, WIDEST, 0, step=1, label="dy, px down", elem_id="shift-dy")
    steps = [("1 px", 1), ("1/2 px", 0.5), ("1/4 px", 0.25)]
    step = gr.Dropdown(steps, value=1, label="Step", elem_id="shift-step")
    boundary = gr.Dropdown(
        [(rule.title, name) for name, rule in BOUNDARIES.items()],
        value="zero",
        label="Uncovered border",
        elem_id="shift-boundary",
    )
    paddings = [(title, name) for name, title in PADDINGS.items()]
    padding = gr.Dropdown(
        paddings,
        value="trained",
        label="Network padding",
        info="Circular twin: the same weights, and padding that wraps around.",
        elem_id="shift-padding",
    )
    reach = Distance(1, WIDEST, 8, step=1, label="Map reaches, px each way", elem_id="shift-reach")
    return ShiftControls(dx, dy, boundary, padding), step, reach


def _read_distance(text: str | float) -> float:
    """The nearest quarter of a pixel; ValueError for what is no finite number."""
    distance = float(text)
    if not math.isfinite(distance):
        raise ValueError(text)
    return round(4 * min(max(distance, -FARTHEST), FARTHEST)) / 4


_MAPS_OPEN = "(...values) => { window.convscopeMapsOpen = true; return values; }"
_MAPS_CLOSED = "() => { window.convscopeMapsOpen = false; }"
