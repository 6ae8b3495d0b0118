"""A network before a camera answers to small pictures, and to nothing else."""

import base64
import io
import json
import logging
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from lab.jobs import JobManager
from lab.session import Lab
from tests.device import DEVICE
from ui.services import Services
from ui.train.results.live import NO_RUN, Live
from ui.widgets.html import format_percent


def jpeg(width: int = 60, kind: str = "JPEG") -> str:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, 40)).save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


@pytest.fixture
def panel(tmp_path, make_run) -> Live:
    make_run(tmp_path)
    with gr.Blocks():
        return Live(Services(Lab(DEVICE, runs_root=tmp_path), JobManager(tmp_path)), gr.Dropdown([]))


def test_a_picture_is_answered_with_the_best_class_and_bars(panel):
    told = panel.stage.answer({"model": "run/tiny", "picture": jpeg()})
    categories = json.loads(panel.refresh({panel.run: "tiny"})[panel.stage])["classes"]
    assert told["best"] in categories and told["ms"] > 0
    assert told["bars"].count("<li") == len(categories) == 3
    assert json.loads(json.dumps(told)) == told


@pytest.mark.parametrize(("classes", "share", "is_sure"), [(2, 0.8, True), (2, 0.7, False), (1000, 0.11, True)])
def test_a_headline_says_where_it_is_hardly_more_than_a_guess(panel, monkeypatch, classes, share, is_sure):
    best = SimpleNamespace(category="cup", probability=share, index=0)
    model = SimpleNamespace(categories=("cup",) * classes)
    found = SimpleNamespace(predictions=[best], model=model, ms=1.0)
    monkeypatch.setattr(panel.services.lab, "classify", lambda *about: found)
    told = panel.stage.answer({"model": "run/tiny", "picture": jpeg()})
    assert format_percent(share) in told["said"] and ("hardly sure" not in told["said"]) == is_sure


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"model": "run/tiny", "picture": "%"}, "did not arrive"),
        ({"model": "run/tiny", "picture": jpeg(kind="PNG")}, "no JPEG"),
        ({"model": "run/tiny", "picture": jpeg(30_000)}, "pixels"),
        ({"model": "run/gone", "picture": jpeg()}, "gone"),
        ({"model": "run/../tiny", "picture": jpeg()}, "A run name has"),
        ({"model": "efficientnet_lite0", "picture": jpeg()}, NO_RUN),
        ({"model": "run/tiny"}, "load the page again"),
        ({"model": ["run/tiny"], "picture": jpeg()}, "load the page again"),
        (None, "load the page again"),
        ([1, 2], "load the page again"),
    ],
)
def test_anything_else_is_refused_in_a_sentence(panel, sent, words, caplog):
    with caplog.at_level(logging.ERROR):
        told = panel.stage.answer(sent)
    assert words in told["message"] and set(told) == {"message"}
    assert not caplog.records  # none of it is a bug


def test_without_a_network_it_says_what_to_do(panel):
    assert json.loads(panel.refresh({panel.run: None})[panel.stage]) == {"message": NO_RUN}
    assert "gone" in json.loads(panel.refresh({panel.run: "gone"})[panel.stage])["message"]
