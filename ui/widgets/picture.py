"""The picture input of the workbench, and which files a visitor may name."""

import tempfile
from collections.abc import Collection
from pathlib import Path

import gradio as gr
from gradio.data_classes import ImageData
from gradio.utils import get_upload_folder
from PIL import Image

from analysis.errors import Progress, UserError, no_progress
from lab.session import Lab
from models.data.decoding.formats import read_format
from models.data.samples import list_samples
from ui.widgets.errors import refuse

PREVIEW_SIDE = 1024
_SHOWN_BY_BROWSERS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF")
_PREVIEW = ".preview.png"


def check_picture_path(path: object) -> Path:
    """The path itself, if it is a file that was uploaded to this server, or a sample.

    A browser can send any path. Gradio refuses those outside its upload folder only if they come with its own
    mark, which a hostile client leaves out.

    Raises:
        UserError: Any other path.
    """
    known = {sample.path.resolve() for sample in list_samples().values()}
    return check_upload(path, "Upload the picture first (gradio_client: handle_file), or name a sample.", known)


def check_upload(path: object, refusal: str, known: Collection[Path] = ()) -> Path:
    """The path itself, if it is a file that was uploaded to this server, or one of those that are ``known``.

    Raises:
        UserError: Any other path; says the ``refusal``.
    """
    try:
        resolved = Path(str(path)).resolve()
    except ValueError:  # a zero byte
        resolved = Path()
    if resolved in known or resolved.is_relative_to(Path(get_upload_folder()).resolve()):
        return resolved
    raise UserError(refusal)


class Picture(gr.Image):
    """An image input that hands on the uploaded file as it is.

    ``gr.Image`` opens and re-encodes the file before any handler runs, and shows a bare "Error" when it
    cannot. Here ``models.data.images.open_image`` is the only reader.
    """

    is_template = True  # tells gradio that the page's part of it is gr.Image's

    def preprocess(self, payload: ImageData | None) -> str | None:
        """The path of the uploaded file, or None."""
        if payload is None or payload.path is None:
            return None
        original = payload.path.removesuffix(_PREVIEW)
        try:
            return str(check_picture_path(original if Path(original).is_file() else payload.path))
        except UserError as error:
            refuse(str(error))


def make_preview(lab: Lab, path: str | None, progress: Progress = no_progress) -> str | None:
    """A small PNG beside an uploaded picture that browsers do not show, such as a TIFF; None where none is needed.

    :class:`Picture` takes it for the picture that it lies beside. ``progress`` is that of ``Lab.open_image``.
    """
    if path is None or read_format(path) in _SHOWN_BY_BROWSERS:
        return None
    try:
        image = lab.open_image(path, progress)
    except UserError:  # the open tab says why
        return None
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BOX)
    preview = Path(path + _PREVIEW)
    with tempfile.NamedTemporaryFile(dir=preview.parent, suffix=".png", delete=False) as file:
        image.save(file, "PNG")
    return str(Path(file.name).replace(preview))
