"""Buttons that save a result as files."""

import json
from pathlib import Path

import gradio as gr
import pytest

from lab.jobs import JobManager
from lab.session import Lab
from ui.services import Services
from ui.widgets.downloads import ResultFiles, name_file


@pytest.fixture
def files(tmp_path) -> ResultFiles:
    with gr.Blocks():
        return ResultFiles(
            Services(Lab("cpu", tmp_path, tmp_path), JobManager(tmp_path)), "x", {"json": "J", "csv": "C"}
        )


def test_a_file_has_what_is_offered_and_a_button_without_one_is_hidden(files):
    row, document, sheet = files.offer("사진", json={"a": ["<b>"]}, csv="")
    assert row["visible"] and document["visible"] and not sheet["visible"] and sheet["value"] is None
    assert Path(document["value"]).name == "사진.json"
    assert json.loads(Path(document["value"]).read_text()) == {"a": ["<b>"]}
    *_, sheet = files.offer("a", csv="a\r\n1\r\n")
    assert Path(sheet["value"]).read_bytes() == b"a\r\n1\r\n"


def test_what_is_withdrawn_can_be_saved_no_more(files):
    assert files.withdraw() == (gr.update(visible=False), None, None)
    assert len(files.withdraw()) == len(files.offer("a", json=1)) == len(files.outputs)
    with pytest.raises(ValueError, match="JSON"):
        files.offer("a", json=float("nan"))


def test_a_file_is_named_by_what_it_is_about():
    assert name_file("shift-map", "my cat/1", "run/a b", "net_v1.5") == "shift-map-my_cat_1-run_a_b-net_v1.5"
