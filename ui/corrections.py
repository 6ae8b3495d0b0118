"""Putting labels right: relabel or exclude a picture, take it back, and train anew with what has been collected."""

from dataclasses import dataclass

import gradio as gr

from analysis.errors import AnalysisError
from lab.run_errors import Correction, correct, is_upload, latest_corrections, open_errors, plan_corrected_run
from models.runs import Run
from ui import Services
from ui.components import sentence_html, table_html
from ui.errors import shows_errors
from ui.errors_view import CORRECTED, count


@dataclass(frozen=True)
class CorrectionTools:
    """``tools`` is shown with a picture, ``label`` gets the classes; ``refresh`` listens to a change of run."""

    tools: gr.Row
    label: gr.Dropdown
    refresh: dict


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
    trails = gr.State({})  # of every run that was looked at

    def add(name, picked, label, trails, is_excluded: bool) -> tuple:
        current = services.jobs.read(name or "")
        if picked is None or (label is None and not is_excluded):
            raise AnalysisError("Choose a picture first, and the class that it ought to have.")
        part, index = picked
        view = open_errors(current, part)
        trail = correct(view, _find_trail(current, trails), index, None if is_excluded else label)
        trails = {**trails, _key(current): trail}
        return trails, *_list(current, trail)

    @shows_errors
    def add_label(name, picked, label, trails):
        """Notes that a picture has the chosen class."""
        return add(name, picked, label, trails, is_excluded=False)

    @shows_errors
    def add_exclusion(name, picked, trails):
        """Notes that a picture is left out."""
        return add(name, picked, None, trails, is_excluded=True)

    @shows_errors
    def take_back(name, trails):
        """Forgets the last correction."""
        current = services.jobs.read(name or "")
        trail = _find_trail(current, trails)[:-1]
        return {**trails, _key(current): trail}, *_list(current, trail)

    @shows_errors
    def refresh(name, trails):
        """Lists the corrections of the run that is shown."""
        if not name:
            return "", gr.update(visible=False)
        current = services.jobs.read(name)
        return _list(current, _find_trail(current, trails))

    @shows_errors
    def train(name, trails):
        """Trains anew with the corrections, as another run."""
        current = services.jobs.read(name or "")
        trail = _find_trail(current, trails)
        config, new = plan_corrected_run(current, trail, services.jobs.runs_root)
        services.jobs.start(config, new, is_upload=is_upload(current))
        more = count(len(latest_corrections(trail)), "more correction")
        services.jobs.write_notes(new, f"{current.name} with {more}.")
        gr.Info(f"{new} has been started; as soon as it has predictions, it is compared with {current.name} here.")
        return gr.update(choices=[found.name for found in services.jobs.list("training")], value=new)

    private = {"api_visibility": "private"}
    hidden = {**private, "show_progress": "hidden"}
    relabel.click(add_label, [run, picked, label, trails], [trails, listed, actions], **hidden)
    exclude.click(add_exclusion, [run, picked, trails], [trails, listed, actions], **hidden)
    undo.click(take_back, [run, trails], [trails, listed, actions], **hidden)
    retrain.click(train, [run, trails], run, **private)
    return CorrectionTools(
        tools, label, {"fn": refresh, "inputs": [run, trails], "outputs": [listed, actions], **hidden}
    )


def _key(run: Run) -> str:
    """Tells a run from an earlier one of the same name."""
    return f"{run.name} {run.status.get('submitted')}"


def _find_trail(run: Run, trails: dict) -> tuple[Correction, ...]:
    return trails.get(_key(run), ())


def _list(run: Run, trail: tuple[Correction, ...]) -> tuple[str, dict]:
    """The corrections as a table, and whether there is anything to do with them."""
    rows = [(each.number, each.part, each.before, each.after) for each in latest_corrections(trail)]
    if not rows:
        return "", gr.update(visible=False)
    table = table_html(["picture", "of", "label now", "will be"], rows)
    text = sentence_html(f"{count(len(rows), 'correction')} to {run.name}, not trained with yet.")
    return f'{text}{table}<p class="note">{CORRECTED}</p>', gr.update(visible=True)
