"""Phases that are stratified, and an estimate from a few of them against all."""

import itertools

import pytest
import torch

from analysis.equivariance.phase_spread import draw_phases, measure_phase_spread


def test_a_sample_of_phases_finds_the_spread_of_all():
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randn(400, 1, 2, generator=generator).double()
    every = pictures + 0.5 * torch.randn(400, 64, 2, generator=generator).double()
    sample = every[:, torch.randperm(64, generator=generator)[:4]]
    exact, estimate = measure_phase_spread(every, is_complete=True), measure_phase_spread(sample, is_complete=False)
    assert estimate == pytest.approx(exact, rel=0.1)
    assert measure_phase_spread(sample, is_complete=True) < 0.85 * exact


def test_phases_are_shared_stratified_and_seeded():
    phases = draw_phases(32, 4)
    assert len(phases) == 16
    assert {(dx % 4, dy % 4) for dx, dy in phases} == set(itertools.product(range(4), repeat=2))
    assert all(0 <= distance < 32 for phase in phases for distance in phase)
    assert draw_phases(32, 4) == phases != draw_phases(32, 4, seed=1)
    assert draw_phases(1, 4) == ((0, 0),)
    assert {max(draw_phases(3, 2, seed=seed)) for seed in range(40)} >= {(2, 2), (2, 1), (1, 2)}
