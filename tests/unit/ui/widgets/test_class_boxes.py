"""What browsers send of their class boxes is read with care, and becomes a data set."""

import base64
import io
import json
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from lab.own_pictures import MAX_BOXES, MAX_IN_BOX, MAX_SMALL_BYTES, BoxStore
from models.data.datasets import load_dataset
from tests.own_pictures import noise
from tests.sentences import refused
from ui.services import Services
from ui.widgets.class_boxes import build_class_boxes, count_boxes, find_boxes

KEY, OTHER_KEY = "0123456789abcdef" * 2, "f" * 32


def jpeg(seed: int = 0) -> str:
    return base64.b64encode(noise(seed, "JPEG")).decode()


def write(*boxes: tuple[str, list], key: str = KEY) -> str:
    return json.dumps({"key": key, "boxes": [{"name": name, "pictures": numbers} for name, numbers in boxes]})


@pytest.fixture
def store() -> BoxStore:
    return BoxStore()


@pytest.fixture
def send(store):
    """Sends pictures as a page does; gives the answer."""
    with gr.Blocks() as page:
        build_class_boxes(Services(None, None, boxes=store), "boxes")
    keep = next(fn.fn for fn in page.fns.values() if fn.name == "keep")

    def call(text: object, pictures: object, session: str = "ann") -> dict:
        event = gr.EventData(None, {"pictures": pictures})
        return json.loads(keep(text, event, gr.Request(session_hash=session)))

    return call


def test_pictures_that_were_sent_become_a_data_set(store, send, tmp_path):
    boxes = write(("컵", list(range(6))), ("no <cup>", list(range(6, 12))), ("", []))
    first = send(boxes, [[number, jpeg(number)] for number in range(8)])
    assert first == {"sent": list(range(8)), "missing": [8, 9, 10, 11], "message": ""}
    with refused("4", "no <cup>"):
        find_boxes(store, boxes)
    assert send(boxes, [[number, jpeg(number)] for number in range(8, 12)])["missing"] == []
    assert count_boxes(boxes) == 2
    loaded = load_dataset(store.pack(find_boxes(store, boxes)), data_root=tmp_path, seed=0, image_size=16)
    assert loaded.categories == ("no _cup_", "컵")
    assert len(loaded.train) + len(loaded.validation) + len(loaded.test) == 12


@pytest.mark.parametrize(
    "boxes",
    [
        [("cup", [0, 1]), (" ", [2])],
        [("cup", [0]), ("ＣＵＰ ", [1])],
        [("cup", [0]), ("x" * 61, [1])],
        [("cup", [0]), (["cup"], [1])],
        [("cup", [-1])],
        [("cup", ["../../etc/passwd"])],
        pytest.param([("cup", list(range(MAX_IN_BOX + 1)))], id="many pictures"),
        pytest.param([(str(number), []) for number in range(MAX_BOXES + 1)], id="many boxes"),
    ],
    ids=str,
)
def test_names_and_numbers_that_no_page_sends_are_refused(store, send, boxes):
    send(write(("cup", [0, 1, 2])), [[number, jpeg(number)] for number in range(3)])
    with refused():
        find_boxes(store, write(*boxes))


def test_keys_that_lead_elsewhere_are_refused(store, send):
    for key in ("", "..", "../" * 8 + "12345678", "A" * 32, "0" * 31, KEY + "\n"):
        assert "load the page again" in send(write(("cup", [0]), key=key), [[0, jpeg()]])["message"]
    for text in (None, "", "[]", "{}", "not json", "null"):
        assert "load the page again" in send(text, [[0, jpeg()]])["message"]
    assert find_boxes(store, None) == {} and count_boxes("") == 0


def too_wide() -> str:
    file = io.BytesIO()
    Image.new("L", (5000, 300)).save(file, "JPEG")
    return base64.b64encode(file.getvalue()).decode()


def too_heavy() -> str:
    return base64.b64encode(b"\xff\xd8\xff" + bytes(MAX_SMALL_BYTES)).decode()


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        ("%%%", "did not arrive"),
        (base64.b64encode(noise(0)).decode(), "is no JPEG"),  # a PNG
        (base64.b64encode(b"\xff\xd8\xff\xe0 and then nothing").decode(), "cannot be read as a picture"),
        (jpeg()[:400], "cannot be read as a picture"),
        (too_wide(), "pixels"),
        (too_heavy(), "256 KB"),
        (7, "load the page again"),
        ([0], "load the page again"),
    ],
)
def test_wrong_bytes_are_refused_and_nothing_of_their_batch_is_kept(store, send, picture, words):
    boxes = write(("cup", [0, 1, 2]))
    assert send(boxes, [[0, jpeg()]])["message"] == ""
    answer = send(boxes, [[1, jpeg(1)], [2, picture]])
    assert words in answer["message"]
    assert store.list_missing(KEY, [0, 1, 2]) == [1, 2]


def test_what_is_sent_at_once_and_altogether_is_bounded(store, send, monkeypatch):
    monkeypatch.setattr("lab.own_pictures.MAX_VISITOR_BYTES", 3 * len(noise(0, "JPEG")))
    assert "load the page again" in send(write(("cup", [])), [[0, jpeg()]] * 201)["message"]
    assert send(write(("cup", [0, 1])), [[0, jpeg()], [1, jpeg()]])["message"] == ""
    assert "at most" in send(write(("cup", [0, 1, 2, 3])), [[2, jpeg()], [3, jpeg()]])["message"]
    assert store.list_missing(KEY, [0, 1, 2, 3]) == [2, 3]
    assert send(write(("cup", [1, 2, 3])), [[2, jpeg()], [3, jpeg()]])["message"] == ""  # 0 was taken out of its box
    assert store.list_missing(KEY, [0, 1, 2, 3]) == [0]


def test_pictures_belong_to_their_visitor_and_go_with_them(store, send):
    boxes = write(("cup", [0]))
    send(boxes, [[0, jpeg()]])
    (file,) = find_boxes(store, boxes)["cup"]
    assert np.asarray(Image.open(file)).shape == (24, 24, 3)
    assert "another page" in send(boxes, [[0, jpeg(1)]], session="bob")["message"]
    services = Services(None, None, boxes=store)
    services.leave(gr.Request(session_hash="bob"))
    assert find_boxes(store, boxes)["cup"] == [file]
    services.leave(gr.Request(session_hash="ann"))
    assert store.list_missing(KEY, [0]) == [0]
    assert not Path(file).exists()


def test_a_page_that_is_loaded_again_takes_the_place_of_the_one_before_and_the_oldest_make_room(
    store, send, monkeypatch
):
    send(write(("cup", [0])), [[0, jpeg()]])
    send(write(("cup", [0]), key=OTHER_KEY), [[0, jpeg()]])
    assert store.list_missing(KEY, [0]) == [0] and store.list_missing(OTHER_KEY, [0]) == []
    monkeypatch.setattr("lab.own_pictures.MAX_KEPT_BYTES", len(noise(0, "JPEG")))
    send(write(("cup", [0])), [[0, jpeg()]], session="bob")
    assert store.list_missing(KEY, [0]) == [] and store.list_missing(OTHER_KEY, [0]) == [0]
