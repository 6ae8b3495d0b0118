"""Putting labels right: relabel or exclude a picture, take it back, and train anew with what has been collected."""

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr
from markupsafe import Markup

from analysis.errors import UserError
from lab.runs.corrections import add_correction, find_trained, read_corrections, take_back_correction
from lab.runs.mistakes import is_upload, latest_corrections, open_errors, plan_corrected_run
from models.runs.run import UNFINISHED, Run
from ui.services import Services
from ui.train.results.mistakes_view import CORRECTED, count
from ui.widgets.errors import inform, shows_errors
from ui.widgets.html import note_html, sentence_html, table_html


def no_corrections() -> tuple[Markup, dict]:
    """What is shown where there are none."""
    return Markup(""), gr.update(visible=False)


@dataclass(frozen=True)
class CorrectionTools:
    """``tools`` go with a picture, ``label`` gets the classes; ``show(run)`` gives the values of ``outputs``."""

    tools: gr.Row
    label: gr.Dropdown
    show: Callable[[Run], tuple]
    outputs: list


def build_corrections(services: Services, run: gr.Dropdown, picked: gr.State, method: gr.Dropdown) -> CorrectionTools:
    """Lays out the tools and wires them.

    Args:
        services: The lab and what goes with it.
        run: The dropdown with the name of the run; the corrected run is chosen in it.
        picked: Holds the part of the data and the index of the picture that is shown.
        method: A control of the picture that is shown, to stand beside the tools; not rendered yet.
    """
    with gr.Row(elem_classes="controls", visible=False) as tools:
        method.render()
        label = gr.Dropdown([], label="Relabel as", elem_id="errors-label", min_width=150)
        relabel = gr.Button("Relabel", elem_id="errors-relabel", size="md", min_width=90, scale=0)
        exclude = gr.Button("Exclude", elem_id="errors-exclude", size="md", min_width=90, scale=0)
    listed = gr.HTML(elem_id="errors-corrections")
    with gr.Row(elem_classes="controls", visible=False) as actions:
        undo = gr.Button("Undo", elem_id="errors-undo", size="md", min_width=90, scale=0)
        retrain = gr.Button(
            "Retrain with corrections", variant="primary", elem_id="errors-retrain", size="md", min_width=240, scale=0
        )

    def show(current: Run) -> tuple[Markup, dict]:
        """The corrections of a run as a table, and whether there is anything to do with them."""
        corrections = latest_corrections(read_corrections(current))
        if not corrections:
            return no_corrections()
        trained = find_trained(current, corrections, services.jobs.list("training"))
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
        return text + table + note_html(CORRECTED), gr.update(visible=True)

    def add(name, picked, label, is_excluded: bool) -> tuple:
        current = services.jobs.read(name or "")
        if picked is None or (label is None and not is_excluded):
            raise UserError("Choose a picture first, and the class that it ought to have.")
        part, index = picked
        add_correction(current, open_errors(current, part), index, None if is_excluded else label)
        return show(current)

    @shows_errors
    def add_label(name, picked, label):
        """Notes that a picture has the chosen class."""
        return add(name, picked, label, is_excluded=False)

    @shows_errors
    def add_exclusion(name, picked):
        """Notes that a picture is left out."""
        return add(name, picked, None, is_excluded=True)

    @shows_errors
    def take_back(name):
        """Forgets the last correction."""
        current = services.jobs.read(name or "")
        take_back_correction(current)
        return show(current)

    @shows_errors
    def train(name):
        """Trains anew with the corrections, as another run."""
        current = services.jobs.read(name or "")
        corrections = latest_corrections(read_corrections(current))
        trained = find_trained(current, corrections, services.jobs.list("training"))
        if corrections and len(trained) == len(corrections):
            found = ", ".join(sorted({run.name for run in trained.values()}))
            raise UserError(f"All corrections have been trained with in {found}; correct another picture first.")
        config, new = plan_corrected_run(services.lab, current, corrections)
        services.jobs.start(config, new, is_upload=is_upload(current))
        more = count(len(corrections), "more correction")
        services.jobs.write_notes(new, f"{current.name} with {more}.")
        inform(f"{new} has been started; as soon as it has predictions, it is compared with {current.name} here.")
        return gr.update(choices=[found.name for found in services.jobs.list("training")], value=new)

    private = {"api_visibility": "private"}
    hidden = {**private, "show_progress": "hidden"}
    outputs = [listed, actions]
    relabel.click(add_label, [run, picked, label], outputs, **hidden)
    exclude.click(add_exclusion, [run, picked], outputs, **hidden)
    undo.click(take_back, run, outputs, **hidden)
    retrain.click(train, run, run, **private)
    return CorrectionTools(tools, label, show, outputs)


def _say_trained(run: Run | None) -> str:
    if run is None:
        return "not yet"
    return f"{run.name} ({run.state})" if run.state in UNFINISHED else run.name
