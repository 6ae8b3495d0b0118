"""Lessons: what comes along holds, broken files are one line, answers are kept and given to the owner alone."""

import json

import pytest

from analysis.errors import UserError
from lab.learning import answers
from lab.learning.answers import delete_answers, keep_answer, write_answers
from lab.learning.lessons import FOLDER, Shelf, check_lesson, judge, read_lesson
from lab.learning.measures import MEASURES, list_arguments, measure
from lab.session import Lab
from models.access import Viewer, acting
from tests.device import DEVICE
from tests.sentences import refused
from ui.learn.tab import BENCHES

STEP = {"text": "Look.", "tab": "learn", "settings": {"bench": "pooling"}}
LESSON = {"title": "T", "minutes": 5, "steps": [STEP]}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(DEVICE, runs_root=tmp_path_factory.mktemp("lessons"))


def write(folder, value, name="mine.json"):
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_all_answers_of_the_lessons_that_come_along_hold(lab, path):
    lesson = read_lesson(path)
    found = check_lesson(lab, lesson)
    assert len(found) >= 7 and [line for line in found if not line[2]] == []
    benches = {step.settings["bench"] for step in lesson.steps if "bench" in step.settings}
    assert benches <= {*BENCHES}
    assert len(lesson.steps) >= 8 and lesson.minutes == 15


def test_an_answer_that_does_not_hold_is_found(lab, tmp_path):
    wrong = {"kind": "number", "ask": "?", "measure": "side", "of": {"input": "3,32,32", "layers": "conv(6,5)"}}
    lesson = {**LESSON, "steps": [{**STEP, "question": {**wrong, "answer": 27}}]}
    ((number, _, holds),) = check_lesson(lab, read_lesson(write(tmp_path, lesson)))
    assert (number, holds) == (1, False)


@pytest.mark.parametrize(
    ("question", "given", "is_right"),
    [
        (
            {"kind": "number", "measure": "parameters", "of": {"input": "3,32,32", "layers": "conv(10,5,1,2)"}},
            "760",
            True,
        ),
        ({"kind": "number", "answer": 30, "tolerance": 0.5}, "30.4", True),
        ({"kind": "number", "answer": -30}, "\u221230", True),
        ({"kind": "number", "answer": 30}, "31", False),
        ({"kind": "choice", "choices": {"a": "A", "b": "B"}, "answer": "b"}, "b", True),
        ({"kind": "choice", "choices": {"a": "A", "b": "B"}, "answer": "b"}, "a", False),
    ],
)
def test_answers_are_judged_by_what_is_computed(lab, tmp_path, question, given, is_right):
    lesson = read_lesson(write(tmp_path, {**LESSON, "steps": [{**STEP, "question": {"ask": "?", **question}}]}))
    assert judge(lab, lesson.steps[0], given).is_right == is_right


@pytest.mark.parametrize(
    "value",
    [
        "{", "[]", {**LESSON, "steps": []}, {**LESSON, "minutes": 0}, {**LESSON, "more": 1},
        {**LESSON, "steps": [{**STEP, "tab": "nowhere"}]}, {**LESSON, "steps": [{**STEP, "hide": ["all"]}]},
        {**LESSON, "steps": [{**STEP, "question": {"kind": "number", "ask": "?"}}]},
        {**LESSON, "steps": [{**STEP, "question": {"kind": "number", "ask": "?", "measure": "os.system"}}]},
        LESSON | {"steps": [STEP | {"question": {"kind": "predict", "ask": "?", "measure": "side", "of": {"x": 1}}}]},
    ],
)  # fmt: skip
def test_a_broken_file_is_one_line_that_names_it(tmp_path, value):
    path = write(tmp_path, value)
    with pytest.raises(UserError) as caught:
        read_lesson(path)
    assert "mine.json" in str(caught.value) and "\n" not in str(caught.value)
    lessons, problems = Shelf(tmp_path).list()
    assert len(problems) == 1 and len(lessons) == 2


def test_own_lessons_come_first_and_take_the_place_of_others(tmp_path):
    write(tmp_path, LESSON)
    write(tmp_path, LESSON, "when-the-cat-moves.json")
    write(tmp_path, LESSON, "..json")
    lessons, _ = Shelf(tmp_path).list()
    assert next(iter(lessons)) == "mine" and lessons["when-the-cat-moves"].title == "T" and len(lessons) == 3
    for name in ("../mine", None, "gone", "x" * 5000):
        with pytest.raises(UserError):
            Shelf(tmp_path).get(name)


@pytest.mark.parametrize("name", list(MEASURES))
def test_a_measure_refuses_what_it_does_not_take(lab, name):
    assert list_arguments(name)
    with refused(name, "root"):
        measure(lab, name, {"root": "/etc"})


@pytest.mark.parametrize(
    "sample",
    [str(FOLDER.parents[1] / "docs/screenshot.png"), "docs/screenshot.png", ""],
    ids=["a file of the server", "from its folder", "nothing"],
)
def test_what_a_browser_says_is_on_the_screen_opens_samples_alone(lab, sample):
    (step, *_) = read_lesson(FOLDER / "when-the-cat-moves.json").steps
    with pytest.raises(UserError):
        judge(lab, step, "40", {"sample": sample})
    with pytest.raises(UserError):
        judge(lab, step, "40", {"model": "run/../x"})


def test_measures_of_shifts_are_those_of_the_lab(lab):
    view = {"dx": 1, "dy": 0, "boundary": "circular", "padding": "circular"}
    result = lab.shift(lab.open_image("chelsea"), "efficientnet_lite0", 1, 0, "circular", twin=True)
    errors = {layer.name: layer.relative_error for layer in result.layers}
    assert measure(lab, "layer_error", {"layer": "conv_stem"}, view) == errors["conv_stem"]
    assert measure(lab, "shifted_class", {}, {**view, "dx": "1"}) == result.after[0].category
    with refused("reach"):
        measure(lab, "share_kept", {"reach": 9})


def test_answers_are_bounded_and_the_owners(tmp_path, monkeypatch):
    ada = Viewer("aa" * 12, "try")
    monkeypatch.setattr(answers, "MAX_EACH", 2)
    with acting(ada):
        kept = [keep_answer(tmp_path, "a", 1, "=1+1", "2", True, "\uc544\ub2e4") for _ in range(3)]
        assert kept == [True, True, False]
        with pytest.raises(UserError):
            write_answers(tmp_path)
        with pytest.raises(UserError):
            delete_answers(tmp_path)
    text = write_answers(tmp_path)
    assert len(text.strip().splitlines()) == 3 and "\uc544\ub2e4" in text and ",=1+1" not in text and "'=1+1" in text
    delete_answers(tmp_path)
    with refused():
        write_answers(tmp_path)
