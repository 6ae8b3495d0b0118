"""What can be done with the chosen run: rename it, note something, take it up again, kill it, delete it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from analysis.errors import UserError
from lab.jobs import JobManager
from models.ordinary_files import is_ordinary
from models.registry import RUN_PREFIX
from models.runs.run import BROKEN_OFF, MAX_NOTES, UNFINISHED, Run
from models.training.resume import RESUME_FILE
from ui.services import Services
from ui.widgets.errors import inform, shows_errors
from ui.widgets.events import HIDDEN, PRIVATE, Block, Values
from ui.widgets.html import sentence_html

ENDED = ("finished", "damaged", *BROKEN_OFF)


@dataclass(frozen=True)
class Action:
    """A table entry: what is done only after a second click, and the question before that."""

    title: str
    confirm: str
    ask: Callable[[Run], str]
    do: Callable[[JobManager, str], object]
    states: Collection[str]


class Question:
    """What asks before something is done with the chosen run, and does it after a second click.

    Args:
        services: The lab and what goes with it.
        run: The chosen run.
        prefix: Of the ids.

    Attributes:
        outputs: What :meth:`withdraw` gives the values of.
    """

    def __init__(self, services: Services, run: gr.Dropdown, prefix: str):
        self._services, self._run = services, run
        with gr.Group(visible=False, elem_id=f"{prefix}-question") as self._box:
            self._words = gr.HTML(elem_id=f"{prefix}-words", padding=True)
            with gr.Row(elem_classes="controls"):
                keep = gr.Button("Leave it as it is", size="md", min_width=140, elem_id=f"{prefix}-keep")
                self._confirm = gr.Button(
                    "Yes", variant="stop", size="md", min_width=140, elem_id=f"{prefix}-confirm"
                )
        self._asked, self._focus = gr.State(None), _FOCUS.replace("KEEP", f"{prefix}-keep")
        self.outputs: list[Block] = [self._box, self._asked]
        keep.click(None, None, self._box, js="() => ({__type__: 'update', visible: false})")

    def withdraw(self) -> Values:
        """Nothing is asked."""
        return {self._box: gr.update(visible=False), self._asked: None}

    def ask_before(self, kind: str, button: gr.Button) -> None:
        """Lets a button ask; ``kind`` is a key of ``ACTIONS``."""

        @shows_errors
        def ask(name: str | None) -> Values:
            """Says what will be lost, before anything is."""
            found, action = self._services.jobs.read(check_chosen(name)), ACTIONS[kind]
            if found.state not in action.states:
                raise UserError(f"{found.name} is {found.state}.")
            return {
                self._box: gr.update(visible=True),
                self._words: sentence_html(action.ask(found), "bad"),
                self._confirm: gr.update(value=action.confirm),
                self._asked: (kind, name),
            }

        asks = button.click(ask, self._run, [self._box, self._words, self._confirm, self._asked], **HIDDEN)
        asks.success(None, None, None, js=self._focus)

    def wire(self, answer: Callable[[Values], Values], inputs: set[Any], outputs: Sequence[Block]) -> None:
        """Does what was asked about: ``answer`` shows what has come of it."""

        @shows_errors
        def confirm(values: Values) -> Values:
            """Does what was asked about."""
            name = check_chosen(values[self._run])
            self.act(name, values[self._asked])
            return self.withdraw() | answer(values)

        everything = list(dict.fromkeys([*outputs, *self.outputs]))
        self._confirm.click(
            confirm, {*inputs, self._run, self._asked}, everything, show_progress_on=self._words, **PRIVATE
        )

    def act(self, name: str, asked: tuple[str, str] | None) -> None:
        """Does it, unless it was asked about another run."""
        kind, about = asked or ("", None)
        if kind not in ACTIONS or about != name:
            raise UserError("Another run has been chosen since; ask again.")
        ACTIONS[kind].do(self._services.jobs, name)


class RunActions:
    """What can be done with the chosen run.

    Args:
        services: The lab and what goes with it.
        run: The chosen run.
        compare: Runs that are compared; they follow a new name.

    Attributes:
        inputs: Of what it does.
        outputs: What :meth:`show` gives the values of.
    """

    def __init__(self, services: Services, run: gr.Dropdown, compare: gr.Dropdown):
        self._services, self._run, self._compare = services, run, compare
        with gr.Row(elem_classes="controls"):
            self._name = gr.Textbox(label="Name", elem_id="runs-name", max_length=64, min_width=200, scale=2)
            self._rename = gr.Button("Rename", size="md", min_width=100, elem_id="runs-rename", scale=0)
        with gr.Row(elem_classes="controls"):
            self._resume = gr.Button("Go on", size="md", min_width=100, elem_id="runs-resume", scale=0)
            self._asking = {
                name: gr.Button(ACTIONS[name].title, size="md", min_width=110, elem_id=f"runs-{name}", scale=0)
                for name in ("kill", "delete")
            }
        self._question = Question(services, run, "runs")
        with gr.Row(elem_classes="controls"):
            self._notes = gr.Textbox(
                label="Note",
                placeholder="What was this run for, and what came out?",
                lines=2,
                max_lines=8,
                max_length=MAX_NOTES,
                elem_id="runs-notes",
                min_width=240,
                scale=4,
            )
            self._write = gr.Button("Save note", size="md", min_width=110, elem_id="runs-save-note", scale=0)
        self.outputs: list[Block] = [
            *(self._name, self._notes, *self._question.outputs),
            *(self._rename, self._resume, *self._asking.values()),
        ]

    def wire(
        self, show: Callable[[Values, tuple | None], Values], inputs: set[Any], outputs: Sequence[Block]
    ) -> None:
        """Wires what happens inside it.

        Args:
            show: Shows the runs as they are now, given the values and ``(old name, new name or None)`` where a run
                was renamed or deleted.
            inputs: Of ``show``.
            outputs: Of ``show``.
        """
        given: Any = {"inputs": {*inputs, self._name, self._notes}, "outputs": outputs, **HIDDEN}

        def answer(values: Values) -> Values:
            name = values[self._run]
            return show(values, None if name in list_trainings(self._services) else (name, None))

        def doing(do: Callable[[Values], tuple | None]) -> Callable[[Values], Values]:
            @shows_errors
            def act(values: Values) -> Values:
                change = do(values)
                new = {self._run: change[1]} if change else {}
                return show(values | new, change)

            return act

        gr.on([self._rename.click, self._name.submit], doing(self.give_name), **given)
        self._write.click(doing(self.save_note), **given)
        self._resume.click(doing(self.take_up), **given)
        for kind, button in self._asking.items():
            self._question.ask_before(kind, button)
        self._question.wire(answer, inputs, outputs)

    def show(self, chosen: Run, is_other: bool) -> Values:
        """The values for a run; only where it is another one than before, what somebody may be typing is replaced."""
        states: dict[Block, Collection[str]] = {self._rename: ENDED, self._resume: BROKEN_OFF}
        states |= {button: ACTIONS[kind].states for kind, button in self._asking.items()}
        updates: Values = {
            button: gr.update(interactive=chosen.state in allowed) for button, allowed in states.items()
        }
        if is_other:
            updates |= {self._name: chosen.name, self._notes: chosen.notes, **self._question.withdraw()}
        return updates

    def give_name(self, values: Values) -> tuple | None:
        """Renames the run; gives its old name and the new one."""
        old, new = check_chosen(values[self._run]), (values[self._name] or "").strip()
        if new == old:
            return None
        self._services.jobs.rename(old, new)
        inform(f"{old} is {new} now, and its model is {RUN_PREFIX}{new}.")
        return old, new

    def save_note(self, values: Values) -> None:
        """Keeps the note beside the run."""
        name = check_chosen(values[self._run])
        self._services.jobs.write_notes(name, values[self._notes] or "")
        inform(f"The note about {name} is saved.")

    def take_up(self, values: Values) -> None:
        """Lets a run that was broken off go on."""
        name = check_chosen(values[self._run])
        is_saved = (self._services.jobs.read(name).path / RESUME_FILE).exists()
        self._services.jobs.resume(name)
        inform(f"{name} goes on where it was." if is_saved else f"{name} begins anew: nothing had been saved yet.")


def list_trainings(services: Services) -> list[str]:
    """Names of all trainings, newest first."""
    return [run.name for run in services.jobs.list("training")]


def check_chosen(name: str | None, otherwise: str = "choose one first") -> str:
    """The name of a run; UserError, which says what to do, where none is chosen."""
    if not name:
        raise UserError(f"There is no run to do this with; {otherwise}.")
    return name


def _ask_stop(run: Run) -> str:
    if run.state == "queued":
        return f"Stop {run.name}? It gives up its place in the queue; “Go on” puts it at the end."
    kept = "what it has learned so far is kept, and “Go on” takes it up there"
    return f"Stop {run.name} after the step it is at, for everybody who watches it? {kept[0].upper()}{kept[1:]}."


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
    "stop": Action("Stop…", "Stop it", _ask_stop, JobManager.stop, UNFINISHED),
    "kill": Action("Kill…", "Kill it now", _ask_kill, JobManager.kill, UNFINISHED),
    "delete": Action("Delete…", "Delete it for good", _ask_delete, JobManager.delete, ENDED),
}

# To what loses nothing: Enter, pressed once too often, must not delete.
_FOCUS = """async () => {
    for (let tries = 0; tries < 20; tries += 1) {
        const button = document.getElementById("KEEP");
        if (button?.offsetParent) { button.focus(); return; }
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}"""
