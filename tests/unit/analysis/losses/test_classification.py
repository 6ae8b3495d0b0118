"""Losses against PyTorch, autograd and the numbers of the notes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from analysis.losses.classification import LOSSES, measure_loss
from tests.sentences import refused

CAT, CAR, FROG = [3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]
NOTES = torch.tensor([CAT, CAR, FROG], dtype=torch.float64)


def test_the_numbers_of_the_notes():
    softmax = measure_loss("softmax", NOTES[:1], torch.tensor([0]))
    assert [round(x, 1) for x in softmax.exponentials[0, :2].tolist()] == [24.5, 164.0]
    assert round(softmax.exponentials[0, 2].item(), 2) == 0.18
    assert [round(x, 2) for x in softmax.probabilities[0].tolist()] == [0.13, 0.87, 0.0]
    svm = measure_loss("svm", NOTES, torch.tensor([0, 1, 2]))
    assert [round(x, 9) for x in svm.losses.tolist()] == [2.9, 0, 12.9]
    assert svm.is_flat.tolist() == [False, True, False]
    assert set(svm.to_json()) == {"losses", "probabilities", "gradient"}


ORACLES = {
    "softmax": lambda scores, targets: F.cross_entropy(scores, targets, reduction="none"),
    "svm": lambda scores, targets: F.multi_margin_loss(scores, targets.argmax(1), reduction="none") * scores.shape[1],
    "kl": lambda scores, targets: F.kl_div(scores.log_softmax(1), targets, reduction="none").sum(1),
}


@pytest.mark.parametrize("kind", LOSSES)
@given(seed=st.integers(0, 500), rows=st.integers(1, 4), classes=st.integers(2, 6), is_soft=st.booleans())
def test_losses_and_gradients_are_those_of_torch(kind, seed, rows, classes, is_soft):
    generator = torch.Generator().manual_seed(seed)
    scores = (3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(classes, (rows,), generator=generator)
    targets = F.one_hot(labels, classes).double()
    if is_soft and kind == "kl":
        labels = targets = torch.randn(rows, classes, generator=generator, dtype=torch.float64).softmax(1)
    expected = ORACLES[kind](scores, targets)
    (gradient,) = torch.autograd.grad(expected.sum(), scores)
    measured = measure_loss(kind, scores.detach(), labels)
    torch.testing.assert_close(measured.losses, expected.detach())
    torch.testing.assert_close(measured.gradient, gradient)
    torch.testing.assert_close(measured.probabilities, scores.detach().softmax(1))


def test_large_scores_stay_numbers():
    measured = measure_loss("softmax", torch.tensor([[1e6, 0.0]]), torch.tensor([1]))
    assert measured.losses.item() == 1e6 and measured.gradient.tolist() == [[1, -1]]


@pytest.mark.parametrize(
    ("kind", "scores", "labels", "facts"),
    [
        ("softmax", [[1, 2], [3, 4]], [0], [2]),
        ("softmax", [[1, 2]], [2], [1, 2]),
        ("softmax", [[1, 2]], [-1], [-1]),
        ("softmax", [[1, 2]], [0.5], [0.5]),
        ("softmax", [1, 2], [0], [1]),
        ("svm", [[1, 2]], [[0, 1]], ["1 x 2"]),
        ("kl", [[1, 2]], [[0.5, 0.6]], [1.1]),
        ("kl", [[1, 2]], [[-0.5, 1.5]], [-0.5]),
        ("hinge", [[1, 2]], [0], ["hinge", "svm"]),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(kind, scores, labels, facts):
    with refused(*facts):
        measure_loss(kind, torch.tensor(scores).double(), torch.tensor(labels).double())
