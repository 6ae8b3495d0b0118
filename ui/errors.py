"""What a visitor sees when an action cannot be done."""

import functools
import inspect
import logging
from collections.abc import Callable
from html import escape

import gradio as gr
import torch

from analysis.errors import AnalysisError, Cancelled
from models.errors import ModelsError

TITLE = "That did not work"
EXPECTED = (ModelsError, AnalysisError, torch.OutOfMemoryError, TypeError, ValueError, OverflowError)
"""The last three are what a client causes that sends what no control of the page can. All else is a bug."""

_log = logging.getLogger(__name__)


def answers_errors(answer: Callable[[str], object]) -> Callable[[Callable], Callable]:
    """Decorates a handler: what the visitor can put right becomes ``answer(message)`` instead of a bare "Error".

    Of a handler that yields, it becomes what is yielded last.
    """

    def settle(error: Exception) -> object:
        if not isinstance(error, Cancelled):
            return answer(_explain(error))
        if not isinstance(error, Superseded):
            gr.Info("Cancelled.")
        return gr.skip()

    def decorate(handler: Callable) -> Callable:
        @functools.wraps(handler)
        def call(*args, **kwargs):
            try:
                return handler(*args, **kwargs)
            except (Cancelled, *EXPECTED) as error:
                return settle(error)

        @functools.wraps(handler)
        def stream(*args, **kwargs):
            try:
                yield from handler(*args, **kwargs)
            except (Cancelled, *EXPECTED) as error:
                yield settle(error)

        return stream if inspect.isgeneratorfunction(handler) else call

    return decorate


def clears_on_errors(clear: Callable[[str], object]) -> Callable[[Callable], Callable]:
    """For handlers whose old result must not stay beside the new input.

    Args:
        clear: Makes the handler's outputs from the message.
    """

    def answer(message: str) -> object:
        gr.Warning(message, title=TITLE)
        return clear(message)

    return answers_errors(answer)


def _raise(message: str) -> None:
    raise gr.Error(message, title=TITLE)


shows_errors = answers_errors(_raise)
"""For handlers whose outputs stay as they are when something goes wrong."""


class Superseded(Cancelled):
    """The visitor has asked for something newer in the same view."""


def _explain(error: Exception) -> str:
    """One sentence, escaped because the page shows it as HTML."""
    if isinstance(error, (ModelsError, AnalysisError)):
        return escape(str(error), quote=False)
    if isinstance(error, torch.OutOfMemoryError):
        return "The device has too little memory for this; try a smaller model."
    _log.exception("unusable value")
    return "A setting has a value that cannot be used here."
