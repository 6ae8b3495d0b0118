"""What stands beside a start button: how long it takes on this machine, or what keeps it from starting."""

from collections.abc import Callable

import gradio as gr
from markupsafe import Markup

from analysis.grammar import count
from lab.evaluation.outlook import Outlook
from models.access import viewer
from models.problems import MAYBE_PROBLEMS
from ui.widgets.errors import describe_error
from ui.widgets.events import Values
from ui.widgets.html import text_html
from ui.widgets.job_view import describe_time


def describe_outlook(found: Outlook, num_models: int) -> str:
    """How long an evaluation will take, in words."""
    what = f"{count(found.pictures, 'picture')}, {count(found.views, 'view')} of each"
    if num_models > 1:
        what += f", {num_models} models"
    if found.seconds is None:
        return f"Weights have to be downloaded first; how long it takes is known then: {what}."
    about = "At most about" if found.is_limit else "About"
    return f"{about} {describe_time(found.seconds)} if this machine does nothing else: {what}."


def tell_start(button: gr.Button, said: gr.HTML, estimate: Callable[[], str], role: str = "owner") -> Values:
    """What stands beside a start button: ``estimate``, or what it raises, which disables the button.

    So does it for whoever lacks the ``role`` that may start it.
    """
    try:
        viewer().check(role)
        text, tone = estimate(), ""
    except MAYBE_PROBLEMS as error:
        message = describe_error(error)
        if message is None:
            raise
        text, tone = message, "bad"
    sentence = Markup('<p class="estimate {}" role="status">{}</p>').format(tone, text_html(text))
    return {button: gr.update(interactive=not tone), said: sentence}
