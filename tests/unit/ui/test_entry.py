"""What comes in from a browser is checked before anything happens, and only bugs are news for the log."""

import logging

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from analysis.errors import UserError
from tests.asynchronous import run_alone
from tests.sentences import refused
from ui.entry import Page, check_inputs, is_clean, read_position
from ui.widgets.distance import Distance
from ui.widgets.errors import BUG, TITLE
from ui.widgets.picture import Picture

FILE = {"path": "/x", "meta": {"_type": "gradio.FileData"}}
CASES = {
    "slider": (lambda: gr.Slider(0, 9, label="Setting"), [3, 0.5], [None, "3", True, [3], {}, 10**400, 1e300]),
    "distance": (lambda: Distance(0, 9, label="Setting"), [3, -0.5], [None, "far", [1]]),
    "number": (lambda: gr.Number(label="Setting"), [3, None], ["3", True, [], 2**70]),
    "checkbox": (lambda: gr.Checkbox(label="Setting"), [True, None], ["false", 1, []]),
    "group": (lambda: gr.CheckboxGroup(["a"], label="Setting"), [["a"], [], None], ["a", {}, [["a"]]]),
    "dropdown": (lambda: gr.Dropdown(["a"], label="Setting"), ["a", None], [["a"], {}, [["a"]]]),
    "dropdown for several": (
        lambda: gr.Dropdown(["a"], multiselect=True, label="Setting"),
        [["a"], [], None],
        ["a", {}, [["a"]]],
    ),
    "radio": (lambda: gr.Radio(["a"], label="Setting"), ["a", None], [["a"], {}]),
    "text": (lambda: gr.Textbox(label="Setting"), ["a", None], [3, ["a"], {}]),
    "file": (lambda: gr.File(label="Setting"), [FILE, [FILE], None], ["/etc/passwd", {"path": 3}, [3], True]),
    "picture": (lambda: Picture(label="Setting"), [FILE, None], ["/etc/passwd", {}, [FILE]]),
}
UNCLEAN = ["\ud800", ["\udfff"], {"a\ud800": 1}, float("nan"), [float("inf")], [[[[[[[[[[1]]]]]]]]]]]


@pytest.mark.parametrize("name", CASES)
def test_a_value_of_the_wrong_kind_is_refused_by_the_name_of_its_setting(name):
    make, good, bad = CASES[name]
    with gr.Blocks():
        component = make()
    for value in good:
        check_inputs([component], [value])
    for value in [*bad, *UNCLEAN]:
        with refused():
            check_inputs([component], [value])


def test_too_few_values_are_refused_and_states_are_the_servers():
    with gr.Blocks():
        state, text = gr.State(), gr.Textbox()
    check_inputs([state, text], [object(), "x", "more"])
    with refused("2", "1"):
        check_inputs([state, text], ["x"])


def test_ordinary_values_are_clean():
    assert is_clean([{"a": [None, True, "사진", 1.5, FILE]}]) and not any(map(is_clean, UNCLEAN))


@pytest.mark.parametrize("data", [None, {}, [1], {"index": "a"}, {"index": -1}, {"index": 2}, {"index": [0, 1]}])
def test_a_click_on_nothing_is_refused(data):
    assert read_position(gr.EventData(None, {"index": 1}), "ab") == 1
    with pytest.raises(UserError):
        read_position(gr.EventData(None, data), "ab")


@pytest.fixture
def call(caplog):
    """Sends a value to an event with one text as input; gives the error that is answered and the log."""

    def call(function, value, **listener):
        with Page() as page:
            text = gr.Textbox(label="Setting")
            text.change(function, text, text, **listener)
        caplog.clear()
        with pytest.raises(gr.Error) as caught, caplog.at_level(logging.INFO):
            run_alone(page.process_api(0, [value], request=gr.Request()))
        assert not caught.value.print_exception and caught.value.title == TITLE
        return caught.value.message, caplog.text

    return call


def raiser(error: Exception):
    def handler(text):
        raise error

    return handler


@pytest.mark.parametrize("error", [TypeError("/srv/x"), ValueError("x"), OverflowError(), RuntimeError("x")])
def test_a_bug_is_one_honest_sentence_and_a_traceback_in_the_log(call, error):
    message, log = call(raiser(error), "x")
    assert message == BUG and "Traceback" in log and type(error).__name__ in log


@pytest.mark.parametrize("error", [UserError("a < b"), gr.Error("a < b")])
def test_a_refusal_is_a_sentence_and_nothing_in_the_log(call, error):
    """Also where a handler is not decorated, and where gradio itself refuses a value."""
    assert call(raiser(error), "x", api_visibility="private") == ("a &lt; b", "")
    assert call(raiser(error), "x", api_visibility="public") == ("a < b", "")


def test_what_cannot_come_in_does_not_reach_the_handler(call):
    assert call(raiser(AssertionError()), 5) == ("Setting must be a text, not 5.", "")


@pytest.mark.parametrize("case", ["dictionary", "tuple", "nothing", "several"])
def test_what_a_handler_does_not_change_is_not_made_anew_and_the_answer_is_gradios(case, monkeypatch):
    found, described, describe = [], [], gr.Number.get_config
    monkeypatch.setattr(gr.Number, "get_config", lambda self: described.append(self) or describe(self))
    for kind in (gr.Blocks, Page):
        with kind() as page:
            text, number, kept = gr.Textbox(), gr.Number(), gr.State(0)
            returned = {
                "dictionary": {text: "a"},
                "tuple": ("a", gr.skip(), 5),
                "nothing": gr.skip(),
                "several": {text: gr.update(label="b"), kept: 7},
            }[case]
            text.submit(lambda returned=returned: returned, None, [text, number, kept])
        state = SessionState(page)
        described.clear()
        answer = run_alone(page.process_api(0, [], request=gr.Request(), state=state))["data"]
        found.append((answer, state[kept._id], len(described)))
    (gradios, gradio_keeps, remade), (ours, we_keep, left_alone) = found
    assert (ours, we_keep) == (gradios, gradio_keeps)
    assert remade >= 1 and left_alone == 0


@pytest.mark.parametrize(("returned", "shown"), [({}, gr.skip()), (gr.skip(), gr.skip()), ("a", "a"), (["a"], ["a"])])
def test_a_handler_with_a_single_output_that_names_nothing_leaves_it_alone(returned, shown):
    def answer() -> dict:
        return {}

    with Page() as page:
        chosen, kept = gr.Dropdown(["a"], multiselect=isinstance(returned, list)), gr.State(5)
        for output in (chosen, kept):
            chosen.input(lambda: returned, None, output)
        chosen.input(lambda: {chosen: ["a"] if chosen.multiselect else "a"}, None, chosen)
        gr.api(answer)
    state = SessionState(page)
    one, other, named, call = (
        run_alone(page.process_api(number, [], request=gr.Request(), state=state))["data"] for number in range(4)
    )
    assert (one, named) == ([shown], [shown if shown == ["a"] else "a"]) and other == [None]
    assert call == [{}] and (state[kept._id] == 5) is (shown == gr.skip())


def test_an_event_that_shows_nothing_and_one_that_has_come_to_its_end_are_answered_as_gradio_does():
    def count():
        yield from ((1, 2), (3, 4))

    answers = []
    for kind in (gr.Blocks, Page):
        with kind() as page:
            numbers, button = [gr.Number(), gr.Number()], gr.Button()
            button.click(lambda: None, None, None)
            button.click(count, None, numbers)
        state, answer = SessionState(page), [run_alone(page.process_api(0, [], request=gr.Request()))["data"]]
        iterator = None
        for _ in range(3):
            step = run_alone(page.process_api(1, [], request=gr.Request(), state=state, iterator=iterator))
            iterator = step["iterator"]
            answer.append(step["data"])
        answers.append(answer)
    assert answers[0] == answers[1] and answers[0][1:3] == [[1, 2], [3, 4]]


def test_a_component_that_an_event_does_not_have_is_refused_as_gradio_does(call, caplog):
    with gr.Blocks():
        other = gr.Number()
    message, log = call(lambda text: {other: 3}, "x")
    assert message == BUG and "not specified as output" in log
