"""One of the pictures of a run large: what speaks for what it was taken for, and its correction."""

from typing import Any

import gradio as gr

from analysis.attribution.methods import METHODS
from lab.runs.mistakes import LINEAR, contrast_picture, open_errors
from ui.entry import read_position
from ui.services import Services
from ui.train.results.corrections import Corrections
from ui.train.results.mistakes_view import draw_contrast
from ui.widgets.errors import clears_on_errors
from ui.widgets.events import PRIVATE, Block, Update, Values
from ui.widgets.html import empty_html


class Picture:
    """The picture that was clicked, if there is one.

    Args:
        services: The lab and what goes with it.
        run: The dropdown with the name of the run.

    Attributes:
        corrections: The tools that put its label right.
        outputs: Of :meth:`show_none`.
    """

    def __init__(self, services: Services, run: gr.Dropdown):
        self.services, self.run, self.picked = services, run, gr.State(None)
        self.detail = gr.HTML(elem_id="errors-detail")
        methods = [(METHODS[name].title, name) for name in LINEAR]
        self.method = gr.Dropdown(
            methods, value="occlusion", label="Map by", elem_id="errors-method", min_width=180, render=False
        )
        self.corrections = Corrections(services, run, self.picked, self.method)
        self.outputs: list[Block] = [self.detail, self.corrections.tools, self.picked]

    def wire(self, gallery: gr.Gallery, shown: gr.State) -> None:
        """Shows what is clicked in the gallery; ``shown`` says of its pictures which they are."""
        self.shown = shown
        explained: Any = {"inputs": {self.run, shown, self.picked, self.method}, "outputs": self.outputs}
        gallery.select(self.pick, **explained, **PRIVATE)
        self.method.input(self.explain, **explained, **PRIVATE)

    def show_none(self) -> Values:
        """No picture is shown large."""
        return {self.detail: "", self.corrections.tools: gr.update(visible=False), self.picked: None}

    @clears_on_errors(lambda message: {})
    def pick(
        self, values: Values, event: gr.EventData, request: gr.Request, progress: gr.Progress = gr.Progress()
    ) -> Values | Update:
        """Shows the picture that was clicked."""
        picked = values[self.shown][read_position(event, values[self.shown])]
        return {self.picked: picked} | self.draw_picked(values | {self.picked: picked}, request, progress)

    def explain(self, values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Values | Update:
        """Shows the same picture with a map of another method."""
        return self.draw_picked(values, request, progress) if values[self.picked] else gr.skip()

    def draw_picked(self, values: Values, request: gr.Request, progress: gr.Progress) -> Values:
        """One picture large, with what speaks for the one class and the other."""
        tools: Values = {self.corrections.tools: gr.update(visible=True)}

        @clears_on_errors(lambda message: {self.detail: empty_html(message)})
        def draw() -> Values:
            (part, index), method = values[self.picked], values[self.method]
            current = self.services.jobs.read(values[self.run] or "")
            view = open_errors(current, part)
            with self.services.watch(request, progress, METHODS[method].title, "errors-detail") as report:
                maps = contrast_picture(self.services.lab, current, view, index, method, progress=report)
            own = gr.update(visible=current.is_own)
            return {self.detail: draw_contrast(view, index, maps), self.corrections.tools: own}

        drawn = draw()
        return tools if drawn == gr.skip() else tools | drawn
