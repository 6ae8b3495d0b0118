"""A batch out of a layer, and its gradients by autograd."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lab.learning.batches import differentiate, take_batch
from lab.session import Lab
from models.data.samples import find_fitting
from tests.sentences import refused

NUMBERS = st.floats(-5, 5, width=32)


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    return Lab(device="cpu", runs_root=tmp_path_factory.mktemp("runs"))


def test_a_batch_is_the_middle_cell_of_channels_that_differ(lab):
    found = take_batch(lab, "fashion_cnn")
    samples = find_fitting("Fashion-MNIST")[:6]
    assert found.pictures == tuple(sample.title for sample in samples)
    maps = torch.stack([lab.extract(lab.open_image(each.path), "fashion_cnn", found.layer) for each in samples])
    middle = maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]
    torch.testing.assert_close(found.values, middle[:, list(found.channels)])
    others = middle.var(0)[[c for c in range(middle.shape[1]) if c not in found.channels]]
    assert found.values.var(0).min() >= others.max() and len(found.channels) == 3
    assert take_batch(lab, "fashion_cnn", found.layers[-1]).layer == found.layers[-1] != found.layer
    with refused("nowhere"):
        take_batch(lab, "fashion_cnn", "nowhere")


@given(batch=arrays(np.float64, (4, 2), elements=NUMBERS), upstream=arrays(np.float64, (4, 2), elements=NUMBERS))
def test_the_gradients_are_those_of_finite_differences(batch, upstream):
    batch = batch + np.arange(4)[:, None] * 3.0  # no column is the same all over

    def loss(x):
        normalised = (x - x.mean(0)) / np.sqrt(x.var(0) + 0.1)
        return float((upstream * (normalised * [1.5, -0.5] + [0.2, 0.1])).sum())

    found = differentiate(batch.tolist(), upstream.tolist(), [1.5, -0.5], [0.2, 0.1], 0.1)
    for place in np.ndindex(4, 2):
        step = np.zeros((4, 2))
        step[place] = 1e-4
        slope = (loss(batch + step) - loss(batch - step)) / 2e-4
        assert found["dx"][place[0]][place[1]] == pytest.approx(slope, abs=1e-4, rel=1e-4)
    assert found["dbeta"] == pytest.approx(upstream.sum(0), abs=1e-9)


@pytest.mark.parametrize(
    "given",
    [
        (None, None, None, None, None),
        ([[1, 2], [3]], [[1, 2], [3, 4]], [1, 1], [0, 0], 0.1),
        ([[1, 2]], [[1, 2]], [1, 1], [0, 0], 0.1),
        ([[1], [2]], [[1], [2]], [1, 1], [0], 0.1),
        ([[0] * 1024] * 2, [[0] * 1024] * 2, [1] * 1024, [0] * 1024, 0.1),
        ([[1], [2]], [[1], [2]], [1], [0], "x"),
    ],
    ids=["nothing", "ragged", "one picture", "scales", "too many", "epsilon"],
)
def test_what_is_no_batch_is_refused(given):
    with refused():
        differentiate(*given)
