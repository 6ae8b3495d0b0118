"""What can be done with the chosen run: rename it, note something, delete it.

What ends one is in the list of jobs (:mod:`ui.jobs`), which all tabs share.
"""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from analysis.errors import UserError
from models.registry import RUN_PREFIX
from models.runs.run import BROKEN_OFF, MAX_NOTES, Run
from ui.services import Services
from ui.widgets.errors import inform, shows_errors
from ui.widgets.events import HIDDEN, Block, Values
from ui.widgets.question import ask_first

ENDED = ("finished", "damaged", *BROKEN_OFF)
LOST = (
    "Delete {}, for everybody? Its model, curves, snapshots and notes are lost for good. A capsule that was saved "
    "before could bring it back."
)


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
            self._delete = gr.Button("Delete run", size="md", min_width=110, elem_id="runs-delete", scale=0)
        self._agreed = ask_first(self._delete, run, LOST)
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
        self.outputs: list[Block] = [self._name, self._notes, self._rename, self._write, self._delete]

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

        def doing(do: Callable[[Values], tuple | None]) -> Callable[[Values], Values]:
            @shows_errors
            def act(values: Values) -> Values:
                change = do(values)
                new = {self._run: change[1]} if change else {}
                return show(values | new, change)

            return act

        gr.on([self._rename.click, self._name.submit], doing(self.give_name), **given)
        self._write.click(doing(self.save_note), **given)
        self._agreed.select(doing(self.delete), **given)

    def show(self, chosen: Run, is_other: bool) -> Values:
        """The values for a run; only where it is another one than before, what somebody may be typing is replaced."""
        updates: Values = {self._write: gr.update(visible=chosen.is_own)}
        usable = gr.update(visible=chosen.is_own and chosen.state in ENDED)
        updates |= dict.fromkeys((self._rename, self._delete), usable)
        return updates | ({self._name: chosen.name, self._notes: chosen.notes} if is_other else {})

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

    def delete(self, values: Values) -> tuple:
        """Deletes the run; gives its name, and that it has no new one."""
        name = check_chosen(values[self._run])
        self._services.jobs.delete(name)
        return name, None


def list_trainings(services: Services) -> list[str]:
    """Names of all trainings, newest first."""
    return [run.name for run in services.jobs.list("training")]


def check_chosen(name: str | None, otherwise: str = "choose one first") -> str:
    """The name of a run; UserError, which says what to do, where none is chosen."""
    if not name:
        raise UserError(f"There is no run to do this with; {otherwise}.")
    return name
