"""The pure parts of the panel: curves while arms are trained, tables, and files that somebody has changed."""

import json
from dataclasses import replace

import pytest
from markupsafe import escape

from analysis.figures.training import plot_seed_bands
from lab.comparisons.claims import PRESETS, configure_preset
from lab.comparisons.config import ArmsConfig
from lab.comparisons.report import summarize, write_csv
from models.runs.files import write_json
from models.runs.run import read_run
from models.runs.submit import create_run
from ui.train.comparison import estimate
from ui.train.comparison_view import (
    count_tested,
    describe_preset,
    describe_variation,
    describe_verdict,
    read_curves,
    tabulate,
)

UNBROKEN = "\u00a0"
"""The space within a number, where no line ends."""
CONFIG = ArmsConfig.from_dict(
    {
        "base": {"dataset": "shapes"},
        "arms": [{"name": "a", "title": "A <b>"}, {"name": "b", "title": "B", "changes": {"l1": 0.1}}],
        "claim": "A & B differ",
    }
)


STEPS = replace(CONFIG, question="steps")


def line(arm: str, seed: int, epoch: int) -> dict:
    return {
        "kind": "epoch",
        "arm": arm,
        "seed": seed,
        "epoch": epoch,
        "step": 10 * epoch,
        "val_accuracy": 0.1 * epoch,
    }


@pytest.fixture
def make(tmp_path):
    def make(lines=(), **status):
        path = tmp_path / "x"
        if not path.exists():
            create_run(tmp_path, "x", CONFIG.to_dict(), "arms")
        (path / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in lines))
        write_json(path / "status.json", {"state": "finished", "kind": "arms", **status})
        return read_run(tmp_path, "x")

    return make


def summary(*networks) -> dict:
    arms = [{"name": arm.name, "title": arm.title, "parameters": 1234} for arm in CONFIG.arms]
    return summarize(arms, networks, "accuracy")


def network(arm: str, seed: int, test: float) -> dict:
    curve = [{"step": 10, "val_accuracy": 0.5}]
    return {
        "arm": arm,
        "seed": seed,
        "val_accuracy": 0.5,
        "test_accuracy": test,
        "train_accuracy": 0.6,
        "curve": curve,
    }


def test_curves_of_finished_arms(make):
    lines = [line(arm, seed, epoch) for seed in range(2) for arm in "ab" for epoch in (1, 2)]
    run = make(
        [
            *lines,
            lines[-1],
            {"kind": "epoch", "arm": ["a"], "seed": {}},
            {"kind": "epoch", "arm": "a", "seed": []},
            {"kind": "epoch", "arm": "z"},
        ]
    )
    curves = read_curves(run, CONFIG, "val_accuracy")
    assert [title for title, _ in curves] == ["A <b>", "B"]
    assert [[len(epochs) for epochs in seeds] for _, seeds in curves] == [[2, 2], [2, 2]]


def test_the_chart_of_validation_shows_what_decides_about_steps(make):
    often = [
        {"kind": kind, "arm": arm, "seed": 0, "epoch": 1, "step": step, "sample_accuracy": step / 100, **more}
        for arm in "ab"
        for kind, step, more in (
            ("sample", 0, {}),
            ("sample", 4, {}),
            ("epoch", 10, {"val_accuracy": 0.2, "train_accuracy": 0.3}),
        )
    ]
    run = make([*often, often[1], {"kind": "sample", "arm": "a", "seed": 0, "sample_accuracy": "high"}])
    for measure, steps, last in (("val_accuracy", [0, 4, 10], 0.1), ("train_accuracy", [10], 0.3)):
        curves = read_curves(run, CONFIG, measure)
        assert [[point["step"] for point in seeds[0]] for _, seeds in curves] == [steps, steps]
        assert curves[0][1][0][-1][measure] == last
        assert list(plot_seed_bands(curves, measure).data[0].x) == steps


def test_the_arm_that_is_being_trained_stands_apart(make, monkeypatch):
    monkeypatch.setattr("models.runs.run.is_abandoned", lambda path, status: False)
    lines = [line(arm, 0, epoch) for arm in "ab" for epoch in (1, 2, 3)]
    run = make([*lines, line("a", 1, 1)], state="running")
    titles = [title for title, _ in read_curves(run, CONFIG, "val_accuracy")]
    assert titles == ["A <b>", "B", "A <b>, seed 1 so far"]  # arms first: they keep their colours
    first = make([line("a", 0, 1)], state="running")
    assert [len(seeds) for _, seeds in read_curves(first, CONFIG, "val_accuracy")] == [1, 0]


def test_table(make):
    networks = [network(arm, seed, 0.5 + 0.1 * i) for seed in range(2) for i, arm in enumerate("ab")]
    html = tabulate(make(rows=summary(*networks)["rows"]), CONFIG).replace(UNBROKEN, " ")
    assert "A &lt;b&gt;" in html and "<b>" not in html and "1,234" in html
    assert "+10.0 points [+10.0, +10.0]" in html and "60.0 % [60.0, 60.0]" in html
    assert "consistency" not in html and tabulate(make(), CONFIG) == ""


def test_bounds_are_shown_as_such(make):
    steps = {"mean": 200, "low": 0, "high": 260, "bound": "at most"}
    change = {"mean": -700, "low": -900, "high": -400, "bound": "at least"}
    rows = [{"arm": "a", "steps": {"mean": 900, "low": 800, "high": 1000}}, {"arm": "b", "steps": steps}]
    rows[1]["differences"] = {"steps": change}
    html = tabulate(make(rows=rows), STEPS).replace(UNBROKEN, " ")
    assert "at most 200 [0, 260]" in html and "at least 700 steps fewer [−900, −400]" in html
    change["bound"], steps["bound"] = "<b>", ["at most"]
    html = tabulate(make(rows=rows), STEPS).replace(UNBROKEN, " ")
    assert "−700 steps [−900, −400]" in html and "at most" not in html and "<b>" not in html


def test_a_comparison_of_before_is_shown_as_it_was(make):
    """Finished when steps were counted to the end of an epoch: its files know no bounds, reasons or samples."""
    old = {"mean": 200.0, "low": 200.0, "high": 200.0}
    change = {"mean": -733.3, "low": -1020.2, "high": -446.5, "n": 3, "factor": 4.6}
    rows = [
        {"arm": "a", "n": 3, "parameters": 10, "steps": {"mean": 933.3, "low": 646.5, "high": 1220.2}},
        {"arm": "b", "n": 3, "parameters": 10, "steps": old, "differences": {"steps": change}},
    ]
    run = make([line("a", 0, 1), line("b", 0, 1)], rows=rows, sentence="It was so.", also="")
    html = tabulate(run, STEPS).replace(UNBROKEN, " ")
    assert (
        "−733 steps [−1020, −446]" in html
        and "200 [200, 200]" in html
        and "It was so." in describe_verdict(run, STEPS)
    )
    assert [len(seeds[0]) for _, seeds in read_curves(run, STEPS, "val_accuracy")] == [1, 1]
    networks = [{"arm": "a", "seed": 0, "run": "x-a-0", "state": "finished", "steps": 200, "curve": []}]
    text = write_csv({"rows": [{**row, "title": row["arm"]} for row in rows], "networks": networks})
    assert "x-a-0" in text and ",200," in text


@pytest.mark.parametrize(
    "rows",
    [
        [1, None, "x"],
        [{"arm": "a"}],
        [{"arm": "a", "n": {}, "parameters": "many", "test_accuracy": 3, "differences": 4}],
        [{"arm": "a", "val_accuracy": {"mean": "high", "low": [], "high": None}}],
        [{"arm": "b", "val_accuracy": {"mean": 0.5}, "differences": {"test_accuracy": {"mean": 1, "low": 2}}}],
        [{"arm": ["a"], "n": 1}],
    ],
)
def test_rows_that_somebody_has_changed(make, rows):
    assert isinstance(tabulate(make(rows=rows), CONFIG), str)


def test_verdict_is_escaped(make):
    html = describe_verdict(make(sentence="<script>", also="<i>"), CONFIG)
    assert "&lt;script&gt;" in html and "&lt;i&gt;" in html and "A &amp; B differ" in html


def test_every_preset_says_what_is_claimed():
    for name, preset in PRESETS.items():
        assert escape(preset.claim) in describe_preset(name) and escape(preset.note) in describe_preset(name)


def test_a_comparison_says_how_long_it_takes_here(monkeypatch):
    monkeypatch.setattr("ui.train.comparison.estimate_arms", lambda config: 60.0 * config.seeds)
    assert "About 2 min" in estimate(configure_preset("softmax_svm", 2)) and "2 arms with 2 seeds" in estimate(
        configure_preset("softmax_svm", 2)
    )


@pytest.mark.parametrize(
    ("name", "shifts", "question"),
    [("head", True, "translation"), ("head", False, "accuracy"), ("dropout", True, "gap"), ("dropout", False, "gap")],
)
def test_the_note_names_what_will_decide(name, shifts, question):
    assert question in describe_variation(name, shifts).split("about:")[1]


@pytest.mark.parametrize(
    ("networks", "count"),
    [
        ([{"counted": {"test_accuracy": 500}}] * 2, 500),
        ([{"counted": {"test_accuracy": 500}}, {"counted": {"test_accuracy": 400}}], None),
        ([{"counted": {"test_accuracy": 500}}, {"state": "failed"}], None),
        ([], None),
        (3, None),
    ],
)
def test_how_many_pictures_a_test_accuracy_is_a_share_of(networks, count):
    assert count_tested({"networks": networks}) == count
    assert count_tested(None) is None
