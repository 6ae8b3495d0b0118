"""Rows of small pictures to click."""

from collections.abc import Iterable
from pathlib import Path

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from ui.services import Services


def build_thumbnails(elem_id: str, columns: int) -> gr.Gallery:
    """An empty gallery whose pictures are there to be chosen; takes what :func:`write_thumbnails` returns."""
    return gr.Gallery(
        show_label=False,
        columns=columns,
        height="auto",
        allow_preview=False,
        object_fit="contain",
        format="png",
        buttons=[],
        interactive=False,
        elem_id=elem_id,
    )


def write_thumbnails(services: Services, pictures: Iterable[tuple[NDArray[np.uint8], str]]) -> list[tuple[Path, str]]:
    """Pictures ``(H, W, 3)`` RGB with captions as files, which gradio never writes a second time.

    It would write an array anew whenever it is shown again, also while a browser is reading that file.
    """
    from PIL import Image

    written = []
    for picture, caption in pictures:
        path = services.new_file("picture.png")
        Image.fromarray(picture).save(path)
        written.append((path, caption))
    return written
