"""Infidelity and sensitivity: against captum, and where they are known to be zero."""

import captum.metrics
import pytest
import torch

from analysis.attribution.methods import attribute
from analysis.trust.perturbation import measure_drops, measure_infidelity, measure_sensitivity
from tests.sentences import refused
from tests.unit.analysis.attribution.explained import ResidualNet
from tests.unit.analysis.trust.test_removal import Linear


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.randn((1, 3, 12, 12), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def linear() -> Linear:
    return Linear(torch.randn((3, 12, 12), generator=torch.Generator().manual_seed(2)))


@pytest.mark.parametrize(("method", "is_rate"), [("input_x_gradient", False), ("saliency", True)])
def test_a_linear_model_is_foretold_exactly(linear, picture, method, is_rate):
    drops = measure_drops(linear, picture, 0, samples=30)
    values = attribute(linear, picture, 0, method).values
    found = measure_infidelity(drops, values, is_rate=is_rate)
    assert max(found.value, found.unscaled, found.share) < 1e-6
    # Taken for the other kind of map, or for that of the other class, it foretells less.
    assert measure_infidelity(drops, values, is_rate=not is_rate).share > 0.01
    noise = torch.randn(values.shape, generator=torch.Generator().manual_seed(3))
    assert measure_infidelity(drops, noise, is_rate=is_rate).share > 0.5
    assert measure_infidelity(drops, torch.zeros(1, 12, 12), is_rate=is_rate).share == 1


@pytest.mark.parametrize("is_rate", [True, False])
def test_infidelity_is_captums(picture, is_rate):
    torch.manual_seed(0)
    net = ResidualNet().eval()
    values = attribute(net, picture, 1, "saliency" if is_rate else "integrated_gradients").values
    drops = measure_drops(net, picture, 1, samples=16, chunk=3)

    def perturb(inputs):
        masks = drops.masks[:, None].expand(-1, 3, -1, -1)
        return (inputs * masks if is_rate else masks.to(inputs)), inputs.masked_fill(masks, 0)

    expected = [
        captum.metrics.infidelity(
            net, perturb, picture, values[None], target=1, n_perturb_samples=16, normalize=scaled
        )
        for scaled in (True, False)
    ]
    found = measure_infidelity(drops, values, is_rate=is_rate)
    assert [found.value, found.unscaled] == pytest.approx([float(number) for number in expected], rel=1e-3)


def test_the_same_seed_covers_the_same_parts_and_leaves_the_global_one_alone(linear, picture):
    state = torch.get_rng_state()
    first, again = (measure_drops(linear, picture, 0, samples=8, chunk=chunk) for chunk in (3, 8))
    assert torch.equal(first.masks, again.masks)
    torch.testing.assert_close(first.drops, again.drops)
    assert not torch.equal(measure_drops(linear, picture, 0, samples=8, seed=1).masks, first.masks)
    assert 0.3 < first.masks.float().mean() < 0.7
    sensitivities = [measure_sensitivity(picture, lambda x: x[0].abs(), seed=seed) for seed in (0, 0, 1)]
    assert sensitivities[0] == sensitivities[1] != sensitivities[2]
    assert torch.equal(torch.get_rng_state(), state)
    with refused("2", "12"):
        measure_drops(linear, picture, 0, cells=13)


def test_the_gradient_of_a_linear_model_never_changes_and_the_input_changes_by_its_noise(linear, picture):
    def ask(method):
        return lambda x: attribute(linear, x, 0, method).values

    seen = []
    assert measure_sensitivity(picture, ask("saliency"), progress=lambda *done: seen.append(done)) == 0
    assert seen[-1] == (5, 5)
    # The map is the picture here: of 0.1 at most and a third of its square on average.
    found = measure_sensitivity(picture, lambda x: x[0], radius=0.1)
    assert found == pytest.approx(0.1 / 3**0.5 * 432**0.5 / float(picture.norm()), rel=0.1)
