"""Thinned networks against the scaled one."""

import pytest
import torch

from analysis.losses.dropout import thin
from tests.sentences import refused


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.5, 1.0])
def test_the_scaled_network_stands_for_all(keep):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(5, generator=generator, dtype=torch.float64).relu()
    weights = 3 * torch.randn(4, 5, generator=generator, dtype=torch.float64)
    thinned = thin(hidden, weights, keep)
    assert thinned.masks.unique(dim=0).shape == (32, 5)
    assert thinned.probability.sum().item() == pytest.approx(1)
    torch.testing.assert_close(thinned.mean_logits, thinned.scaled)
    torch.testing.assert_close(thinned.geometric_mean, thinned.scaled_probabilities)
    gap = (thinned.mean_probabilities - thinned.scaled_probabilities).abs().max()
    assert gap > 0.01 if 0 < keep < 1 else gap < 1e-12


def test_it_is_the_mean_of_what_training_does():
    torch.manual_seed(0)
    hidden, weights = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([[1.0, -1.0, 2.0], [0.5, 1.0, -1.0]])
    drawn = torch.nn.functional.dropout(hidden.expand(20_000, 3), 0.4) @ weights.T  # which scales up by 1 / keep
    torch.testing.assert_close(drawn.mean(0), thin(hidden, weights, 0.6).scaled / 0.6, atol=0.05, rtol=0)


def test_what_cannot_be_is_refused():
    with refused(12, 13):
        thin(torch.ones(13), torch.ones(2, 13), 0.5)
    with refused(1.5):
        thin(torch.ones(2), torch.ones(2, 2), 1.5)
