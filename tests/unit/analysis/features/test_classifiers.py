"""Classifiers of features: what they learn, against scikit-learn in one go and a loop."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from analysis.errors import Cancelled, UserError
from analysis.features.classifiers import CLASSIFIERS, STRENGTH, fit_linear, fit_neighbour


@pytest.fixture
def clouds():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    return (rng.standard_normal((90, 5)) + 2 * np.eye(5)[labels]).astype(np.float32), labels


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_learns(clouds, name):
    numbers, labels = clouds
    answer = CLASSIFIERS[name].fit(numbers[:60], labels[:60], lambda *_: None)
    assert (answer(numbers[60:]) == labels[60:]).mean() > 0.7


def test_linear_in_parts_is_linear_in_one_go(clouds):
    numbers, labels = clouds
    scaled = StandardScaler().fit_transform(numbers)
    whole = LogisticRegression(C=STRENGTH, max_iter=1000).fit(scaled, labels)
    assert (fit_linear(numbers, labels)(numbers) == whole.predict(scaled)).mean() > 0.97


def test_the_neighbour_is_the_nearest(clouds):
    numbers, labels = clouds
    answer = fit_neighbour(numbers[:60], labels[:60])
    expected = [labels[((numbers[:60] - one) ** 2).sum(1).argmin()] for one in numbers[60:]]
    assert answer(numbers[60:]).tolist() == expected


def test_one_class_is_refused_and_fitting_can_be_cancelled(clouds):
    numbers, labels = clouds
    with pytest.raises(UserError, match="90"):
        fit_linear(numbers, np.zeros_like(labels))

    def refuse(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        fit_linear(numbers, labels, refuse)
