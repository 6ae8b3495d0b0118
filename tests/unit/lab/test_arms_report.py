"""What a comparison says: intervals against SciPy, differences paired by seed, and words that follow the numbers."""

import csv
import io

import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.arms_report import MEASURES, QUESTIONS, describe, mean_interval, steps_to, summarize, write_csv

ARMS = [{"name": "a", "title": "A", "parameters": 10}, {"name": "b", "title": "B", "parameters": 20}]
SHARES = st.floats(0, 1, allow_nan=False)


def network(arm: str, seed: int, val: float = 0.5, train: float = 0.6, test: float = 0.5, curve=(), **more) -> dict:
    points = [{"step": step, "val_accuracy": accuracy} for step, accuracy in curve] or [
        {"step": 10, "val_accuracy": val}
    ]
    values = {"val_accuracy": val, "test_accuracy": test, "train_accuracy": train, "seconds": 1.0, "curve": points}
    return {"arm": arm, "seed": seed, "run": f"x-{arm}-{seed}", "state": "finished", **values, **more}


@settings(max_examples=40, deadline=None, derandomize=True)
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


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=5))
def test_differences_are_paired_and_turn_around(pairs):
    networks = [network(arm, seed, test=pair[i]) for seed, pair in enumerate(pairs) for i, arm in enumerate("ab")]
    change = summarize(ARMS, networks, "accuracy")["rows"][1]["differences"]["test_accuracy"]
    back = summarize(ARMS[::-1], networks, "accuracy")["rows"][1]["differences"]["test_accuracy"]
    assert change["n"] == len(pairs)
    assert change["mean"] == pytest.approx(sum(b - a for a, b in pairs) / len(pairs), abs=1e-12)
    assert back["mean"] == pytest.approx(-change["mean"], abs=1e-12)
    if len(pairs) > 1:
        assert (back["low"], back["high"]) == pytest.approx((-change["high"], -change["low"]), abs=1e-12)


def test_only_seeds_that_both_arms_have_are_compared():
    networks = [network("a", 0, test=0.5), network("b", 0, test=0.6), network("a", 1, test=0.1)]
    row = summarize(ARMS, networks, "accuracy")["rows"][1]
    assert row["n"] == 1 and row["differences"]["test_accuracy"]["mean"] == pytest.approx(0.1)


def test_steps_count_to_the_lower_of_the_two_bests():
    slow = [(100, 0.3), (200, 0.5), (300, 0.7), (400, 0.65)]
    quick = [(100, 0.6), (200, 0.8), (300, 0.9)]
    found = summarize(ARMS, [network("a", 4, curve=slow), network("b", 4, curve=quick)], "steps", -1)
    assert found["targets"] == {4: 0.7}
    assert [row["steps"]["mean"] for row in found["rows"]] == [300, 200]
    change = found["rows"][1]["differences"]["steps"]
    assert change["mean"] == -100 and change["factor"] == pytest.approx(1.5) and change["factor_low"] is None
    assert "200 (B), fewer by a factor of 1.5, or 100 steps" in found["sentence"]
    assert "With one seed this may be chance" in found["sentence"] and "not enough to confirm" in found["sentence"]
    assert steps_to([], 0.1) is None and steps_to([{"step": 3, "val_accuracy": 0.2}], 0.3) is None


def test_no_steps_before_all_arms_of_a_seed_are_there():
    found = summarize(ARMS, [network("a", 0)], "steps")
    assert found["targets"] == {} and found["rows"][0]["steps"] is None and found["sentence"] == ""


def test_no_common_accuracy_where_no_seed_has_all_arms():
    """Each arm has diverged with another seed."""
    found = summarize(ARMS, [network("a", 0), network("b", 1)], "steps", -1)
    assert [row["n"] for row in found["rows"]] == [1, 1] and found["sentence"] == ""


@pytest.mark.parametrize("known", ["", "a", "b", "bc"])
def test_a_measure_that_is_not_there_is_not_talked_about(known):
    """Nobody asked for moved pictures, or not yet when the first networks were measured."""
    arms = [*ARMS, {"name": "c", "title": "C", "parameters": 1}]
    measured = [network(arm, 0, **({"consistency": 0.5} if arm in known else {})) for arm in "abc"]
    found = summarize(arms, measured, "translation", 1)
    assert found["sentence"] == "" and found["also"].startswith("Test accuracy, against 50.0 % (A)")


def test_factor_is_a_geometric_mean():
    curves = {("a", 0): 400, ("b", 0): 100, ("a", 1): 900, ("b", 1): 900}
    networks = [network(arm, seed, curve=[(step, 0.5)]) for (arm, seed), step in curves.items()]
    rows = summarize(ARMS, networks, "steps")["rows"]
    change = rows[1]["differences"]["steps"]
    assert change["factor"] == pytest.approx(2.0) and change["factor_low"] < 1 < change["factor_high"]
    # There is a smallest number of steps, but no largest.
    expected = scipy.stats.t.interval(0.95, 1, 650, scipy.stats.sem([400, 900]))
    assert (rows[0]["steps"]["low"], rows[0]["steps"]["high"]) == (0, pytest.approx(expected[1]))


@pytest.mark.parametrize(
    ("values", "direction", "words"),
    [
        ([(0.50, 0.60), (0.50, 0.61), (0.50, 0.62)], 1, ["higher by 11.0 points", "This is what is claimed"]),
        ([(0.50, 0.60), (0.50, 0.61), (0.50, 0.62)], -1, ["opposite of what is claimed"]),
        ([(0.60, 0.50), (0.61, 0.50), (0.62, 0.50)], 0, ["lower by 11.0 points"]),
        ([(0.50, 0.60), (0.50, 0.40), (0.50, 0.52)], 1, ["no difference that these 3 seeds can show", "not enough"]),
        ([(0.5, 0.6)], 0, ["higher by 10.0 points", "one seed this may be chance"]),
        ([(0.5, 0.5)], 0, ["no difference", "one seed this may be chance"]),
    ],
)
def test_words_follow_the_numbers(values, direction, words):
    networks = [network(arm, seed, test=v[i]) for seed, v in enumerate(values) for i, arm in enumerate("ab")]
    found = summarize(ARMS, networks, "accuracy", direction)
    for word in words:
        assert word in found["sentence"]
    assert ("claimed" in found["sentence"] or "confirm" in found["sentence"]) == bool(direction)


def test_every_question_has_words_for_every_measure():
    curve = [(10, 0.4), (20, 0.5)]
    networks = [
        network(arm, seed, train=0.7 + 0.1 * i, curve=curve, consistency=0.8, shifted_accuracy=0.4 + 0.1 * i)
        for seed in range(2)
        for i, arm in enumerate("ab")
    ]
    for name in QUESTIONS:
        assert summarize(ARMS, networks, name, chance=0.1)["sentence"]
    rows = summarize(ARMS, networks, "gap")["rows"]
    assert rows[1]["gap"]["mean"] == pytest.approx(0.3) and all(rows[0][name] is not None for name in MEASURES)


@pytest.mark.parametrize(
    ("train", "val", "words"),
    [
        (1.0, 0.102, "learned nothing else: new pictures are at chance"),
        (0.99, 0.3, "new pictures are not at chance"),
        (0.6, 0.1, "has not memorised them all"),
    ],
)
def test_memory(train, val, words):
    networks = [network("a", 0), network("b", 0, val=val, train=train)]
    sentence = summarize(ARMS, networks, "memory", chance=0.1)["sentence"]
    assert words in sentence and "guessing gives 10.0 %" in sentence and f"{100 * train:.1f} %" in sentence


def test_several_arms_are_each_compared_with_the_first():
    arms = [*ARMS, {"name": "c", "title": "C", "parameters": 1}]
    networks = [network(arm, seed, test=0.1 * i + 0.01 * seed) for seed in range(3) for i, arm in enumerate("abc")]
    sentence = summarize(arms, networks, "accuracy")["sentence"]
    assert sentence.startswith("Test accuracy, against 1.0 % (A): 11.0 % (B), higher by 10.0 points")
    assert "21.0 % (C), higher by 20.0 points" in sentence
    assert describe([], "accuracy") == ("", "")


def test_table_of_networks():
    networks = [network("a", 0, gap=0.25), {"arm": "b", "seed": 0, "run": "x-b-0", "state": "failed"}]
    rows = list(
        csv.DictReader(
            io.StringIO(
                write_csv({"rows": [{"arm": "a", "title": "A, 1"}, {"arm": "b", "title": "B"}], "networks": networks})
            )
        )
    )
    assert [row["title"] for row in rows] == ["A, 1", "B"] and rows[0]["test_accuracy"] == "0.5"
    assert rows[1]["state"] == "failed" and rows[1]["val_accuracy"] == ""


def test_shown_numbers():
    measure = MEASURES["gap"]
    assert measure.show_estimate({"mean": -0.0123, "low": -0.02, "high": 0.01}) == "−1.2 points [−2.0, 1.0]"
    assert measure.show(0.02, "+") == "+2.0"
    assert MEASURES["steps"].show_estimate({"mean": 12.4, "low": None, "high": None}) == "12"
