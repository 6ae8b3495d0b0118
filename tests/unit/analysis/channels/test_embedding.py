"""Features before the last linear layer, and planes to look at them in."""

import numpy as np
import pytest
import torch
from torch import nn

from analysis.channels.embedding import PROJECTIONS, read_features
from tests.sentences import refused

INPUTS = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_features_are_what_the_last_linear_layer_is_given():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 6), nn.Dropout(0.5))
        network = nn.Sequential(body, nn.Linear(6, 3)).train()
    features, logits = read_features(network, INPUTS)
    assert network.training and network[0].training and not network[1]._forward_pre_hooks
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(features, body(INPUTS))
        torch.testing.assert_close(logits, network[1](features))


def test_a_network_without_such_a_layer_is_refused():
    with refused():
        read_features(nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), INPUTS)
    with refused():
        read_features(nn.Sequential(nn.Flatten(2), nn.Linear(64, 2), nn.Flatten()), INPUTS)


def test_pca_keeps_most_of_the_variance():
    features = np.random.default_rng(0).normal(size=(40, 7)) * np.arange(1, 8)
    found = PROJECTIONS["pca"].project(features.astype(np.float32), 0)
    centred = features - features.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    expected = (left * sizes)[:, :2]
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)


@pytest.mark.parametrize("method", PROJECTIONS)
@pytest.mark.parametrize("shape", [(2, 5), (3, 1), (12, 1), (70, 60)])
def test_any_number_of_pictures_gives_points_that_are_the_same_each_time(method, shape):
    features = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    first, again = (PROJECTIONS[method].project(features, 3) for _ in range(2))
    assert first.shape == (shape[0], 2) and np.isfinite(first).all()
    np.testing.assert_array_equal(first, again)


def test_tsne_keeps_neighbours_together():
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(3, 20)) * 10
    features = (centres.repeat(20, axis=0) + rng.normal(size=(60, 20))).astype(np.float32)
    points, labels = PROJECTIONS["tsne"].project(features, 0), np.arange(3).repeat(20)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(60)
    assert (labels[distances.argmin(1)] == labels).all()
