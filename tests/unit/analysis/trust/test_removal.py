"""Deletion, insertion and confidence, against sums by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analysis.errors import Cancelled
from analysis.trust.removal import BASELINES, measure_confidence, measure_removal
from tests.sentences import refused


class Linear(nn.Module):
    """Two classes: the logit of the first is a weighted sum of the pixels, that of the second zero."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.weights).sum((1, 2, 3))
        return torch.stack([score, torch.zeros_like(score)], dim=1)


@pytest.fixture
def weights() -> Tensor:
    return torch.randn((3, 4, 4), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def picture() -> Tensor:
    return torch.randn((1, 3, 4, 4), generator=torch.Generator().manual_seed(1))


def sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-score))


def trapezoid(heights: list[float]) -> float:
    return sum((a + b) / 2 for a, b in itertools.pairwise(heights)) / (len(heights) - 1)


def test_deletion_and_insertion_of_a_linear_model_are_sums_of_shares(weights, picture):
    values = (weights * picture[0]).detach()
    worth = sorted(values.sum(0).flatten().tolist(), reverse=True)
    gone = [sigmoid(sum(worth[count:])) for count in range(17)]
    there = [sigmoid(sum(worth[:count])) for count in range(17)]

    found = measure_removal(Linear(weights), picture, 0, values, steps=16, inserted="mean", chunk=5)

    assert found.deletion == pytest.approx(gone) and found.insertion == pytest.approx(there)
    assert found.deletion_auc == pytest.approx(trapezoid(gone))
    assert found.insertion_auc == pytest.approx(trapezoid(there))
    assert found.shares == pytest.approx([count / 16 for count in range(17)])


def test_no_order_beats_that_of_a_linear_model(weights, picture):
    net, values = Linear(weights), weights * picture[0]
    best = measure_removal(net, picture, 0, values, steps=8, inserted="mean")
    for seed in range(5):
        noise = torch.randn((1, 4, 4), generator=torch.Generator().manual_seed(seed))
        other = measure_removal(net, picture, 0, noise, steps=8, inserted="mean")
        assert best.deletion_auc < other.deletion_auc and best.insertion_auc > other.insertion_auc


def test_the_absolute_order_takes_what_speaks_against_the_class_too(picture):
    values = torch.zeros(1, 4, 4)
    values[0, 0, 0], values[0, 0, 1] = 1, -2
    net = Linear(torch.cat([values, torch.zeros(2, 4, 4)]) * 3)
    ones = torch.ones_like(picture)
    positive = measure_removal(net, ones, 0, values, steps=16)
    absolute = measure_removal(net, ones, 0, values, steps=16, order="absolute")
    assert positive.deletion[1] == pytest.approx(sigmoid(-6)) and absolute.deletion[1] == pytest.approx(sigmoid(3))


def test_a_blurred_picture_keeps_its_mean_and_loses_its_detail():
    picture = torch.randn((1, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    blurred = BASELINES["blur"](picture)
    assert blurred.std() < 0.5 * picture.std() and BASELINES["blur"](torch.ones(1, 1, 2, 2)).shape == (1, 1, 2, 2)
    assert not BASELINES["mean"](picture).any()


def test_confidence_by_hand(weights, picture):
    net, values = Linear(weights), weights * picture[0]
    share = values.sum(0).clamp(min=0).numpy()
    share = share / share.max()
    before = sigmoid(float(values.sum()))
    after = sigmoid(float((values.numpy() * share).sum()))

    found = measure_confidence(net, picture, 0, values)

    assert (found.before, found.after) == (pytest.approx(before), pytest.approx(after))
    assert found.increased == (after > before)
    assert found.drop == pytest.approx(max(0, before - after) / before)
    # A map that speaks for nothing shows nothing: what is left is the answer to the mean colour.
    assert measure_confidence(net, picture, 0, -values.abs()).after == pytest.approx(0.5)
    assert np.isclose(measure_confidence(net, picture, 0, torch.ones(1, 4, 4)).drop, 0)


def test_what_does_not_fit_is_refused_and_work_can_be_stopped(weights, picture):
    net, values = Linear(weights).train(), weights.detach()
    with refused("grey"):
        measure_removal(net, picture, 0, values, deleted="grey")
    with refused("16", "17"):
        measure_removal(net, picture, 0, values, steps=17)

    def stop(done: int, total: int) -> None:
        if done:
            raise Cancelled

    with pytest.raises(Cancelled):
        measure_removal(net, picture, 0, values, steps=16, chunk=4, progress=stop)
    assert net.training
