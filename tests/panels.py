"""What parts of the page send, in the order of what they send it to."""

from itertools import zip_longest

import gradio as gr

from ui.train.results.panel import Panel


def refresh(part: Panel, *values: object) -> tuple:
    """What a refresh sends to each output, given the values of the inputs in their order; others are None."""
    updates = part.refresh(dict(zip_longest(part.inputs, values)))
    assert updates.keys() <= set(part.outputs)
    return tuple(updates.get(output, gr.skip()) for output in part.outputs)
