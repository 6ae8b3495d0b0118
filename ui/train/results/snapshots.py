"""The time slider: what a network was at every moment of its training that was kept."""

import time
from collections.abc import Callable
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
from ui.train.results.snapshots_view import (
    describe_measures,
    describe_moment,
    draw_filters,
    draw_maps,
    draw_picture,
    draw_thumbnails,
    list_health,
)
from ui.widgets.errors import clears_on_errors
from ui.widgets.events import HIDDEN, QUICK, Panel, Update, Values
from ui.widgets.html import build_signal, empty_html, explain_this
from ui.widgets.thumbnails import build_thumbnails, write_thumbnails

WATCH_SECONDS = 2.0
PLAY_SECONDS = 0.7
REST_SECONDS = 0.4
"""How long the slider has to rest before what takes longer is measured."""
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


def build_time_panel(services: Services, run: gr.Dropdown) -> Panel:
    """Lays out the panel and wires what happens inside it.

    Args:
        services: The lab and what goes with it.
        run: The dropdown with the name of the run.
    """
    return _Time(services, run).wire()


class _Time:
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
                    self.matrix = gr.Plot(show_label=False, elem_id="time-confusion")
                    self.health = gr.HTML(elem_id="time-health")
            gr.HTML(js_on_load=_DIM)
        explain_this(EXPLANATION)
        self.offered, self.seen, self.measured = gr.State(()), gr.State(None), gr.State(None)
        self.opened = build_signal()
        self.timer, self.player = gr.Timer(WATCH_SECONDS, active=False), gr.Timer(PLAY_SECONDS, active=False)

    def wire(self) -> Panel:
        """Wires what happens, and says what the tab has to know."""
        run, slider, number, seen, play = self.run, self.slider, self.number, self.seen, self.play
        shown = [self.finding, self.looked_at, self.filters, self.maps]
        measured = [self.measures, self.matrix, self.health, self.measured]
        looked_at: set[Any] = {run, slider, number, self.layer, self.own_scale, self.opened}
        gr.on(
            [slider.change, number.change, self.layer.input, self.own_scale.input, self.opened.change],
            *(self.show, looked_at, shown),
            **HIDDEN,
            trigger_mode="always_last",
        )
        gr.on(
            [slider.change, self.opened.change],
            *(self.measure, {run, slider, self.opened, self.measured}, measured),
            api_visibility="private",
            show_progress="minimal",
            show_progress_on=self.measures,
            trigger_mode="always_last",
        )
        self.gallery.select(_choose, self.offered, number, **QUICK)
        play.click(_toggle, [play, slider, seen], [play, slider, self.player], **QUICK)
        self.player.tick(_advance, [slider, seen], [slider, play, self.player], **QUICK)
        outputs = [
            *(self.finding, self.body, slider, self.layer, self.gallery, self.offered, number, *measured[:3]),
            *(self.player, play, self.opened, self.timer, seen),
        ]
        followed: set[Any] = {run, slider, seen}
        self.timer.tick(self.follow, followed, outputs, **QUICK)
        return Panel(self.refresh, [run], outputs, [self.timer, self.player])

    def stop(self) -> Values:
        """Nothing is measured or played, as of a run that has just been opened."""
        nothing: Values = {self.measures: "", self.matrix: None, self.health: ""}
        return nothing | {self.player: gr.update(active=False), self.play: "Play", self.opened: ""}

    def clear(self, message: str, follows: bool = False, version: tuple | None = None) -> Values:
        """Nothing but a message."""
        return {
            **self.stop(),
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
        """Fits slider, layers and example pictures to a run; the change of ``opened`` has the rest drawn."""
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
        return {
            **self.stop(),
            self.body: gr.update(visible=True),
            self.slider: gr.update(maximum=max(len(steps), 2), value=len(steps)),
            self.layer: gr.update(choices=layers, value=layers[0] if layers else None, visible=bool(layers)),
            self.gallery: write_thumbnails(self.services, draw_thumbnails(examples, chosen)),
            self.offered: chosen,
            self.number: chosen[0],
            self.opened: f"{name} {time.monotonic()}",
            self.timer: gr.update(active=follows),
            self.seen: version,
        }

    def follow(self, values: Values) -> Values | Update:
        """Lets the slider grow with the training; who is at its end stays there."""
        seen = values[self.seen]
        try:
            current = self.services.jobs.read(values[self.run] or "")
        except UserError:  # refresh says what is wrong, and stops the timer
            return self.refresh(values)
        version = _find_version(current)
        if version == seen:
            return gr.skip()
        if seen is None or seen[:2] != version[:2] or not seen[2]:
            return self.refresh(values)
        grown = gr.update(maximum=max(version[2], 2))
        if values[self.slider] >= seen[2]:
            grown["value"] = version[2]
        follows = gr.update(active=current.state in UNFINISHED)
        updates: Values = {self.slider: grown, self.timer: follows, self.seen: version}
        return updates

    def find(self, name: str | None, moment: float) -> tuple[Run, list[int], int]:
        """The run, its steps, and the one that the slider is at."""
        current = self.services.jobs.read(name or "")
        steps = list_snapshots(current)
        if not steps:
            raise UserError(NONE_KEPT.format(run=name))
        return current, steps, steps[min(max(int(moment), 1), len(steps)) - 1]

    @clears_on_errors(lambda message: (empty_html(message), "", "", ""))
    def show(self, values: Values, request: gr.Request) -> tuple | Update:
        """Draws what is quick: filters, maps, saliency and the answer."""
        if not values[self.opened]:
            return gr.skip()
        subject = name, moment = values[self.run], values[self.slider]
        self.services.supersede(request.session_hash or "", "time-measures", subject)
        with self.services.watch(request, _ignore, "Looking back", "time", subject=subject) as report:
            current, steps, step = self.find(name, moment)
            examples, index, layer = open_examples(current), int(values[self.number] or 0), values[self.layer]
            view = view_snapshot(self.lab, current, step, index=index, layer=layer, examples=examples)
            report(1, 2)
            latest = view
            if not values[self.own_scale]:
                latest = view_snapshot(self.lab, current, steps[-1], index=index, layer=layer, examples=examples)
            scales = measure_scales(latest)
            report(2, 2)
        moment_text, picture = describe_moment(current, steps, step, view), draw_picture(examples, view, scales)
        return moment_text, picture, draw_filters(view, scales), draw_maps(view, scales)

    @clears_on_errors(lambda message: (empty_html(message), None, "", None))
    def measure(self, values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> tuple | Update:
        """Measures, once the slider rests, what takes longer."""
        name, moment, opened = values[self.run], values[self.slider], values[self.opened]
        subject = (opened, moment)
        if not opened or values[self.measured] == subject:
            return gr.skip()
        with (
            self.services.watch(request, _ignore, "", "time-measures", subject=(name, moment)) as check,
            self.services.watch(request, progress, "Testing") as show_progress,
        ):
            _rest(check)

            def report(done: int, total: int) -> None:
                check(done, total)
                show_progress(done, total)

            current, _, step = self.find(name, moment)
            examples = open_examples(current)
            found = evaluate_snapshot(
                self.lab, current, step, examples=examples, limit=MAX_EVALUATED, progress=report
            )
            layers = snapshot_health(self.lab, current, step)
            consistency = snapshot_consistency(self.lab, current, step, progress=report)
        figure = plot_confusion(found.counts, found.categories)
        return describe_measures(int(moment), step, found, consistency), figure, list_health(layers), subject


def _choose(offered: tuple[int, ...], event: gr.EventData) -> int:
    """Which example picture was clicked."""
    return offered[read_position(event, offered)]


def _toggle(label: str, moment: float, seen: tuple | None) -> tuple:
    """Starts from the beginning where the end is reached."""
    if label == "Pause" or not seen:
        return "Play", gr.skip(), gr.update(active=False)
    return "Pause", 1 if moment >= seen[2] else gr.skip(), gr.update(active=True)


def _advance(moment: float, seen: tuple | None) -> tuple:
    """One moment on; stops at the last one."""
    if not seen or moment >= seen[2]:
        return gr.skip(), "Play", gr.update(active=False)
    return moment + 1, gr.skip(), gr.skip()


def _find_version(run: Run) -> tuple:
    """Which run, how many snapshots it has, and whether there will be more."""
    return run.name, run.status.get("submitted"), len(list_snapshots(run)), run.state in UNFINISHED


def _rest(report: Callable[[int, int], None]) -> None:
    """Waits until the slider has rested; ends early when it moves on."""
    until = time.monotonic() + REST_SECONDS
    while (left := until - time.monotonic()) > 0:
        report(0, 1)
        time.sleep(min(left, 0.05))


def _ignore(done: tuple[int, int], desc: str) -> None:
    """A progress bar that nobody sees: moving the slider should not make one flash."""


# What was measured at another moment is dimmed until the slider rests.
_DIM = """
const dim = () => {
    const slider = document.querySelector("#time-moment input[type=range]");
    const measured = document.querySelector("#time-measured");
    if (!slider || !measured) return;
    const moment = measured.querySelector("[data-moment]")?.dataset.moment;
    measured.style.opacity = moment === undefined || moment === slider.value ? 1 : 0.4;
};
document.addEventListener("input", dim);
new MutationObserver(dim).observe(document.body, {childList: true, subtree: true});
"""
