"""Questions, each answered by running its layers."""

import pytest
import torch

from analysis.convolution.quiz import KINDS, ask, build_question, list_notes
from analysis.convolution.stack import build, read_layers
from analysis.network.layers import list_layers
from tests.sentences import refused


def run(question):
    """The answer of the modules themselves."""
    with torch.device("meta"):
        network, picture = build(read_layers(question.layers), question.shape).eval(), torch.zeros(1, *question.shape)
    if question.kind == "parameters":
        return (sum(parameter.numel() for parameter in network.parameters()),)
    if question.kind == "receptive_field":
        return (list_layers(network, picture)[-1].receptive_field,)
    channels, *sizes = network(picture).shape[1:]
    return (*sizes, channels)


@pytest.mark.parametrize("kind", KINDS)
def test_random_questions_have_the_answer_of_the_modules(kind):
    asked = [ask(seed, kind) for seed in range(40)]
    for question in asked:
        assert question.answer == run(question)
        assert question.is_right("x".join(map(str, question.answer)))
        assert not question.is_right("x".join(str(number + 1) for number in question.answer))
        assert str(question.answer[-1]) in question.solution
    assert len({question.text for question in asked}) > 30
    assert ask(3, kind) == asked[3]
    assert set(asked[0].to_json()) == {"kind", "text", "shape", "layers", "answer", "solution", "tolerance"}


def test_the_questions_of_the_notes():
    notes = list_notes()
    assert all(question.answer == run(question) for question in notes)
    right = ["28x28x6", "32 x 32 x 10", "760", "3,3,1", "7"]
    right += [f"{millions} million" for millions in (133, 133, 134, 138, 144)]
    assert [question.is_right(answer) for question, answer in zip(notes, right, strict=True)] == [True] * 10
    assert [question.is_right(answer) for question, answer in zip(notes, right[1:] + right[:1], strict=True)].count(
        True
    ) == 1


@pytest.mark.parametrize(
    "given", ["138M", "138,357,544", "138.4 m", "138357544", "138 million parameters", "138400k"]
)
def test_large_numbers_are_read(given):
    assert list_notes()[8].is_right(given)


@pytest.mark.parametrize("given", ["", "138", "m", ",", "137 million", "about 138 million", "28x28", "1e9"])
def test_wrong_answers_are_wrong(given):
    assert not list_notes()[8].is_right(given)


def test_solutions_show_the_work():
    question = build_question("size", (3, 32, 32), "conv(6,5) pool(2)")
    assert "floor((32 + 2*0 - 5) / 1) + 1 = floor(27 / 1) + 1 = 28" in question.solution
    assert question.solution.endswith("14 x 14 x 6")
    field = build_question("receptive_field", (3, 32, 32), "conv(6,3,2) conv(6,3)")
    assert field.solution.splitlines() == ["conv(6,3,2): 1 + (3 - 1)*1 = 3", "conv(6,3): 3 + (3 - 1)*2 = 7"]
    with refused("width"):
        ask(0, "width")
