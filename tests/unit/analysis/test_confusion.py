"""Confusion matrices against scikit-learn, torchmetrics and plain loops."""

import math
from dataclasses import astuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from torchmetrics.functional.classification import multiclass_precision, multiclass_recall

from analysis.confusion import MAX_CLASSES, measure_confusion, select_classes, wilson_interval
from tests.sentences import refused

NAMES = ("ant", "bee", "cat", "dog")
LABELS = torch.tensor([0, 0, 0, 1, 1, 2])
PREDICTED = torch.tensor([0, 1, 1, 1, 0, 2])


def logits_for(predicted, num_classes=4, seed=0):
    logits = torch.rand(len(predicted), num_classes, generator=torch.Generator().manual_seed(seed))
    logits[torch.arange(len(predicted)), predicted] += 1 + torch.arange(len(predicted)) / 10
    return logits


@st.composite
def problems(draw):
    """Logits and labels; not every class need occur."""
    num_classes = draw(st.integers(2, 12))
    count = draw(st.integers(1, 60))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    labels = torch.randint(num_classes, (count,), generator=generator)
    return torch.randn(count, num_classes, generator=generator) * 3, labels


def confusion_of(logits, labels):
    return measure_confusion(logits, labels, [f"c{n}" for n in range(logits.shape[1])])


@settings(max_examples=40)
@given(problems())
def test_counts_and_scores_are_those_of_scikit_learn_and_torchmetrics(problem):
    logits, labels = problem
    found = confusion_of(logits, labels)
    classes = range(logits.shape[1])
    guesses = logits.argmax(1)
    np.testing.assert_array_equal(found.counts, metrics.confusion_matrix(labels, guesses, labels=classes))
    assert found.accuracy.value == pytest.approx(metrics.accuracy_score(labels, guesses))
    assert found.mean_loss == pytest.approx(metrics.log_loss(labels, logits.double().softmax(1), labels=classes))
    options = {"num_classes": logits.shape[1], "average": "none"}
    scores = found.score_classes()
    recall, precision = (
        function(logits, labels, **options) for function in (multiclass_recall, multiclass_precision)
    )
    assert [score.recall.value or 0 for score in scores] == pytest.approx(recall.tolist())
    assert [score.precision or 0 for score in scores] == pytest.approx(precision.tolist())
    assert [(score.recall.value is None, score.precision is None) for score in scores] == [
        (not (labels == c).any(), not (guesses == c).any()) for c in classes
    ]


@settings(max_examples=40)
@given(problems())
def test_every_picture_is_in_exactly_one_cell_and_cells_are_sorted_by_loss(problem):
    logits, labels = problem
    found = confusion_of(logits, labels)
    seen = []
    for true in range(logits.shape[1]):
        for predicted in range(logits.shape[1]):
            cell = found.cell(true, predicted)
            assert len(cell) == found.counts[true, predicted]
            assert all(labels[i] == true and logits[i].argmax() == predicted for i in cell)
            losses = [float(found.losses[i]) for i in cell]
            assert losses == sorted(losses, reverse=True)
            seen += cell
    assert sorted(seen) == list(range(len(labels)))
    assert sorted(found.top_losses(10**6)) == sorted(seen)
    assert found.top_losses(3) == found.top_losses(10**6)[:3]


def test_scores_nearer_to_each_other_than_probabilities_can_be():
    """A cell's number is counted from scores; its pictures must be chosen by them too."""
    logits = torch.tensor([[0.0, 1e-9], [1e-9, 0.0]])
    found = confusion_of(logits, torch.tensor([0, 0]))
    assert found.counts.tolist() == [[1, 1], [0, 0]]
    assert (found.cell(0, 0), found.cell(0, 1)) == ([1], [0])
    assert found.probability.tolist() == [0.5, 0.5]


def test_losses_and_probabilities_are_those_of_a_loop_in_double_precision():
    logits, labels = logits_for(PREDICTED), LABELS
    found = confusion_of(logits, labels)
    for row, label, loss, probability in zip(
        logits.double().tolist(), labels, found.losses, found.probability, strict=True
    ):
        total = math.fsum(math.exp(value) for value in row)
        assert float(loss) == pytest.approx(-math.log(math.exp(row[label]) / total), rel=1e-12)
        assert float(probability) == pytest.approx(math.exp(max(row)) / total, rel=1e-6)


def test_huge_scores_have_finite_losses():
    logits = torch.tensor([[3e38, -3e38], [-3e38, 3e38]])
    found = confusion_of(logits, torch.tensor([1, 1]))
    assert found.losses.isfinite().all()
    assert found.top_losses(1) == [0]


def test_the_most_confused_pairs():
    found = measure_confusion(logits_for(PREDICTED), LABELS, NAMES)
    assert [astuple(pair) for pair in found.most_confused(5)] == [(0, 1, 2, pytest.approx(2 / 3)), (1, 0, 1, 0.5)]
    assert len(found.most_confused(1)) == 1
    assert found.most_confused(0) == () and found.top_losses(0) == []


def test_of_equal_mistakes_those_of_rarer_classes_come_first():
    labels, predicted = torch.tensor([0, 0, 0, 1]), torch.tensor([1, 0, 0, 0])
    found = measure_confusion(logits_for(predicted), labels, NAMES)
    assert [(pair.true, pair.predicted) for pair in found.most_confused(2)] == [(1, 0), (0, 1)]


def test_a_difference_is_zero_with_itself_changes_sign_and_counts_relabelled_pictures():
    logits = logits_for(PREDICTED)
    before = measure_confusion(logits, LABELS, NAMES)
    after = measure_confusion(logits, torch.tensor([0, 1, 1, 1, 1, 2]), NAMES)
    assert not before.difference(before).any()
    change = after.difference(before)
    assert torch.equal(change, -before.difference(after))
    assert (int(change[0, 1]), int(change[1, 1]), int(change.sum())) == (-2, 2, 0)


def test_other_classes_cannot_be_compared():
    one = measure_confusion(logits_for(PREDICTED), LABELS, NAMES)
    other = measure_confusion(logits_for(PREDICTED), LABELS, ("a", "b", "c", "d"))
    with refused("4 (a, b, c, ...)", "4 (ant, bee, cat"):
        one.difference(other)


@pytest.mark.parametrize(
    ("right", "total"), [(0, 1), (1, 1), (0, 10), (10, 10), (3, 7), (950, 1000), (5000, 10000), (1, 100000)]
)
def test_intervals_are_wilsons(right, total):
    """The roots of (share - p)^2 = z^2 p (1 - p) / total, and the share within them."""
    found = wilson_interval(right, total)
    assert 0 <= found.low <= found.value == right / total <= found.high <= 1
    for end in found.low, found.high:
        reach = 1.959963984540054 * math.sqrt(end * (1 - end) / total)
        assert abs(found.value - end) == pytest.approx(reach, rel=1e-9, abs=1e-12)
    assert found.low < found.high


def test_a_published_interval():
    """Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I: 15 of 148."""
    assert wilson_interval(15, 148)[1:] == pytest.approx((0.0624, 0.1605), abs=5e-5)


def test_no_pictures_have_no_interval():
    assert wilson_interval(0, 0).to_json() == {"value": None, "low": None, "high": None}


def test_the_largest_number_of_classes():
    labels = torch.arange(MAX_CLASSES)
    found = confusion_of(torch.eye(MAX_CLASSES), labels)
    assert torch.equal(found.counts, torch.eye(MAX_CLASSES, dtype=torch.int64))
    assert found.most_confused(3) == ()


def test_classes_are_selected_by_what_is_beside_the_diagonal():
    counts = torch.tensor([[99, 0, 0, 0], [0, 5, 3, 0], [0, 0, 1, 0], [-4, 0, 0, 1]])
    assert select_classes(counts, 2) == [0, 3]
    assert select_classes(counts, 3) in ([0, 1, 3], [0, 2, 3])
    assert select_classes(counts, 9) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("logits", "labels", "categories"),
    [
        (torch.zeros(2, 4), torch.tensor([0]), NAMES),
        (torch.zeros(4), torch.tensor([0]), NAMES),
        (torch.zeros(1, 3), torch.tensor([0]), NAMES),
        (torch.zeros(1, 1), torch.tensor([0]), ("a",)),
        (torch.zeros(1, 1001), torch.tensor([0]), ["a"] * 1001),
        (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), NAMES),
        (torch.zeros(1, 4), torch.tensor([4]), NAMES),
        (torch.zeros(1, 4), torch.tensor([-1]), NAMES),
        (torch.zeros(1, 4), torch.tensor([1.0]), NAMES),
        (torch.zeros(1, 4), torch.tensor([True]), NAMES),
        (torch.full((1, 4), math.nan), torch.tensor([0]), NAMES),
        (torch.full((1, 4), math.inf), torch.tensor([0]), NAMES),
    ],
)
def test_what_cannot_be_counted_is_refused(logits, labels, categories):
    with refused():
        measure_confusion(logits, labels, categories)
