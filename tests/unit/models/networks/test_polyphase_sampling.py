"""Adaptive polyphase sampling: against a loop, exact under circular shifts, and where it stops being exact."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.networks.polyphase_sampling import (
    PairedPolyphaseSampling2d,
    PolyphaseSampling2d,
    phase_energies,
    phase_gap,
    strongest_phase,
    take_phase,
)


def random_maps(*shape: int, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("training", [True, False])
def test_equals_a_loop(layout, training):
    x = random_maps(16, 3, 6, 8).to(memory_format=layout)
    sampled = PolyphaseSampling2d().train(training)(x)
    chosen = set()
    for n in range(16):
        phases = [x[n, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        best = max(range(4), key=lambda k: phases[k].double().norm().item())
        chosen.add(best)
        assert torch.equal(sampled[n], phases[best])
        torch.testing.assert_close(phase_energies(x)[n].sqrt(), torch.stack([p.double().norm() for p in phases]))
    assert len(chosen) > 1


@settings(max_examples=25)
@given(
    dy=st.integers(-9, 9),
    dx=st.integers(-9, 9),
    half=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    seed=st.integers(0, 99),
)
def test_a_circular_shift_keeps_the_same_pixels(dy, dx, half, seed):
    x = random_maps(2, 3, 2 * half[0], 2 * half[1], seed=seed)
    sample = PolyphaseSampling2d()
    before, after = sample(x), sample(x.roll((dy, dx), (2, 3)))
    for b, a in zip(before, after, strict=True):
        shifts = [b.roll((i, j), (1, 2)) for i in range(half[0]) for j in range(half[1])]
        assert any(torch.equal(a, shifted) for shifted in shifts)


def test_an_odd_side_keeps_the_size_but_not_the_pixels():
    x = random_maps(4, 3, 7, 7)
    assert PolyphaseSampling2d()(x).shape == (4, 3, 4, 4)
    total = PolyphaseSampling2d()(x).sum((1, 2, 3))
    assert (PolyphaseSampling2d()(x.roll(1, 3)).sum((1, 2, 3)) - total).abs().max() > 0.1


def test_both_branches_take_the_same_pixels():
    x, shortcut = random_maps(8, 3, 6, 6), random_maps(8, 5, 6, 6, seed=1)
    sampled, partner = PairedPolyphaseSampling2d()(x, shortcut)
    assert torch.equal(sampled, PolyphaseSampling2d()(x))
    assert torch.equal(partner, take_phase(shortcut, strongest_phase(x)))
    assert not torch.equal(partner, PolyphaseSampling2d()(shortcut))


def test_gap_tells_ties_from_clear_choices():
    x = torch.zeros(4, 1, 4, 4)
    x[1] = 1.0
    x[2, 0, 0, 0], x[2, 0, 1, 1] = 2.0, 1.0
    x[3, 0, 0, 0], x[3, 0, 1, 1] = 1.0, -1.0
    assert phase_gap(x).tolist() == [0.0, 0.0, 0.5, 0.0]


def test_energies_do_not_depend_on_the_order_of_pixels():
    x = random_maps(4, 16, 32, 32) * 1e3
    moved = phase_energies(x.roll((2, 4), (2, 3)))
    torch.testing.assert_close(moved, phase_energies(x), rtol=1e-14, atol=0)


def test_gradients_go_to_the_kept_pixels_only():
    x = random_maps(2, 2, 4, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(PolyphaseSampling2d(), x)
    PolyphaseSampling2d()(x).sum().backward()
    assert x.grad.sum().item() == 2 * 2 * 4 and set(x.grad.unique().tolist()) == {0.0, 1.0}
    assert not list(PolyphaseSampling2d().state_dict())
