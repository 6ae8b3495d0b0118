"""What is common to the listeners of the page; none of them is an endpoint of the API."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import gradio as gr
from gradio.blocks import BlockContext
from gradio.components import Component

Block = Component | BlockContext
Field = (
    gr.Checkbox | gr.CheckboxGroup | gr.Dropdown | gr.File | gr.HTML | gr.Number | gr.Radio | gr.Slider | gr.Textbox
)
"""A control of a form."""
Update = dict[str, Any]
"""What ``gr.update`` and ``gr.skip`` give."""
Values = dict[Block, Any]
"""Component -> what it holds, or is to hold: a value, or an update. Those that are left out stay as they are."""


class Manner(TypedDict, total=False):
    """How a listener goes about its work."""

    api_visibility: Literal["public", "private"]
    show_progress: Literal["full", "minimal", "hidden"]
    concurrency_limit: int | None
    queue: bool


PRIVATE: Manner = {"api_visibility": "private"}
HIDDEN: Manner = {"api_visibility": "private", "show_progress": "hidden"}
QUICK: Manner = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
"""Without waiting for anything else; no message can pop up."""


class Work(TypedDict):
    """What a listener does."""

    fn: Callable[..., Any]
    inputs: set[Any] | Sequence[Any]  # blocks; gradio does not always say the same about sets of them
    outputs: Block | Sequence[Block]


class Listener(Work, Manner, total=False):
    """All about a listener but its event."""

    js: str
    show_progress_on: Component
    trigger_mode: Literal["once", "multiple", "always_last"]


@dataclass(frozen=True)
class Tab:
    """What the page needs to know of a tab.

    Attributes:
        show: Handler that brings the tab up to date: values of ``inputs`` by component -> those of ``outputs``, at
            once or one after the other. What it raises, the page says, and shows what ``clear`` makes of it.
        inputs: Of ``show``, beside those of the workbench.
        outputs: Of ``show``.
        clear: A message -> values of ``outputs`` that show nothing else.
        looks_at: Components of the workbench whose change calls for another look while the tab is open.
        is_kept: Whether nothing else changes what is shown, so that a tab opened again can stay as it was.
        triggers: Controls of the tab, each with the name of the event that calls for another look.
        timers: They follow what is shown, and are ended when another tab is opened.
        linked: What a link to the tab restores: name in the address, component, and how its text is read
            (raising ValueError for text that is not meant for it).
        runs: What shows a run: its kind, the list that it is chosen from, and what else has to be chosen for that.
    """

    show: Callable[..., Any]
    inputs: Sequence[Block]
    outputs: Sequence[Block]
    clear: Callable[[str], Values]
    looks_at: Sequence[Block] = ()
    is_kept: bool = False
    triggers: Sequence[tuple[Block, str]] = ()
    timers: Sequence[gr.Timer] = ()
    linked: dict[str, tuple[Component, Callable[[str], object]]] = field(default_factory=dict)
    runs: dict[str, tuple[gr.Dropdown, Values]] = field(default_factory=dict)


def read_values(updates: Values) -> Values:
    """The values that updates set."""
    found = {}
    for part, update in updates.items():
        if not isinstance(update, dict):
            found[part] = update
        elif "value" in update:
            found[part] = update["value"]
    return found
