"""What a visitor sees when an action cannot be done."""

import functools
import logging
from collections.abc import Callable
from html import escape

import gradio as gr
import torch

from analysis.errors import AnalysisError, Cancelled
from models.errors import ModelsError

_log = logging.getLogger(__name__)


def shows_errors(handler: Callable) -> Callable:
    """Turns errors that the visitor can put right into a message on the page."""

    @functools.wraps(handler)
    def call(*args, **kwargs):
        try:
            return handler(*args, **kwargs)
        except Cancelled as error:
            _say_cancelled(error)
            return gr.skip()
        except Exception as error:
            raise gr.Error(_explain(error), title="That did not work") from error

    return call


def clears_on_errors(clear: Callable[[str], object]) -> Callable[[Callable], Callable]:
    """Like :func:`shows_errors`, for handlers whose old result must not stay beside the new input.

    Args:
        clear: Makes the handler's outputs from the message.
    """

    def decorate(handler: Callable) -> Callable:
        @functools.wraps(handler)
        def call(*args, **kwargs):
            try:
                return handler(*args, **kwargs)
            except Cancelled as error:
                _say_cancelled(error)
                return gr.skip()
            except Exception as error:
                message = _explain(error)
                gr.Warning(message, title="That did not work")
                return clear(message)

        return call

    return decorate


class Superseded(Cancelled):
    """The visitor has asked for something newer in the same view."""


def _say_cancelled(error: Cancelled) -> None:
    if not isinstance(error, Superseded):
        gr.Info("Cancelled.")


def _explain(error: Exception) -> str:
    """One sentence, escaped because the page shows it as HTML. What nobody expected is a bug: raised again."""
    if isinstance(error, (ModelsError, AnalysisError)):
        return escape(str(error), quote=False)
    if isinstance(error, torch.OutOfMemoryError):
        return "The device has too little memory for this; try a smaller model."
    if isinstance(error, (TypeError, ValueError, OverflowError)):  # a client that sends what no control can
        _log.exception("unusable value")
        return "A setting has a value that cannot be used here."
    raise error
