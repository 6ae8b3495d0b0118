"""Probabilities and the few best of them, against numpy and sorting."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from analysis.network.predict import (
    TIE,
    Prediction,
    find_class,
    find_ties,
    measure_margins,
    predict,
    to_probabilities,
    top_k,
)
from tests.sentences import refused


def slow_softmax(row: list[float]) -> list[float]:
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


@settings(max_examples=50)
@given(st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=8))
def test_probabilities_equal_a_slow_softmax(row):
    np.testing.assert_allclose(to_probabilities(torch.tensor([row]))[0].numpy(), slow_softmax(row), atol=1e-6)


def test_probabilities_add_up_and_ignore_a_common_offset():
    logits = torch.randn(6, 9, generator=torch.Generator().manual_seed(0)) * 5
    probabilities = to_probabilities(logits)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(6))
    torch.testing.assert_close(to_probabilities(logits + 3), probabilities)
    assert torch.equal(probabilities.argsort(), logits.argsort())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_probabilities_are_float32_for_any_network(dtype):
    logits = torch.tensor([[1.0, 2.0, -3.0]], dtype=dtype)
    probabilities = to_probabilities(logits)
    assert probabilities.dtype == torch.float32
    np.testing.assert_allclose(probabilities[0].numpy(), slow_softmax([1.0, 2.0, -3.0]), atol=1e-6)


@pytest.mark.parametrize("broken", [[math.nan, 1.0], [math.inf, 1.0], [-math.inf, -math.inf]])
def test_broken_logits_are_refused(broken):
    with refused():
        to_probabilities(torch.tensor([[0.0, 1.0], broken]))


def test_an_impossible_class_is_no_broken_one():
    assert to_probabilities(torch.tensor([[-math.inf, 1.0]])).tolist() == [[0.0, 1.0]]


def test_predict_is_the_softmax_of_the_network_without_a_graph():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).eval()
    inputs = torch.randn(3, 3, 2, 2, requires_grad=True)
    probabilities = predict(net, inputs)
    weight, bias = (parameter.detach().double().numpy() for parameter in net.parameters())
    logits = inputs.detach().flatten(1).double().numpy() @ weight.T + bias
    np.testing.assert_allclose(probabilities.numpy(), [slow_softmax(row.tolist()) for row in logits], atol=1e-6)
    assert not probabilities.requires_grad


@settings(max_examples=50)
@given(weights=st.lists(st.integers(1, 10**6), min_size=1, max_size=9, unique=True), k=st.integers(1, 12))
def test_the_best_come_first(weights, k):
    probabilities = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    names = [f"class {index}" for index in range(len(weights))]
    best = top_k(probabilities, names, k)
    order = sorted(range(len(weights)), key=lambda index: -weights[index])[:k]
    assert best == tuple(Prediction(index, names[index], float(probabilities[index])) for index in order)


def test_five_are_given_unless_asked_otherwise():
    assert len(top_k(torch.full((9,), 1 / 9), "abcdefghi")) == 5
    assert len(top_k(torch.full((3,), 1 / 3), "abc")) == 3


# Margins and near-ties.

rows = st.integers(2, 6).flatmap(
    lambda num_classes: st.lists(
        st.lists(st.floats(-50, 50, width=32), min_size=num_classes, max_size=num_classes), min_size=1, max_size=4
    )
)


@settings(max_examples=60)
@given(rows, st.data())
def test_margins_equal_a_loop_over_the_others(logits, data):
    target = data.draw(st.integers(0, len(logits[0]) - 1))
    expected = [row[target] - max(value for index, value in enumerate(row) if index != target) for row in logits]
    found = measure_margins(torch.tensor(logits, dtype=torch.float64), target)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_margins_of_winners_losers_and_equals():
    logits = torch.tensor([[3.0, 1.0, 2.0], [1.0, 3.0, 2.0], [2.0, 2.0, 1.0], [2.0, 2.0, 2.0]])
    assert measure_margins(logits, 0).tolist() == [1, -2, 0, 0]
    assert measure_margins(logits, 1).tolist() == [-2, 1, 0, 0]
    assert measure_margins(logits, 2).tolist() == [-1, -1, -1, 0]


def test_margins_tell_who_wins_and_ignore_a_common_offset():
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wins = torch.stack([measure_margins(logits, target) > 0 for target in range(7)], dim=1)
    assert torch.equal(wins.int().argmax(1), logits.argmax(1)) and (wins.sum(1) == 1).all()
    torch.testing.assert_close(measure_margins(logits + 30, 2), measure_margins(logits, 2))


@settings(max_examples=60)
@given(rows)
def test_ties_equal_a_loop(logits):
    expected = []
    for row in logits:
        first, second = sorted(row, reverse=True)[:2]
        expected.append(first - second <= TIE * math.sqrt(sum(value * value for value in row)))
    assert find_ties(torch.tensor(logits, dtype=torch.float64)).tolist() == expected


def test_ties_are_relative_to_the_size_of_the_logits():
    close = torch.tensor([[1.0, 1.0 + 0.5 * TIE, -1.0]], dtype=torch.float64)
    apart = torch.tensor([[1.0, 1.0 + 5 * TIE, -1.0]], dtype=torch.float64)
    for scale in (1e-6, 1.0, 1e6):
        assert find_ties(scale * close).tolist() == [True]
        assert find_ties(scale * apart).tolist() == [False]
    assert find_ties(torch.tensor([[2.0, -9.0, -9.0], [2.0, 2.0, 0.0]])).tolist() == [False, True]


def test_order_does_not_matter_for_ties():
    logits = torch.randn(20, 5, generator=torch.Generator().manual_seed(1)).round(decimals=1)
    ties = find_ties(logits)
    assert 0 < ties.sum() < 20
    for shift in range(1, 5):
        assert torch.equal(find_ties(logits.roll(shift, 1)), ties)


def test_equal_logits_are_a_tie():
    assert find_ties(torch.zeros(1, 3)).tolist() == [True]


CLASSES = ("tiger cat", "crane", "Egyptian_cat", "crane", "3", "고양이", "Ring")


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (0, 0),
        ("2", 2),
        ("tiger cat", 0),
        (" Tiger-Cat ", 0),
        ("egyptian cat", 2),
        ("3", 3),  # a number is an index, whatever the classes are called
        ("\u1100\u1169\u110b\u1163\u11bc\u110b\u1175", 5),  # the same letters, not composed
    ],
)
def test_a_class_is_found_by_its_index_or_name(wanted, index):
    assert find_class(wanted, CLASSES) == index


def test_the_very_name_goes_before_one_that_is_only_alike():
    assert find_class("ring", ("Ring", "ring")) == 1


@pytest.mark.parametrize(
    "wanted", ["crane", "Crane", "tigercat", "zebra", 7, "-1", pytest.param("9" * 5000, id="5000 digits"), ""]
)
def test_a_name_of_no_class_or_of_several_is_refused_with_what_there_is(wanted):
    with refused():
        find_class(wanted, CLASSES)
