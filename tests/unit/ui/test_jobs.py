"""The list of jobs as the browser gets it: only what is new, whose each is, and what can be done with it."""

import json
import os

import gradio as gr
import pytest

from lab.jobs import JOBS, JobManager
from lab.session import Lab
from models.access import Viewer, acting
from models.runs.changes import publish_run
from models.runs.files import write_json
from models.runs.process import record_process
from models.runs.run import read_run
from models.runs.submit import create_run
from tests.device import DEVICE
from tests.sentences import check_sentence
from ui.jobs import HIDDEN, KINDS, build_job_list, write_busy
from ui.services import Services

MINE, OTHER = "aa" * 12, "bb" * 12


@pytest.fixture
def services(tmp_path) -> Services:
    return Services(Lab(DEVICE, tmp_path, tmp_path), JobManager(tmp_path))


@pytest.fixture
def ask(services):
    """Asks as the browser ``MINE`` does."""
    with gr.Blocks():
        follow = build_job_list(services).follow

    def call(asked: object = None, role: str = "owner") -> dict:
        with acting(Viewer(MINE, role)):
            return follow(asked)

    return call


def add(services: Services, name: str, state: str, kind: str = "evaluation", **status) -> None:
    path = create_run(services.jobs.runs_root, name, {}, kind)
    number = 1 + len(services.jobs.list())
    write_json(path / "status.json", {"state": state, "kind": kind, "submitted": number, "device": DEVICE} | status)
    record_process(path, os.getpid())


def find(found: dict, name: str) -> dict:
    return next(line for line in found["lines"] if line["name"] == name)


def test_only_what_is_new_is_sent(services, ask):
    add(services, "first", "running", step=1, total_steps=4, seconds_left=90.0)
    add(services, "second", "queued", "repair", seconds_expected=240.0)
    found = ask()
    assert found["order"] == ["first", "second"] == json.loads(write_busy(services))
    assert find(found, "first")["share"] == 0.25 and "about 2 min left" in find(found, "first")["about"]
    check_sentence(find(found, "second")["about"], 1, "2 min", "4 min")
    known = {line["name"]: line["version"] for line in found["lines"]}
    assert ask({"known": known}) == {"order": ["first", "second"], "lines": [], "said": ""}
    write_json(services.jobs.runs_root / "first/status.json", {"state": "finished", "kind": "evaluation"})
    changed = ask({"known": known})
    assert find(changed, "first")["state"] == "finished" and json.loads(write_busy(services)) == ["second"]


@pytest.mark.parametrize(
    ("owner", "whose", "asks"),
    [(MINE, "own", False), (OTHER, "another", True), ("", "another", True), (None, "terminal", True)],
)
def test_what_is_somebody_elses_is_stopped_after_a_question_only(services, ask, owner, whose, asks):
    add(services, "first", "running", **({} if owner is None else {"owner": owner}))
    line = find(ask(), "first")
    ((name, _, question),) = line["actions"]
    assert (line["owner"], name, bool(question)) == (whose, "stop", asks)
    assert OTHER not in json.dumps(line)


def test_a_job_is_stopped_ended_and_goes_on_from_the_list(services, ask, monkeypatch):
    root = services.jobs.runs_root
    add(services, "first", "queued")
    line = find(ask({"do": "stop", "name": "first"}), "first")
    assert line["state"] == "stopping" and [name for name, *_ in line["actions"]] == ["kill"]
    assert all(question for *_, question in line["actions"])
    write_json(root / "first/status.json", read_run(root, "first").status | {"state": "stopped"})
    assert [name for name, *_ in find(ask(), "first")["actions"]] == ["resume"]
    monkeypatch.setattr(services.jobs, "_launch", lambda run_dir: record_process(run_dir, os.getpid()))
    line = find(ask({"do": "resume", "name": "first"}), "first")
    assert line["state"] == "waiting" and line["owner"] == "own"
    assert read_run(root, "first").owner == MINE


def test_whoever_starts_a_job_is_noted(services, monkeypatch):
    monkeypatch.setattr(services.jobs, "_launch", lambda run_dir: None)
    for who, kind, owner in (
        (Viewer(MINE), "evaluation", MINE),
        (Viewer(OTHER, "train"), "training", OTHER),
        (Viewer(), "evaluation", None),
    ):
        with acting(who):
            run = services.jobs.read(services.jobs.start_program(kind, {}, "one", seconds=3.0))
        assert (run.owner, run.starter, run.status["seconds_expected"]) == (owner, who, 3.0)


def test_a_visitor_is_told_of_others_jobs_that_they_are_in_the_way_and_no_more(services, ask):
    add(services, "first", "running", step=1, total_steps=4, owner=OTHER)
    add(services, "secret-done", "finished")
    add(services, "mine", "queued", owner=MINE, role="train")
    found = ask(role="train")
    others, mine = found["lines"]
    assert (others["title"], others["state"], others["opens"], others["actions"]) == (HIDDEN, "running", "", [])
    assert "1 job before it" in mine["about"] and [name for name, *_ in mine["actions"]] == ["stop"]
    assert not any(word in json.dumps(found) for word in ("first", "secret-done", OTHER))
    with acting(Viewer(MINE, "train")):
        assert json.loads(write_busy(services)) == found["order"]
    assert ask({"do": "stop", "name": "first"}, "train")["said"] == "There is no run named first."
    assert ask({"do": "stop", "name": others["name"]}, "train")["said"]
    publish_run(services.jobs.runs_root, "first")
    shown = find(ask(role="train"), "first")
    assert shown["owner"] == "owner"
    assert shown["opens"] and shown["actions"] == []
    assert "looked at" in ask({"do": "stop", "name": "first"}, "train")["said"]
    assert not read_run(services.jobs.runs_root, "first").is_stopping


@pytest.mark.parametrize(
    "asked",
    [
        None,
        [],
        "stop",
        {"do": "delete", "name": "first"},
        {"do": ["stop"]},
        {"do": "stop", "name": {"a": 1}},
        {"do": "stop", "name": "../first"},
        {"do": "stop"},
        {"known": [1]},
        {"known": {"first": {}}},
    ],
)
def test_what_no_page_sends_does_nothing(services, ask, asked):
    add(services, "first", "running")
    found = ask(asked)
    assert find(found, "first")["state"] == "running"
    assert bool(found["said"]) == (isinstance(asked, dict) and "do" in asked)


@pytest.mark.parametrize("kind", JOBS)
@pytest.mark.parametrize("config", [{}, {"models": 3, "dataset": [], "data": 1, "experiment": {}, "title": None}])
def test_every_kind_of_job_is_called_something_whatever_its_settings_say(services, ask, kind, config):
    assert kind in KINDS
    path = create_run(services.jobs.runs_root, "first", config, kind)
    record_process(path, os.getpid())
    line = find(ask(), "first")
    assert line["title"] and line["state"] == "waiting"
