"""Choosing own pictures: a zip that is uploaded, or a folder below the server's data root; no other path."""

from pathlib import Path

import gradio as gr

from models.errors import ModelsError
from ui import Services

OWN = "own"
"""The choice that stands for own pictures among named data sets."""


def build_own_data(services: Services, elem_id: str) -> tuple[gr.File, gr.Dropdown]:
    """The two controls; :func:`find_own_data` reads them."""
    upload = gr.File(file_types=[".zip"], label="A zip with one folder of pictures per class", height=120)
    folder = gr.Dropdown(list_folders(services), value=None, label="or a folder in the data root", elem_id=elem_id)
    return upload, folder


def find_own_data(services: Services, upload: str | None, folder: str | None) -> str:
    """The path that is meant.

    Raises:
        ModelsError: Nothing was chosen.
    """
    if upload:
        return upload
    if folder in list_folders(services):
        return str((services.lab.data_root / folder).resolve())
    raise ModelsError("Upload a zip with one folder of pictures per class, or choose a folder.")


def list_folders(services: Services) -> list[str]:
    """Folders in the data root that hold at least two folders."""
    root: Path = services.lab.data_root
    try:
        folders = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]
        return sorted(path.name for path in folders if sum(child.is_dir() for child in path.iterdir()) >= 2)
    except OSError:  # not there, or not to be read
        return []
