"""What the page is told of stacks, and the questions that it asks."""

import json

from analysis.convolution.quiz import KINDS, build_question
from lab.learning.stacks import describe_stacks, draw_questions


def test_the_page_is_told_plain_numbers():
    told = json.loads(json.dumps(describe_stacks()))
    assert told["kinds"]["conv"]["numbers"]["padding"] == 0 and told["kinds"]["linear"]["needs_map"] is False
    assert told["presets"]["vgg_d"]["shape"] == [3, 224, 224]
    assert [question["answer"] for question in told["questions"][:3]] == [[28, 28, 6], [32, 32, 10], [760]]


def test_questions_are_new_each_time_and_of_the_kind_that_is_asked_for():
    for kind in KINDS:
        first, again = draw_questions(kind), draw_questions(kind)
        assert {question.kind for question in first} == {kind} and first != again
    for question in draw_questions():
        assert build_question(question.kind, question.shape, question.layers).answer == question.answer
    assert {question.kind for question in draw_questions("no such kind")} == set(KINDS)
