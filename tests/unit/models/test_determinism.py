"""The seed decides inside the block, and the global state outside does not notice."""

import random

import numpy as np
import pytest
import torch

from models.determinism import reproducible


def snapshot():
    flags = (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.utils.deterministic.fill_uninitialized_memory,
    )
    return torch.random.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist(), flags


@pytest.mark.parametrize("error", [None, KeyError])
def test_state_is_kept_also_after_errors(error):
    before = snapshot()
    try:
        with reproducible(3):
            first = torch.rand(3)
            random.random(), np.random.rand()
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.utils.deterministic.fill_uninitialized_memory
            if error:
                raise error
    except KeyError:
        pass
    assert snapshot() == before
    with reproducible(3):
        assert torch.equal(torch.rand(3), first)
