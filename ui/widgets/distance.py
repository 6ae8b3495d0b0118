"""The sliders for shifts, whose ends follow the model."""

import gradio as gr


class Distance(gr.Slider):
    """A slider that draws values beyond its ends back to them.

    ``gr.Slider`` refuses such values. But after a change of model the page may still send the old value while the
    new ends are already known here.
    """

    is_template = True  # tells gradio that the page's part of it is gr.Slider's

    def preprocess(self, payload: float) -> float:
        """The nearest possible value."""
        return min(max(float(payload), self.minimum), self.maximum)
