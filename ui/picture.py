"""The picture input of the workbench."""

import gradio as gr


class Picture(gr.Image):
    """An image input that hands on the uploaded file as it is.

    ``gr.Image`` opens and re-encodes the file before any handler runs, and shows a bare "Error" when it
    cannot. Here ``models.images.open_image`` is the only reader.
    """

    is_template = True  # tells gradio that the page's part of it is gr.Image's

    def preprocess(self, payload) -> str | None:
        """The path of the uploaded file, or None."""
        if payload is None or payload.path is None:
            return None
        return payload.path
