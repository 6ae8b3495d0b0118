"""What a run gets wrong: the confusion matrix, the pictures behind its cells, and the change from another run."""

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from analysis.attribution.methods import METHODS
from analysis.errors import UserError
from analysis.figures.classes import plot_class_scores, plot_confusion
from lab.runs.mistakes import LINEAR, PARTS, contrast_picture, find_uncorrected, find_version, has_errors, open_errors
from models.runs.run import UNFINISHED, Run
from ui.entry import read_position
from ui.services import Services
from ui.train.results.corrections import build_corrections, no_corrections
from ui.train.results.mistakes_view import (
    ANY,
    compare_errors,
    describe_errors,
    draw_contrast,
    explain_no_training,
    list_pairs,
    list_pictures,
    read_pair,
)
from ui.widgets.errors import clears_on_errors, shows_errors
from ui.widgets.html import empty_html, explain_this
from ui.widgets.thumbnails import build_thumbnails, write_thumbnails

WATCH_SECONDS = 2.0
NO_RUN = "Choose a run above; the pictures that it gets wrong are shown here."
NOT_YET = "No predictions yet: they are kept at the end of every epoch, and shown here once the first is over."
EXPLANATION = r"""
Every **row** of the matrix is a true class, every **column** a predicted one; the colour is the share of the row, the
number counts pictures. Click a cell to see them, the largest loss $-\log p_{true}$ first: there the network was most
certain and wrong, which is where wrong labels turn up. The **contrastive map** explains the difference of two logits:
red speaks for the predicted class rather than the true one, blue the other way round. The second class of a picture
that is recognised is the second best.

Matrix and accuracies are those of the **validation** pictures after the latest epoch. When a training is over, the
**training** pictures with the largest losses are kept too, as they are without augmentation: relabel or exclude some,
and *Retrain with corrections* trains on what you have put right. Correcting a validation picture changes only what is
measured.
"""


@dataclass(frozen=True)
class ErrorsPanel:
    """What the tab refreshes: ``refresh(run_name)`` gives the values of ``outputs``, and never raises.

    ``timer`` follows a run that is at work, and stops by itself; switch it off when the panel is closed.
    """

    refresh: Callable[[str | None], tuple]
    inputs: list
    outputs: list
    timer: gr.Timer


def build_errors_panel(services: Services, run: gr.Dropdown) -> ErrorsPanel:
    """Lays out the panel and wires what happens inside it.

    Args:
        services: The lab and what goes with it.
        run: The dropdown with the name of the run; a new run is chosen in it.
    """
    finding = gr.HTML(empty_html(NO_RUN), elem_id="errors-finding")
    with gr.Column(visible=False) as body:
        with gr.Row():
            matrix = gr.Plot(show_label=False, elem_id="errors-confusion", min_width=320)
            classes = gr.Plot(show_label=False, elem_id="errors-classes", min_width=320)
        gr.HTML(js_on_load=_CLICKS)
        clicked = gr.Button("Show the chosen cell", elem_id="errors-cell", elem_classes="beyond-view")
        part = gr.Radio(
            [(entry.title, name) for name, entry in PARTS.items()],
            value="validation",
            label="Pictures of",
            elem_id="errors-part",
        )
        with gr.Row(elem_classes="controls"):
            true = gr.Dropdown([], label="True class", elem_id="errors-true", min_width=140)
            predicted = gr.Dropdown([], label="Predicted class", elem_id="errors-predicted", min_width=140)
            pairs = gr.Dropdown([], label="Most confused", elem_id="errors-pairs", min_width=220)
            top = gr.Button("Top losses", elem_id="errors-top", size="md", min_width=110, scale=0)
        heading = gr.HTML(elem_id="errors-heading")
        gallery = build_thumbnails("errors-gallery", columns=6)
        detail = gr.HTML(elem_id="errors-detail")
        methods = [(METHODS[name].title, name) for name in LINEAR]
        method = gr.Dropdown(
            methods, value="occlusion", label="Map by", elem_id="errors-method", min_width=180, render=False
        )
        picked = gr.State(None)
        corrections = build_corrections(services, run, picked, method)
        compare = gr.Dropdown([], label="Compare with the run", elem_id="errors-compare")
        change = gr.HTML(elem_id="errors-change")
        difference = gr.Plot(show_label=False, visible=False, elem_id="errors-difference", elem_classes="maps-2")
    explain_this(EXPLANATION)
    shown, seen, timer = gr.State(()), gr.State(None), gr.Timer(WATCH_SECONDS, active=False)

    results = [finding, body, matrix, classes, pairs, heading, gallery, shown, change, difference]
    lists = [part, true, predicted, corrections.label, compare]
    picture = [detail, corrections.tools, picked]
    no_picture = ("", gr.update(visible=False), None)
    outputs = [*results, *lists, *picture, *corrections.outputs, timer, seen]

    def list_chosen(current: Run, part: str, true, predicted) -> tuple:
        """The pairs of the part that are confused most, and its pictures; or why there are none."""
        try:
            if not has_errors(current, part):
                raise UserError(explain_no_training(current))
            view = open_errors(current, part)
        except UserError as error:
            return gr.update(choices=[]), empty_html(str(error)), None, ()
        text, pictures, chosen = list_pictures(view, true, predicted)
        shown = tuple((part, index) for index in chosen)
        return gr.update(choices=list_pairs(view.confusion)), text, write_thumbnails(services, pictures), shown

    def draw(current: Run, part: str, true, predicted, compared) -> tuple:
        view = open_errors(current)
        found = view.confusion
        pairs, *chosen = list_chosen(current, part, true, predicted)
        return (
            describe_errors(current, found),
            gr.update(visible=True),
            plot_confusion(found.counts, found.categories),
            plot_class_scores(found.score_classes()),
            pairs | {"value": None},
            *chosen,
            *compare_errors(services, current, view, compared),
        )

    def clear(message: str, follows: bool = False, version: tuple | None = None) -> tuple:
        pairs, *no_choices = [gr.update(choices=[], value=None) for _ in range(len(lists))]
        no_choices = ["validation", *no_choices]
        results = [gr.update(visible=False), None, None, pairs, "", None, (), "", None]
        return (
            empty_html(message),
            *results,
            *no_choices,
            *no_picture,
            *no_corrections(),
            gr.update(active=follows),
            version,
        )

    def refresh(name: str | None) -> tuple:
        """Everything about a run, from its files; the pictures with the largest losses to begin with."""
        if not name:
            return clear(NO_RUN)
        try:
            current = services.jobs.read(name)
            version, follows = _find_version(current), current.state in UNFINISHED
            if not has_errors(current):
                return clear(_explain_absence(current), follows, version)
            view, corrected = open_errors(current), corrections.show(current)
        except UserError as error:
            return clear(str(error))
        names = [(category, index) for index, category in enumerate(view.confusion.categories)]
        either = [
            gr.update(choices=[("Any", ANY), *names], value=ANY) for _ in range(2)
        ]  # gradio alters each of them
        others = [found for found in services.jobs.list("training") if found.name != name and has_errors(found)]
        first = getattr(find_uncorrected(current, others), "name", None)
        chosen = gr.update(choices=[other.name for other in others], value=first)
        choices = "validation", *either, gr.update(choices=names, value=None), chosen
        results = draw(current, "validation", ANY, ANY, first)
        return *results, *choices, *no_picture, *corrected, gr.update(active=follows), version

    def follow(name, part, true, predicted, compared, seen):
        """Shows what the latest epoch has changed; nothing is sent while nothing changes."""
        try:
            current = services.jobs.read(name or "")
            version = _find_version(current)
            if version == seen:
                return gr.skip()
            if seen is None or seen[0] != name or None in seen[2]:
                return refresh(name)
            results = draw(current, part, true, predicted, compared)
        except UserError:  # refresh says what is wrong, and stops the timer
            return refresh(name)
        kept = [gr.skip()] * (len(lists) + len(picture) + len(corrections.outputs))
        return *results, *kept, gr.update(active=current.state in UNFINISHED), version

    @shows_errors
    def show_pictures(name, part, true, predicted):
        """The pictures of the two classes that are chosen."""
        return *list_chosen(services.jobs.read(name or ""), part, true, predicted), *no_picture

    def choose(shown, event: gr.EventData):
        """Which picture was clicked."""
        return shown[read_position(event, shown)]

    @clears_on_errors(lambda message: (empty_html(message), gr.update(visible=True)))
    def explain(name, picked, method, request: gr.Request, progress=gr.Progress()):
        """Shows one picture large, with what speaks for the one class and the other."""
        if picked is None:
            return gr.skip()
        part, index = picked
        current = services.jobs.read(name or "")
        view = open_errors(current, part)
        with services.watch(request, progress, METHODS[method].title, "errors-detail") as report:
            maps = contrast_picture(services.lab, current, view, index, method, progress=report)
        return draw_contrast(view, index, maps), gr.update(visible=True)

    @shows_errors
    def compare_with(name, other):
        """The change of the confusion matrix from another run to this one."""
        current = services.jobs.read(name or "")
        return compare_errors(services, current, open_errors(current), other)

    private = {"api_visibility": "private"}
    hidden = {**private, "show_progress": "hidden"}
    quick = {**hidden, "queue": False}
    found = [pairs, heading, gallery, shown, *picture]
    fill = {"fn": show_pictures, "inputs": [run, part, true, predicted], "outputs": found}
    explained = {"fn": explain, "inputs": [run, picked, method], "outputs": [detail, corrections.tools], **private}
    cell = "() => ['validation', ...window.convscopeCell, null]"  # the matrix is theirs
    clicked.click(None, None, [part, true, predicted, pairs], js=cell).then(**fill, **hidden)
    gr.on([true.input, predicted.input], **fill, **hidden, trigger_mode="always_last")
    part.input(lambda: None, None, pairs, **quick).then(**fill, **hidden)
    pairs.input(read_pair, pairs, [true, predicted], **quick).then(**fill, **hidden)
    top.click(lambda: (ANY, ANY, None), None, [true, predicted, pairs], **quick).then(**fill, **hidden)
    gallery.select(choose, shown, picked, **quick).then(**explained)
    method.input(**explained)
    compare.input(compare_with, [run, compare], [change, difference], **hidden)
    timer.tick(follow, [run, part, true, predicted, compare, seen], outputs, **quick)
    return ErrorsPanel(refresh, [run], outputs, timer)


def _find_version(run: Run) -> tuple:
    """Changes whenever something else would be shown of a run."""
    return run.name, run.state in UNFINISHED, find_version(run)


def _explain_absence(run: Run) -> str:
    if run.state in UNFINISHED:
        return NOT_YET
    return f"{run.name} ({run.state}) has kept no pictures and predictions: its first epoch has not been completed."


# Plotly's own click on whichever of the two matrices is there: gradio replaces a chart whenever it changes.
_CLICKS = """
const listen = () => {
    for (const chart of document.querySelectorAll(":is(#errors-confusion, #errors-difference) .js-plotly-plot")) {
        if (chart.dataset.heard || !chart.on) continue;
        chart.dataset.heard = "yes";
        document.getElementById("errors-cell").tabIndex = -1;
        chart.setAttribute("role", "group");
        chart.setAttribute("aria-label", "Confusion matrix; click a cell, or use the lists below, to see pictures");
        chart.on("plotly_click", (event) => {
            const point = event.points.find((candidate) => candidate.data.type === "heatmap");
            const cell = point && point.data.customdata[point.pointNumber[0]][point.pointNumber[1]];
            if (!cell) return;
            window.convscopeCell = [cell[0], cell[1]];
            document.getElementById("errors-cell").click();
        });
    }
};
new MutationObserver(listen).observe(document.body, {childList: true, subtree: true});
listen();
"""
