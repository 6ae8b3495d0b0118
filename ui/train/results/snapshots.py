"""The time slider: what a network was at every moment of its training that was kept."""

import time
from collections.abc import Callable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class TimePanel:
    """What the tab refreshes: ``refresh(run_name)`` gives the values of ``outputs``, and never raises.

    ``timer`` follows a run that is at work, and stops by itself; switch it off when the panel is closed, and
    ``player`` with it.
    """

    refresh: Callable[[str | None], tuple]
    inputs: list
    outputs: list
    timer: gr.Timer
    player: gr.Timer


def build_time_panel(services: Services, run: gr.Dropdown) -> TimePanel:
    """Lays out the panel and wires what happens inside it.

    Args:
        services: The lab and what goes with it.
        run: The dropdown with the name of the run.
    """
    finding = gr.HTML(empty_html(NO_RUN), elem_id="time-finding")
    with gr.Column(visible=False) as body:
        with gr.Row(elem_classes="controls"):
            slider = gr.Slider(1, 2, 1, step=1, label="Moment of the training", elem_id="time-moment", min_width=260)
            play = gr.Button("Play", elem_id="time-play", size="md", min_width=90, scale=0)
        looked_at = gr.HTML(elem_id="time-picture")
        gallery = build_thumbnails("time-examples", columns=NUM_THUMBNAILS)
        with gr.Row(elem_classes="controls"):
            number = gr.Number(0, precision=0, minimum=0, label="Picture", elem_id="time-number", min_width=120)
            layer = gr.Dropdown([], label="Feature maps of the layer", elem_id="time-layer", min_width=200)
            own_scale = gr.Checkbox(
                False, label="Each moment on its own scale", elem_id="time-own-scale", min_width=200
            )
        with gr.Row():
            with gr.Column(min_width=320):
                filters = gr.HTML(elem_id="time-filters")
                maps = gr.HTML(elem_id="time-maps")
            with gr.Column(min_width=320, elem_id="time-measured"):
                measures = gr.HTML(elem_id="time-measures")
                matrix = gr.Plot(show_label=False, elem_id="time-confusion")
                health = gr.HTML(elem_id="time-health")
        gr.HTML(js_on_load=_DIM)
    explain_this(EXPLANATION)
    offered, seen, opened, measured = gr.State(()), gr.State(None), build_signal(), gr.State(None)
    timer, player = gr.Timer(WATCH_SECONDS, active=False), gr.Timer(PLAY_SECONDS, active=False)
    quick_views, slow_views = [finding, looked_at, filters, maps], [measures, matrix, health]
    fitted = [body, slider, layer, gallery, offered, number, *slow_views, player, play, opened]
    outputs = [finding, *fitted, timer, seen]
    nothing_measured = ("", None, "")

    def clear(message: str, follows: bool = False, version: tuple | None = None) -> tuple:
        lists = gr.update(visible=False), gr.skip(), gr.update(choices=[], value=None), None, (), 0
        stopped = gr.update(active=False), "Play", ""
        return empty_html(message), *lists, *nothing_measured, *stopped, gr.update(active=follows), version

    def refresh(name: str | None) -> tuple:
        """Fits slider, layers and example pictures to a run; the change of ``opened`` has the rest drawn."""
        if not name:
            return clear(NO_RUN)
        try:
            current = services.jobs.read(name)
            steps, version = list_snapshots(current), _find_version(current)
            follows = current.state in UNFINISHED
            if not steps:
                return clear(NOT_YET if follows else NONE_KEPT.format(run=name), follows, version)
            examples = open_examples(current)
            layers = list_map_layers(services.lab, current, steps[-1])
        except UserError as error:
            return clear(str(error))
        chosen = tuple(pick_examples(examples.labels, NUM_THUMBNAILS))
        thumbnails = write_thumbnails(services, draw_thumbnails(examples, chosen))
        last = gr.update(maximum=max(len(steps), 2), value=len(steps))
        shown = gr.update(choices=layers, value=(layers or [None])[0], visible=bool(layers))
        lists = gr.update(visible=True), last, shown, thumbnails, chosen, chosen[0]
        stopped = gr.update(active=False), "Play", f"{name} {time.monotonic()}"
        return gr.skip(), *lists, *nothing_measured, *stopped, gr.update(active=follows), version

    def follow(name, moment, seen):
        """Lets the slider grow with the training; who is at its end stays there."""
        try:
            current = services.jobs.read(name or "")
        except UserError:  # refresh says what is wrong, and stops the timer
            return refresh(name)
        version = _find_version(current)
        if version == seen:
            return gr.skip()
        if seen is None or seen[:2] != version[:2] or not seen[2]:
            return refresh(name)
        at_end = {"value": version[2]} if moment >= seen[2] else {}
        grown = gr.update(maximum=max(version[2], 2), **at_end)
        kept = [gr.skip()] * (len(fitted) - 2)
        return gr.skip(), gr.skip(), grown, *kept, gr.update(active=current.state in UNFINISHED), version

    def find(name, moment) -> tuple[Run, list[int], int]:
        """The run, its steps, and the one that the slider is at."""
        current = services.jobs.read(name or "")
        steps = list_snapshots(current)
        if not steps:
            raise UserError(NONE_KEPT.format(run=name))
        return current, steps, steps[min(max(int(moment), 1), len(steps)) - 1]

    @clears_on_errors(lambda message: (empty_html(message), "", "", ""))
    def show(name, moment, number, layer, own_scale, opened, request: gr.Request):
        """Draws what is quick: filters, maps, saliency and the answer."""
        if not opened:
            return gr.skip()
        services.supersede(request, "time-measures", (name, moment))
        with services.watch(request, _ignore, "Looking back", "time", subject=(name, moment)) as report:
            current, steps, step = find(name, moment)
            examples = open_examples(current)
            look = {"index": int(number or 0), "layer": layer, "examples": examples}
            view = view_snapshot(services.lab, current, step, **look)
            report(1, 2)
            latest = view if own_scale else view_snapshot(services.lab, current, steps[-1], **look)
            scales = measure_scales(latest)
            report(2, 2)
        return (
            describe_moment(current, steps, step, view),
            draw_picture(examples, view, scales),
            draw_filters(view, scales),
            draw_maps(view, scales),
        )

    @clears_on_errors(lambda message: (empty_html(message), None, "", None))
    def measure(name, moment, opened, measured, request: gr.Request, progress=gr.Progress()):
        """Measures, once the slider rests, what takes longer."""
        subject = (opened, moment)
        if not opened or measured == subject:
            return gr.skip()
        with (
            services.watch(request, _ignore, "", "time-measures", subject=(name, moment)) as check,
            services.watch(request, progress, "Testing") as show_progress,
        ):
            _rest(check)

            def report(done: int, total: int) -> None:
                check(done, total)
                show_progress(done, total)

            current, _, step = find(name, moment)
            options = {"examples": open_examples(current), "limit": MAX_EVALUATED}
            found = evaluate_snapshot(services.lab, current, step, **options, progress=report)
            layers = snapshot_health(services.lab, current, step)
            consistency = snapshot_consistency(services.lab, current, step, progress=report)
        figure = plot_confusion(found.counts, found.categories)
        return describe_measures(int(moment), step, found, consistency), figure, list_health(layers), subject

    def choose(offered, event: gr.EventData):
        """Which example picture was clicked."""
        return offered[read_position(event, offered)]

    def toggle(label, moment, seen):
        """Starts from the beginning where the end is reached."""
        if label == "Pause" or not seen:
            return "Play", gr.skip(), gr.update(active=False)
        return "Pause", 1 if moment >= seen[2] else gr.skip(), gr.update(active=True)

    def advance(moment, seen):
        """One moment on; stops at the last one."""
        if not seen or moment >= seen[2]:
            return gr.skip(), "Play", gr.update(active=False)
        return moment + 1, gr.skip(), gr.skip()

    private = {"api_visibility": "private"}
    quick = {**private, "show_progress": "hidden", "queue": False}
    last_wins = {**private, "trigger_mode": "always_last"}
    gr.on(
        [slider.change, number.change, layer.input, own_scale.input, opened.change],
        show,
        [run, slider, number, layer, own_scale, opened],
        quick_views,
        show_progress="hidden",
        **last_wins,
    )
    gr.on(
        [slider.change, opened.change],
        measure,
        [run, slider, opened, measured],
        [*slow_views, measured],
        show_progress="minimal",
        show_progress_on=measures,
        **last_wins,
    )
    gallery.select(choose, offered, number, **quick)
    play.click(toggle, [play, slider, seen], [play, slider, player], **quick)
    player.tick(advance, [slider, seen], [slider, play, player], **quick)
    timer.tick(follow, [run, slider, seen], outputs, **quick)
    return TimePanel(refresh, [run], outputs, timer, player)


def _find_version(run: Run) -> tuple:
    """Which run, how many snapshots it has, and whether there will be more."""
    return run.name, run.status.get("submitted"), len(list_snapshots(run)), run.state in UNFINISHED


def _rest(report: Callable[[int, int], None]) -> None:
    """Waits until the slider has rested; ends early when it moves on."""
    until = time.monotonic() + REST_SECONDS
    while (left := until - time.monotonic()) > 0:
        report(0, 1)
        time.sleep(min(left, 0.05))


def _ignore(*_args, **_kwargs) -> None:
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
