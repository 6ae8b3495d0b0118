"""The time slider: what a network was at every moment of its training that was kept."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from analysis.errors import UserError
from analysis.figures.classes import plot_confusion
from lab.runs.examples import list_snapshots
from lab.runs.snapshot_view import list_map_layers, measure_scales, open_examples, pick_examples, view_snapshot
from lab.runs.snapshots import evaluate_snapshot, snapshot_consistency, snapshot_health
from models.runs.run import UNFINISHED, Run
from ui.entry import read_position
from ui.services import Services
from ui.train.results.panel import Panel
from ui.train.results.snapshots_view import (
    describe_measures,
    describe_moment,
    draw_filters,
    draw_maps,
    draw_picture,
    draw_thumbnails,
    list_health,
)
from ui.widgets.chart import Chart
from ui.widgets.errors import clears_on_errors, shows_errors
from ui.widgets.events import HIDDEN, QUICK, Block, Update, Values
from ui.widgets.html import empty_html, explain_this
from ui.widgets.thumbnails import build_thumbnails, write_thumbnails

WATCH_SECONDS = 5.0
REDRAW_SECONDS = 20.0
"""How often who is at the end of a training that goes on is shown its latest moment."""
PLAY_SECONDS = 0.7
MAX_EVALUATED = 1000
"""Examples that a snapshot is tested on."""
NUM_THUMBNAILS = 12
NO_RUN = "Choose a run above; its network at every moment of the training that was kept is shown here."
NOT_YET = "No snapshot yet: the first is kept as soon as the training begins."
NONE_KEPT = (
    "{run} has kept no snapshots of its network on the way: its training was told not to, ended before the first, or "
    "its network is too large. Start a training with snapshots to scrub through it."
)
EXPLANATION = """
While a network trains, its weights are kept at up to 40 steps, closer together at the beginning, when most changes.
The slider shows the network at each of them: its first filters, what the channels of a layer respond to, the
gradient of the score of the picture's own class (the plain saliency map), and its answer. **One colour scale for all
moments**, that of the latest snapshot, so that growing values are seen to grow; what is stronger is cut off. When the
slider rests, accuracy and confusion matrix on up to 1,000 validation pictures, shift consistency (12 pictures, all
shifts of up to 2 pixels) and channels that never fire or are saturated are measured too.
"""


class Through(Panel):
    """The network at every moment of the training that was kept.

    Args:
        services: The lab and what goes with it.
        run: The dropdown with the name of the run.
    """

    def __init__(self, services: Services, run: gr.Dropdown):
        self.services, self.lab, self.run = services, services.lab, run
        self.finding = gr.HTML(empty_html(NO_RUN), elem_id="time-finding")
        with gr.Column(visible=False) as self.body:
            with gr.Row(elem_classes="controls"):
                self.slider = gr.Slider(
                    1, 2, 1, step=1, label="Moment of the training", elem_id="time-moment", min_width=260
                )
                self.play = gr.Button("Play", elem_id="time-play", size="md", min_width=90, scale=0)
            self.looked_at = gr.HTML(elem_id="time-picture")
            self.gallery = build_thumbnails("time-examples", columns=NUM_THUMBNAILS)
            with gr.Row(elem_classes="controls"):
                self.number = gr.Number(
                    0, precision=0, minimum=0, label="Picture", elem_id="time-number", min_width=120
                )
                self.layer = gr.Dropdown([], label="Feature maps of the layer", elem_id="time-layer", min_width=200)
                self.own_scale = gr.Checkbox(
                    False, label="Each moment on its own scale", elem_id="time-own-scale", min_width=200
                )
            with gr.Row():
                with gr.Column(min_width=320):
                    self.filters = gr.HTML(elem_id="time-filters")
                    self.maps = gr.HTML(elem_id="time-maps")
                with gr.Column(min_width=320, elem_id="time-measured"):
                    self.measures = gr.HTML(elem_id="time-measures")
                    self.matrix = Chart(elem_id="time-confusion")
                    self.health = gr.HTML(elem_id="time-health")
            gr.HTML(js_on_load=_DIM)
        self.asker = gr.HTML("", html_template="", js_on_load=_ASK, elem_id="time-asker")
        explain_this(EXPLANATION)
        self.offered, self.seen = gr.State(()), gr.State(None)
        self.timer, self.player = gr.Timer(WATCH_SECONDS, active=False), gr.Timer(PLAY_SECONDS, active=False)
        self.timers = [self.timer, self.player]
        self.drawn: list[Block] = [self.finding, self.looked_at, self.filters, self.maps]
        self.controls: list[Block] = [self.slider, self.number, self.layer, self.own_scale]
        self.inputs: list[Block] = [run, *self.controls, self.seen]
        self.outputs: list[Block] = [
            *(*self.drawn, self.body, self.slider, self.layer, self.gallery, self.offered, self.number),
            *(self.measures, self.matrix, self.health, self.player, self.play, self.asker, self.timer, self.seen),
        ]

    def wire(self, show: Callable[[Values], Values], inputs: set[Any], outputs: Sequence[Block]) -> None:
        """Wires what happens inside it."""
        looked_at: set[Any] = {self.run, *self.controls}
        looks = [self.slider.input, self.number.input, self.layer.input, self.own_scale.input]
        gr.on(looks, self.show, looked_at, self.drawn, **HIDDEN, trigger_mode="always_last")
        gr.on(
            [self.slider.release, self.asker.submit],
            *(self.measure, {self.run, self.slider}, [self.measures, self.matrix, self.health]),
            api_visibility="private",
            show_progress="minimal",
            show_progress_on=self.measures,
            trigger_mode="always_last",
        )
        self.gallery.select(self.choose, {*looked_at, self.offered}, [self.number, *self.drawn], **HIDDEN)
        played: Any = {"inputs": {*looked_at, self.play, self.seen}}
        played["outputs"] = [self.play, self.player, self.slider, self.asker, *self.drawn]
        self.play.click(self.toggle, **played, **HIDDEN)
        self.player.tick(self.advance, **played, **HIDDEN)
        self.timer.tick(self.follow, {*self.inputs}, self.outputs, **QUICK)

    def stop(self) -> Values:
        """Nothing is measured or played, as of a run that has just been opened."""
        nothing: Values = {self.measures: "", self.matrix: None, self.health: ""}
        return nothing | {self.player: gr.update(active=False), self.play: "Play", self.asker: ""}

    def clear(self, message: str, follows: bool = False, version: tuple | None = None) -> Values:
        """Nothing but a message."""
        return {
            **self.stop(),
            **dict.fromkeys(self.drawn, ""),
            self.finding: empty_html(message),
            self.body: gr.update(visible=False),
            self.layer: gr.update(choices=[], value=None),
            self.gallery: None,
            self.offered: (),
            self.number: 0,
            self.timer: gr.update(active=follows),
            self.seen: version,
        }

    def refresh(self, values: Values) -> Values:
        """Fits slider, layers and pictures to a run, and draws its end; then the browser asks for the rest."""
        name = values[self.run]
        if not name:
            return self.clear(NO_RUN)
        try:
            current = self.services.jobs.read(name)
            steps, version = list_snapshots(current), _find_version(current)
            follows = current.state in UNFINISHED
            if not steps:
                return self.clear(NOT_YET if follows else NONE_KEPT.format(run=name), follows, version)
            examples = open_examples(current)
            layers = list_map_layers(self.lab, current, steps[-1])
        except UserError as error:
            return self.clear(str(error))
        chosen = tuple(pick_examples(examples.labels, NUM_THUMBNAILS))
        layer = layers[0] if layers else None
        at: Values = {self.slider: len(steps), self.layer: layer, self.number: chosen[0]}
        return {
            **self.stop(),
            **self.draw(values | at),
            self.body: gr.update(visible=True),
            self.slider: gr.update(maximum=max(len(steps), 2), value=len(steps)),
            self.layer: gr.update(choices=layers, value=layer, visible=bool(layers)),
            self.gallery: write_thumbnails(self.services, draw_thumbnails(examples, chosen)),
            self.offered: chosen,
            self.number: chosen[0],
            self.asker: f"{len(steps)} {time.monotonic()}",
            self.timer: gr.update(active=follows),
            self.seen: (*version, len(steps), time.monotonic()),
        }

    def follow(self, values: Values) -> Values | Update:
        """Lets the slider grow with the training; who is at its end stays there."""
        seen = values[self.seen]
        try:
            current = self.services.jobs.read(values[self.run] or "")
        except UserError:  # refresh says what is wrong, and stops the timer
            return self.refresh(values)
        version, moment = _find_version(current), values[self.slider]
        if seen is None or seen[:2] != version[:2] or not seen[2]:
            return self.refresh(values)
        count, follows = version[2], current.state in UNFINISHED
        *_, shown, shown_at = seen
        grown = gr.update(maximum=max(count, 2))
        updates: Values = {self.timer: gr.update(active=follows), self.slider: grown}
        is_due = not follows or time.monotonic() - shown_at > REDRAW_SECONDS
        if moment >= shown and count > shown and is_due:
            grown["value"] = shown = count
            updates |= {**self.draw(values | {self.slider: count}), self.asker: f"{count} {time.monotonic()}"}
            shown_at = time.monotonic()
        elif version == seen[:4]:
            return gr.skip()
        return updates | {self.seen: (*version, shown, shown_at)}

    def find(self, name: str | None, moment: float) -> tuple[Run, list[int], int]:
        """The run, its steps, and the one that the slider is at."""
        current = self.services.jobs.read(name or "")
        steps = list_snapshots(current)
        if not steps:
            raise UserError(NONE_KEPT.format(run=name))
        return current, steps, steps[min(max(int(moment), 1), len(steps)) - 1]

    def draw(self, values: Values) -> Values:
        """What is quick: filters, maps, saliency and the answer; or why there is none."""
        name, moment, layer = values[self.run], values[self.slider], values[self.layer]
        try:
            current, steps, step = self.find(name, moment)
            examples, index = open_examples(current), int(values[self.number] or 0)
            view = view_snapshot(self.lab, current, step, index=index, layer=layer, examples=examples)
            latest = view
            if not values[self.own_scale]:
                latest = view_snapshot(self.lab, current, steps[-1], index=index, layer=layer, examples=examples)
        except UserError as error:
            return {**dict.fromkeys(self.drawn, ""), self.finding: empty_html(str(error))}
        scales = measure_scales(latest)
        return {
            self.finding: describe_moment(current, steps, step, view),
            self.looked_at: draw_picture(examples, view, scales),
            self.filters: draw_filters(view, scales),
            self.maps: draw_maps(view, scales),
        }

    @shows_errors
    def show(self, values: Values, request: gr.Request) -> Values:
        """Draws the moment that is chosen; what is measured of another one is no longer wanted."""
        subject = values[self.run], values[self.slider]
        self.services.supersede(request.session_hash or "", "time-measures", subject)
        return self.draw(values)

    @clears_on_errors(lambda message: (empty_html(message), None, ""))
    def measure(
        self, values: Values, event: gr.EventData, request: gr.Request, progress: gr.Progress = gr.Progress()
    ) -> tuple | Update:
        """Measures what takes longer, where the slider rests."""
        asked = event._data.get("moment") if isinstance(event._data, dict) else None
        name, moment = values[self.run], asked if isinstance(asked, int) else values[self.slider]
        if not name:
            return gr.skip()
        with self.services.act(request, progress, "time-measures", subject=(name, moment)) as action:
            report = action.report("Testing")
            current, _, step = self.find(name, moment)
            examples = open_examples(current)
            found = evaluate_snapshot(
                self.lab, current, step, examples=examples, limit=MAX_EVALUATED, progress=report
            )
            layers = snapshot_health(self.lab, current, step)
            consistency = snapshot_consistency(self.lab, current, step, progress=report)
        figure = plot_confusion(found.counts, found.categories)
        return describe_measures(int(moment), step, found, consistency), figure, list_health(layers)

    @shows_errors
    def choose(self, values: Values, event: gr.EventData) -> Values:
        """Shows the example picture that was clicked."""
        offered = values[self.offered]
        number = offered[read_position(event, offered)]
        return {self.number: number} | self.draw(values | {self.number: number})

    @shows_errors
    def toggle(self, values: Values) -> Values:
        """Starts from the beginning where the end is reached."""
        seen = values[self.seen]
        if values[self.play] == "Pause" or not seen:
            return self.pause(values)
        started: Values = {self.play: "Pause", self.player: gr.update(active=True)}
        return started | (self.move(values, 1) if values[self.slider] >= seen[2] else {})

    @shows_errors
    def advance(self, values: Values) -> Values:
        """One moment on; stops at the last one."""
        seen, moment = values[self.seen], values[self.slider]
        if not seen or moment >= seen[2]:
            return self.pause(values)
        return self.move(values, moment + 1)

    def move(self, values: Values, moment: float) -> Values:
        """Shows another moment."""
        return {self.slider: moment} | self.draw(values | {self.slider: moment})

    def pause(self, values: Values) -> Values:
        """Ends playing, and has measured what is shown."""
        asked = f"{values[self.slider]} {time.monotonic()}"
        return {self.play: "Play", self.player: gr.update(active=False), self.asker: asked}


def _find_version(run: Run) -> tuple:
    """Which run, how many snapshots it has, and whether there will be more."""
    return run.name, run.status.get("submitted"), len(list_snapshots(run)), run.state in UNFINISHED


# Drawn at once, and measured after that; the slider may not have followed yet.
_ASK = """
watch("value", () => { if (props.value) trigger("submit", {moment: parseInt(props.value)}); });
"""
_DIM = (Path(__file__).parents[3] / "assets" / "dim_measured.js").read_text(encoding="utf-8")
