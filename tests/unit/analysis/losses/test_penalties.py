"""Paths of penalised weights against a numerical minimum."""

import pytest
import torch
from scipy.optimize import minimize

from analysis.losses.penalties import PENALTIES, trace_path
from tests.sentences import refused

OPTIMUM, CURVATURE = torch.tensor([2.0, -0.7]).double(), torch.tensor([1.0, 3.0]).double()
ADDED = {"l1": lambda w: w.abs().sum(), "l2": lambda w: w.square().sum() / 2}
STRENGTHS = torch.tensor([0, 0.5, 2, 5]).double()


@pytest.mark.parametrize("kind", PENALTIES)
def test_paths_are_minima(kind):
    path = trace_path(kind, OPTIMUM, CURVATURE, STRENGTHS)
    for strength, weights in zip(STRENGTHS.tolist(), path, strict=True):

        def loss(w, strength=strength):
            w = torch.tensor(w)
            return (CURVATURE / 2 * (w - OPTIMUM).square()).sum().item() + strength * ADDED[kind](w).item()

        found = minimize(loss, [1.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
        torch.testing.assert_close(weights, torch.tensor(found.x), atol=1e-4, rtol=0)
    assert torch.equal(path[0], OPTIMUM)
    assert bool((path[-1] == 0).all()) == (kind == "l1")


def test_what_cannot_be_is_refused():
    with refused("l3", "l1"):
        trace_path("l3", OPTIMUM, CURVATURE, STRENGTHS)
    with refused(0):
        trace_path("l1", OPTIMUM, CURVATURE, -STRENGTHS)
