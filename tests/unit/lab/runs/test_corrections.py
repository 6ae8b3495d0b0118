"""Corrections kept with a run: what is read is what was written, and nothing else is believed."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from lab.runs import corrections
from lab.runs.corrections import FILE, add_correction, find_trained, read_corrections, take_back_correction
from lab.runs.mistakes import Correction, open_errors
from models.runs.changes import rename_run
from models.runs.files import write_json
from models.runs.run import Run, read_run
from models.runs.submit import create_run
from models.training.config import TrainingConfig
from tests.sentences import refused

LABELS = torch.tensor([0, 1, 2, 0])


@pytest.fixture
def run(tmp_path, make_run) -> Run:
    """A finished run whose pictures 10 to 13 are ants, bees and cats."""
    model = make_run(tmp_path)
    images = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    save_file(
        {"images": images, "labels": LABELS, "ids": 10 + torch.arange(4)}, tmp_path / "tiny" / "examples.safetensors"
    )
    with torch.no_grad():
        save_file({"logits": model(images / 255)}, tmp_path / "tiny" / "predictions.safetensors")
    return read_run(tmp_path, "tiny")


def relabel(number: int, label: int | None) -> Correction:
    return Correction(number, label, "validation", "ant", "other")


def test_corrections_come_back_as_they_were_and_follow_the_run(run, tmp_path):
    assert read_corrections(run) == ()
    view = open_errors(run)
    add_correction(run, view, 0, 2)
    add_correction(run, view, 1, None)
    expected = (
        Correction(10, 2, "validation", "ant", "cat"),
        Correction(11, None, "validation", "bee", "left out"),
    )
    assert read_corrections(run) == expected
    rename_run(tmp_path, "tiny", "other")
    moved = read_run(tmp_path, "other")
    assert read_corrections(moved) == expected
    take_back_correction(moved)
    assert read_corrections(moved) == expected[:1]


@pytest.mark.parametrize(
    "row",
    [
        [10, 2, "validation", "ant"],
        ["10", 2, "validation", "ant", "cat"],
        [True, 2, "validation", "ant", "cat"],
        [-1, 2, "validation", "ant", "cat"],
        [10, 3, "validation", "ant", "dog"],
        [10, 2, "tests", "ant", "cat"],
        [10, 2, "validation", "\ud800", "cat"],
        [10, 2, "validation", "ant", "<b>cat"],
        [10, 2, ["validation"], ["ant"], {}],
        {"number": 10},
        None,
    ],
)
def test_what_is_no_correction_is_not_believed(run, row):
    good = [11, None, "validation", "bee", "left out"]
    (run.path / FILE).write_text(json.dumps({"corrections": [good]}))
    assert len(read_corrections(run)) == 1
    (run.path / FILE).write_text(json.dumps({"corrections": [good, row]}))
    assert read_corrections(run) == ()


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"[" * 10**5, b'{"corrections": 5}', b"\xff", b'{"a": 1}', b"null"]
)
def test_a_damaged_file_is_no_corrections(run, data):
    (run.path / FILE).write_bytes(data)
    assert read_corrections(run) == ()
    add_correction(run, open_errors(run), 0, 2)
    assert len(read_corrections(run)) == 1


def test_a_pipe_in_the_place_of_the_file_keeps_nobody_waiting(run):
    os.mkfifo(run.path / FILE)
    assert read_corrections(run) == ()


def test_there_is_a_limit_and_a_disk_that_refuses_is_named(run, monkeypatch):
    view = open_errors(run)
    monkeypatch.setattr(corrections, "MAX_KEPT", 2)
    for index in (0, 1):
        add_correction(run, view, index, None)
    with refused("2"):
        add_correction(run, view, 2, None)
    assert len(read_corrections(run)) == 2

    def refuse(path, values):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(corrections, "write_json", refuse)
    with refused("tiny"):
        take_back_correction(run)


def make_training(root, name: str, state: str = "finished", **settings) -> Run:
    create_run(root, name, TrainingConfig(dataset="shapes", **settings).to_dict())
    write_json(root / name / "status.json", {"state": state, "kind": "training", "submitted": 1})
    return read_run(root, name)


def test_a_correction_was_trained_with_where_a_run_of_the_same_settings_was_told(tmp_path):
    first = make_training(tmp_path, "first", seed=1)
    again = make_training(tmp_path, "again", seed=1, corrections={5: 1}, data_root=str(tmp_path))
    later = make_training(tmp_path, "later", seed=1, corrections={5: 1, 6: None})
    elsewhere = make_training(tmp_path, "elsewhere", seed=1, corrections={8: 1}, device="cpu", compile=True)
    make_training(tmp_path, "other_label", seed=1, corrections={7: 1})
    make_training(tmp_path, "other_seed", seed=2, corrections={7: 2})
    make_training(tmp_path, "failed", "failed", seed=1, corrections={7: 2})
    names = ("failed", "other_seed", "other_label", "later", "again", "elsewhere", "first")
    trail = [relabel(5, 1), relabel(6, None), relabel(7, 2), relabel(8, 1)]
    found = find_trained(first, trail, [read_run(tmp_path, name) for name in names])
    assert found == {5: again, 6: later, 8: elsewhere}


def test_a_run_of_an_older_version_has_the_same_settings(tmp_path):
    """Its file does not name what there was not yet."""
    first = make_training(tmp_path, "first", seed=1)
    older = {name: value for name, value in first.config.items() if name not in ("patience", "label_noise")}
    write_json(tmp_path / "first" / "config.json", older)
    again = make_training(tmp_path, "again", seed=1, corrections={5: 1})
    assert find_trained(read_run(tmp_path, "first"), [relabel(5, 1)], [again]) == {5: again}
