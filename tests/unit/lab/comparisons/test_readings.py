"""Intervals over seeds against SciPy, and what a measurement cannot tell as part of them."""

import math

import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.comparisons.readings import Reading, average, compare, compare_ratios, mean_interval

SHARES = st.floats(0, 1, allow_nan=False)


@st.composite
def step_readings(draw, limit: int = 1000) -> Reading:
    low = draw(st.integers(0, limit - 1))
    high = draw(st.integers(low + 1, limit))
    is_bound = low == 0 and draw(st.booleans())
    return Reading(high if is_bound else draw(st.floats(max(low, 0.5), high)), low, high, limit, is_bound)


def share(value: float, num: int | None = 20) -> Reading:
    return Reading.of_share(value, num, 1.0)


@settings(max_examples=40)
@given(st.lists(SHARES, min_size=2, max_size=8))
def test_intervals_are_students(values):
    found = mean_interval(values)
    error = scipy.stats.sem(values)
    low, high = scipy.stats.t.interval(0.95, len(values) - 1, found["mean"], error) if error else [found["mean"]] * 2
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=1e-12)
    clipped = mean_interval(values, 0.0, 1.0)
    assert 0 <= clipped["low"] <= clipped["mean"] + 1e-15 and clipped["mean"] - 1e-15 <= clipped["high"] <= 1


def test_one_value_has_no_interval():
    assert mean_interval([0.25]) == {"mean": 0.25, "low": None, "high": None}
    assert mean_interval([0.25], below=1, above=1) == {"mean": 0.25, "low": None, "high": None}


@settings(max_examples=200)
@given(st.lists(step_readings(), min_size=2, max_size=6))
def test_the_resolution_is_part_of_the_interval(readings):
    """It holds Student's interval, and the mean wherever between its neighbours each number really is."""
    found = average(readings, 0)
    plain = mean_interval([reading.value for reading in readings], 0, 1000)
    assert found["low"] <= plain["low"] + 1e-9 and plain["high"] - 1e-9 <= found["high"]
    for end in ("low", "high"):
        mean = sum(getattr(reading, end) for reading in readings) / len(readings)
        assert found["low"] - 1e-9 <= mean <= found["high"] + 1e-9
    assert 0 <= found["low"] < found["high"] <= 1000


@settings(max_examples=200)
@given(st.lists(st.tuples(step_readings(), step_readings(400)), min_size=1, max_size=6))
def test_differences_stay_within_what_is_possible_and_turn_around(pairs):
    found, back = compare(pairs, 0), compare([pair[::-1] for pair in pairs], 0)
    assert back["mean"] == pytest.approx(-found["mean"]) and back["resolved"] == found["resolved"]
    if len(pairs) > 1:
        assert -400 <= found["low"] < found["high"] <= 1000
        assert (back["low"], back["high"]) == pytest.approx((-found["high"], -found["low"]))
        if not found["resolved"]:
            assert found["low"] <= 1e-9 and found["high"] >= -1e-9
    ratios = compare_ratios(pairs)
    if ratios.get("factor_high"):
        assert 1 / 1000 - 1e-12 <= ratios["factor_low"] < ratios["factor_high"] <= 400 + 1e-9
        assert ratios["factor_low"] <= ratios["factor"] <= ratios["factor_high"]


def test_equal_numbers_have_an_interval_as_wide_as_the_measurement_is_coarse():
    found = average([share(0.6)] * 3, 0.0)
    assert (found["low"], found["high"]) == pytest.approx((0.575, 0.625))
    assert average([share(1.0)] * 2, 0.0)["low"] == pytest.approx(0.975)
    assert average([share(1.0)] * 2, 0.0)["high"] == 1.0  # and none above what there is
    difference = compare([(share(0.6), share(0.6))] * 3, 0.0)
    assert (difference["low"], difference["high"]) == pytest.approx((-0.05, 0.05)) and not difference["resolved"]
    assert compare([(share(0.7), share(0.6))], 0.0)["resolved"]
    steps = [Reading(200, 100, 200, 400)] * 2
    assert compare([(one, one) for one in steps], 0)["low"] == -100


def test_a_share_of_nobody_knows_how_many_is_taken_as_it_is():
    assert average([share(0.6, None)] * 2, 0.0) == pytest.approx({"mean": 0.6, "low": 0.6, "high": 0.6})


def test_differences_of_shares_are_at_most_100_points():
    found = compare([(share(1.0), share(0.0)), (share(0.9), share(0.5))], 0.0)
    assert found["high"] == 1.0 and found["low"] >= -1.0
    gaps = [Reading.of_share(value, 10, 1.0) for value in (1.0, -1.0)]
    assert compare([(gaps[0], gaps[1]), (gaps[1], gaps[0])], -1.0)["high"] == 2.0


BOUND, EARLY, LATE = Reading(200, 0, 200, 1000, True), Reading(50, 40, 60, 1000), Reading(900, 800, 1000, 1000)


@pytest.mark.parametrize(
    ("pairs", "bound", "mean", "resolved", "has_factor"),
    [
        ([(BOUND, LATE)], "at least", -700, True, True),
        ([(LATE, BOUND)], "at least", 700, True, True),
        ([(BOUND, LATE), (EARLY, LATE)], "at least", -775, True, True),
        ([(EARLY, LATE)], None, -850, True, True),
        ([(EARLY, BOUND)], None, -150, False, False),  # which of the two was earlier, nobody knows
        ([(BOUND, BOUND)], None, 0, False, False),
        ([(BOUND, LATE), (EARLY, BOUND)], None, -425, True, False),
    ],
)
def test_a_bound_on_the_earlier_arm_is_one_on_the_difference(pairs, bound, mean, resolved, has_factor):
    found = compare(pairs, 0, ratios=True)
    assert (found.get("bound"), found["mean"], found["resolved"]) == (bound, mean, resolved)
    assert ("factor" in found) == has_factor and "factor" not in compare(pairs, 0)


def test_a_mean_with_a_bound_in_it_is_one():
    assert average([BOUND, EARLY], 0)["bound"] == "at most" and "bound" not in average([EARLY, LATE], 0)


def test_factor_is_a_geometric_mean():
    pairs = [(Reading(100, 100, 100), Reading(400, 400, 400)), (Reading(900, 900, 900), Reading(900, 900, 900))]
    found = compare_ratios(pairs)
    low, high = scipy.stats.t.interval(0.95, 1, math.log(2), scipy.stats.sem([math.log(4), 0]))
    assert found["factor"] == pytest.approx(2.0)
    assert (found["factor_low"], found["factor_high"]) == pytest.approx((math.exp(low), math.exp(high)))
    assert compare_ratios(pairs[:1]) == pytest.approx({"factor": 4.0, "factor_low": None, "factor_high": None})


def test_no_factor_where_an_arm_needs_no_step():
    assert compare_ratios([(Reading(0, 0, 1), LATE)]) == {}
