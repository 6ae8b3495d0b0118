"""Sums of an epoch against plain loops, and what is said about a loss that is no number."""

import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.training.metrics import RunningSums, check_finite
from tests.sentences import refused

CPU = torch.device("cpu")


def batch(seed: int, size: int):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (size,), generator=generator)
    return torch.rand(size, generator=generator), torch.randn(size, 4, generator=generator), labels


@settings(max_examples=40)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=8), seed=st.integers(0, 10**6))
def test_the_mean_is_that_of_all_pictures(sizes, seed):
    sums, losses, correct = RunningSums(CPU), [], []
    for step, size in enumerate(sizes):
        loss, logits, labels = batch(seed + step, size)
        sums.add(loss, logits, labels, step)
        losses += loss.double().tolist()
        correct += [row.index(max(row)) == label for row, label in zip(logits.tolist(), labels.tolist(), strict=True)]
    loss, accuracy = sums.read()
    assert loss == pytest.approx(math.fsum(losses) / len(losses), rel=1e-5)
    assert accuracy == pytest.approx(sum(correct) / len(correct))
    assert sums.count == sum(sizes) and sums.bad_step is None


@settings(max_examples=40)
@given(
    bad=st.dictionaries(st.integers(0, 11), st.sampled_from([math.nan, math.inf, -math.inf]), max_size=5),
    first=st.integers(0, 10**6),
)
def test_the_bad_step_is_the_first_one(bad, first):
    sums = RunningSums(CPU)
    for step in range(12):
        loss, logits, labels = batch(step, 3)
        if step in bad:
            loss[1] = bad[step]
        sums.add(loss, logits, labels, first + step)
    assert sums.bad_step == (first + min(bad) if bad else None)


def test_step_0_can_be_the_bad_one():
    sums = RunningSums(CPU)
    sums.add(torch.tensor([math.nan]), torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), 0)
    assert sums.bad_step == 0


@pytest.mark.parametrize("is_bad", [False, True])
def test_sums_that_were_saved_go_on_to_the_same_bits(is_bad):
    whole = RunningSums(CPU)
    for step in range(6):
        loss, logits, labels = batch(step, 5)
        if is_bad and step == 2:
            loss[0] = math.nan
        whole.add(loss, logits, labels, step)
        if step == 3:
            saved = {name: tensor.clone() for name, tensor in whole.sums.items()}
    again = RunningSums(CPU)
    again.restore(saved, seconds=100.0)
    for step in (4, 5):
        again.add(*batch(step, 5), step)
    for name, tensor in whole.sums.items():
        assert torch.equal(torch.nan_to_num(again.sums[name]), torch.nan_to_num(tensor))
        assert again.sums[name].dtype == tensor.dtype
    assert again.bad_step == whole.bad_step == (2 if is_bad else None)
    # The saved tensors are not added to.
    assert int(saved["count"]) == 20


def test_time_goes_on_from_what_was_saved(monkeypatch):
    now = [50.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    sums = RunningSums(CPU)
    for step in range(2):
        sums.add(*batch(step, 5), step)
    now[0] += 4.0
    assert (sums.seconds, sums.seconds_since_report, sums.samples_per_second) == (4.0, 4.0, 2.5)
    sums.mark_report()
    now[0] += 1.0
    assert (sums.seconds, sums.seconds_since_report, sums.samples_per_second) == (5.0, 1.0, 2.0)
    again = RunningSums(CPU)
    again.restore(sums.sums, sums.seconds)
    assert (again.seconds, again.samples_per_second, again.seconds_since_report) == (5.0, 2.0, 0.0)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_the_likely_cause_is_named(loss):
    with refused("7", "0.25"):
        check_finite(loss, 7, 0.25, "no")
    with refused("7", "bfloat16 or float32"):
        check_finite(loss, 7, 0.25, "fp16")
    # bfloat16 has the range of float32.
    with refused("7", "0.25"):
        check_finite(loss, 7, 0.25, "bf16")


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
@pytest.mark.parametrize("loss", [0.0, 2.3, 1e30])
def test_a_number_is_no_error(loss, precision):
    check_finite(loss, 1, 0.1, precision)
