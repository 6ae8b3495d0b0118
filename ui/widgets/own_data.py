"""Choosing own pictures: an uploaded zip, a folder below the server's data root, or boxes for a camera and files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import gradio as gr

from analysis.errors import UserError
from lab.own_pictures import list_folders
from models.access import viewer
from ui.services import Services
from ui.widgets.class_boxes import build_class_boxes, find_boxes
from ui.widgets.events import Field, Update
from ui.widgets.switch import Switch

OWN = "own"
"""The choice that stands for own pictures among named data sets."""
SOURCES = {"files": "A zip, or a folder on the server", "boxes": "Class boxes: a camera, or files dropped into them"}


def build_own_data(services: Services, elem_id: str) -> tuple[gr.File, gr.Dropdown]:
    """The two controls; :func:`find_own_data` reads them, :func:`offer_folders` fills the second one."""
    upload = gr.File(file_types=[".zip"], label="A zip with one folder of pictures per class", height=120)
    folder = gr.Dropdown([], value=None, label="or a folder in the data root", elem_id=elem_id)
    return upload, folder


def offer_folders(services: Services) -> Update:
    """The folders as they are now; for a visitor, whom they are no business of, none and no list."""
    return gr.update(choices=list_folders(services.lab.data_root), visible=viewer().is_owner)


def find_own_data(services: Services, upload: str | None, folder: str | None) -> str:
    """The path that is meant.

    Raises:
        UserError: Nothing was chosen.
    """
    if upload:
        return upload
    if folder in list_folders(services.lab.data_root):
        return str(services.lab.data_root.absolute() / folder)
    raise UserError("Upload a zip with one folder of pictures per class, or choose a folder.")


@dataclass(frozen=True)
class OwnPictures:
    """All ways to own pictures in one place.

    Attributes:
        fields: ``own_source`` (a key of ``SOURCES``), ``zip``, ``folder`` and ``boxes``.
        find: Values by field -> path of the folder or zip that is meant; UserError if nothing is.
        is_upload: Values by field -> whether that is a file that may vanish, so that a run has to keep a copy.
        switch: What is there with each source.
    """

    fields: dict[str, Field]
    find: Callable[[Mapping], str]
    is_upload: Callable[[Mapping], bool]
    switch: Switch


def build_own_pictures(services: Services, elem_id: str) -> OwnPictures:
    """Lays out the choice between a zip or folder and class boxes; ids begin with ``elem_id``."""
    source = gr.Radio(
        [(title, name) for name, title in SOURCES.items()],
        value="files",
        label="Where the pictures are",
        elem_id=f"{elem_id}-source",
    )
    with gr.Row() as files:
        upload, folder = build_own_data(services, f"{elem_id}-folder")
    with gr.Column(visible=False) as boxes:
        fields: dict[str, Field] = {"own_source": source, "zip": upload, "folder": folder}
        fields["boxes"] = build_class_boxes(services, f"{elem_id}-boxes")
    switch = Switch(source, {files: ["files"], boxes: ["boxes"]})

    def find(values: Mapping) -> str:
        if values["own_source"] == "boxes":
            return str(services.boxes.pack(find_boxes(services.boxes, values["boxes"])))
        return find_own_data(services, values["zip"], values["folder"])

    return OwnPictures(fields, find, lambda values: values["own_source"] == "boxes" or bool(values["zip"]), switch)
