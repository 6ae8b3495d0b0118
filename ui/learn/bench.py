"""What a bench of the Learn tab is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr
from gradio.components import Component

from ui.services import Action
from ui.widgets.events import Block, Values

ASSETS = Path(__file__).parents[2] / "assets" / "learn"


def show_nothing(values: Values, action: Action) -> Values:
    """Of a bench that is whole as it is."""
    return {}


@dataclass(frozen=True)
class Bench:
    """What the tab needs to know of one of its benches.

    Attributes:
        show: Brings it up to date when it is opened, when the sidebar's picture or model is another one, or a trigger
            was used: values of ``inputs`` by component -> those of ``outputs``.
        inputs: Of ``show``, beside the sidebar's. They go with every request of the page: keep them short.
        outputs: Of ``show``.
        triggers: Controls of the bench, each with the name of the event that calls ``show``.
        linked: What a link restores: name in the address, component, and how its text is read.
        timers: They follow what is shown.
        runs: What shows a run: its kind, the list that it is chosen from, and what else has to be chosen for that.
    """

    show: Callable[[Values, Action], Values] = show_nothing
    inputs: Sequence[Block] = ()
    outputs: Sequence[Block] = ()
    triggers: Sequence[tuple[Block, str]] = ()
    linked: dict[str, tuple[Component, Callable[[str], object]]] = field(default_factory=dict)
    timers: Sequence[gr.Timer] = ()
    runs: dict[str, tuple[gr.Dropdown, Values]] = field(default_factory=dict)


def browser_bench(
    name: str, value: str = "{}", *, parts: Sequence[str] = (), asks: Sequence[Callable] = ()
) -> gr.HTML:
    """A bench, or a part of one, that runs in the browser: ``assets/learn/NAME.html`` with ``NAME.js``.

    The script finds what ``tools.js`` and the files ``parts`` define, what the server tells it in ``props.value``,
    JSON as text, and the functions ``asks`` of the server, as ``await server.NAME(...)``.
    """
    files = ("tools.js", *parts, f"{name}.js")
    script = "".join((ASSETS / file).read_text(encoding="utf-8") for file in files)
    template = (ASSETS / f"{name}.html").read_text(encoding="utf-8")
    return gr.HTML(
        value,
        html_template=template,
        js_on_load=script,
        server_functions=[*asks] or None,
        elem_id=f"bench-{name}",
        padding=False,
    )
