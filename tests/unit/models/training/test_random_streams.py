"""Random numbers depend on seed, purpose and step, and on nothing else."""

import itertools

import pytest
import torch

from models.training.random_streams import Purpose, derive_seed, draw_generator, seed_generators


def test_every_purpose_and_step_has_numbers_of_its_own():
    keys = list(itertools.product((0, 1, 2**32 - 1), Purpose, (0, 1, 500), (0, 1)))
    seeds = {derive_seed(seed, purpose, *numbers) for seed, purpose, *numbers in keys}
    assert len(seeds) == len(keys) and all(0 <= seed < 2**63 for seed in seeds)


def test_what_was_drawn_before_does_not_matter():
    first = torch.randperm(20, generator=draw_generator(3, Purpose.ORDER, 7))
    for step in range(5):
        torch.randperm(20, generator=draw_generator(3, Purpose.ORDER, step))
    assert torch.equal(first, torch.randperm(20, generator=draw_generator(3, Purpose.ORDER, 7)))


def test_the_numbers_of_earlier_results_stay():
    """Whoever repeats a training years later draws the same."""
    assert [purpose.value for purpose in Purpose] == list(range(len(Purpose)))
    assert derive_seed(0, Purpose.ORDER, 0) == 7805851153417077868


def test_seeding_is_that_of_pytorch():
    with torch.random.fork_rng():
        torch.manual_seed(2**62 + 5)
        expected = torch.rand(3), torch.nn.functional.dropout(torch.ones(50))
        torch.manual_seed(1)
        seed_generators(torch.device("cpu"), 2**62 + 5)
        assert torch.equal(torch.rand(3), expected[0])
        assert torch.equal(torch.nn.functional.dropout(torch.ones(50)), expected[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_seeding_a_gpu_is_that_of_pytorch():
    device = torch.device("cuda")
    with torch.random.fork_rng():
        torch.manual_seed(7)
        expected = torch.rand(3, device=device)
        seed_generators(device, 7)
        assert torch.equal(torch.rand(3, device=device), expected)
