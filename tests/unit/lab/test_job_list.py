"""The list of jobs: who is at work, who waits for what, and how long, as far as that was measured here."""

import os
from pathlib import Path

import pytest

from lab.job_list import MAX_ENDED, list_jobs
from models.runs.files import write_json
from models.runs.process import read_clock, record_process
from models.runs.run import list_runs, request_stop
from models.runs.submit import create_run

CONFIG = {"dataset": "shapes", "architecture": "small_cnn", "epochs": 4, "seed": 0}
MEASURED = {"step": 40, "total_steps": 40, "epochs": 4, "result": {"seconds": 20.0}}
"""Half a second for a step, ten steps for an epoch."""


def add(root: Path, name: str, state: str, kind: str = "training", config: dict | None = None, **status) -> None:
    """A run after those that are there; this very process works on it."""
    path = create_run(root, name, CONFIG if config is None else config, kind)
    number = 1 + len(list_runs(root))
    write_json(path / "status.json", {"state": state, "kind": kind, "device": "cpu", "submitted": number, **status})
    record_process(path, os.getpid())


def look(root: Path) -> dict:
    return {job.run.name: job for job in list_jobs(list_runs(root))}


def test_those_at_work_come_first_then_those_that_wait_in_turn_then_what_has_ended(tmp_path):
    for number in range(MAX_ENDED + 2):
        add(tmp_path, f"done-{number}", "finished")
    add(tmp_path, "elsewhere", "finished", capsule={})
    add(tmp_path, "first", "running")
    add(tmp_path, "second", "queued", "evaluation")
    add(tmp_path, "third", "queued", "experiment")
    add(tmp_path, "other", "queued", device="cuda")
    add(tmp_path, "broken", "failed")
    request_stop(tmp_path / "second")
    found = look(tmp_path)
    assert list(found)[:6] == ["first", "second", "third", "other", "broken", f"done-{MAX_ENDED + 1}"]
    assert "elsewhere" not in found and len(found) == 4 + MAX_ENDED
    states = [(job.state, job.before) for job in found.values()][:5]
    assert states == [("running", 0), ("stopping", 1), ("waiting", 2), ("waiting", 0), ("failed", 0)]


@pytest.mark.parametrize(
    ("part", "state", "before"), [("running", "running", 0), ("queued", "waiting", 1), ("finished", "running", 0)]
)
def test_the_trainings_of_a_larger_job_are_parts_of_it(tmp_path, part, state, before):
    add(tmp_path, "arms-1", "running", "arms", device=None)
    if part == "queued":
        add(tmp_path, "rival", "running")
    add(tmp_path, "arms-1-mlp-0", part)
    found = look(tmp_path)
    assert "arms-1-mlp-0" not in found and len(found) == 1 + (part == "queued")
    assert (found["arms-1"].state, found["arms-1"].before) == (state, before)


def test_a_job_begins_when_all_before_it_are_done_where_each_of_them_is_known(tmp_path):
    add(tmp_path, "first", "running", seconds_left=30.0)
    add(tmp_path, "second", "queued", "evaluation", seconds_expected=100.0)
    add(tmp_path, "third", "queued", "evaluation", seconds_expected=100.0, seconds_left=7.0)
    add(tmp_path, "unknown", "queued", "experiment")
    add(tmp_path, "last", "queued", "evaluation", seconds_expected=5.0)
    times = {name: (job.seconds, job.seconds_until) for name, job in look(tmp_path).items()}
    assert times["first"] == (30.0, None) and times["second"] == (100.0, 30.0)
    assert times["third"] == (7.0, 130.0)  # it goes on, and said what was left
    assert times["unknown"] == (None, 137.0) and times["last"] == (5.0, None)


def test_a_silent_job_says_nothing_of_its_time(tmp_path):
    heard = {name: part - 60 if name != "boot" else part for name, part in read_clock().items()}
    add(tmp_path, "first", "running", seconds_left=30.0, heard=heard)
    add(tmp_path, "second", "queued")
    found = look(tmp_path)
    assert found["first"].seconds is None and found["second"].seconds_until is None


@pytest.mark.parametrize(
    ("change", "seconds"),
    [
        ({"epochs": 6, "seed": 3, "learning_rate": 0.1}, 30.0),
        ({"max_steps": 10}, 5.0),
        ({"architecture": "mlp"}, None),
        ({"dataset": "digits"}, None),
        ({"epochs": "many"}, None),
    ],
)
def test_a_training_takes_what_the_steps_of_one_alike_took(tmp_path, change, seconds):
    add(tmp_path, "measured", "finished", **MEASURED)
    add(tmp_path, "waiting", "queued", config=CONFIG | change)
    assert look(tmp_path)["waiting"].seconds == seconds


@pytest.mark.parametrize("status", [{}, {"capsule": {}, **MEASURED}, MEASURED | {"result": {"seconds": None}}])
def test_what_was_not_measured_here_says_nothing(tmp_path, status):
    add(tmp_path, "other", "finished", **status)
    add(tmp_path, "waiting", "queued")
    assert look(tmp_path)["waiting"].seconds is None
