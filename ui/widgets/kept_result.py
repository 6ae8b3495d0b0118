"""A result that is computed when a button is pressed, and is never shown beside what it is not about."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import gradio as gr

from analysis.errors import Progress
from ui.services import Services
from ui.widgets.errors import clears_on_errors
from ui.widgets.events import HIDDEN, PRIVATE, Block, Update, Values


class KeptResult:
    """What is common to such results.

    Args:
        services: The lab and what goes with it.
        view: Its name, for :meth:`Services.watch`.
        looks_at: The components whose values the result is about.
        outputs: Where it is shown.
        clear: Makes the values of ``outputs`` from a message.
        empty: The message while there is none.
    """

    def __init__(
        self,
        services: Services,
        view: str,
        looks_at: Sequence[gr.components.Component],
        outputs: Sequence[Block],
        clear: Callable[[str], tuple],
        empty: str,
    ):
        self._services, self._view, self._looks_at, self._empty = services, view, looks_at, empty
        self._about = gr.State(None)
        self._outputs, self._clear_outputs = [*outputs, self._about], clear

    def find_subject(self, values: Values) -> tuple:
        """What a result for these values is about; the last of the values of the outputs."""
        chosen = (values[component] for component in self._looks_at)
        return tuple(tuple(value) if isinstance(value, list) else value for value in chosen)

    def watch(
        self, values: Values, request: gr.Request, progress: gr.Progress, what: str
    ) -> AbstractContextManager[Progress]:
        """A progress callback for computing the result; it ends once something else is chosen."""
        return self._services.watch(request, progress, what, self._view, subject=self.find_subject(values))

    def wire_start(self, button: gr.Button, compute: Callable, inputs: set[Any]) -> None:
        """Lets a button compute the result from the values of ``inputs``, and of what it is about."""
        compute = clears_on_errors(self._clear)(compute)
        button.click(compute, {*inputs, *self._looks_at}, self._outputs, **PRIVATE)

    def forget_on(self, changes: Sequence[Callable]) -> None:
        """Lets events that change what is chosen clear a result that is about something else."""
        gr.on(changes, self._forget, {*self._looks_at, self._about}, self._outputs, **HIDDEN)

    def _forget(self, values: Values, request: gr.Request) -> tuple | Update:
        subject = self.find_subject(values)
        self._services.supersede(request, self._view, subject)
        return gr.skip() if values[self._about] in (None, subject) else self._clear(self._empty)

    def _clear(self, message: str) -> tuple:
        return *self._clear_outputs(message), None
