"""What parts of the page send, in the order of what they send it to."""

from functools import partial
from itertools import zip_longest

import gradio as gr

from ui.services import Action
from ui.widgets.events import Panel, Tab


def refresh(part: Panel | Tab, *values: object) -> tuple:
    """What a refresh sends to each output, given the values of the inputs in their order; others are None."""
    look = partial(part.show, action=Action("", print)) if isinstance(part, Tab) else part.refresh
    updates = look(dict(zip_longest(part.inputs, values)))
    assert updates.keys() <= set(part.outputs)
    return tuple(updates.get(output, gr.skip()) for output in part.outputs)
