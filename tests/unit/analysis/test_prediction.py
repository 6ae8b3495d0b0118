"""Probabilities and the few best of them, against numpy and sorting."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from analysis.errors import AnalysisError
from analysis.prediction import Prediction, predict, to_probabilities, top_k


def slow_softmax(row: list[float]) -> list[float]:
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


@settings(max_examples=50, deadline=None, derandomize=True)
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
    with pytest.raises(AnalysisError, match="no finite probabilities"):
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


@settings(max_examples=50, deadline=None, derandomize=True)
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
