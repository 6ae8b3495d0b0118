"""Choosing own pictures: an uploaded zip, a folder below the server's data root, or boxes to drop them into."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import gradio as gr

from analysis.errors import UserError
from lab.own_pictures import BoxStore, list_folders
from models.names import simplify
from ui.services import Services
from ui.widgets.events import Field
from ui.widgets.switch import Switch

OWN = "own"
"""The choice that stands for own pictures among named data sets."""
SOURCES = {"files": "A zip, or a folder on the server", "boxes": "Class boxes to drop pictures into"}
FIRST_BOXES, MAX_BOXES = 2, 6


def build_own_data(services: Services, elem_id: str) -> tuple[gr.File, gr.Dropdown]:
    """The two controls; :func:`find_own_data` reads them."""
    upload = gr.File(file_types=[".zip"], label="A zip with one folder of pictures per class", height=120)
    folder = gr.Dropdown(
        list_folders(services.lab.data_root), value=None, label="or a folder in the data root", elem_id=elem_id
    )
    return upload, folder


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
        fields: ``own_source`` (a key of ``SOURCES``), ``zip``, ``folder``, and ``box_name_1``, ``box_files_1`` to
            ``MAX_BOXES``.
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
    store = BoxStore()
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
        fields |= _build_boxes(elem_id)
    switch = Switch(source, {files: ["files"], boxes: ["boxes"]})

    def find(values: Mapping) -> str:
        if values["own_source"] == "boxes":
            return str(store.pack(read_boxes(values)))
        return find_own_data(services, values["zip"], values["folder"])

    return OwnPictures(fields, find, lambda values: values["own_source"] == "boxes" or bool(values["zip"]), switch)


def read_boxes(values: Mapping) -> dict[str, list[str]]:
    """Class -> files of all boxes with pictures in them.

    Raises:
        UserError: A box with pictures has no name, or two have the same.
    """
    found: dict[str, list[str]] = {}
    for number in range(1, MAX_BOXES + 1):
        name, files = str(values[f"box_name_{number}"] or "").strip(), values[f"box_files_{number}"]
        if not files:
            continue
        if not name:
            raise UserError(f"Box {number} has {len(files)} pictures but no name; write the name of the class.")
        if simplify(name) in map(simplify, found):
            raise UserError(f"Two boxes are called {name!r}; every class has one box.")
        found[name] = list(files)
    return found


def count_boxes(values: Mapping) -> int:
    """How many boxes have pictures in them."""
    return sum(bool(values[f"box_files_{number}"]) for number in range(1, MAX_BOXES + 1))


def _build_boxes(elem_id: str) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    groups = []
    with gr.Row():
        for number in range(1, MAX_BOXES + 1):
            with gr.Column(min_width=220, visible=number <= FIRST_BOXES) as group:
                fields[f"box_name_{number}"] = gr.Textbox(
                    label=f"Class {number}",
                    placeholder="its name, such as cats",
                    max_length=60,
                    elem_id=f"{elem_id}-box-name-{number}",
                )
                fields[f"box_files_{number}"] = gr.File(
                    file_count="multiple",
                    label=f"Pictures of class {number}",
                    height=140,
                    elem_id=f"{elem_id}-box-{number}",
                )
            groups.append(group)
    add = gr.Button("Add a class", size="sm", min_width=120, scale=0, elem_id=f"{elem_id}-add-class")
    shown = gr.Number(FIRST_BOXES, visible=False)
    add.click(None, shown, [shown, *groups, add], js=_ADD.replace("MAX", str(MAX_BOXES)))
    return fields


_ADD = """(shown) => {
    const count = Math.min(shown + 1, MAX), update = (change) => ({__type__: "update", ...change});
    const groups = Array.from({length: MAX}, (_, number) => update({visible: number < count}));
    return [count, ...groups, update({interactive: count < MAX})];
}"""
