"""Trying a trained network live: what it makes of what the camera sees, again and again."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from pydantic import BaseModel

from analysis.errors import UserError
from lab.own_pictures import open_small, read_small
from models.registry import RUN_PREFIX
from ui.entry import describe_any
from ui.services import Services
from ui.train.results.panel import Panel
from ui.widgets.class_boxes import ASSETS, CAMERA, read_sent
from ui.widgets.events import Block, Values
from ui.widgets.html import bars_html, find_doubt, format_percent

NO_RUN = "Train a network first, or choose a run above; it answers here to what the camera sees."


class _Frame(BaseModel):
    model: str
    picture: str


class Live(Panel):
    """The chosen run's network before a camera.

    The browser asks without an event: gradio's take longer than a small network does.
    """

    def __init__(self, services: Services, run: gr.Dropdown):
        self.services, self.run = services, run

        def answer(sent: object) -> dict:
            """What a network makes of a picture, or why it makes nothing."""
            try:
                return self.classify(read_sent(_Frame, sent))
            except Exception as error:
                return {"message": describe_any(error, "answer")}

        self.stage = gr.HTML(
            "",
            html_template=(ASSETS / "live.html").read_text(encoding="utf-8"),
            js_on_load=CAMERA + (ASSETS / "live.js").read_text(encoding="utf-8"),
            elem_id="train-live",
            padding=False,
            server_functions=[answer],
        )
        self.inputs: list[Block] = [run]
        self.outputs: list[Block] = [self.stage]
        self.timers: list[gr.Timer] = []

    def wire(self, show: Callable[[Values], Values], inputs: set[Any], outputs: Sequence[Block]) -> None:
        """Nothing: the browser asks for itself."""

    def refresh(self, values: Values) -> Values:
        """Which network it is, and its classes; or why there is none."""
        try:
            if not values[self.run]:
                raise UserError(NO_RUN)
            spec = self.services.lab.registry.get(RUN_PREFIX + values[self.run])
        except UserError as error:
            return {self.stage: json.dumps({"message": str(error)})}
        return {self.stage: json.dumps({"model": spec.name, "classes": spec.categories})}

    def classify(self, frame: _Frame) -> dict:
        """The best class and what that is worth, the bars, and milliseconds in the network. Raises UserError."""
        if not frame.model.startswith(RUN_PREFIX):
            raise UserError(NO_RUN)
        found = self.services.lab.classify(open_small(read_small(frame.picture)), frame.model)
        best, share = found.predictions[0].category, found.predictions[0].probability
        said = f"It sees: {best}, {format_percent(share)}."
        if share < find_doubt(len(found.model.categories)):
            said = f"It is hardly sure: {best}, {format_percent(share)}, little more than a guess."
        return {"best": best, "said": said, "bars": bars_html(found.predictions), "ms": found.ms}
