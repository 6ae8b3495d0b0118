"""What a comparison says: differences paired by seed, and words that follow the numbers."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.comparisons.report import complete, summarize, write_csv
from lab.comparisons.sentences import MEASURES, QUESTIONS, describe
from lab.comparisons.steps import Guessing
from tests.sentences import check_sentence

ARMS = [{"name": "a", "title": "A", "parameters": 10}, {"name": "b", "title": "B", "parameters": 20}]
SHARES = st.floats(0, 1, allow_nan=False)


def network(arm: str, seed: int, val: float = 0.5, train: float = 0.6, test: float = 0.5, curve=(), **more) -> dict:
    points = [{"step": step, "val_accuracy": accuracy} for step, accuracy in curve] or [
        {"step": 10, "val_accuracy": val}
    ]
    values = {"val_accuracy": val, "test_accuracy": test, "train_accuracy": train, "seconds": 1.0, "curve": points}
    return {"arm": arm, "seed": seed, "run": f"x-{arm}-{seed}", "state": "finished", **values, **more}


@settings(max_examples=40)
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


SLOW = [(0, 0.1), (100, 0.3), (200, 0.5), (300, 0.6), (400, 0.7)]
QUICK = [(0, 0.1), (100, 0.6), (200, 0.8), (300, 0.9)]


def test_steps_count_to_the_accuracy_that_both_come_to():
    networks = [network("a", 4, curve=SLOW), network("b", 4, curve=QUICK)]
    found = summarize(ARMS, networks, "steps", -1)
    assert found["targets"] == {4: 0.7} and found["reasons"] == {}
    assert [row["steps"]["mean"] for row in found["rows"]] == pytest.approx([400, 150])
    change = found["rows"][1]["differences"]["steps"]
    assert change["mean"] == pytest.approx(-250) and change["factor"] == pytest.approx(400 / 150)
    assert (change["low"], change["factor_low"]) == (None, None)
    assert "common accuracy of 70.0 %, against 400 (A): 150 (B), " in found["sentence"]
    assert "fewer by a factor of 2.7, or 250 steps. " in found["sentence"]
    assert "With one seed this may be chance" in found["sentence"] and "not enough to confirm" in found["sentence"]
    slow, quick = complete(ARMS, networks)
    assert (slow["steps_low"], slow["steps"], slow["steps_high"]) == pytest.approx((300, 400, 400))
    assert (quick["steps_low"], quick["steps"], quick["steps_high"]) == pytest.approx((100, 150, 200))


def test_samples_decide_where_there_are_some():
    samples = {"b": [(0, 0.1), (20, 0.7), (300, 0.7)], "a": [(0, 0.1), (160, 0.1), (300, 0.7)]}
    networks = [
        network(arm, 0, curve=QUICK, samples=[{"step": step, "accuracy": value} for step, value in points])
        for arm, points in samples.items()
    ]
    rows = summarize(ARMS, networks, "steps")["rows"]
    assert [row["steps"]["mean"] for row in rows] == pytest.approx([300, 20])


def test_an_arm_that_is_there_when_first_measured_gives_a_bound():
    """Ends of epochs alone, as of a comparison from before validation within epochs."""
    networks = [
        network(arm, seed, curve=curve[1:]) for seed in range(3) for arm, curve in (("a", SLOW), ("b", QUICK[1:]))
    ]
    for seed in range(3):
        networks[2 * seed]["curve"][-1]["step"] += seed  # or there would be nothing between the seeds
    found = summarize(ARMS, networks, "steps", -1)
    assert found["rows"][1]["steps"]["bound"] == "at most" and "at most 200 (B)" in found["sentence"]
    change = found["rows"][1]["differences"]["steps"]
    assert change["bound"] == "at least" and "fewer by at least a factor of 2.0" in found["sentence"]
    assert change["mean"] == pytest.approx(-201) and -402 <= change["low"] < -201 < change["high"] < 0
    network_b = complete(ARMS, networks)[1]
    assert (network_b["steps"], network_b["steps_low"], network_b["steps_high"]) == (None, 0, 200)
    assert MEASURES["steps"].show_estimate(found["rows"][1]["steps"]).startswith("at most 200 [")


def test_two_arms_that_are_there_when_first_measured_cannot_be_told_apart():
    """Two epochs, as coarse as that: no difference, and no interval that would say how sure it is."""
    networks = [network(arm, seed, curve=[(200, 0.7), (400, 0.7)]) for seed in range(3) for arm in "ab"]
    found = summarize(ARMS, networks, "steps", -1)
    change = found["rows"][1]["differences"]["steps"]
    assert (change["low"], change["high"]) == (-200, 200) and not change["resolved"] and "factor" not in change
    assert "no difference that these 3 seeds can show [−200 to +200]" in found["sentence"]
    assert found["sentence"].endswith("This is not enough to confirm the claim.")
    one = summarize(ARMS, networks[:2], "steps", -1)["sentence"]
    assert "at most 200 (A): at most 200 (B), no difference." in one


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_of_steps_holds_their_resolution_and_nothing_impossible(seeds):
    curves = {"a": SLOW, "b": QUICK}
    networks = [network(arm, seed, curve=curves[arm]) for seed in range(seeds) for arm in "ab"]
    rows = summarize(ARMS, networks, "steps", -1)["rows"]
    assert (rows[0]["steps"]["low"], rows[0]["steps"]["high"]) == pytest.approx((300, 400))
    change = rows[1]["differences"]["steps"]
    assert (change["low"], change["high"]) == pytest.approx((100 - 400, 200 - 300))
    assert (change["factor_low"], change["factor_high"]) == pytest.approx((1.5, 4))
    networks[0] = network("a", 0, curve=[(0, 0.1), (10, 0.7), (300, 0.7)])  # the seeds disagree
    rows = summarize(ARMS, networks, "steps", -1)["rows"]
    change = rows[1]["differences"]["steps"]
    assert 0 <= rows[0]["steps"]["low"] < rows[0]["steps"]["high"] <= 400
    assert -400 <= change["low"] < change["high"] <= 300
    assert 1 / 300 - 1e-9 <= change["factor_low"] < change["factor_high"] <= 400 + 1e-9


def test_a_common_accuracy_near_guessing_gives_a_reason_and_no_number():
    dull = [(0, 0.1), (300, 0.2)]
    networks = [network(arm, seed, curve=dull if arm == "a" else QUICK) for seed in range(3) for arm in "ab"]
    found = summarize(ARMS, networks, "steps", -1, 0.1, Guessing(0.1, 1000))
    assert [row["steps"] for row in found["rows"]] == [None, None]
    assert found["rows"][1]["differences"]["steps"] is None
    assert found["sentence"].startswith(found["reasons"]["steps"]) and "20.0 %" in found["sentence"]
    assert found["sentence"].endswith("This is not enough to confirm the claim.")
    assert found["also"].startswith("Test accuracy, against")
    assert [network["steps"] for network in complete(ARMS, networks, Guessing(0.1, 1000))] == [None] * 6
    undirected = summarize(ARMS, networks, "steps", 0, 0.1, Guessing(0.1, 1000))
    assert undirected["sentence"] == found["reasons"]["steps"]
    # What else is asked is answered all the same, and an accuracy well above guessing is compared at.
    other = summarize(ARMS, networks, "accuracy", 0, 0.1, Guessing(0.1, 1000))
    assert "Steps" not in other["sentence"] + other["also"] and other["sentence"]
    networks = [network(arm, seed, curve=SLOW if arm == "a" else QUICK) for seed in range(3) for arm in "ab"]
    assert summarize(ARMS, networks, "steps", -1, 0.1, Guessing(0.1, 1000))["reasons"] == {}


def test_equal_shares_have_the_interval_of_their_pictures():
    counted = {"test_accuracy": 50, "val_accuracy": 20, "train_accuracy": 40}
    networks = [network(arm, seed, counted=counted) for seed in range(3) for arm in "ab"]
    rows = summarize(ARMS, networks, "accuracy", 1)["rows"]
    change = rows[1]["differences"]
    assert (change["test_accuracy"]["low"], change["test_accuracy"]["high"]) == pytest.approx((-0.02, 0.02))
    assert (rows[0]["gap"]["low"], rows[0]["gap"]["high"]) == pytest.approx((0.1 - 0.0375, 0.1 + 0.0375))


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
    curve = [(0, 0.1), (10, 0.4), (20, 0.5)]
    networks = [
        network(arm, seed, train=0.7 + 0.1 * i, curve=curve, consistency=0.8, shifted_accuracy=0.4 + 0.1 * i)
        for seed in range(2)
        for i, arm in enumerate("ab")
    ]
    for name in QUESTIONS:
        assert summarize(ARMS, networks, name, chance=0.1)["sentence"]
    rows = summarize(ARMS, networks, "gap")["rows"]
    assert rows[1]["gap"]["mean"] == pytest.approx(0.3) and all(rows[0][name] is not None for name in MEASURES)


@pytest.mark.parametrize(("train", "val"), [(1.0, 0.102), (0.99, 0.3), (0.6, 0.1)])
def test_memory(train, val):
    networks = [network("a", 0), network("b", 0, val=val, train=train)]
    check_sentence(summarize(ARMS, networks, "memory", chance=0.1)["sentence"], "10.0", f"{100 * train:.1f}")


def test_several_arms_are_each_compared_with_the_first():
    arms = [*ARMS, {"name": "c", "title": "C", "parameters": 1}]
    networks = [network(arm, seed, test=0.1 * i + 0.01 * seed) for seed in range(3) for i, arm in enumerate("abc")]
    sentence = summarize(arms, networks, "accuracy")["sentence"]
    check_sentence(sentence, "1.0 % (A)", "11.0 % (B)", "10.0", "21.0 % (C)", "20.0")
    assert describe([], "accuracy") == ("", "")


def test_table_of_networks():
    networks = [network("a", 0, gap=0.25), {"arm": "b", "seed": 0, "run": "x-b-0", "state": "failed"}]
    text = write_csv({"rows": [{"arm": "a", "title": "A, 1"}, {"arm": "b", "title": "B"}], "networks": networks})
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert [row["title"] for row in rows] == ["A, 1", "B"] and rows[0]["test_accuracy"] == "0.5"
    assert rows[1]["state"] == "failed" and rows[1]["val_accuracy"] == rows[0]["steps_low"] == ""


def test_shown_numbers():
    measure = MEASURES["gap"]
    assert measure.show_estimate({"mean": -0.0123, "low": -0.02, "high": 0.01}) == "−1.2 points [−2.0, 1.0]"
    assert measure.show(0.02, "+") == "+2.0"
    assert MEASURES["steps"].show_estimate({"mean": 12.4, "low": None, "high": None}) == "12"
    bound = {"mean": 12.4, "low": 0, "high": 20, "bound": "at most"}
    assert MEASURES["steps"].show_estimate(bound) == "at most 12 [0, 20]"
