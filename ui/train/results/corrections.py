"""Putting labels right: relabel or exclude a picture, take it back, and train anew with what has been collected."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from analysis.errors import UserError
from analysis.grammar import count
from lab.runs.corrections import add_correction, find_trained, read_corrections, take_back_correction
from lab.runs.mistakes import is_upload, latest_corrections, open_errors, plan_corrected_run
from models.runs.run import UNFINISHED, Run
from ui.services import Services
from ui.train.results.mistakes_view import CORRECTED
from ui.widgets.errors import inform, shows_errors
from ui.widgets.events import HIDDEN, PRIVATE, Block, Values
from ui.widgets.html import note_html, sentence_html, table_html

NOT_CHOSEN = "Choose a picture first, and the class that it ought to have."


class Corrections:
    """The tools that put labels right, and the list of what was put right.

    Args:
        services: The lab and what goes with it.
        run: The dropdown with the name of the run; the corrected run is chosen in it.
        picked: Holds the part of the data and the index of the picture that is shown.
        method: A control of the picture that is shown, to stand beside the tools; not rendered yet.

    Attributes:
        tools: They go with a picture.
        label: Gets the classes.
        outputs: What :meth:`show` gives the values of.
    """

    def __init__(self, services: Services, run: gr.Dropdown, picked: gr.State, method: gr.Dropdown):
        self._services = services
        with gr.Row(elem_classes="controls", visible=False) as self.tools:
            method.render()
            self.label = gr.Dropdown([], label="Relabel as", elem_id="errors-label", min_width=150)
            relabel = gr.Button("Relabel", elem_id="errors-relabel", size="md", min_width=90, scale=0)
            exclude = gr.Button("Exclude", elem_id="errors-exclude", size="md", min_width=90, scale=0)
        self._listed = gr.HTML(elem_id="errors-corrections")
        with gr.Row(elem_classes="controls", visible=False) as self._actions:
            undo = gr.Button("Undo", elem_id="errors-undo", size="md", min_width=90, scale=0)
            title = "Retrain with corrections"
            retrain = gr.Button(title, variant="primary", elem_id="errors-retrain", size="md", min_width=240, scale=0)
        self.outputs: list[Block] = [self._listed, self._actions]
        relabel.click(self.add_label, [run, picked, self.label], self.outputs, **HIDDEN)
        exclude.click(self.add_exclusion, [run, picked], self.outputs, **HIDDEN)
        undo.click(self.take_back, run, self.outputs, **HIDDEN)
        self._run, self._retrain = run, retrain

    def wire(self, show: Callable[[Values], Values], inputs: set[Any], outputs: Sequence[Block]) -> None:
        """Lets the corrections be trained with; see :meth:`ui.train.results.panel.Panel.wire`."""

        @shows_errors
        def train_again(values: Values) -> Values:
            """Trains anew with the corrections, as another run, and shows that."""
            return show(values | {self._run: self.train(values[self._run])})

        self._retrain.click(train_again, inputs, outputs, **PRIVATE)

    def show_none(self) -> Values:
        """What is shown where there are none."""
        return {self._listed: "", self._actions: gr.update(visible=False)}

    def show(self, current: Run) -> Values:
        """The corrections of a run as a table, and whether there is anything to do with them."""
        corrections = latest_corrections(read_corrections(current))
        if not corrections:
            return self.show_none()
        trained = find_trained(current, corrections, self._services.jobs.list("training"))
        rows = [
            (each.number, each.part, each.before, each.after, _say_trained(trained.get(each.number)))
            for each in corrections
        ]
        new = len(rows) - len(trained)
        state = (
            "all trained with" if not new else f"{'' if new == len(rows) else f'{new} of them '}not trained with yet"
        )
        table = table_html(["picture", "of", "label now", "will be", "trained with in"], rows)
        text = sentence_html(f"{count(len(rows), 'correction')} to {current.name}, {state}.")
        own = gr.update(visible=current.is_own)
        return {self._listed: text + table + note_html(CORRECTED), self._actions: own}

    @shows_errors
    def add_label(self, name: str | None, picked: tuple[str, int] | None, label: int | None) -> Values:
        """Notes that a picture has the chosen class."""
        if label is None:
            raise UserError(NOT_CHOSEN)
        return self._add(name, picked, label)

    @shows_errors
    def add_exclusion(self, name: str | None, picked: tuple[str, int] | None) -> Values:
        """Notes that a picture is left out."""
        return self._add(name, picked, None)

    def _add(self, name: str | None, picked: tuple[str, int] | None, label: int | None) -> Values:
        current = self._services.jobs.read(name or "")
        if picked is None:
            raise UserError(NOT_CHOSEN)
        part, index = picked
        add_correction(current, open_errors(current, part), index, label)
        return self.show(current)

    @shows_errors
    def take_back(self, name: str | None) -> Values:
        """Forgets the last correction."""
        current = self._services.jobs.read(name or "")
        take_back_correction(current)
        return self.show(current)

    def train(self, name: str | None) -> str:
        """Begins a run with the corrections; gives its name. UserError where there is nothing new to train with."""
        jobs = self._services.jobs
        current = jobs.read(name or "")
        corrections = latest_corrections(read_corrections(current))
        trained = find_trained(current, corrections, jobs.list("training"))
        if corrections and len(trained) == len(corrections):
            found = ", ".join(sorted({run.name for run in trained.values()}))
            raise UserError(f"All corrections have been trained with in {found}; correct another picture first.")
        config, new = plan_corrected_run(self._services.lab, current, corrections)
        jobs.start(config, new, is_upload=is_upload(current))
        more = count(len(corrections), "more correction")
        jobs.write_notes(new, f"{current.name} with {more}.")
        inform(f"{new} has been started; as soon as it has predictions, it is compared with {current.name} here.")
        return new


def _say_trained(run: Run | None) -> str:
    if run is None:
        return "not yet"
    return f"{run.name} ({run.state})" if run.state in UNFINISHED else run.name
