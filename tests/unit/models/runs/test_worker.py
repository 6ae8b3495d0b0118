"""The launcher with real processes: programs begin as if newly started, and nothing is left behind or done twice."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from models.runs import worker as module
from models.runs.process import find_process
from models.runs.run import read_run
from models.runs.submit import create_run
from models.runs.worker import PROJECT_ROOT, Launcher

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a launcher")
PATIENCE = 60
PROGRAMS = {
    "probe_report": """
import json, os, signal, sys
from pathlib import Path
import numpy, torch

def main(arguments):
    files = {number: os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")[:-1]}
    torch.set_num_threads(2)
    product = torch.nn.functional.conv2d(torch.ones(8, 64, 64, 64), torch.ones(64, 64, 3, 3))
    tasks = len(os.listdir("/proc/self/task"))
    report = {
        "arguments": arguments, "argv": sys.argv, "folder": os.getcwd(), "environment": dict(os.environ),
        "files": files, "own_session": os.getsid(0) == os.getpid(), "handlers": [
            signal.getsignal(number) == handler for number, handler in (
                (signal.SIGCHLD, signal.SIG_DFL), (signal.SIGTERM, signal.SIG_DFL),
                (signal.SIGINT, signal.default_int_handler))],
        "nice": os.nice(0), "sum": product.sum().item(), "tasks": tasks, "random": float(numpy.random.rand()),
    }
    print("printed")
    print("said", file=sys.stderr)
    part = Path(arguments[0], "report.part")  # whoever waits for the report wants all of it
    part.write_text(json.dumps(report))
    part.rename(part.with_name("report.json"))
    return 0
""",
    "probe_fail": "def main(arguments):\n    raise RuntimeError('too hot')\n",
    "probe_wait": "import time\nfrom pathlib import Path\n\ndef main(arguments):\n"
    "    Path(arguments[0], 'begun').touch()\n    time.sleep(600)\n",
    "probe_broken": "raise RuntimeError('cannot be imported')\n",
    "probe_thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n",
}


def wait_for(condition, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Where the programs of this file can be imported."""
    folder = tmp_path_factory.mktemp("programs")
    for name, code in PROGRAMS.items():
        (folder / f"{name}.py").write_text(code)
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "2"}


@pytest.fixture(scope="module")
def shared(environment):
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)  # as careless libraries do
    launcher = Launcher(["probe_report", "no_such_module"], environment)
    launcher.start()
    yield launcher
    launcher.close()
    os.close(reading)
    os.close(writing)


@pytest.fixture
def launcher(shared, monkeypatch):
    monkeypatch.setattr(module, "READY_SECONDS", PATIENCE)
    shared.start()  # again, where a test has ended it
    return shared


def test_a_program_begins_as_if_newly_started(launcher, environment, tmp_path):
    paths = [create_run(tmp_path, name, {}) for name in "ab"]
    for path in paths:
        own = {"PATH": os.environ["PATH"], "LANGUAGE_OF_THE_PROBE": "Welsh"}
        assert launcher.launch("probe_report", path, own)
    wait_for(lambda: all((path / "report.json").exists() for path in paths), "the reports")
    wait_for(lambda: not any(find_process(path) for path in paths), "the ends")
    first, second = (json.loads((path / "report.json").read_text()) for path in paths)
    assert first["arguments"] == [str(paths[0])] and first["argv"] == ["probe_report", str(paths[0])]
    assert first["folder"] == str(PROJECT_ROOT) and first["own_session"] and all(first["handlers"])
    assert first["environment"].items() >= own.items() and "PYTHONPATH" not in first["environment"]
    log = str(paths[0] / "log.txt")
    assert first["files"] == {"0": "/dev/null", "1": log, "2": log}
    assert sorted((paths[0] / "log.txt").read_text().split()) == ["printed", "said"]
    assert first["random"] != second["random"]
    assert first["nice"] == min(os.nice(0) + module.NICE, 19)  # the page comes first
    pid = json.loads((paths[0] / "process.json").read_text())["pid"]
    wait_for(lambda: not psutil.pid_exists(pid), "the zombie to be collected")


def test_torch_computes_with_several_threads_after_the_fork(launcher, environment, tmp_path):
    path = create_run(tmp_path, "a", {})
    assert launcher.launch("probe_report", path, environment)
    wait_for((path / "report.json").exists, "the report")
    report = json.loads((path / "report.json").read_text())
    assert report["sum"] == 8 * 64 * 62 * 62 * 64 * 9
    assert report["tasks"] >= 2


def test_an_error_is_in_the_log_and_the_launcher_goes_on(launcher, environment, tmp_path):
    for name in "ab":
        path = create_run(tmp_path, name, {})
        assert launcher.launch("probe_fail", path, environment)
        wait_for(lambda name=name: read_run(tmp_path, name).state == "failed", "the end")
        assert "too hot" in read_run(tmp_path, name).message
        assert "Traceback" in read_run(tmp_path, name).log_tail


def test_a_run_directory_that_cannot_be_written_starts_nothing(launcher, environment, tmp_path):
    with pytest.raises(FileNotFoundError):
        launcher.launch("probe_report", tmp_path / "gone", environment)
    path = create_run(tmp_path, "a", {})
    assert launcher.launch("probe_fail", path, environment)
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_log_that_is_no_ordinary_file_starts_nothing(launcher, environment, tmp_path, kind):
    path, theirs = create_run(tmp_path, "a", {}), tmp_path / "theirs"
    theirs.write_text("")
    os.mkfifo(path / "log.txt") if kind == "pipe" else (path / "log.txt").symlink_to(theirs)
    with pytest.raises(OSError):
        launcher.launch("probe_report", path, environment)
    assert not (path / "process.json").exists() and theirs.read_text() == ""
    assert launcher.launch("probe_fail", create_run(tmp_path, "b", {}), environment)


def test_a_launcher_that_was_killed_starts_nothing_and_is_replaced(launcher, environment, tmp_path):
    path = create_run(tmp_path, "a", {})
    assert launcher.launch("probe_wait", path, environment)
    wait_for((path / "begun").exists, "the program")
    old = launcher.pid
    os.kill(old, signal.SIGKILL)
    other = create_run(tmp_path, "b", {})
    assert not launcher.launch("probe_wait", other, environment)
    assert launcher.pid not in (None, old) and not psutil.pid_exists(old)
    process = find_process(path)  # what was started before goes on
    assert process is not None and not (other / "begun").exists()
    process.kill()
    assert launcher.launch("probe_report", other, environment)
    wait_for((other / "report.json").exists, "the report")


def test_a_launcher_that_does_not_answer_is_given_up_and_cannot_start_anything_later(
    launcher, environment, tmp_path, monkeypatch
):
    assert launcher.launch("probe_fail", create_run(tmp_path, "a", {}), environment)
    old = launcher.pid
    os.kill(old, signal.SIGSTOP)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.3)
    path = create_run(tmp_path, "b", {})
    assert not launcher.launch("probe_wait", path, environment)
    assert launcher.pid != old and not psutil.pid_exists(old)
    assert not (path / "begun").exists() and not (path / "process.json").exists()


def test_who_comes_too_early_is_not_kept_waiting(environment, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "READY_SECONDS", 0.0)
    launcher = Launcher(["probe_report"], environment)
    path = create_run(tmp_path, "a", {})
    assert not launcher.launch("probe_report", path, environment)  # never started
    launcher.start()
    pid = launcher.pid
    try:
        assert not launcher.launch("probe_report", path, environment)
        assert launcher.pid == pid
    finally:
        launcher.close()
    assert launcher.pid is None and not psutil.pid_exists(pid)
    launcher.close()


@pytest.mark.parametrize("name", ["probe_broken", "probe_thread"])
def test_what_cannot_be_forked_is_given_up(name, environment, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "READY_SECONDS", PATIENCE)
    launcher = Launcher([name], environment)
    launcher.start()
    assert not launcher.launch("probe_report", create_run(tmp_path, "a", {}), environment)
    assert launcher.pid is None


def test_no_python_means_no_launcher(environment, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    launcher = Launcher([], environment)
    launcher.start()
    assert launcher.pid is None
    monkeypatch.setattr(sys, "platform", "darwin")
    launcher.start()
    assert launcher.pid is None


def test_the_launcher_ends_with_its_server_and_the_program_goes_on(environment, tmp_path):
    path = create_run(tmp_path, "a", {})
    script = (
        "import os, sys, time; from pathlib import Path; from models.runs import worker; worker.READY_SECONDS = 60\n"
        "mine = worker.Launcher(['probe_wait'], dict(os.environ)); mine.start()\n"
        "assert mine.launch('probe_wait', Path(sys.argv[1]), dict(os.environ))\n"
        "print(mine.pid, flush=True); time.sleep(600)"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        cwd=PROJECT_ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        pid = int(server.stdout.readline())
        launcher = psutil.Process(pid)
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    wait_for(lambda: not launcher.is_running() or launcher.status() == psutil.STATUS_ZOMBIE, "the launcher's end")
    wait_for((path / "begun").exists, "the program")
    program = find_process(path)
    assert program is not None
    program.kill()
