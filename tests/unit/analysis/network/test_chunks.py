"""Chunks that get smaller where memory is too little, on a CPU as on a GPU, and only there."""

import logging

import pytest
import torch
from torch import nn

from analysis.network.chunks import halve, run_in_chunks, unless_too_large
from analysis.shift.polyphase import compute_all_shifts
from tests.sentences import refused

CPU = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12"
TOO_LARGE = [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError(CPU), MemoryError()]


def fail(error: Exception):
    raise error


@pytest.mark.parametrize("error", TOO_LARGE)
def test_too_little_memory_gives_none_on_every_device(error):
    assert unless_too_large(fail, error) is None


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes"), ValueError("out of memory"), KeyError("x")])
def test_every_other_error_stays_one(error):
    with pytest.raises(type(error)) as caught:
        unless_too_large(fail, error)
    assert caught.value is error


def test_what_fits_is_given_back():
    assert unless_too_large(divmod, 7, 2) == (3, 1)


def test_the_tensors_of_a_failure_are_gone_before_the_next_try():
    freed = []

    class Held:
        def __del__(self):
            freed.append(True)

    def run():
        held = Held()
        if held:
            raise RuntimeError(CPU)

    assert unless_too_large(run) is None and freed


@pytest.mark.parametrize(("chunk", "least", "expected"), [(64, 1, 32), (3, 1, 1), (3, 2, 2), (64, 40, 40)])
def test_chunks_are_halved_down_to_the_least(caplog, chunk, least, expected):
    with caplog.at_level(logging.WARNING):
        assert halve(chunk, least) == expected
    assert str(expected) in caplog.text


def test_the_least_chunk_is_the_end():
    with refused():
        halve(1)
    with refused("2"):
        halve(2, least=2)


@pytest.mark.parametrize("error", TOO_LARGE)
def test_all_items_are_computed_in_chunks_that_get_smaller(error):
    seen, reports = [], []

    def double(part: list[int]) -> list[int]:
        seen.append(len(part))
        if len(part) > 3:
            raise error
        return [2 * item for item in part]

    found = list(run_in_chunks(double, list(range(8)), 6, lambda *numbers: reports.append(numbers)))
    assert seen == [6, 3, 3, 2]
    assert found == [([0, 1, 2], [0, 2, 4]), ([3, 4, 5], [6, 8, 10]), ([6, 7], [12, 14])]
    assert reports == [(0, 8), (0, 8), (3, 8), (6, 8), (8, 8)]


@pytest.mark.parametrize("error", TOO_LARGE)
def test_all_shifts_divide_further_where_a_forward_is_too_large(error):
    """A network that is too large for the device is not one that cannot be followed."""
    sizes = []

    class Picky(nn.Conv2d):
        def forward(self, x):
            sizes.append(len(x))
            if len(sizes) == 2:  # the survey is the first
                raise error
            return super().forward(x)

    torch.manual_seed(0)
    network = nn.Sequential(
        Picky(1, 4, 3, stride=2, padding=1),
        nn.Conv2d(4, 4, 3, stride=2, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).eval()
    found = compute_all_shifts(network, torch.rand(1, 1, 8, 8))
    assert len(sizes) > 3 and torch.isfinite(found.logits).all()
