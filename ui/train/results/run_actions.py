"""What can be done with the chosen run: rename it, note something, take it up again, kill it, delete it."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import gradio as gr

from analysis.errors import UserError
from lab.jobs import JobManager
from models.ordinary_files import is_ordinary
from models.registry import RUN_PREFIX
from models.runs.run import BROKEN_OFF, MAX_NOTES, UNFINISHED, Run
from models.training.resume import RESUME_FILE
from ui.services import Services
from ui.widgets.errors import inform, shows_errors
from ui.widgets.events import HIDDEN, PRIVATE, QUICK, Block, Update
from ui.widgets.html import sentence_html
from ui.widgets.job_view import offer_runs

ENDED = ("finished", "damaged", *BROKEN_OFF)


@dataclass(frozen=True)
class Action:
    """A table entry: what is done only after a second click, and the question before that."""

    title: str
    confirm: str
    ask: Callable[[Run], str]
    do: Callable[[JobManager, str], object]
    states: Collection[str]


class RunActions:
    """What can be done with the chosen run.

    Args:
        services: The lab and what goes with it.
        run: The chosen run.
        compare: Runs that are compared; they follow a new name.
        changed: Told of each change as ``(old name, new name or None, moment)``.

    Attributes:
        outputs: What :meth:`show` gives the values of.
        done: The events after which the list of runs is another.
    """

    def __init__(self, services: Services, run: gr.Dropdown, compare: gr.Dropdown, changed: gr.State):
        self._services = services
        with gr.Row(elem_classes="controls"):
            new_name = gr.Textbox(label="Name", elem_id="runs-name", max_length=64, min_width=200, scale=2)
            rename = gr.Button("Rename", size="md", min_width=100, elem_id="runs-rename", scale=0)
        with gr.Row(elem_classes="controls"):
            resume = gr.Button("Go on", size="md", min_width=100, elem_id="runs-resume", scale=0)
            asking = {
                name: gr.Button(action.title, size="md", min_width=110, elem_id=f"runs-{name}", scale=0)
                for name, action in ACTIONS.items()
            }
        with gr.Group(visible=False, elem_id="runs-question") as question:
            words = gr.HTML(elem_id="runs-words", padding=True)
            with gr.Row(elem_classes="controls"):
                keep = gr.Button("Leave it as it is", size="md", min_width=140, elem_id="runs-keep")
                confirm = gr.Button("Yes", variant="stop", size="md", min_width=140, elem_id="runs-confirm")
        with gr.Row(elem_classes="controls"):
            notes = gr.Textbox(
                label="Note",
                placeholder="What was this run for, and what came out?",
                lines=2,
                max_lines=8,
                max_length=MAX_NOTES,
                elem_id="runs-notes",
                min_width=240,
                scale=4,
            )
            write = gr.Button("Save note", size="md", min_width=110, elem_id="runs-save-note", scale=0)
        asked = gr.State(None)
        self.outputs: list[Block] = [new_name, notes, question, asked, rename, resume, *asking.values()]
        for kind, button in asking.items():
            asks = button.click(self._asker(kind), run, [question, words, confirm, asked], **HIDDEN)
            asks.success(None, None, None, js=_FOCUS)
        keep.click(lambda: (gr.update(visible=False), None), None, [question, asked], **QUICK)
        named = [rename.click, new_name.submit]
        self.done: list[gr.events.Dependency] = [
            gr.on(named, self.give_name, [run, new_name, compare], [run, compare, changed], **HIDDEN),
            write.click(self.save_note, [run, notes], None, **HIDDEN),
            resume.click(self.take_up, run, None, **HIDDEN),
            confirm.click(self.act, [run, asked], [question, asked, run, changed], show_progress_on=words, **PRIVATE),
        ]

    def show(self, chosen: Run, is_other: bool) -> tuple:
        """The values for a run; only where it is another one than before, what somebody may be typing is replaced."""
        states = [ENDED, BROKEN_OFF, *(action.states for action in ACTIONS.values())]
        usable = [gr.update(interactive=chosen.state in allowed) for allowed in states]
        if not is_other:
            return (gr.skip(), gr.skip(), gr.skip(), gr.skip(), *usable)
        return (chosen.name, chosen.notes, gr.update(visible=False), None, *usable)

    @shows_errors
    def give_name(self, name: str | None, text: str | None, compared: list[str] | None) -> tuple | Update:
        """Renames the run, also where it is chosen and compared."""
        old, new = check_chosen(name), (text or "").strip()
        if new == old:
            return gr.skip()
        self._services.jobs.rename(old, new)
        inform(f"{old} is {new} now, and its model is {RUN_PREFIX}{new}.")
        names = list_trainings(self._services)
        kept = [new if other == old else other for other in compared or []]
        chosen, others = gr.update(choices=names, value=new), gr.update(choices=names, value=kept)
        return chosen, others, (old, new, time.time_ns())

    @shows_errors
    def save_note(self, name: str | None, text: str | None) -> None:
        """Keeps the note beside the run."""
        self._services.jobs.write_notes(check_chosen(name), text or "")
        inform(f"The note about {name} is saved.")

    @shows_errors
    def take_up(self, name: str | None) -> None:
        """Lets a run that was broken off go on."""
        chosen = check_chosen(name)
        is_saved = (self._services.jobs.read(chosen).path / RESUME_FILE).exists()
        self._services.jobs.resume(chosen)
        inform(f"{name} goes on where it was." if is_saved else f"{name} begins anew: nothing had been saved yet.")

    def _asker(self, kind: str) -> Callable:
        @shows_errors
        def ask(name: str | None) -> tuple:
            """Says what will be lost, before anything is."""
            found = self._services.jobs.read(check_chosen(name))
            text = sentence_html(ACTIONS[kind].ask(found), "bad")
            return gr.update(visible=True), text, gr.update(value=ACTIONS[kind].confirm), (kind, name)

        return ask

    @shows_errors
    def act(self, name: str | None, asked: tuple[str, str] | None) -> tuple:
        """Does what was asked about."""
        kind, about = asked or ("", None)
        chosen = check_chosen(name)
        if kind not in ACTIONS or about != chosen:
            raise UserError("Another run has been chosen since; ask again.")
        ACTIONS[kind].do(self._services.jobs, chosen)
        names = list_trainings(self._services)
        if chosen in names:
            return gr.update(visible=False), None, gr.update(choices=names), gr.skip()
        # What stays chosen must exist, or the next click would ask for a run that is gone.
        return gr.update(visible=False), None, offer_runs(names, None), (name, None, time.time_ns())


def list_trainings(services: Services) -> list[str]:
    """Names of all trainings, newest first."""
    return [run.name for run in services.jobs.list("training")]


def check_chosen(name: str | None, otherwise: str = "choose one first") -> str:
    """The name of a run; UserError, which says what to do, where none is chosen."""
    if not name:
        raise UserError(f"There is no run to do this with; {otherwise}.")
    return name


def _ask_kill(run: Run) -> str:
    if not run.has_model:
        kept = "It has no model yet"
    else:
        kept = f"The model {RUN_PREFIX}{run.name} stays that of the last full epoch"
    if (run.path / RESUME_FILE).is_file():
        after = "“Go on” continues from the state saved last; the seconds of work since then are lost"
    else:
        after = "no state has been saved yet, so that all its work is lost"
    return f"Kill {run.name} at once, without waiting for its step? {kept}; {after}."


def _ask_delete(run: Run) -> str:
    num_bytes = sum(path.lstat().st_size for path in run.path.rglob("*") if is_ordinary(path))
    model = f"The model {RUN_PREFIX}{run.name}" if run.has_model else "Its directory"
    return (
        f"Delete {run.name} for good? {model}, its curves, snapshots and notes are lost, {num_bytes / 1e6:.1f} MB. "
        "A capsule saved before could bring it back."
    )


ACTIONS = {
    "kill": Action("Kill…", "Kill it now", _ask_kill, JobManager.kill, UNFINISHED),
    "delete": Action("Delete…", "Delete it for good", _ask_delete, JobManager.delete, ENDED),
}

# To what loses nothing: Enter, pressed once too often, must not delete.
_FOCUS = """async () => {
    for (let tries = 0; tries < 20; tries += 1) {
        const button = document.getElementById("runs-keep");
        if (button?.offsetParent) { button.focus(); return; }
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}"""
