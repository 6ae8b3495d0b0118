"""Normalisations and their way back against PyTorch and autograd."""

import pytest
import torch
from torch.nn import functional as F

from analysis.losses.normalisation import NORMALISATIONS, find_sets, go_back, normalise
from tests.sentences import refused

ORACLES = {
    "batch": lambda x, gain, shift: F.batch_norm(x, None, None, gain, shift, training=True),
    "layer": lambda x, gain, shift: F.group_norm(x, 1, gain, shift),
    "instance": lambda x, gain, shift: F.instance_norm(x, weight=gain, bias=shift),
    "group": lambda x, gain, shift: F.group_norm(x, 3, gain, shift),
}


@pytest.mark.parametrize("kind", NORMALISATIONS)
@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (3, 6, 7)])
def test_both_ways_are_those_of_torch(kind, shape):
    generator = torch.Generator().manual_seed(0)
    x, upstream = (torch.randn(shape, generator=generator, dtype=torch.float64) * 3 + 1 for _ in range(2))
    gain, shift = (torch.randn(6, generator=generator, dtype=torch.float64) for _ in range(2))
    leaves = [tensor.clone().requires_grad_() for tensor in (x, gain, shift)]
    expected = ORACLES[kind](*leaves)
    steps = normalise(kind, x, gain, shift, groups=3)
    torch.testing.assert_close(steps.scaled, expected.detach())
    back = go_back(kind, x, upstream, gain, groups=3)
    for found, gradient in zip(
        (back.inputs, back.gain, back.shift), torch.autograd.grad(expected, leaves, upstream), strict=True
    ):
        torch.testing.assert_close(found, gradient)


@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_sets_are_the_cells_whose_mean_is_zero(kind):
    x = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sets = find_sets(kind, (3, 4, 2, 2), 2)
    normalised = normalise(kind, x, groups=2, eps=0).normalised
    assert int(sets.max()) + 1 == len(sets.unique()) == {"batch": 4, "layer": 3, "instance": 12, "group": 6}[kind]
    for number in sets.unique():
        cells = normalised[sets == number]
        assert cells.mean().item() == pytest.approx(0, abs=1e-12)
        assert cells.var(unbiased=False).item() == pytest.approx(1)


def test_a_typed_batch():
    steps = normalise("batch", torch.tensor([[1.0], [2], [3], [6]]).double(), eps=0)
    assert steps.mean[:, 0].tolist() == [3] * 4 and steps.variance[:, 0].tolist() == [3.5] * 4
    # Whatever is added before is taken away again: no bias is needed.
    moved = normalise("batch", torch.tensor([[11.0], [12], [13], [16]]).double(), eps=0)
    assert torch.equal(moved.normalised, steps.normalised)


def test_what_cannot_be_is_refused():
    with refused(4, 3):
        find_sets("group", (2, 4, 2, 2), 3)
    with refused("power", "batch"):
        normalise("power", torch.ones(2, 2))
