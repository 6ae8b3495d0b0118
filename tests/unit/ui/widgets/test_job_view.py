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
from ui.services import Services
from ui.widgets.job_view import build_job_view

EMPTY = "No evaluation yet."


@pytest.fixture
def view(tmp_path):
    """The view of evaluations, its root, and a function that calls what a component's event runs."""
    root = tmp_path / "runs"
    root.mkdir()
    services = Services(Lab(DEVICE, tmp_path, root), JobManager(root))
    with gr.Blocks() as blocks:
        view = build_job_view(services, "evaluation", EMPTY, lambda: ([gr.HTML()], lambda run: ("",)))
    ids = {getattr(part, "elem_id", None): part._id for part in blocks.blocks.values()}

    def click(name: str, *values):
        (handler,) = [fn.fn for fn in blocks.fns.values() if (ids[f"evaluation-{name}"], "click") in fn.targets]
        return handler(*values)

    (watch,) = [fn.fn for fn in blocks.fns.values() if fn.name == "watch"]
    return SimpleNamespace(view=view, root=root, watch=watch, click=click)


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
    status, _, version = view.watch("third", None)
    assert "third: queued. It waits: 2 jobs before it on this device." in status
    assert view.watch("third", version) == gr.skip()
    make_job(view.root, "second", "stopped", None)
    status, _, version = view.watch("third", version)
    assert "It waits: 1 job before it" in status
    make_job(view.root, "first", "finished", None)
    assert "It is about to start." in view.watch("third", version)[0]


@pytest.mark.parametrize("state", ["preparing", "running"])
def test_a_job_that_is_silent_says_so_in_place_of_the_time_left(view, sleeper, state):
    make_job(view.root, "a", state, 1, step=3, total_steps=12, seconds_left=19.0)
    record_process(view.root / "a", sleeper.pid)
    status, _, version = view.watch("a", None)
    assert f"a: {state}, 3 of 12, about 19 s left." in status
    heard = {name: part - 130 if name != "boot" else part for name, part in read_clock().items()}
    make_job(view.root, "a", state, 1, step=3, total_steps=12, seconds_left=19.0, heard=heard)
    status, _, later = view.watch("a", version)
    assert f"a: {state}, 3 of 12, last heard of 2 min ago." in status and "left" not in status
    assert view.watch("a", later) == gr.skip()


def test_a_job_whose_result_is_damaged_says_so_once(view):
    def show(run):
        if run is not None:
            raise UserError("a/result.json is damaged.")
        return ("",)

    with gr.Blocks() as blocks:
        services = Services(Lab(DEVICE, view.root, view.root), JobManager(view.root))
        build_job_view(services, "evaluation", EMPTY, lambda: ([gr.HTML()], show))
    (watch,) = [fn.fn for fn in blocks.fns.values() if fn.name == "watch"]
    make_job(view.root, "a", "finished", 1)
    status, part, version = watch("a", None)
    assert "a: finished." in status and "a/result.json is damaged." in status and part == ""
    assert watch("a", version) == gr.skip()


def test_a_job_that_does_not_stop_can_be_killed(view, sleeper):
    make_job(view.root, "a", "running", 1, step=3, total_steps=12)
    record_process(view.root / "a", sleeper.pid)
    assert "a: running, 3 of 12" in view.watch("a", None)[0]
    chosen = view.click("kill", "a")
    run = read_run(view.root, "a")
    assert chosen["value"] == "a" and run.state == "stopped" and run.message.startswith("Killed")
    assert find_process(run.path) is None
    view.click("delete", "a")
    assert view.view.choices() == []


@pytest.mark.parametrize("name", ["stop", "kill", "resume", "delete"])
def test_without_a_run_there_is_nothing_to_do(view, name):
    with pytest.raises(gr.Error, match="no run to do this with"):
        view.click(name, None)
    assert EMPTY in view.watch(None, None)[0]
