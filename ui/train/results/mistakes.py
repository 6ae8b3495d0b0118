"""What a run gets wrong: the confusion matrix, the pictures behind its cells, and the change from another run."""

from typing import Any

import gradio as gr
from markupsafe import Markup

from analysis.attribution.methods import METHODS
from analysis.errors import UserError
from analysis.figures.classes import plot_class_scores, plot_confusion
from lab.runs.mistakes import LINEAR, PARTS, contrast_picture, find_uncorrected, find_version, has_errors, open_errors
from models.runs.run import UNFINISHED, Run
from ui.entry import read_position
from ui.services import Services
from ui.train.results.corrections import Corrections
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
from ui.widgets.events import HIDDEN, PRIVATE, QUICK, Block, Panel, Update, Values, Work
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


def build_errors_panel(services: Services, run: gr.Dropdown) -> Panel:
    """Lays out the panel and wires what happens inside it.

    Args:
        services: The lab and what goes with it.
        run: The dropdown with the name of the run; a new run is chosen in it.
    """
    return _Errors(services, run).wire()


class _Errors:
    def __init__(self, services: Services, run: gr.Dropdown):
        self.services, self.run = services, run
        self.finding = gr.HTML(empty_html(NO_RUN), elem_id="errors-finding")
        self.picked, self.shown, self.seen = gr.State(None), gr.State(()), gr.State(None)
        with gr.Column(visible=False) as self.body:
            with gr.Row():
                self.matrix = gr.Plot(show_label=False, elem_id="errors-confusion", min_width=320)
                self.classes = gr.Plot(show_label=False, elem_id="errors-classes", min_width=320)
            gr.HTML(js_on_load=_CLICKS)
            self.clicked = gr.Button("Show the chosen cell", elem_id="errors-cell", elem_classes="beyond-view")
            parts = [(entry.title, name) for name, entry in PARTS.items()]
            self.part = gr.Radio(parts, value="validation", label="Pictures of", elem_id="errors-part")
            with gr.Row(elem_classes="controls"):
                self.true = gr.Dropdown([], label="True class", elem_id="errors-true", min_width=140)
                self.predicted = gr.Dropdown([], label="Predicted class", elem_id="errors-predicted", min_width=140)
                self.pairs = gr.Dropdown([], label="Most confused", elem_id="errors-pairs", min_width=220)
                self.top = gr.Button("Top losses", elem_id="errors-top", size="md", min_width=110, scale=0)
            self.heading = gr.HTML(elem_id="errors-heading")
            self.gallery = build_thumbnails("errors-gallery", columns=6)
            self.detail = gr.HTML(elem_id="errors-detail")
            methods = [(METHODS[name].title, name) for name in LINEAR]
            self.method = gr.Dropdown(
                methods, value="occlusion", label="Map by", elem_id="errors-method", min_width=180, render=False
            )
            self.corrections = Corrections(services, run, self.picked, self.method)
            self.compare = gr.Dropdown([], label="Compare with the run", elem_id="errors-compare")
            self.change = gr.HTML(elem_id="errors-change")
            self.difference = gr.Plot(
                show_label=False, visible=False, elem_id="errors-difference", elem_classes="maps-2"
            )
        explain_this(EXPLANATION)
        self.timer = gr.Timer(WATCH_SECONDS, active=False)

    def wire(self) -> Panel:
        """Wires what happens, and says what the tab has to know."""
        run, part, true, predicted, pairs = self.run, self.part, self.true, self.predicted, self.pairs
        tools = self.corrections.tools
        pictures: list[Block] = [pairs, self.heading, self.gallery, self.shown, self.detail, tools, self.picked]
        fill: Work = {
            "fn": shows_errors(self.show_pictures),
            "inputs": {run, part, true, predicted},
            "outputs": pictures,
        }
        explained: Work = {
            "fn": clears_on_errors(lambda message: (empty_html(message), gr.update(visible=True)))(self.explain),
            "inputs": [run, self.picked, self.method],
            "outputs": [self.detail, tools],
        }
        cell = "() => ['validation', ...window.convscopeCell, null]"  # the matrix is theirs
        self.clicked.click(None, None, [part, true, predicted, pairs], js=cell).then(**fill, **HIDDEN)
        gr.on([true.input, predicted.input], **fill, **HIDDEN, trigger_mode="always_last")
        part.input(lambda: None, None, pairs, **QUICK).then(**fill, **HIDDEN)
        pairs.input(read_pair, pairs, [true, predicted], **QUICK).then(**fill, **HIDDEN)
        self.top.click(lambda: (ANY, ANY, None), None, [true, predicted, pairs], **QUICK).then(**fill, **HIDDEN)
        self.gallery.select(self.choose, self.shown, self.picked, **QUICK).then(**explained, **PRIVATE)
        self.method.input(**explained, **PRIVATE)
        self.compare.input(self.compare_with, [run, self.compare], [self.change, self.difference], **HIDDEN)
        outputs = [
            *(self.finding, self.body, self.matrix, self.classes, *pictures, part, true, predicted),
            *(self.corrections.label, self.compare, self.change, self.difference, *self.corrections.outputs),
            *(self.timer, self.seen),
        ]
        followed: set[Any] = {run, part, true, predicted, self.compare, self.seen}
        self.timer.tick(self.follow, followed, outputs, **QUICK)
        return Panel(self.refresh, [run, self.seen], outputs, [self.timer])

    def no_picture(self) -> Values:
        """No picture is shown large."""
        return {self.detail: "", self.corrections.tools: gr.update(visible=False), self.picked: None}

    def list_chosen(self, current: Run, part: str, true: int | None, predicted: int | None) -> Values:
        """The pairs of the part that are confused most, and its pictures; or why there are none."""
        try:
            if not has_errors(current, part):
                raise UserError(explain_no_training(current))
            view = open_errors(current, part)
        except UserError as error:
            text, pairs = empty_html(str(error)), gr.update(choices=[])
            return {self.pairs: pairs, self.heading: text, self.gallery: None, self.shown: ()}
        text, pictures, chosen = list_pictures(view, true, predicted)
        return {
            self.pairs: gr.update(choices=list_pairs(view.confusion)),
            self.heading: text,
            self.gallery: write_thumbnails(self.services, pictures),
            self.shown: tuple((part, index) for index in chosen),
        }

    def draw(self, current: Run, part: str, true: int | None, predicted: int | None, compared: str | None) -> Values:
        """All that another epoch changes."""
        view = open_errors(current)
        found = view.confusion
        chosen = self.list_chosen(current, part, true, predicted)
        chosen[self.pairs]["value"] = None
        change, difference = compare_errors(self.services, current, view, compared)
        return chosen | {
            self.finding: describe_errors(current, found),
            self.body: gr.update(visible=True),
            self.matrix: plot_confusion(found.counts, found.categories),
            self.classes: plot_class_scores(found.score_classes()),
            self.change: change,
            self.difference: difference,
        }

    def clear(self, message: str, follows: bool = False, version: tuple | None = None) -> Values:
        """Nothing but a message."""
        lists = (self.pairs, self.true, self.predicted, self.corrections.label, self.compare)
        return {
            **dict.fromkeys((self.matrix, self.classes, self.gallery, self.difference)),
            **{each: gr.update(choices=[], value=None) for each in lists},
            **self.no_picture(),
            **self.corrections.show_none(),
            self.finding: empty_html(message),
            self.body: gr.update(visible=False),
            self.heading: "",
            self.shown: (),
            self.change: "",
            self.part: "validation",
            self.timer: gr.update(active=follows),
            self.seen: version,
        }

    def refresh(self, values: Values) -> Values:
        """Everything about a run, from its files; the pictures with the largest losses to begin with.

        Where it is shown as it is now, only what other runs change: somebody may have chosen pictures already.
        """
        name = values[self.run]
        if not name:
            return self.clear(NO_RUN)
        try:
            current = self.services.jobs.read(name)
            version, follows = _find_version(current), current.state in UNFINISHED
            if not has_errors(current):
                return self.clear(_explain_absence(current), follows, version)
            view, corrected = open_errors(current), self.corrections.show(current)
        except UserError as error:
            return self.clear(str(error))
        renewed = {**corrected, self.timer: gr.update(active=follows), self.seen: version}
        trainings = self.services.jobs.list("training")
        others = [found for found in trainings if found.name != name and has_errors(found)]
        choices = [other.name for other in others]
        if values.get(self.seen) == version:
            return renewed | {self.compare: gr.update(choices=choices)}
        names = [(category, index) for index, category in enumerate(view.confusion.categories)]
        first = getattr(find_uncorrected(current, others), "name", None)
        return {
            **self.draw(current, "validation", ANY, ANY, first),
            **self.no_picture(),
            **renewed,
            # gradio alters each update, so that there must be two
            **{each: gr.update(choices=[("Any", ANY), *names], value=ANY) for each in (self.true, self.predicted)},
            self.part: "validation",
            self.corrections.label: gr.update(choices=names, value=None),
            self.compare: gr.update(choices=choices, value=first),
        }

    def follow(self, values: Values) -> Values | Update:
        """Shows what the latest epoch has changed; nothing is sent while nothing changes."""
        seen = values[self.seen]
        try:
            current = self.services.jobs.read(values[self.run] or "")
            version = _find_version(current)
            if version == seen:
                return gr.skip()
            if seen is None or seen[0] != values[self.run] or None in seen[2]:
                return self.refresh(values)
            chosen = (values[each] for each in (self.part, self.true, self.predicted, self.compare))
            results = self.draw(current, *chosen)
        except UserError:  # refresh says what is wrong, and stops the timer
            return self.refresh(values)
        return results | {self.timer: gr.update(active=current.state in UNFINISHED), self.seen: version}

    def show_pictures(self, values: Values) -> Values:
        """The pictures of the two classes that are chosen."""
        current = self.services.jobs.read(values[self.run] or "")
        chosen = self.list_chosen(current, values[self.part], values[self.true], values[self.predicted])
        return chosen | self.no_picture()

    def choose(self, shown: tuple, event: gr.EventData) -> tuple[str, int]:
        """Which picture was clicked."""
        return shown[read_position(event, shown)]

    def explain(
        self,
        name: str | None,
        picked: tuple[str, int] | None,
        method: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),
    ) -> tuple | Update:
        """Shows one picture large, with what speaks for the one class and the other."""
        if picked is None:
            return gr.skip()
        part, index = picked
        current = self.services.jobs.read(name or "")
        view = open_errors(current, part)
        with self.services.watch(request, progress, METHODS[method].title, "errors-detail") as report:
            maps = contrast_picture(self.services.lab, current, view, index, method, progress=report)
        return draw_contrast(view, index, maps), gr.update(visible=True)

    @shows_errors
    def compare_with(self, name: str | None, other: str | None) -> tuple[Markup, Update]:
        """The change of the confusion matrix from another run to this one."""
        current = self.services.jobs.read(name or "")
        return compare_errors(self.services, current, open_errors(current), other)


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
