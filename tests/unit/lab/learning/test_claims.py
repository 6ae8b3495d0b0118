"""Every claim of the lecture: its verdict follows from its numbers, and turns round when something is broken."""

import json
from dataclasses import replace

import pytest
import torch

from analysis.errors import Cancelled, UserError
from lab.comparisons.claims import PRESETS, configure_preset
from lab.comparisons.report import summarize
from lab.learning.claim import (
    SECTIONS,
    VERDICTS,
    Fact,
    Finding,
    are_equal,
    is_equal,
    is_less,
    is_more,
    is_share,
    judge_interval,
    write,
)
from lab.learning.claims import CLAIMS, check_claim, describe_claim, describe_verdict
from lab.learning.claims_trained import TRAINED, takes_fewer
from lab.learning.claims_translation import HOME, find_moved
from lab.learning.measures import measure
from lab.session import Lab
from models.access import Viewer, acting
from models.registry import DEFAULT_MODEL
from models.runs.changes import publish_run
from models.runs.files import write_json
from tests.device import DEVICE
from tests.nightly import mostly_nightly
from tests.sentences import refused

FAILS = ("kernels_are_sums", "rarely_padded", "content_alone", "cat_sideways", "cat_tilted", "cat_covered")
"""Claims of which the numbers say that they do not hold here."""
OPEN = ("same_answer", "dropout_figures")
"""What these need is not here."""
QUICK = [name for name in CLAIMS if name not in TRAINED and name not in OPEN]
NUMBERS = {
    "six_filters": [("28 x 28 x 6", "28 x 28 x 6")],
    "ten_filters": [("32 x 32 x 10", "32 x 32 x 10"), ("760", "760")],
    "vertical_edge": [("4 x 4", "4 x 4"), ("1", "1"), ("0 30 30 0", "0 30 30 0")],
    "stride_two": [("15", "15"), ("17", "17")],
    "three_see_seven": [("7 pixels", "7 pixels")] * 2,
    "svm": [("2.9, 0.0, 12.9", "2.9, 0.0, 12.9")],
    "gap_outputs": [("512", "512"), ("25,088", "25,088"), ("less than 25,088", "512")],
    "vgg_layers": [(number, number) for number in ("11", "11", "13", "16", "16", "19")],
    "alexnet_filters": [("64", "64"), ("3 x 11 x 11", "3 x 11 x 11")],
    "linear_templates": [("10", "10"), ("784", "784")],
}
"""Of the notes: what is claimed, and what is found."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    made = Lab(DEVICE, tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("runs"))
    with made.use(DEFAULT_MODEL):  # networks are made of random numbers before their weights are read
        return made


def test_the_table_is_whole():
    assert {claim.section for claim in CLAIMS.values()} == {*SECTIONS}
    assert all((claim.control and claim.broken) or name in TRAINED for name, claim in CLAIMS.items())
    assert {claim.preset for claim in CLAIMS.values()} == {*PRESETS, ""}
    assert all(len(claim.says) > 20 and claim.says.endswith(".") for claim in CLAIMS.values())
    json.dumps([describe_claim(name) for name in CLAIMS])


@pytest.mark.parametrize("name", mostly_nightly(QUICK, [name for name in QUICK if CLAIMS[name].seconds < 1.5]))
def test_a_claim_is_checked_and_the_check_can_tell(lab, name):
    state, told = torch.get_rng_state(), []
    document = check_claim(lab, name, lambda done, total: told.append(done / total)).to_json()
    assert document["verdict"] == ("fails" if name in FAILS else "holds")
    assert document["control"]["verdict"] == ("holds" if name in FAILS else "fails")
    assert document["facts"] and told and all(0 <= share <= 1 for share in told)
    assert (document["number"] is not None) or CLAIMS[name].guess is None
    assert torch.equal(state, torch.get_rng_state())
    assert [(fact["claimed"], fact["found"]) for fact in document["facts"]] == NUMBERS.get(
        name, [(fact["claimed"], fact["found"]) for fact in document["facts"]]
    )
    assert describe_verdict(document).lower().startswith(VERDICTS[document["verdict"]])
    json.dumps(document, allow_nan=False)


def test_what_is_under_way_can_be_cancelled(lab):
    def stop(done: int, total: int) -> None:
        raise Cancelled

    for name in ("rarely_padded", "cat_covered"):
        with pytest.raises(Cancelled):
            check_claim(lab, name, stop)


def test_an_unknown_claim_is_refused(lab):
    with refused("softmax"):
        check_claim(lab, "sofmax")
    with pytest.raises(UserError):
        check_claim(lab, {"a": 1})  # type: ignore[arg-type]
    with pytest.raises(UserError):
        describe_claim("")


@pytest.mark.parametrize(
    ("facts", "verdict"), [("yy", "holds"), ("yn", "fails"), ("yo", "open"), ("no", "fails"), ("", "open")]
)
def test_the_verdict_follows_from_the_facts(facts, verdict):
    outcomes = {"y": True, "n": False, "o": None}
    assert Finding(tuple(Fact("", "", "", outcomes[each]) for each in facts)).verdict == verdict


def test_facts_compare_what_they_show():
    assert is_equal("", 3, 3).holds and not is_equal("", 3, 4).holds and is_equal("", 1.04, 1.0, 0.05).holds
    assert is_equal("", (1, 2), [1, 2]).holds and not is_equal("", (1, 2), (1, 2, 3)).holds
    assert is_more("", 2, 1).holds and not is_more("", 1, 1).holds and is_less("", 0.5, 1).holds
    assert are_equal("", [0.1251], [0.13], 2).holds and not are_equal("", [0.12], [0.13], 2).holds
    assert not are_equal("", [0.13, 1], [0.13], 2).holds
    assert is_share("", 99, 100, above=0.9).holds and is_share("", 1, 100, above=0.9).holds is False
    assert is_share("", 92, 100, above=0.9).holds is None and is_share("", 0, 100, below=0.5).holds
    assert judge_interval(0.1, 0.2, 0.0, 0.1) is False and judge_interval(0.05, 0.2, 0.0, 0.1) is None
    assert [write(each) for each in (25088, 0.13344, (28, 28, 6), True, 12345.6)] == [
        "25,088", "0.1334", "28 x 28 x 6", "yes", "12,346",
    ]  # fmt: skip


def test_the_same_answer_as_torchvision_is_told_once_weights_are_here(lab, monkeypatch):
    assert check_claim(lab, "same_answer").found.verdict == "open"
    spec = lab.registry.get("resnet50")
    module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(192, 1000))
    torch.manual_seed(0)
    torch.nn.init.normal_(module[2].weight)
    local = replace(spec, weights=None, build=lambda: module)
    monkeypatch.setattr(type(lab.registry), "get", lambda self, name: local)
    found = check_claim(lab, "same_answer")
    assert (found.found.verdict, found.control) == ("holds", "fails")


def test_a_digit_is_moved_where_it_is_said_to_be():
    moved = find_moved(lambda done, total: None)
    for column in (0, HOME, 16):
        assert torch.equal(moved.place(column)[:, :, column : column + 8], moved.digits)
        assert moved.place(column).sum() == moved.digits.sum()


def measure_arm(arm: str, seed: int, **values: float) -> dict:
    known = {"val_accuracy": 0.8, "test_accuracy": 0.8, "train_accuracy": 0.9, "consistency": 0.5, "seconds": 3.0}
    known |= {"shifted_accuracy": 0.6}
    return {"arm": arm, "seed": seed, "run": f"{arm}-{seed}", "curve": [], **known, **values}


def finish(root, preset: str, name: str, first: dict, second: dict, seeds: int = 3, **status) -> None:
    """A finished comparison of a claim, in which arms differ as they are told to."""
    config = configure_preset(preset, seeds)
    arms = [{"name": arm.name, "title": arm.title, "parameters": 10} for arm in config.arms]
    noise = [0.001 * (seed - 1) for seed in range(seeds)]
    found = [
        measure_arm(arm["name"], seed, **{key: value + noise[seed] * (1 + number) for key, value in told.items()})
        for number, (arm, told) in enumerate(zip(arms, (first, second), strict=True))
        for seed in range(seeds)
    ]
    document = summarize(arms, found, config.question, config.direction, 0.1)
    path = root / name
    path.mkdir(parents=True)
    write_json(path / "config.json", config.to_dict())
    write_json(path / "status.json", {"kind": "arms", "state": "finished", **status})
    write_json(path / "result.json", {**document, "chance": 0.1, "networks": found})


CASES = {
    "dropout_gap": ({"train_accuracy": 0.95}, {"train_accuracy": 0.85}),
    "augmentation_gap": ({"train_accuracy": 0.95}, {"train_accuracy": 0.85}),
    "gap_translation": ({"consistency": 0.4}, {"consistency": 0.7}),
    "blurpool": ({"consistency": 0.4}, {"consistency": 0.7}),
    "cnn_vs_mlp": ({"test_accuracy": 0.6}, {"test_accuracy": 0.9}),
    "frozen_unfrozen": ({"seconds": 3.0, "test_accuracy": 0.8}, {"seconds": 9.0, "test_accuracy": 0.9}),
    "practical": ({"seconds": 3.0, "test_accuracy": 0.8}, {"seconds": 9.0, "test_accuracy": 0.9}),
}
"""What the two arms have where the claim holds; exchanged, it does not."""


@pytest.mark.parametrize("name", CASES)
def test_a_claim_of_training_is_what_the_newest_finished_comparison_says(tmp_path, name):
    lab = Lab(DEVICE, tmp_path, tmp_path / "runs")
    assert check_claim(lab, name).found.verdict == "open"
    first, second = CASES[name]
    finish(lab.runs_root, name, "one", first, second)
    found = check_claim(lab, name).found
    assert (found.verdict, found.run) == ("holds", "one")


@pytest.mark.parametrize("name", CASES)
def test_the_opposite_numbers_give_the_opposite_verdict(tmp_path, name):
    lab = Lab(DEVICE, tmp_path, tmp_path / "runs")
    finish(lab.runs_root, name, "two", *CASES[name][::-1])
    assert check_claim(lab, name).found.verdict == "fails"


def test_one_seed_is_not_enough(tmp_path):
    lab = Lab(DEVICE, tmp_path, tmp_path / "runs")
    finish(lab.runs_root, "gap_translation", "one", *CASES["gap_translation"], seeds=1)
    assert check_claim(lab, "gap_translation").found.verdict == "open"


@pytest.mark.parametrize(
    ("train", "new", "verdict"), [(0.999, 0.1, "holds"), (0.6, 0.1, "fails"), (0.999, 0.5, "fails")]
)
def test_random_labels_are_memorised_and_nothing_else_is_learned(tmp_path, train, new, verdict):
    lab = Lab(DEVICE, tmp_path, tmp_path / "runs")
    finish(lab.runs_root, "random_labels", "one", {}, {"train_accuracy": train, "val_accuracy": new})
    assert check_claim(lab, "random_labels").found.verdict == verdict


@pytest.mark.parametrize(("accuracy", "verdict"), [(0.805, "holds"), (0.9, "fails")])
def test_about_equally_well_has_a_margin(tmp_path, accuracy, verdict):
    lab = Lab(DEVICE, tmp_path, tmp_path / "runs")
    finish(lab.runs_root, "softmax_svm", "one", {"test_accuracy": 0.8}, {"test_accuracy": accuracy})
    assert check_claim(lab, "softmax_svm").found.verdict == verdict


@pytest.mark.parametrize(("low", "high", "verdict"), [(10, 20, "holds"), (2, 4, "fails"), (None, None, "open")])
def test_fourteen_times_is_a_number_of_its_own(low, high, verdict):
    change = {"mean": -500.0, "low": None, "high": None, "factor": 3.0, "factor_low": low, "factor_high": high}
    fact = takes_fewer(14)([{}, {"differences": {"steps": change}}], 0.1)
    assert Finding((fact,)).verdict == verdict
    assert takes_fewer(14)([{}, {"differences": {"steps": None}}], 0.1).holds is None


def grade(kind: str, accuracy: float) -> dict:
    share = {"value": accuracy, "low": accuracy - 0.02, "high": accuracy + 0.02}
    sizes = {"seconds": 1.0, "num_features": 3, "learned": 9, "tested": 9, "moved": 9}
    return {
        "kind": kind,
        "classifier": "" if kind == "small_cnn" else "linear",
        "accuracy": share,
        "consistency": share,
    } | sizes


@pytest.mark.parametrize(("by_hand", "verdict"), [(0.8, "holds"), (0.98, "fails"), (0.91, "open")])
def test_end_to_end_is_compared_with_the_best_made_by_hand(tmp_path, by_hand, verdict):
    lab = Lab(DEVICE, tmp_path, tmp_path / "runs")
    path = lab.runs_root / "one"
    path.mkdir(parents=True)
    rows = [grade("hog", by_hand), grade("histogram", 0.3), grade("small_cnn", 0.92)]
    write_json(path / "config.json", {})
    write_json(path / "status.json", {"kind": "features", "state": "finished"})
    write_json(path / "result.json", {"rows": rows, "sentence": ""})
    assert check_claim(lab, "end_to_end").found.verdict == verdict


def test_a_comparison_of_something_else_or_a_damaged_one_says_nothing(tmp_path):
    lab = Lab(DEVICE, tmp_path, tmp_path / "runs")
    finish(lab.runs_root, "blurpool", "one", *CASES["blurpool"])
    assert check_claim(lab, "gap_translation").found.verdict == "open"
    (lab.runs_root / "one" / "result.json").write_text('{"rows": [{"arm": "max", "title": "t"}], "networks": []}')
    assert check_claim(lab, "blurpool").found.verdict == "open"
    (lab.runs_root / "one" / "result.json").write_text('{"rows": 5}')
    assert check_claim(lab, "blurpool").found.verdict == "open"


def test_a_visitor_is_told_of_published_comparisons_alone(tmp_path):
    lab = Lab(DEVICE, tmp_path, tmp_path / "runs")
    finish(lab.runs_root, "blurpool", "one", *CASES["blurpool"])
    with acting(Viewer("aa" * 12, "look")):
        assert check_claim(lab, "blurpool").found.verdict == "open"
    publish_run(lab.runs_root, "one", is_published=True)
    with acting(Viewer("aa" * 12, "look")):
        assert check_claim(lab, "blurpool").found.verdict == "holds"


def test_a_lesson_can_ask_for_a_verdict(lab):
    assert measure(lab, "claim", {"claim": "associative"}) == "holds"
    assert measure(lab, "claim", {"claim": "kernels_are_sums"}) == "fails"
    assert measure(lab, "claim", {}, {"claim": "dropout_figures"}) == "open"
