"""How alike maps are: against numpy and scipy, and where it is known."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from analysis.trust.maps import correlate, evidence, magnitude, measure_agreement, measure_ssim, rank_correlate
from analysis.trust.table import METRICS


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_channels_are_added_up_with_and_without_their_sign():
    values = torch.tensor([[[1.0, -2.0]], [[-3.0, 2.0]]])
    assert evidence(values).tolist() == [[-2, 0]] and magnitude(values).tolist() == [[4, 4]]


@given(st.integers(0, 100), st.sampled_from([1e-30, 1.0, 1e20]))
def test_correlations_are_those_of_numpy_and_scipy(seed, scale):
    one, other = draw(seed, 6, 7), draw(seed + 1, 6, 7) + draw(seed, 6, 7)
    expected = np.corrcoef(one.flatten(), other.flatten())[0, 1]
    assert correlate(one * scale, other) == pytest.approx(expected, abs=1e-5)
    ranks = spearmanr(one.flatten(), other.flatten()).statistic
    assert rank_correlate(one * scale, other) == pytest.approx(ranks)


def test_what_does_not_vary_has_no_correlation():
    flat = torch.ones(5, 5)
    assert correlate(flat, draw(0, 5, 5)) is None is rank_correlate(draw(0, 5, 5), flat)
    assert measure_ssim(torch.zeros(9, 9), draw(0, 9, 9)) is None is measure_ssim(draw(0, 2, 2), draw(1, 2, 2))


def test_similarity_is_one_of_the_same_and_does_not_depend_on_the_scale():
    one, other = draw(0, 20, 20).abs(), draw(1, 20, 20).abs()
    assert measure_ssim(one, one * 1e-20) == pytest.approx(1)
    assert measure_ssim(one, other) == pytest.approx(measure_ssim(one * 7, other)) and measure_ssim(one, other) < 0.3


def test_methods_agree_with_themselves():
    found = measure_agreement({"a": draw(0, 3, 20, 20), "b": draw(0, 3, 20, 20) * -2, "c": draw(1, 1, 20, 20)})
    assert found["a"]["a"] == pytest.approx(1) == found["a"]["b"]
    assert found["a"]["c"] == found["c"]["a"] and abs(found["a"]["c"]) < 0.2


def test_every_number_of_the_table_says_what_it_is():
    for name, metric in METRICS.items():
        assert metric.name == name and metric.title and metric.explanation.endswith(".")
        assert metric.better in ("high", "low")
        assert metric.high is None or metric.low is None or metric.low < metric.high
