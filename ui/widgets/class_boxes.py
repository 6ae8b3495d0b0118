"""Boxes for the pictures of each class, which the browser fills from its camera and from files, and keeps here."""

import json
from pathlib import Path
from typing import Annotated, TypeVar

import gradio as gr
from pydantic import BaseModel, Field, ValidationError

from analysis.errors import UserError
from analysis.grammar import agree, count
from lab.own_pictures import MAX_BOXES, MAX_IN_BOX, BoxStore, read_small
from models.data.class_boxes import MAX_CLASS_NAME
from models.data.folders import MIN_IMAGES_PER_CLASS
from models.names import simplify
from models.problems import MAYBE_PROBLEMS
from ui.services import Services
from ui.widgets.errors import describe_error
from ui.widgets.events import QUICK

ASSETS = Path(__file__).parents[2] / "assets"
CAMERA = (ASSETS / "camera.js").read_text(encoding="utf-8")
"""Stands before the scripts that use a camera."""
SCRIPT = (ASSETS / "class_boxes.js").read_text(encoding="utf-8")
TEMPLATE = (ASSETS / "class_boxes.html").read_text(encoding="utf-8")
MAX_AT_ONCE = 200
Sent = TypeVar("Sent", bound=BaseModel)
Number = Annotated[int, Field(ge=0, lt=2**53)]


class _Box(BaseModel):
    name: str = Field(max_length=MAX_CLASS_NAME)
    pictures: list[Number] = Field(max_length=MAX_IN_BOX)


class Boxes(BaseModel):
    """What the browser says of its boxes: their key, and of each its name and the numbers of its pictures."""

    key: str = Field(pattern="^[0-9a-f]{32}$")
    boxes: list[_Box] = Field(max_length=MAX_BOXES)

    @property
    def numbers(self) -> list[int]:
        """Of all pictures."""
        return [number for box in self.boxes for number in box.pictures]


class _Pictures(BaseModel):
    pictures: Annotated[list[tuple[Number, str]], Field(max_length=MAX_AT_ONCE)]


def build_class_boxes(services: Services, elem_id: str) -> gr.HTML:
    """Lays out the boxes; the value is JSON as text, which :func:`find_boxes` and :func:`count_boxes` read."""
    limits = {"boxes": MAX_BOXES, "pictures": MAX_IN_BOX, "least": MIN_IMAGES_PER_CLASS, "name": MAX_CLASS_NAME}
    shown = gr.HTML(
        "",
        html_template=TEMPLATE.replace("LEAST", str(MIN_IMAGES_PER_CLASS)),
        # no props of its own: gradio forgets them with the first update
        js_on_load=f"const limits = {json.dumps(limits)};\n{CAMERA}{SCRIPT}",
        elem_id=elem_id,
        padding=False,
    )
    kept = gr.HTML("", html_template="", js_on_load=_HAND_ON, elem_id=f"{elem_id}-kept")

    def keep(text: str, event: gr.EventData, request: gr.Request) -> str:
        """Keeps pictures that were recorded or dropped; says which of those in the boxes are not here."""
        try:
            sent = read_sent(_Pictures, event._data).pictures
            boxes = read_boxes(text)
            message = _keep(services.boxes, request.session_hash or "", boxes, sent)
            missing = services.boxes.list_missing(boxes.key, boxes.numbers)
            return json.dumps({"sent": [number for number, _ in sent], "missing": missing, "message": message})
        except UserError as error:
            return json.dumps({"sent": [], "missing": [], "message": str(error)})

    shown.submit(keep, shown, kept, **QUICK)
    return shown


def _keep(store: BoxStore, owner: str, boxes: Boxes, sent: list[tuple[int, str]]) -> str:
    """Why pictures are not kept, or nothing."""
    try:
        store.keep(owner, boxes.key, {number: read_small(data) for number, data in sent}, set(boxes.numbers))
    except MAYBE_PROBLEMS as error:
        message = describe_error(error)
        if message is None:
            raise
        return message
    return ""


def read_sent(kind: type[Sent], value: object) -> Sent:
    """What a browser has sent. Raises UserError: it is not what the page sends."""
    try:
        return kind.model_validate_json(value) if isinstance(value, str) else kind.model_validate(value)
    except ValidationError as error:
        raise UserError("The boxes of pictures cannot be read; load the page again.") from error


def read_boxes(text: str | None) -> Boxes:
    """The value of the boxes. Raises UserError."""
    return read_sent(Boxes, text or "null")


def find_boxes(store: BoxStore, text: str | None) -> dict[str, list[str]]:
    """Class -> files of all boxes with pictures in them.

    Raises:
        UserError: A box with pictures has no name, two have the same, or pictures are not here.
    """
    found: dict[str, list[str]] = {}
    if not text:
        return found
    boxes = read_boxes(text)
    for place, box in enumerate(boxes.boxes, start=1):
        name = box.name.strip()
        if not box.pictures:
            continue
        if not name:
            raise UserError(
                f"Box {place} has {count(len(box.pictures), 'picture')} but no name; write the name of the class."
            )
        if simplify(name) in map(simplify, found):
            raise UserError(f"Two boxes are called {name!r}; every class has one box.")
        found[name] = store.find(boxes.key, box.pictures)
        if missing := len(box.pictures) - len(found[name]):
            raise UserError(
                f"{count(missing, 'picture')} of {name!r} {agree(missing, 'are')} not on the server yet, or no "
                "longer since the connection was lost. Wait a moment; if this stays, add a picture, and all are sent "
                "again."
            )
    return found


def count_boxes(text: str | None) -> int:
    """How many boxes have pictures in them."""
    return sum(bool(box.pictures) for box in read_boxes(text).boxes) if text else 0


_HAND_ON = "watch('value', () => { if (props.value) window.convscopeKept?.(JSON.parse(props.value)); });"
