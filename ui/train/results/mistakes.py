"""What a run gets wrong: the confusion matrix, the pictures behind its cells, and the change from another run."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

from analysis.errors import UserError
from analysis.figures.classes import plot_class_scores, plot_confusion
from lab.runs.mistakes import PARTS, find_uncorrected, find_version, has_errors, open_errors
from models.runs.run import UNFINISHED, Run
from ui.services import Services
from ui.train.results.mistakes_view import (
    ANY,
    compare_errors,
    describe_errors,
    explain_no_pictures,
    list_pairs,
    list_pictures,
    read_pair,
)
from ui.train.results.panel import Panel
from ui.train.results.picture import Picture
from ui.widgets.chart import Chart
from ui.widgets.errors import shows_errors
from ui.widgets.events import HIDDEN, QUICK, Block, Update, Values
from ui.widgets.html import empty_html, explain_this
from ui.widgets.thumbnails import build_thumbnails, write_thumbnails

WATCH_SECONDS = 5.0
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
and *Retrain with corrections* trains on what you have put right. Correcting a validation or test picture changes only
what is measured. The **test** pictures are asked about once, when the training is over: whoever chooses settings by
them has none left to judge with.
"""


class Mistakes(Panel):
    """What a run gets wrong.

    Args:
        services: The lab and what goes with it.
        run: The dropdown with the name of the run.
    """

    def __init__(self, services: Services, run: gr.Dropdown):
        self.services, self.run = services, run
        self.finding = gr.HTML(empty_html(NO_RUN), elem_id="errors-finding")
        self.shown, self.seen = gr.State(()), gr.State(None)
        with gr.Column(visible=False) as self.body:
            with gr.Row():
                self.matrix = Chart(elem_id="errors-confusion", min_width=320)
                self.classes = Chart(elem_id="errors-classes", min_width=320)
            self.cells = gr.HTML(js_on_load=_CLICKS)
            parts = [(entry.title, name) for name, entry in PARTS.items()]
            self.part = gr.Radio(parts, value="validation", label="Pictures of", elem_id="errors-part")
            with gr.Row(elem_classes="controls"):
                self.true = gr.Dropdown([], label="True class", elem_id="errors-true", min_width=140)
                self.predicted = gr.Dropdown([], label="Predicted class", elem_id="errors-predicted", min_width=140)
                self.pairs = gr.Dropdown([], label="Most confused", elem_id="errors-pairs", min_width=220)
                self.top = gr.Button("Top losses", elem_id="errors-top", size="md", min_width=110, scale=0)
            self.heading = gr.HTML(elem_id="errors-heading")
            self.gallery = build_thumbnails("errors-gallery", columns=6)
            self.picture = Picture(services, run)
            self.compare = gr.Dropdown([], label="Compare with the run", elem_id="errors-compare")
            self.change = gr.HTML(elem_id="errors-change")
            self.difference = Chart(visible=False, elem_id="errors-difference", elem_classes="maps-2")
        explain_this(EXPLANATION)
        self.timer = gr.Timer(WATCH_SECONDS, active=False)
        self.timers = [self.timer]
        self.chosen = [self.part, self.true, self.predicted, self.pairs]
        self.pictures: list[Block] = [
            *(self.pairs, self.heading, self.gallery, self.shown, *self.picture.outputs),
        ]
        self.inputs: list[Block] = [run, self.seen, *self.chosen, self.compare]
        self.outputs: list[Block] = [
            *(self.finding, self.body, self.matrix, self.classes, *self.pictures),
            *(self.part, self.true, self.predicted, self.picture.corrections.label, self.compare, self.change),
            *(self.difference, *self.picture.corrections.outputs, self.timer, self.seen),
        ]

    def wire(self, show: Callable[[Values], Values], inputs: set[Any], outputs: Sequence[Block]) -> None:
        """Wires what happens inside it."""
        listed: Any = {"inputs": {self.run, *self.chosen}, "outputs": [*self.pictures, *self.chosen[:3]]}
        for source, choose in (
            (self.cells.select, _read_cell),
            (self.true.input, self.choose_classes),
            (self.predicted.input, self.choose_classes),
            (self.part.input, self.choose_classes),
            (self.pairs.input, self.choose_pair),
            (self.top.click, self.choose_any),
        ):
            source(self.lister(choose), **listed, **HIDDEN, trigger_mode="always_last")
        self.picture.wire(self.gallery, self.shown)
        self.compare.input(self.compare_with, [self.run, self.compare], [self.change, self.difference], **HIDDEN)
        self.timer.tick(self.follow, {*self.inputs}, self.outputs, **QUICK)
        self.picture.corrections.wire(show, inputs, outputs)

    def lister(self, choose: Callable[[Values, gr.EventData], tuple]) -> Callable:
        """What lists the pictures after a choice: ``choose`` gives part of the data, two classes and a pair."""

        @shows_errors
        def show_pictures(values: Values, event: gr.EventData) -> Values:
            """The pictures of the two classes that are chosen."""
            *classes, pair = choose(values, event)
            listed = self.list_chosen(self.services.jobs.read(values[self.run] or ""), *classes)
            listed[self.pairs]["value"] = pair if classes[0] == values[self.part] else None
            return listed | self.picture.show_none() | dict(zip(self.chosen, classes, strict=False))

        return show_pictures

    def choose_classes(self, values: Values, event: gr.EventData) -> tuple:
        """As the two lists and the part say."""
        return values[self.part], values[self.true], values[self.predicted], None

    def choose_pair(self, values: Values, event: gr.EventData) -> tuple:
        """As the list of pairs says."""
        return values[self.part], *read_pair(values[self.pairs]), values[self.pairs]

    def choose_any(self, values: Values, event: gr.EventData) -> tuple:
        """All classes."""
        return values[self.part], ANY, ANY, None

    def list_chosen(self, current: Run, part: str, true: int | None, predicted: int | None) -> Values:
        """The pairs of the part that are confused most, and its pictures; or why there are none."""
        try:
            if not has_errors(current, part):
                raise UserError(explain_no_pictures(current, part))
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
        lists = (self.pairs, self.true, self.predicted, self.picture.corrections.label, self.compare)
        return {
            **dict.fromkeys((self.matrix, self.classes, self.gallery, self.difference)),
            **{each: gr.update(choices=[], value=None) for each in lists},
            **self.picture.show_none(),
            **self.picture.corrections.show_none(),
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
            view, corrected = open_errors(current), self.picture.corrections.show(current)
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
            **self.picture.show_none(),
            **renewed,
            # gradio alters each update, so that there must be two
            **{each: gr.update(choices=[("Any", ANY), *names], value=ANY) for each in (self.true, self.predicted)},
            self.part: "validation",
            self.picture.corrections.label: gr.update(choices=names, value=None),
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


def _read_cell(values: Values, event: gr.EventData) -> tuple:
    """The cell of the matrix that was clicked: it is about the validation pictures.

    Raises:
        UserError: The event names no two classes.
    """
    cell = event._data.get("cell") if isinstance(event._data, dict) else None
    if not isinstance(cell, list) or len(cell) != 2 or not all(type(each) is int and each >= 0 for each in cell):
        raise UserError("There is nothing any more where you clicked; click again.")
    return "validation", *cell, None


# Plotly's own click on whichever of the two matrices is there: gradio replaces a chart whenever it changes.
_CLICKS = """
const listen = () => {
    for (const chart of document.querySelectorAll(":is(#errors-confusion, #errors-difference) .js-plotly-plot")) {
        if (chart.dataset.heard || !chart.on) continue;
        chart.dataset.heard = "yes";
        chart.setAttribute("role", "group");
        chart.setAttribute("aria-label", "Confusion matrix; click a cell, or use the lists below, to see pictures");
        chart.on("plotly_click", (event) => {
            const point = event.points.find((candidate) => candidate.data.type === "heatmap");
            const cell = point && point.data.customdata[point.pointNumber[0]][point.pointNumber[1]];
            if (cell) trigger("select", {cell: [cell[0], cell[1]]});
        });
    }
};
new MutationObserver(listen).observe(document.body, {childList: true, subtree: true});
listen();
"""
