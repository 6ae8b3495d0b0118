"""Finding a learning rate: however the test ends, no run of it is left."""

import subprocess
import sys
from types import SimpleNamespace

import gradio as gr
import pytest

from lab.jobs import JobManager
from lab.session import Lab
from models.runs.files import write_json
from models.runs.process import record_process
from models.runs.run import read_run
from models.runs.submit import create_run
from models.training.config import TrainingConfig
from models.training.lr_finder import STEPS
from tests.device import DEVICE
from ui.services import Services
from ui.train.settings.learning_rate import build_rate_panel

ANN = SimpleNamespace(session_hash="ann")
FOUND = {"rates": [0.01, 0.1, 1.0], "losses": [2.0, 1.0, 3.0], "suggestion": 0.1}


@pytest.fixture
def services(tmp_path) -> Services:
    return Services(Lab(DEVICE, tmp_path, tmp_path / "runs"), JobManager(tmp_path / "runs"))


@pytest.fixture
def find(services):
    """What the button runs."""
    with gr.Blocks() as blocks:
        rate = gr.Number(0.1)
        build_rate_panel(services, {"learning_rate": rate}, lambda values: TrainingConfig(device=DEVICE))
    (handler,) = [fn.fn for fn in blocks.fns.values() if fn.name == "test"]
    return lambda progress=lambda *_, **__: None: handler({rate: 0.1}, ANN, progress)


@pytest.fixture
def job(monkeypatch):
    """``job.become(state, result, alive=...)`` decides what a job is as soon as it is started."""
    processes = []

    def become(state: str, result: dict | None = None, *, alive: bool = False, **status) -> None:
        def launch(manager, run_dir):
            known = read_run(run_dir.parent, run_dir.name).status
            write_json(run_dir / "status.json", known | {"state": state} | status)
            if result:
                write_json(run_dir / "result.json", result)
            if alive:
                processes.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
                record_process(run_dir, processes[-1].pid)

        monkeypatch.setattr(JobManager, "_launch", launch)

    yield SimpleNamespace(become=become, processes=processes)
    for process in processes:
        process.kill()
        process.wait()


def test_a_rate_is_filled_in(services, find, job):
    job.become("finished", FOUND)
    text, chart, rate = find()
    assert "Suggested peak: 0.1" in text and chart["visible"] and rate == 0.1
    assert services.jobs.list() == []


def test_no_rate_is_filled_in_where_none_was_found(find, job):
    job.become("finished", FOUND | {"suggestion": None})
    text, chart, rate = find()
    assert "never fell" in text and chart["visible"] and rate == gr.skip()


def test_a_test_that_fails_leaves_no_run(services, find, job):
    job.become("failed", message="The data are gone.")
    with pytest.raises(gr.Error, match="The data are gone"):
        find()
    assert services.jobs.list() == []


def test_a_test_that_is_cancelled_ends_and_leaves_no_run(services, find, job, monkeypatch):
    """As when the page is closed: the work goes on in a process of its own."""
    monkeypatch.setattr(gr, "Info", lambda message: None)
    job.become("running", alive=True, step=7)
    seen = []

    def progress(done, desc):
        seen.append((done, desc))
        services.cancel(ANN)

    assert find(progress) == gr.skip()
    assert seen == [((7, STEPS), "Trying learning rates")]
    assert services.jobs.list() == [] and job.processes[0].wait(5) != 0


def test_while_it_waits_it_says_for_how_many(services, find, job, monkeypatch):
    monkeypatch.setattr(gr, "Info", lambda message: None)
    create_run(services.jobs.runs_root, "first", {})
    job.become("queued", alive=True)
    said = []

    def progress(done, desc):
        said.append(desc)
        services.cancel(ANN)

    find(progress)
    assert said == ["Trying learning rates. It waits: 1 job before it on this device."]
