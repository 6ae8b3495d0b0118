"""Logits without a channel, against networks whose weights that read it are zero."""

import copy

import pytest
import torch
from torch import nn

from analysis.channels import ablation as module_under_test
from analysis.channels.ablation import ablate_channels
from analysis.errors import Cancelled
from tests.sentences import refused

PICTURE = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))


class Branching(nn.Module):
    """A map that is read twice, once through a layer that is called twice."""

    def __init__(self):
        super().__init__()
        self.first, self.act = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True)
        self.second, self.norm, self.head = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Linear(6, 4)

    def forward(self, x):
        maps = self.act(self.first(x))
        return self.head((maps + self.act(self.norm(self.second(maps)))).mean((2, 3)))


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Branching()


@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_a_channel_taken_away_is_one_that_nothing_feeds(network, monkeypatch, chunk):
    monkeypatch.setattr(module_under_test, "CHUNK", chunk)
    found = ablate_channels(network, PICTURE, "first")
    network.eval()
    for row, channel in enumerate([None, *range(6)]):
        cut = copy.deepcopy(network)
        with torch.no_grad():
            if channel is not None:
                cut.first.weight[channel] = cut.first.bias[channel] = 0
            torch.testing.assert_close(found[row], cut(PICTURE)[0], atol=1e-5, rtol=1e-4)
    assert (found[1:] - found[0]).abs().amax(1).max() > 1e-3  # the control: it does matter


def test_only_the_call_that_is_meant_loses_its_channel(network):
    network.eval()
    with torch.no_grad():
        maps = torch.relu(network.first(PICTURE))
        other = torch.relu(network.norm(network.second(maps)))
    first, second = ablate_channels(network, PICTURE, "act", [2]), ablate_channels(network, PICTURE, "act#2", [2])
    other[:, 2] = 0
    with torch.no_grad():
        torch.testing.assert_close(second[1], network.head((maps + other).mean((2, 3)))[0], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(first[1], second[1])


def test_the_network_is_left_as_it_was(network):
    network.train()
    before = network.norm.running_mean.clone()

    def cancel(done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        ablate_channels(network, PICTURE, "first", progress=cancel)
    ablate_channels(network, PICTURE, "first", [0])
    assert network.training and torch.equal(network.norm.running_mean, before)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())
    with refused("0 to 5"):
        ablate_channels(network, PICTURE, "first", [6])
