"""Which process works on a run, however the clock is set, and when it was last heard of."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from lab.jobs import JobManager
from models.runs import process as run_process
from models.runs.files import write_json
from models.runs.process import (
    LAUNCH_SECONDS,
    SILENT_SECONDS,
    find_process,
    read_clock,
    record_process,
    seconds_since,
)
from models.runs.run import delete_run, list_runs, read_run
from models.runs.submit import create_run
from models.runs.writer import RunWriter
from tests.sentences import refused

STEPS = (-86400.0, -90.0, 90.0, 86400.0)
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not name their starts")


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def set_clock(monkeypatch):
    """``set_clock(seconds)``: from now on, the clock of the operating system is so far from what it was."""
    created, now, now_ns = psutil.Process.create_time, time.time, time.time_ns

    def step(seconds: float) -> None:
        # A process's start is worked out from the clock's idea of when the system started.
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: created(self) + seconds)
        monkeypatch.setattr(time, "time", lambda: now() + seconds)
        monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(seconds * 1e9))

    return step


@on_linux
@pytest.mark.parametrize("step", STEPS)
def test_a_run_at_work_stays_at_work_when_the_clock_is_set(tmp_path, sleeper, set_clock, step):
    path = create_run(tmp_path, "a", {"epochs": 2})
    with RunWriter(path) as writer:
        writer.update(state="running", step=3)
    record_process(path, sleeper.pid)
    set_clock(step)
    assert read_run(tmp_path, "a").state == "running" and find_process(path).pid == sleeper.pid
    with refused():
        JobManager(tmp_path).resume("a")
    with refused():
        delete_run(tmp_path, "a")
    assert sleeper.poll() is None and path.is_dir()


@on_linux
@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_is_being_started_is_no_failed_one_when_the_clock_is_set(tmp_path, set_clock, monkeypatch, step):
    create_run(tmp_path, "a", {})
    set_clock(step)
    assert read_run(tmp_path, "a").state == "queued"
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + LAUNCH_SECONDS + 1)
    assert read_run(tmp_path, "a").state == "failed"


@pytest.mark.parametrize("step", STEPS)
def test_the_line_keeps_its_order_when_the_clock_is_set(tmp_path, set_clock, step):
    create_run(tmp_path, "first", {})
    set_clock(step)
    create_run(tmp_path, "second", {})
    set_clock(0.0)
    create_run(tmp_path, "third", {})
    assert [run.name for run in list_runs(tmp_path)] == ["third", "second", "first"]


@on_linux
@pytest.mark.parametrize("change", [{"ticks": 1}, {"boot": "another"}, {"boot": None}, {"ticks": None}, {"pid": "1"}])
def test_another_process_of_the_same_number_is_not_taken_for_it(tmp_path, sleeper, change):
    path = create_run(tmp_path, "a", {})
    record_process(path, sleeper.pid)
    noted = json.loads((path / "process.json").read_text())
    assert find_process(path).pid == sleeper.pid
    write_json(path / "process.json", noted | change)
    assert find_process(path) is None


def test_the_note_of_an_earlier_version_is_understood(tmp_path, sleeper):
    path = create_run(tmp_path, "a", {})
    created = psutil.Process(sleeper.pid).create_time()
    write_json(path / "process.json", {"pid": sleeper.pid, "created": created + 1})
    assert find_process(path).pid == sleeper.pid
    write_json(path / "process.json", {"pid": sleeper.pid, "created": created + 60})
    assert find_process(path) is None


def test_a_system_that_does_not_name_its_starts_has_the_ordinary_clock(tmp_path, sleeper, monkeypatch):
    monkeypatch.setattr(run_process, "_read_boot", lambda: None)
    path = create_run(tmp_path, "a", {})
    record_process(path, sleeper.pid)
    assert set(json.loads((path / "process.json").read_text())) == {"pid", "created"}
    assert find_process(path).pid == sleeper.pid and read_run(tmp_path, "a").state == "queued"
    assert set(read_clock()) == {"time"} and seconds_since(read_clock()) < 5


@on_linux
def test_the_start_of_a_process_is_that_of_the_kernel(sleeper):
    ticks = run_process._read_ticks(sleeper.pid) / os.sysconf("SC_CLK_TCK")
    assert psutil.boot_time() + ticks == pytest.approx(psutil.Process(sleeper.pid).create_time(), abs=1.5)
    assert run_process._read_ticks(2**31 - 1) is None


@pytest.mark.parametrize("moment", [None, 3, {}, {"boot": None}, {"boot": "another", "seconds": 1.0}, {"time": 0}])
def test_what_is_no_moment_is_of_no_age(moment):
    assert seconds_since(moment) is None


def test_a_moment_with_a_bad_number_is_of_no_age():
    for value in ("x", None, True, [1]):
        assert seconds_since(read_clock() | {"seconds": value, "time": value}) is None


def hear(path, seconds_ago: float, state: str = "running") -> None:
    """Lets a run have been heard of so long ago."""
    status = json.loads((path / "status.json").read_text())
    heard = {name: part - seconds_ago if name != "boot" else part for name, part in read_clock().items()}
    write_json(path / "status.json", status | {"state": state, "heard": heard})


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, ""), (14, ""), (26, "20 s"), (59, "50 s"), (61, "1 min"), (3599, "59 min"), (7300, "2 h")],
)
def test_a_process_that_is_silent_says_since_when(tmp_path, sleeper, seconds, words):
    path = create_run(tmp_path, "a", {})
    record_process(path, sleeper.pid)
    hear(path, seconds)
    assert read_run(tmp_path, "a").silence == (words and f"last heard of {words} ago")
    hear(path, seconds, "finished")
    assert read_run(tmp_path, "a").silence == ""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no such signal")
def test_a_suspended_process_is_said_to_be_suspended(tmp_path, sleeper):
    path = create_run(tmp_path, "a", {})
    record_process(path, sleeper.pid)
    hear(path, SILENT_SECONDS + 1)
    os.kill(sleeper.pid, signal.SIGSTOP)
    os.waitpid(sleeper.pid, os.WUNTRACED)
    assert read_run(tmp_path, "a").silence == "suspended, last heard of 10 s ago"
    os.kill(sleeper.pid, signal.SIGCONT)


def test_a_writer_is_heard_of_with_every_word(tmp_path):
    path = create_run(tmp_path, "a", {})
    with RunWriter(path) as writer:
        writer.update(state="running")
        hear(path, 100)
        assert read_run(tmp_path, "a").silence
        writer.update(step=1)
        assert read_run(tmp_path, "a").silence == ""
