"""Random numbers depend on seed, purpose and step, and on nothing else."""

import itertools

import torch

from models.random_streams import Purpose, derive_seed, draw_generator


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
