"""Errors as a visitor sees them."""

import inspect
import re
from html import unescape
from pathlib import Path

import gradio as gr
import pytest
import torch

from analysis.errors import Cancelled, UserError
from ui.widgets import errors
from ui.widgets.errors import (
    TITLE,
    Superseded,
    answers_errors,
    clears_on_errors,
    hide_paths,
    says_errors,
    shows_errors,
)
from ui.widgets.html import empty_html, sentence_html, table_html


def raiser(error: Exception):
    def handler():
        raise error

    return handler


@pytest.mark.parametrize("text", ["<a href='http://x'>\"resnet\"</a>", "a < b & c", "그런 모델은 없습니다 &lt;"])
def test_expected_errors_are_shown_as_text_not_as_html(text):
    with pytest.raises(gr.Error) as caught:
        shows_errors(raiser(UserError(text)))()
    shown = caught.value.message
    assert not re.search("[<>\"']", shown) and unescape(shown) == text


def test_the_api_answers_plain_text():
    with pytest.raises(gr.Error) as caught:
        says_errors(raiser(UserError("no model called <b>")))()
    assert caught.value.message == "no model called <b>"


def test_refusals_are_no_news_for_the_log():
    for decorate in (shows_errors, says_errors):
        with pytest.raises(gr.Error) as caught:
            decorate(raiser(UserError("no")))()
        assert not caught.value.print_exception


def test_a_message_is_escaped_once(monkeypatch):
    """By the pop-up message, which is HTML, and by nobody before it."""
    popped = []
    monkeypatch.setattr(gr, "Warning", lambda text, title: popped.append(text))
    assert clears_on_errors(lambda text: ("cleared", text))(raiser(UserError("a < b")))() == ("cleared", "a < b")
    assert popped == ["a &lt; b"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/runs/a/status.json is damaged.", "status.json is damaged."),
        ("There is no folder /srv/pictures.", "There is no folder pictures."),
        (r"C:\Users\jane\x.png is no picture", "x.png is no picture"),
        ('File "/srv/models/x.py", line 3', 'File "x.py", line 3'),
        (
            "see https://a.org/b/c.pth, run/NAME, 1/2 px and n/a",
            "see https://a.org/b/c.pth, run/NAME, 1/2 px and n/a",
        ),
        (f"{Path.home()}/my pictures/x.png", "my pictures/x.png"),
    ],
)
def test_visitors_are_shown_no_absolute_paths(text, shown):
    assert hide_paths(text) == shown
    with pytest.raises(gr.Error) as caught:
        says_errors(raiser(UserError(text)))()
    assert caught.value.message == shown


@pytest.mark.filterwarnings("ignore:Too big")
def test_the_old_result_is_cleared():
    assert clears_on_errors(lambda message: ("cleared", message))(raiser(UserError("Too big.")))() == (
        "cleared",
        "Too big.",
    )


BUGS = [ZeroDivisionError(), TypeError("x"), ValueError("x"), OverflowError("x"), RuntimeError("x"), OSError(5, "x")]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: type(bug).__name__)
def test_bugs_stay_bugs(bug):
    for decorate in (shows_errors, clears_on_errors(str)):
        with pytest.raises(type(bug)):
            decorate(raiser(bug))()


# Handlers that yield.


def streamer(error: Exception | type[Exception] | None, steps: int = 2):
    """Yields a few results before it fails."""

    def handler(prefix: str = "step"):
        """What it does."""
        for number in range(steps):
            yield f"{prefix} {number}"
        if error is not None:
            raise error

    return handler


@pytest.fixture
def infos(monkeypatch) -> list[str]:
    """What a visitor would be told."""
    told = []
    monkeypatch.setattr(gr, "Info", told.append)
    return told


def test_a_handler_that_yields_stays_one_and_keeps_its_name_and_results():
    for decorate in (shows_errors, clears_on_errors(str), answers_errors(str)):
        decorated = decorate(streamer(None, 3))
        assert inspect.isgeneratorfunction(decorated)
        assert (decorated.__name__, decorated.__doc__) == ("handler", "What it does.")
        assert list(decorated(prefix="part")) == ["part 0", "part 1", "part 2"]
    assert not inspect.isgeneratorfunction(shows_errors(raiser(UserError("x"))))


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UserError("A shift <b>too</b> far."), "A shift <b>too</b> far."),
        (UserError("No model."), "No model."),
        (torch.OutOfMemoryError("CUDA"), "The device has too little memory for this; try a smaller model."),
        (MemoryError(), "The device has too little memory for this; try a smaller model."),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
            "The device has too little memory for this; try a smaller model.",
        ),
        (OSError(28, "No space left"), "The disk is full (No space left); make room on it and try again."),
    ],
)
def test_what_goes_wrong_is_yielded_last(error, message, steps):
    results = list(answers_errors(lambda text: ("answer", text))(streamer(error, steps))())
    assert results == [*(f"step {number}" for number in range(steps)), ("answer", message)]


def test_a_stream_whose_outputs_stay_ends_with_the_message():
    results = []
    with pytest.raises(gr.Error) as caught:
        results.extend(shows_errors(streamer(UserError("Too big.")))())
    assert (caught.value.message, caught.value.title) == ("Too big.", TITLE)


@pytest.mark.filterwarnings("ignore:Too big")
def test_the_old_result_of_a_stream_is_cleared():
    assert list(clears_on_errors(lambda text: f"cleared: {text}")(streamer(UserError("Too big."), 1))()) == [
        "step 0",
        "cleared: Too big.",
    ]


@pytest.mark.parametrize(("reason", "told"), [(Cancelled, ["Cancelled."]), (Superseded, [])])
def test_a_cancelled_action_changes_nothing_and_a_superseded_one_is_silent(infos, reason, told):
    decorate = answers_errors(lambda text: pytest.fail(text))
    assert list(decorate(streamer(reason))()) == ["step 0", "step 1", gr.skip()]
    assert infos == told
    assert decorate(raiser(reason()))() == gr.skip()
    assert infos == told * 2


def test_bugs_in_streams_stay_bugs():
    for decorate in (shows_errors, clears_on_errors(str)):
        results = []
        with pytest.raises(ZeroDivisionError):
            results.extend(decorate(streamer(ZeroDivisionError()))())


def test_a_stream_that_nobody_listens_to_any_more_is_closed():
    """Gradio closes it when the browser has gone: what it holds must become free."""
    closed = []

    @shows_errors
    def handler():
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    stream = handler()
    assert next(stream) == 1
    stream.close()
    assert closed == [True]


def test_only_one_module_lets_messages_pop_up():
    """They show HTML: whoever makes one elsewhere would have to think of escaping."""
    folder = Path(errors.__file__).parent
    makers = [path.name for path in folder.glob("*.py") if re.search(r"gr\.(Error|Warning|Info)\(", path.read_text())]
    assert makers == ["errors.py"]


def test_the_page_shows_no_absolute_paths_either():
    text = "/srv/runs/a/status.json is <damaged>."
    for shown in (sentence_html(text), empty_html(text), table_html(["x"], [[text]])):
        assert "status.json is &lt;damaged&gt;." in shown and "srv" not in shown
