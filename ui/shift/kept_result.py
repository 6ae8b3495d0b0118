"""A result that is computed when a button is pressed, and is never shown beside what it is not about."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import gradio as gr

from ui.services import Action, Services
from ui.widgets.errors import clears_on_errors
from ui.widgets.events import PRIVATE, Block, Values
from ui.workbench import Workbench


class KeptResult:
    """What is common to such results.

    Args:
        services: The lab and what goes with it.
        bench: The sidebar; the result is about its picture.
        view: A name of its own, for :meth:`Services.act`.
        looks_at: The components whose values the result is about, too.
        outputs: Where it is shown; on the first one, a component, how far it is.
        clear: Makes the values of ``outputs`` from a message.
        empty: The message while there is none.

    Attributes:
        inputs: Of :meth:`forget`.
        outputs: With what the result is about as the last one.
    """

    def __init__(
        self,
        services: Services,
        bench: Workbench,
        view: str,
        looks_at: Sequence[gr.components.Component],
        outputs: Sequence[Block],
        clear: Callable[[str], tuple],
        empty: str,
    ):
        self._services, self._bench, self._view, self._empty = services, bench, view, empty
        self._looks_at, self._about = looks_at, gr.State(None)
        self.inputs: list[Block] = [*bench.picture, *looks_at, self._about]
        self.outputs, self._clear_outputs = [*outputs, self._about], clear

    def find_subject(self, values: Values) -> tuple:
        """What a result for these values is about; the last of the values of the outputs."""
        chosen = (values[component] for component in self._looks_at)
        lists = (tuple(value) if isinstance(value, list) else value for value in chosen)
        return self._bench.find_picture(values), *lists

    def act(self, values: Values, request: gr.Request, progress: gr.Progress) -> AbstractContextManager[Action]:
        """The action of computing the result; it ends once something else is chosen."""
        return self._services.act(request, progress, self._view, self.find_subject(values))

    def wire_start(self, button: gr.Button, compute: Callable, inputs: set[Any]) -> None:
        """Lets a button compute the result from the values of ``inputs``, and of what it is about."""
        compute = clears_on_errors(self._clear)(compute)
        bar = self.outputs[0]
        assert isinstance(bar, gr.components.Component)
        button.click(compute, {*inputs, *self.inputs}, self.outputs, **PRIVATE, show_progress_on=bar)

    def forget(self, values: Values, action: Action) -> Values:
        """What clears the result, also one under way, if it is about something else than what is chosen now."""
        subject = self.find_subject(values)
        self._services.supersede(action.session, self._view, subject)
        if values[self._about] in (None, subject):
            return {}
        return dict(zip(self.outputs, self._clear(self._empty), strict=True))

    def _clear(self, message: str) -> tuple:
        return *self._clear_outputs(message), None
