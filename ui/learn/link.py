"""What is set in a bench that runs in the browser, as a link has it: ``stride:2,mode:reflect``."""

import re

import gradio as gr

LONGEST = 400


def read_controls(text: str) -> str:
    """Names and values of controls, which the bench itself understands. Raises ValueError for other text."""
    if len(text) > LONGEST or not re.fullmatch(r"(\w+:[\w.-]*(,\w+:[\w.-]*)*)?", text):
        raise ValueError(text)
    return text


def build_link(key: str, stage: gr.HTML) -> gr.Textbox:
    """What a link sets under ``key``; it follows ``stage``, whose script has called ``linkControls`` with the key."""
    linked = gr.Textbox("", visible="hidden", elem_id=f"link-{key}")
    stage.release(None, None, linked, js=f"() => window.convscopeLink_{key}()")
    return linked
