"""A data set as points."""

import numpy as np
import pytest

from analysis.figures.embedding import COLORINGS, MAX_LEGEND, plot_embedding
from tests.sentences import refused


@pytest.mark.parametrize("coloring", COLORINGS)
def test_every_picture_is_a_point_of_the_chart_once(coloring):
    points = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    labels = [None if i == 3 else f"class {i % 20}" for i in range(40)]
    figure = plot_embedding(
        points,
        labels,
        [f"seen {i % 3}" for i in range(40)],
        [f"<b>{i}" for i in range(40)],
        coloring,
        is_right=[None, True, False, True] * 10,
        consistency=[0.25] * 40,
    )
    members = [member for trace in figure.data for member in trace.customdata]
    assert sorted(members) == list(range(40)) and len(figure.data) <= MAX_LEGEND + 1
    for trace in figure.data:
        np.testing.assert_array_equal(trace.x, points[list(trace.customdata), 0])
        assert all("<b>" not in text for text in trace.text)


def test_a_colouring_of_what_is_not_known_is_refused():
    points = np.zeros((1, 2), np.float32)
    with refused("consistency"):
        plot_embedding(points, ["a"], ["a"], ["a"], "taste")
    with refused():
        plot_embedding(points, ["a"], ["a"], ["a"], "consistency")
