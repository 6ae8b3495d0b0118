"""Charts, and what they show in words."""

from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components.plot import PlotData

from analysis.figures.words import describe_figure


class Chart(gr.Plot):
    """A chart of plotly; ``assets/page.js`` gives what it shows in words to those who do not see it."""

    is_template = True  # tells gradio that the page's part of it is gr.Plot's

    def get_config(self, cls: type[Block] | None = None) -> dict[str, Any]:
        """Without the label "Plot", which would lie on the chart."""
        return super().get_config() | {"show_label": False}

    def postprocess(self, value: Any) -> PlotData | None:
        """The figure with its words as ``layout.meta``."""
        if value is not None:
            value.update_layout(meta={"words": describe_figure(value)})
        return super().postprocess(value)
