"""Watching a job of any kind: what is said while it waits, and ending it."""

import subprocess
import sys
from types import SimpleNamespace

import gradio as gr
import pytest

from analysis.errors import UserError
from lab.jobs import JobManager
from lab.session import Lab
from models.runs.files import write_json
from models.runs.process import find_process, read_clock, record_process
from models.runs.run import read_run
from models.runs.submit import create_run
from tests.device import DEVICE
from tests.sentences import check_sentence, refused
from ui.services import Services
from ui.widgets.job_view import ACTIONS, JobView, describe_time

EMPTY = "No evaluation yet."


def look_at(root, show=lambda run: ("",)):
    """The view of evaluations, and functions for what its events run: each gives values of components by name."""
    services = Services(Lab(DEVICE, root.parent, root), JobManager(root))
    with gr.Blocks() as blocks:
        view = JobView(services, "evaluation", EMPTY, lambda: ([gr.HTML(elem_id="evaluation-part")], show))
    parts = {part.elem_id: part for part in blocks.blocks.values() if getattr(part, "elem_id", None)}
    names = {part: name.removeprefix("evaluation-") for name, part in parts.items()} | {view.timer: "timer"}

    def call(source, event: str, run: str | None, seen: object = None):
        (handler,) = [fn.fn for fn in blocks.fns.values() if (source._id, event) in fn.targets and fn.fn]
        found = handler({view.run: run, view.outputs[-1]: seen})
        return found if found == gr.skip() else {names.get(part, "version"): value for part, value in found.items()}

    def act(name: str, run: str | None):
        asks = bool(ACTIONS[name].question)
        source = parts[f"evaluation-{name}-question" if asks else f"evaluation-{name}"]
        return call(source, "select" if asks else "click", run)

    return SimpleNamespace(root=root, watch=lambda *values: call(view.timer, "tick", *values), act=act, page=blocks)


@pytest.fixture
def view(tmp_path):
    root = tmp_path / "runs"
    root.mkdir()
    return look_at(root)


def list_offers(shown: dict) -> list[str]:
    """What can be done with the run."""
    return [name for name in ACTIONS if shown[name]["visible"]]


def make_job(root, name: str, state: str, number: int, **status) -> None:
    path = root / name
    if not path.exists():
        create_run(root, name, {}, "evaluation")
    known = read_run(root, name).status
    place = {"state": state, "device": DEVICE, "submitted": known["submitted"] if number is None else number}
    write_json(path / "status.json", known | place | status)


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_a_waiting_job_says_how_many_come_before_it(view, sleeper):
    make_job(view.root, "first", "running", 1)
    record_process(view.root / "first", sleeper.pid)
    for number, name in enumerate(("second", "third"), start=2):
        make_job(view.root, name, "queued", number)
        record_process(view.root / name, sleeper.pid)
    shown = view.watch("third")
    check_sentence(shown["status"], "third", "queued", 2)
    assert list_offers(shown) == [] and shown["timer"]["active"]
    assert '<busy-job data-name="third">' in shown["status"] and 'data-job="third"' in shown["status"]
    assert view.watch("third", shown["version"]) == gr.skip()
    make_job(view.root, "second", "stopped", None)
    shown = view.watch("third", shown["version"])
    check_sentence(shown["status"], 1)
    make_job(view.root, "first", "finished", None)
    check_sentence(view.watch("third", shown["version"])["status"])


@pytest.mark.parametrize("state", ["preparing", "running"])
def test_a_job_that_is_silent_says_so_in_place_of_the_time_left(view, sleeper, state):
    make_job(view.root, "a", state, 1, step=3, total_steps=12, seconds_left=19.0)
    record_process(view.root / "a", sleeper.pid)
    shown = view.watch("a")
    check_sentence(shown["status"], state, "3 of 12", "19 s")
    heard = {name: part - 130 if name != "boot" else part for name, part in read_clock().items()}
    make_job(view.root, "a", state, 1, step=3, total_steps=12, seconds_left=19.0, heard=heard)
    shown = view.watch("a", shown["version"])
    check_sentence(shown["status"], state, "3 of 12", "2 min")
    assert view.watch("a", shown["version"]) == gr.skip()


def test_a_job_whose_result_is_damaged_says_so_once_and_can_be_deleted(view):
    def show(run):
        if run is not None:
            raise UserError("a/result.json is damaged.")
        return ("",)

    damaged = look_at(view.root, show)
    make_job(view.root, "a", "finished", 1)
    shown = damaged.watch("a")
    assert "a: finished." in shown["status"] and "a/result.json is damaged." in shown["status"]
    assert shown["part"] == "" and list_offers(shown) == ["delete"]
    assert damaged.watch("a", shown["version"]) == gr.skip()


def test_a_job_that_was_killed_can_go_on_or_be_deleted(view, sleeper):
    make_job(view.root, "a", "running", 1, step=3, total_steps=12)
    record_process(view.root / "a", sleeper.pid)
    shown = view.watch("a")
    assert "a: running, 3 of 12" in shown["status"]
    JobManager(view.root).kill("a")
    shown = view.watch("a", shown["version"])
    run = read_run(view.root, "a")
    assert run.state == "stopped" and run.message.startswith("Killed")
    assert list_offers(shown) == ["resume", "delete"] and not shown["timer"]["active"]
    assert "busy-job" not in shown["status"]
    assert find_process(run.path) is None
    shown = view.act("delete", "a")
    assert shown["run"]["choices"] == [] and not shown["run"]["visible"] and list_offers(shown) == []
    assert EMPTY in shown["status"]


def test_what_loses_something_asks_first(view):
    """A click on the button itself reaches no handler."""
    for name, action in ACTIONS.items():
        buttons = [part for part in view.page.blocks.values() if getattr(part, "elem_id", "") == f"evaluation-{name}"]
        handlers = [fn.fn for fn in view.page.fns.values() if (buttons[0]._id, "click") in fn.targets]
        assert len(handlers) == 1 and (handlers[0] is None) == bool(action.question)
    assert {name for name, action in ACTIONS.items() if action.question} == {"delete"}


@pytest.mark.parametrize("name", ACTIONS)
def test_without_a_run_there_is_nothing_to_do(view, name):
    with refused(error=gr.Error):
        view.act(name, None)
    assert EMPTY in view.watch(None)["status"]


def test_times_are_told_in_the_unit_that_fits():
    assert [describe_time(seconds) for seconds in (4, 89, 600, 5400)] == ["4 s", "89 s", "10 min", "1.5 h"]
