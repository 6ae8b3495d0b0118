"""Classifiers of hand-made features: what scikit-learn has of them, reporting and ending between two parts."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.errors import Progress, UserError, no_progress

Answer = Callable[[NDArray[np.float32]], NDArray[np.int64]]
"""Features ``(N, D)`` -> predicted classes ``(N,)``."""
ROUNDS, ITERATIONS = 20, 10
"""A linear classifier takes at most so many times so many steps of L-BFGS."""
STRENGTH = 0.1
"""Of the data against the penalty, scikit-learn's ``C``: there are often more features than pictures."""


@dataclass(frozen=True)
class Classifier:
    """A table entry.

    Attributes:
        fit: ``fit(numbers, labels, progress)`` learns from features ``(N, D)`` and classes ``(N,)``.
    """

    title: str
    explanation: str
    fit: Callable[[NDArray[np.float32], NDArray[np.int64], Progress], Answer]


def fit_linear(numbers: NDArray[np.float32], labels: NDArray[np.int64], progress: Progress = no_progress) -> Answer:
    """Multinomial logistic regression of features brought to mean 0 and deviation 1, with an L2 penalty.

    Raises:
        UserError: All pictures are of one class.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(labels)) < 2:
        raise UserError(f"All {len(labels)} pictures to learn from are of one class: take more of them.")
    scaler = StandardScaler().fit(numbers)
    scaled = scaler.transform(numbers)
    model = LogisticRegression(C=STRENGTH, max_iter=ITERATIONS, warm_start=True)
    for part in range(ROUNDS):
        progress(part, ROUNDS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it goes on in the next part
            model.fit(scaled, labels)
        if max(model.n_iter_) < ITERATIONS:
            break
    progress(ROUNDS, ROUNDS)
    return lambda others: model.predict(scaler.transform(others))


def fit_neighbour(
    numbers: NDArray[np.float32], labels: NDArray[np.int64], progress: Progress = no_progress
) -> Answer:
    """The class of the nearest picture that it has learned by heart; distances are Euclidean."""
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(n_neighbors=1, algorithm="brute").fit(numbers, labels)
    progress(1, 1)
    return model.predict


CLASSIFIERS = {
    "linear": Classifier("linear classifier", "A weighted sum of the features for each class.", fit_linear),
    "knn": Classifier("nearest neighbour", "The class of the most similar picture seen before.", fit_neighbour),
}
"""Name -> what decides from features."""
