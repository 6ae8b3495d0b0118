"""Pictures made from noise, against a linear model whose best picture is known."""

import pytest
import torch
from torch import nn

from analysis.channels.maximise import Recipe, maximise, score_channel, score_class
from analysis.errors import Cancelled
from tests.sentences import refused

SHAPE = (3, 12, 10)
FREE = Recipe(steps=400, rate=0.05, jitter=0, variation=0.0)


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)]
        return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def test_the_best_picture_of_a_linear_model_has_the_signs_of_its_weights():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(360, 2))
    with torch.no_grad():
        known = torch.randn(360, generator=torch.Generator().manual_seed(0))
        linear[1].weight.copy_(torch.stack([known, -known]))
        linear[1].bias.zero_()
    for target, sign in ((0, 1), (1, -1)):
        found = maximise(linear, lambda pixels: pixels, SHAPE, score_class(target), FREE)
        weights = sign * known.view(SHAPE)
        assert found.after > 0.95 * float(weights.clamp(min=0).sum())  # white where they are positive, else black
        assert found.after == pytest.approx(float((found.pixels * weights).sum()), rel=1e-4)


@pytest.mark.parametrize(
    "score", [score_class(2), score_channel("1", 3), score_channel("2", 0)], ids=["class", "channel", "another layer"]
)
def test_scores_grow_pictures_are_pictures_and_the_same_seed_makes_the_same(network, score):
    recipe = Recipe(steps=40)
    found, again, other = (
        maximise(network, lambda pixels: 2 * pixels - 1, SHAPE, score, recipe, seed=seed) for seed in (1, 1, 2)
    )
    assert found.after > found.before and len(found.scores) == 40
    assert found.pixels.shape == SHAPE and 0 <= float(found.pixels.min()) <= float(found.pixels.max()) <= 1
    assert torch.equal(found.pixels, again.pixels) and not torch.equal(found.pixels, other.pixels)


def test_what_varies_costs_something(network):
    plain, smooth = (
        maximise(network, lambda pixels: pixels, SHAPE, score_channel("0", 1), Recipe(60, variation=cost)).pixels
        for cost in (0.0, 100.0)
    )
    assert smooth.diff(dim=2).square().mean() < 0.3 * plain.diff(dim=2).square().mean()


def test_the_network_and_the_random_numbers_are_left_as_they_were(network):
    network.train()
    network[0].weight.grad = torch.ones_like(network[0].weight)
    before, state = network[1].running_mean.clone(), torch.get_rng_state()

    def cancel(done, total):
        if done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        maximise(network, lambda pixels: pixels, SHAPE, score_class(0), progress=cancel)
    with refused():
        maximise(network, lambda pixels: pixels * torch.nan, SHAPE, score_class(0))
    with refused("0 to 3"):
        maximise(network, lambda pixels: pixels, SHAPE, score_channel("1", 4))
    maximise(network, lambda pixels: pixels, SHAPE, score_channel("1", 0), Recipe(steps=2))
    assert network.training and all(parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(network[1].running_mean, before) and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(network[0].weight.grad, torch.ones_like(network[0].weight))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())
