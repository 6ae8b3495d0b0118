"""Errors as a visitor sees them."""

import gradio as gr
import pytest

from analysis.errors import AnalysisError
from models.errors import ModelsError
from ui.errors import clears_on_errors, shows_errors


def raiser(error: Exception):
    def handler():
        raise error

    return handler


@pytest.mark.parametrize("kind", [ModelsError, AnalysisError])
def test_expected_errors_are_shown_as_text_not_as_html(kind):
    with pytest.raises(gr.Error) as caught:
        shows_errors(raiser(kind("no model called <a href='http://x'>resnet</a>")))()
    assert caught.value.message == "no model called &lt;a href='http://x'&gt;resnet&lt;/a&gt;"


@pytest.mark.filterwarnings("ignore:Too big")
def test_the_old_result_is_cleared():
    assert clears_on_errors(lambda message: ("cleared", message))(raiser(ModelsError("Too big.")))() == (
        "cleared",
        "Too big.",
    )


def test_bugs_stay_bugs():
    for decorate in (shows_errors, clears_on_errors(str)):
        with pytest.raises(ZeroDivisionError):
            decorate(raiser(ZeroDivisionError()))()
