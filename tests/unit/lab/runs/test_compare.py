"""The table of runs holds what their files say, whatever that is."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.runs.compare import NOT_SET, compare_runs
from models.runs.files import append_line, write_json
from models.runs.run import Run, read_run


@pytest.fixture
def runs(tmp_path, make_run) -> list[Run]:
    found = []
    for name, seed, dropout in (("a", 0, 0.0), ("b", 1, 0.5)):
        make_run(tmp_path, name, seed)
        path = tmp_path / name
        config = {"dataset": "/data/own/birds.zip", "architecture": "small_cnn", "seed": seed, "epochs": 3}
        write_json(path / "config.json", config | {"model": {"dropout": dropout, "channels": [4, 6]}})
        status = json.loads((path / "status.json").read_text())
        write_json(path / "status.json", status | {"result": {"test_accuracy": 0.75, "seconds": 12.5}})
        for step, accuracy in ((10, 0.5), (20, 0.875), (30, 0.625)):
            append_line(path / "metrics.jsonl", {"kind": "epoch", "step": step, "val_accuracy": accuracy})
        append_line(path / "metrics.jsonl", {"kind": "step", "step": 31, "val_accuracy": 1.0})
        found.append(read_run(tmp_path, name))
    (tmp_path / "b" / "notes.txt").write_text("with dropout")
    return found


def test_a_row_holds_what_the_files_say(runs, make_run, tmp_path):
    row = compare_runs(runs).rows[1]
    num_params = sum(parameter.numel() for parameter in make_run(tmp_path, "c").parameters())
    assert (row.name, row.state, row.data, row.architecture) == ("b", "finished", "birds", "small_cnn")
    assert (row.parameters, row.seed, row.notes) == (num_params, 1, "with dropout")
    assert (row.best_val_accuracy, row.last_val_accuracy) == (0.875, 0.625)
    assert (row.test_accuracy, row.seconds) == (0.75, 12.5)


def test_only_settings_that_differ_are_listed_by_full_name(runs):
    assert compare_runs(runs).settings == (("model.dropout", ("0.0", "0.5")), ("seed", ("0", "1")))
    assert compare_runs(runs[:1]).settings == ()
    assert compare_runs([]).rows == ()


def test_a_setting_that_a_run_does_not_have_says_so(runs):
    other = Run("old", runs[0].path / "gone", "damaged", config={"seed": 0, "epochs": 3})
    settings_ = dict(compare_runs([runs[0], other]).settings)
    assert settings_["architecture"] == ("small_cnn", NOT_SET)
    assert settings_["model.channels"] == ("[4, 6]", NOT_SET)
    assert "seed" not in settings_


def test_the_document_is_json(runs):
    document = json.loads(json.dumps(compare_runs(runs).to_json(), allow_nan=False))
    assert document["settings"][0] == {"setting": "model.dropout", "values": ["0.0", "0.5"]}
    assert [row["name"] for row in document["runs"]] == ["a", "b"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=100) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=100), inner, max_size=3),
    max_leaves=6,
)
KEYS = ("dataset", "architecture", "seed", "model", "test_accuracy", "seconds", "other")


@settings(max_examples=40)
@given(st.lists(st.tuples(st.dictionaries(st.sampled_from(KEYS), VALUES), VALUES), max_size=3))
def test_hostile_runs_give_a_bounded_table(tmp_path_factory, drawn):
    root = tmp_path_factory.getbasetemp() / "none"
    found = compare_runs(
        [
            Run(f"r{n}", root, "damaged", config=config, status={"result": res})
            for n, (config, res) in enumerate(drawn)
        ]
    )
    json.dumps(found.to_json(), allow_nan=False)
    assert all(len(row.data) <= 60 for row in found.rows)
    assert all(len(value) <= 60 for _, values in found.settings for value in values)


def test_settings_without_end_are_no_error(tmp_path):
    deep: dict = {}
    inner = deep
    for _ in range(100_000):
        inner["x"] = inner = {}
    runs = [Run("a", tmp_path, "damaged", config={"model": deep, "dataset": deep}), Run("b", tmp_path, "damaged")]
    assert dict(compare_runs(runs).settings)["dataset.x.x.x.x"] == ("…", NOT_SET)
    assert compare_runs(runs).rows[0].data == ""


def test_the_same_validation_pictures_are_told_by_their_hash(runs):
    def note(run, sha256):
        write_json(run.path / "data.json", {"splits": {"validation": {"sha256": sha256}}})

    assert compare_runs(runs).is_same_validation is None
    note(runs[0], "a" * 64)
    assert compare_runs(runs).is_same_validation is None
    note(runs[1], "b" * 64)
    assert compare_runs(runs).is_same_validation is False
    note(runs[1], "a" * 64)
    assert compare_runs(runs).is_same_validation is True
    for damaged in ([], {"splits": []}, {"splits": {"validation": 3}}, {"splits": {"validation": {"sha256": "x"}}}):
        (runs[1].path / "data.json").write_text(json.dumps(damaged))
        assert compare_runs(runs).is_same_validation is None
