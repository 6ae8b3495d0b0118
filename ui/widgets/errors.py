"""What a visitor sees when an action cannot be done.

Messages are plain text on their way. Only gradio's pop-up messages show HTML, so that is escaped here, where they
are made; what goes into the page itself is escaped by :mod:`ui.widgets.html`, and the API answers plain text.
"""

import functools
import inspect
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import gradio as gr
from markupsafe import escape

from analysis.errors import Cancelled
from models.problems import MAYBE_PROBLEMS, describe_problem
from ui.services import Superseded

TITLE = "That did not work"
BUG = "Something went wrong in ConvScope; the log says what."

_ABSOLUTE_PATH = re.compile(
    r"(?<![\w.~:<>/\\-])(?:[A-Za-z]:[\\/]|/)"  # where a path can begin
    r"(?:[^\s/\\'\"<>|:]+[\\/])*(?=[^\s/\\])"  # its folders; the last name stays
)


def _stay_as_they_are(message: str) -> object:
    inform(message)
    return gr.skip()


def answers_errors(
    answer: Callable[[str], object], end: Callable[[str], object] = _stay_as_they_are
) -> Callable[[Callable], Callable]:
    """Decorates a handler: what somebody can put right becomes ``answer(message)`` instead of a bug.

    Of a handler that yields, it becomes what is yielded last. The message is plain text. What was cancelled
    becomes ``end(message)``.
    """

    def settle(error: Exception) -> object:
        if isinstance(error, Superseded):
            return gr.skip()
        if isinstance(error, Cancelled):
            return end("Cancelled.")
        message = describe_error(error)
        if message is None:
            raise error
        return answer(message)

    def decorate(handler: Callable) -> Callable:
        @functools.wraps(handler)
        def call(*args: Any, **kwargs: Any) -> object:
            try:
                return handler(*args, **kwargs)
            except (Cancelled, *MAYBE_PROBLEMS) as error:
                return settle(error)

        @functools.wraps(handler)
        def stream(*args: Any, **kwargs: Any) -> Iterator[object]:
            try:
                yield from handler(*args, **kwargs)
            except (Cancelled, *MAYBE_PROBLEMS) as error:
                yield settle(error)

        return stream if inspect.isgeneratorfunction(handler) else call

    return decorate


def clears_on_errors(clear: Callable[[str], object]) -> Callable[[Callable], Callable]:
    """For handlers whose old result must not stay beside the new input.

    Args:
        clear: Makes the handler's outputs from the message.
    """

    def answer(message: str) -> object:
        warn(message)
        return clear(message)

    return answers_errors(answer)


def refuse(message: str) -> NoReturn:
    """Ends an event of the page with a message, which pops up; its outputs stay as they are."""
    raise gr.Error(escape(message), title=TITLE, print_exception=False)


def refuse_call(message: str) -> NoReturn:
    """Ends a call of the API with a message."""
    raise gr.Error(message, title=TITLE, print_exception=False)


shows_errors = answers_errors(refuse)
"""For handlers whose outputs stay as they are when something goes wrong."""

says_errors = answers_errors(refuse_call, refuse_call)
"""For endpoints of the API, whose outputs are no components that could stay as they are."""


def warn(message: str) -> None:
    """Lets a message pop up that something did not work; events that are not queued cannot."""
    gr.Warning(escape(message), title=TITLE)


def inform(message: str) -> None:
    """Lets a message pop up; events that are not queued cannot."""
    gr.Info(escape(message))


def describe_error(error: Exception) -> str | None:
    """One sentence for the visitor about what somebody can put right; None if the error is a bug."""
    message = describe_problem(error)
    return message and hide_paths(message)


def hide_paths(text: str) -> str:
    """The text without what absolute paths in it would tell a visitor about the server: of each its end stays."""
    for folder in (Path.cwd(), Path.home(), Path(tempfile.gettempdir())):  # whose names may have spaces in them
        if folder != Path(folder.anchor):
            text = text.replace(f"{folder}{os.sep}", os.sep)
    return _ABSOLUTE_PATH.sub("", text)
