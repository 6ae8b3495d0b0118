"""Pieces of the page: numbers in words, and no text from outside that becomes HTML."""

import ast
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import gradio as gr
import numpy as np
import orjson
import pytest
from markupsafe import Markup

from analysis.network.predict import Prediction
from ui.widgets.html import (
    bars_html,
    describe_estimate,
    describe_shift,
    empty_html,
    figure_html,
    format_count,
    format_percent,
    list_html,
    note_html,
    one_of,
    progress_html,
    row_html,
    scale_html,
    sentence_html,
    table_html,
)

EVIL = "<img src=x onerror=alert(1)> \"quoted\" & 'more' </td></figcaption> 사진 {0} &lt;"
UI = Path(__file__).parents[4] / "ui"
VOID = ("img", "br")


class Reader(HTMLParser):
    """The elements, attributes and text of a piece of HTML; fails where tags are not closed in order."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.attributes, self.texts, self._open = [], [], [], []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def write_table(text: str) -> str:
    return table_html([text, "b"], [[text, 1.5], [None, text]])


PIECES = {
    "table": (write_table, 3),
    "sentence": (sentence_html, 1),
    "empty": (empty_html, 1),
    "note": (note_html, 1),
    "list": (lambda text: list_html(text, [text]), 2),
    "in a cell": (lambda text: table_html(["a"], [[sentence_html(text)]]), 1),
    "bars": (lambda text: bars_html([Prediction(0, text, 0.5)]), 1),
    "figure": (lambda text: figure_html(np.zeros((2, 2, 3), np.uint8), text, text), 1),
}


@pytest.mark.parametrize("name", PIECES)
def test_text_from_outside_stays_text(name):
    write, times = PIECES[name]
    evil, harmless = Reader(write(EVIL)), Reader(write("harmless"))
    assert evil.tags == harmless.tags
    assert [key for key, _ in evil.attributes] == [key for key, _ in harmless.attributes]
    assert evil.texts.count(EVIL) == harmless.texts.count("harmless") == times


def test_no_html_is_made_by_hand():
    """An f-string would not escape what is put into it, and would make text of what is HTML."""
    by_hand = [
        f"{path.name}:{node.lineno}"
        for path in UI.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.JoinedStr)
        and re.search(r"</?[a-z]+[ >]", "".join(part.value for part in node.values if isinstance(part, ast.Constant)))
    ]
    assert by_hand == []


def test_html_reaches_the_browser_as_it_is():
    """Gradio writes events with orjson and json."""
    value = gr.HTML().postprocess(sentence_html(EVIL))
    assert isinstance(value, Markup)
    sent = gr.update(value=value)
    assert orjson.loads(orjson.dumps(sent)) == json.loads(json.dumps(sent)) == {**sent, "value": str(value)}


def test_the_description_of_a_picture_stays_in_its_attribute():
    page = Reader(figure_html(np.zeros((2, 2, 3), np.uint8), "caption", EVIL))
    assert dict(page.attributes)["alt"] == EVIL
    assert dict(page.attributes)["src"].startswith("data:image/png;base64,")


def test_a_table_has_its_cells_in_order():
    page = Reader(table_html(["model", "consistency"], [["a", 0.5], ["b", None]]))
    assert page.texts == ["model", "consistency", "a", "0.5", "b", "None"]
    assert page.tags == ["div", "table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td", "tr", "td", "td"]
    # It scrolls sideways: by keyboard too, and with a name for those who do not see it.
    assert {"tabindex": "0", "role": "region"}.items() <= dict(page.attributes).items()
    assert Reader(table_html(iter(["only"]), iter([]))).tags == ["div", "table", "thead", "tr", "th", "tbody"]


@pytest.mark.parametrize(
    ("estimate", "text", "difference"),
    [
        ({"value": 0.912, "low": 0.904, "high": 0.92}, "91.2 % [90.4, 92.0]", "+91.2 % [+90.4, +92.0]"),
        ({"value": -0.0125, "low": -0.5, "high": 0.25}, "-1.2 % [-50.0, 25.0]", "-1.2 % [-50.0, +25.0]"),
        ({"value": 0.0, "low": 0.0, "high": 0.0}, "0.0 % [0.0, 0.0]", "+0.0 % [+0.0, +0.0]"),
        ({"value": 0.5, "low": None, "high": None}, "50.0 %", "+50.0 %"),
        ({"value": 1}, "100.0 %", "+100.0 %"),
        ({"value": None, "low": None, "high": None}, "–", "–"),
        (None, "–", "–"),
    ],
)
def test_estimates_in_words(estimate, text, difference):
    assert describe_estimate(estimate) == text
    assert describe_estimate(estimate, is_difference=True) == difference


@pytest.mark.parametrize(
    ("dx", "dy", "text"),
    [
        (0, 0, "Not shifted"),
        (3, -2, "Shifted 3 px right and 2 px up"),
        (-1, 0, "Shifted 1 px left"),
        (0, 0.25, "Shifted 0.25 px down"),
        (-2.5, 4.0, "Shifted 2.5 px left and 4 px down"),
        (-0.0, 0.0, "Not shifted"),
    ],
)
def test_shifts_in_words(dx, dy, text):
    assert describe_shift(dx, dy) == text


@pytest.mark.parametrize(
    ("probability", "text"),
    [(1, "100 %"), (0.386, "39 %"), (0.0421, "4.2 %"), (0.00314, "0.31 %"), (1e-5, "<0.01 %"), (0, "<0.01 %")],
)
def test_percentages_have_two_digits(probability, text):
    assert format_percent(probability) == text


def test_percentages_can_have_so_many_decimals():
    assert [format_percent(0.9149, digits) for digits in (0, 1, 2)] == ["91 %", "91.5 %", "91.49 %"]


def test_a_number_in_a_table_stays_on_one_line():
    row = row_html(["91.2 % [90.4, -0.5]", "a, 3 or 4", Markup("<b>5 %</b>")])
    assert Reader(row).texts == ["91.2\u00a0% [90.4,\u00a0-0.5]", "a, 3 or 4", "5 %"]


def test_counts_have_separators():
    assert [format_count(number) for number in (0, 3210, 4_652_008)] == ["0", "3,210", "4.7 million"]


def test_bars_have_the_length_of_their_probability_and_one_is_marked():
    page = Reader(bars_html([Prediction(3, "cat", 0.75), Prediction(1, "dog", 0.001)], mark=1))
    assert [value for key, value in page.attributes if key == "style"] == ["width:75.0%", "width:0.1%"]
    assert page.texts == ["cat", "75 %", "dog", "0.10 %"]
    assert [value for key, value in page.attributes if key == "class"].count("marked") == 1


def test_scales_name_their_ends():
    assert Reader(scale_html(0.12345)).texts == ["-0.123", "0", "0.123"]
    assert Reader(scale_html(2, colors="viridis")).texts == ["0", "2"]
    assert "width:50.0%" in progress_html(0.5)


def test_links_may_only_name_what_there_is():
    read = one_of(["zero", "crop"])
    assert read("crop") == "crop"
    with pytest.raises(ValueError, match="wrap"):
        read("wrap")
