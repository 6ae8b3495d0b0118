"""The picture input of the workbench, and which files a visitor may name."""

from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from models.errors import ModelsError
from models.samples import list_samples


def check_picture_path(path: object) -> Path:
    """The path itself, if it is a file that was uploaded to this server, or a sample.

    A browser can send any path. Gradio refuses those outside its upload folder only if they come with its own
    mark, which a hostile client leaves out.

    Raises:
        ModelsError: Any other path.
    """
    uploads = Path(get_upload_folder()).resolve()
    try:
        resolved = Path(str(path)).resolve()
    except ValueError:  # a zero byte
        resolved = Path()
    samples = {sample.path.resolve() for sample in list_samples().values()}
    if resolved in samples or resolved.is_relative_to(uploads):
        return resolved
    raise ModelsError("Upload the picture first (gradio_client: handle_file), or name a sample.")


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
        try:
            return str(check_picture_path(payload.path))
        except ModelsError as error:
            raise gr.Error(str(error)) from error
