"""Steps to the same accuracy: known crossings, interpolation between its neighbours, and what gives no number."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from lab.comparisons.steps import Guessing, find_crossing, find_steps, make_monotone
from models.training.frequent_validation import SAMPLE, plan_validations

ARMS = [{"name": "slow", "title": "Slow"}, {"name": "quick", "title": "Quick"}]
CHANCE = 0.1
SHARES = st.floats(0, 1, allow_nan=False)


@st.composite
def curves(draw, min_size: int = 1, start: int = 0):
    """Rising curves over rising steps."""
    accuracies = sorted(draw(st.lists(SHARES, min_size=min_size, max_size=12)))
    gaps = draw(st.lists(st.integers(1, 300), min_size=len(accuracies), max_size=len(accuracies)))
    steps = [start + int(sum(gaps[:number])) for number in range(len(gaps))]
    return list(zip(steps, accuracies, strict=True))


def network(arm: str, seed: int, points, **more) -> dict:
    samples = [{"step": step, "accuracy": accuracy} for step, accuracy in points]
    return {"arm": arm, "seed": seed, "samples": samples, "curve": [], **more}


# Interpolation.


@settings(max_examples=300)
@given(curves(), SHARES)
def test_a_crossing_is_bounded_by_its_neighbours(points, accuracy):
    found = find_crossing(points, accuracy)
    reached = [step for step, value in points if value >= accuracy]
    if not reached:
        assert found is None
        return
    earlier = [step for step, value in points if value < accuracy]
    assert found.low <= found.value <= found.high and found.low < found.high
    assert found.high == max(reached[0], 1) and found.low == (earlier[-1] if earlier else 0)
    assert found.is_bound == (not earlier and reached[0] > 0)
    assert found.limit == max(points[-1][0], 1)


@settings(max_examples=300)
@given(curves(), SHARES, SHARES)
def test_a_higher_accuracy_is_never_reached_earlier(points, one, other):
    low, high = (find_crossing(points, accuracy) for accuracy in sorted((one, other)))
    assume(high is not None)
    assert low.value <= high.value and low.low <= high.low and low.high <= high.high


@settings(max_examples=200)
@given(curves(min_size=2), st.floats(0, 1), st.integers(2, 50))
def test_steps_are_found_in_whatever_unit_they_are_counted(points, accuracy, factor):
    one = find_crossing(points, accuracy)
    other = find_crossing([(factor * step, value) for step, value in points], accuracy)
    assume(one is not None and one.value > 0)
    assert other.value == pytest.approx(factor * one.value)


@pytest.mark.parametrize("start", [0, 40])
def test_a_straight_line_is_crossed_where_it_has_the_accuracy(start):
    points = [(start + step, 0.2 + 0.001 * step) for step in (0, 70, 300, 700)]
    for step in (1, 69, 70, 71, 299, 555, 700):
        found = find_crossing(points, 0.2 + 0.001 * step)
        assert found.value == pytest.approx(start + step, rel=1e-9) and not found.is_bound


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(200, 0.8), (400, 0.9)], (200, 0, 200, True)),  # no later than that, and nobody knows how much earlier
        ([(0, 0.8), (400, 0.9)], (0, 0, 1, False)),  # before the first step, which is known
        ([(0, 0.1), (200, 0.8)], (200 * 0.65 / 0.7, 0, 200, False)),
        ([(0, 0.1), (200, 0.75)], (200, 0, 200, False)),
    ],
)
def test_where_a_curve_is_above_when_it_is_first_measured(points, expected):
    found = find_crossing(points, 0.75)
    assert (found.value, found.low, found.high, found.is_bound) == pytest.approx(expected)


# Ups and downs.


@settings(max_examples=100)
@given(st.lists(SHARES, min_size=1, max_size=30))
def test_a_monotone_curve_is_that_of_scikit_learn(values):
    found = make_monotone(list(enumerate(values)))
    expected = IsotonicRegression().fit_transform(range(len(values)), values)
    assert [step for step, _ in found] == list(range(len(values)))
    np.testing.assert_allclose([value for _, value in found], expected, atol=1e-12)
    assert all(before <= after for (_, before), (_, after) in pairwise(found))


def rise(steps, scale: float) -> np.ndarray:
    """Accuracy after so many steps: known at every one of them, so that every crossing is."""
    return CHANCE + 0.8 * (1 - np.exp(-np.asarray(steps) / scale))


def simulate(rng, scale: float, total: int = 1000, per_epoch: int = 200) -> list[tuple[int, float]]:
    """What validation within the epochs would have measured on so many pictures."""
    steps = sorted(plan_validations(total, per_epoch, 50, 5000) | set(range(per_epoch, total + 1, per_epoch)))
    right = rng.binomial(SAMPLE, rise(steps, scale)) / SAMPLE
    return [(step, float(accuracy)) for step, accuracy in zip(steps, right, strict=True)]


def measure(rng, scales: tuple[float, float], **options) -> tuple[dict, float]:
    networks = [
        network(arm["name"], 0, simulate(rng, scale, **options)) for arm, scale in zip(ARMS, scales, strict=True)
    ]
    found = find_steps(ARMS, networks, Guessing(CHANCE, SAMPLE))
    return {arm: reading for (arm, _), reading in found.steps.items()}, found.targets[0]


@pytest.mark.parametrize("factor", [1, 2, 5, 15, 40])
def test_a_known_factor_is_found(factor):
    """The slow arm rises as fast as the quick one in so many times the steps, to the end of the training."""
    rng, logs = np.random.default_rng(factor), []
    for _ in range(60):
        found, target = measure(rng, (400, 400 / factor))
        assert abs(target - rise(1000, 400)) < 0.05
        # The step at which the quick curve itself has the accuracy, without any measuring.
        known = -(400 / factor) * math.log(1 - (target - CHANCE) / 0.8)
        assert abs(math.log(found["quick"].value / known)) < 0.5
        logs.append(math.log(found["slow"].value / found["quick"].value))
    assert math.exp(np.mean(logs)) == pytest.approx(factor, rel=0.1)


def test_the_highest_of_many_measurements_would_not_do():
    """Control: the more often one looks, the higher the best; the end of a monotone curve stays where it is."""
    rng = np.random.default_rng(0)
    steps, level = np.arange(200), 0.75
    best, end = [], []
    for _ in range(100):
        values = rng.binomial(SAMPLE, level, size=len(steps)) / SAMPLE
        best.append(values.max())
        end.append(make_monotone(list(zip(steps.tolist(), values.tolist(), strict=True)))[-1][1])
    assert np.mean(best) - level > 0.03 and abs(np.mean(end) - level) < 0.01


def test_the_end_of_epochs_alone_cannot_tell_how_much_quicker_it_is():
    """Control: five measurements, the first of which the quick arm has passed, give a bound and not a number."""
    points = {
        name: [(step, float(rise(step, scale))) for step in range(200, 1001, 200)]
        for name, scale in (("slow", 400), ("quick", 10))
    }
    found = find_steps(ARMS, [network(name, 0, curve) for name, curve in points.items()], None)
    assert found.steps["quick", 0].is_bound and found.steps["slow", 0].value / found.steps["quick", 0].value == 5
    measured, _ = measure(np.random.default_rng(1), (400, 10))
    assert not measured["quick"].is_bound and measured["slow"].value / measured["quick"].value > 20


# What counts as an accuracy to compare at.


@settings(max_examples=200)
@given(st.integers(2, 1000), st.integers(1, 10_000))
def test_clearly_above_guessing(num_classes, num):
    guessing = Guessing(1 / num_classes, num)
    assert guessing.clearly_above >= 1 / num_classes + 0.25 * (1 - 1 / num_classes) - 1e-12
    # Three deviations of a number of right guesses that is binomial.
    deviation = np.sqrt(num / num_classes * (1 - 1 / num_classes)) / num
    assert guessing.clearly_above >= 1 / num_classes + 3 * deviation - 1e-12


@pytest.mark.parametrize(
    ("guessing", "expected"), [((0.1, 1000), 0.325), ((0.5, 1000), 0.625), ((0.5, 9), 1.0), ((0.1, 4), 0.55)]
)
def test_known_bounds(guessing, expected):
    assert Guessing(*guessing).clearly_above == pytest.approx(expected)


def test_networks_that_only_guess_are_never_compared():
    rng = np.random.default_rng(3)
    for num in (4, 12, 50, SAMPLE):
        for _ in range(200):
            networks = [
                network(arm["name"], 0, list(enumerate((rng.binomial(num, CHANCE, size=40) / num).tolist())))
                for arm in ARMS
            ]
            found = find_steps(ARMS, networks, Guessing(CHANCE, num))
            assert not found.steps and "guessing to 10.0 %" in found.reason


def test_one_seed_without_a_clear_accuracy_is_a_reason_for_all():
    """Or the seeds with which an arm learns nothing would be left out of its mean."""
    learned, nothing = [(0, 0.1), (100, 0.6)], [(0, 0.1), (100, 0.14)]
    networks = [network(arm["name"], seed, learned) for seed in (0, 1) for arm in ARMS]
    assert len(find_steps(ARMS, networks, Guessing(0.1, 1000)).steps) == 4
    networks[2] = network("slow", 1, nothing)
    found = find_steps(ARMS, networks, Guessing(0.1, 1000))
    assert not found.steps and found.targets == pytest.approx({0: 0.6, 1: 0.14})
    assert "with seed 1, Slow comes to 14.0 %" in found.reason and "needs 32.5 %" in found.reason
    assert find_steps(ARMS, networks, None).steps  # nobody says what guessing gets


def test_too_few_pictures_are_a_reason_of_their_own():
    networks = [network(arm["name"], 0, [(0, 0.5), (9, 1.0)]) for arm in ARMS]
    assert "4 validation pictures are too few" in find_steps(ARMS, networks, Guessing(0.5, 4)).reason
    assert find_steps(ARMS, networks, Guessing(0.5, 100)).steps


def test_curves_are_compared_on_the_same_pictures():
    """Where one arm was not measured often, all are taken at the ends of their epochs."""
    epochs = [{"step": step, "val_accuracy": accuracy} for step, accuracy in ((10, 0.5), (20, 0.8))]
    often = network("slow", 0, [(0, 0.1), (5, 0.3), (10, 0.6), (20, 0.9)]) | {"curve": epochs}
    old = {"arm": "quick", "seed": 0, "curve": epochs}
    assert find_steps(ARMS, [often, often | {"arm": "quick"}], None).targets == {0: 0.9}
    found = find_steps(ARMS, [often, old], None)
    assert found.targets == {0: 0.8} and found.steps["slow", 0] == found.steps["quick", 0]


def test_only_seeds_with_all_arms_count():
    assert find_steps(ARMS, [network("slow", 0, [(0, 0.5)])], None).targets == {}
    assert find_steps(ARMS, [network("slow", 0, [(0, 0.5)]), network("quick", 1, [(0, 0.5)])], None).targets == {}
    assert find_steps(ARMS, [network("slow", 0, []), network("quick", 0, [(0, 0.5)])], None).targets == {}
