"""Launch options, each through a real start of the app."""

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress

import pytest
from gradio_client import Client

import app
from models.problems import TOO_LITTLE_MEMORY_TO_START
from models.quotas import QUOTAS
from tests.sentences import refused
from tests.server import ROOT, Server, run_server


@pytest.fixture
def scratch(tmp_path) -> dict[str, str]:
    """The environment with a folder of its own for temporary files."""
    (tmp_path / "scratch").mkdir()
    return {"TMPDIR": str(tmp_path / "scratch")}


def expect_end(server: Server, number: signal.Signals, seconds: float = 30) -> None:
    """A signal ends the server, which leaves nothing behind but a line."""
    scratch = server.log.parent / "scratch"
    assert list(scratch.glob("convscope-*"))
    server.process.send_signal(number)
    assert server.process.wait(seconds) == 130
    assert not list(scratch.glob("convscope-*")) and "Traceback" not in server.log.read_text()


def test_environment_variables_stand_for_options(monkeypatch):
    for name, value in {"PORT": "7999", "DEVICE": "cpu", "SHARE": "1", "RUNS_ROOT": "r", "AUTH": "a:b:c"}.items():
        monkeypatch.setenv(f"CONVSCOPE_{name}", value)
    options = app.parse_options([])
    assert (options.port, options.device, options.share, options.auth) == (7999, "cpu", True, "a:b:c")
    assert str(options.runs_root) == "r"
    assert app.parse_options(["--port", "8001"]).port == 8001
    monkeypatch.setenv("CONVSCOPE_QUOTAS", "jobs=3, pages=4")
    quota = app.parse_options(["--quota", "jobs=1", "--quota", "kept_mb=9"]).quotas["train"]
    assert (quota.jobs, quota.pages, quota.kept_mb, quota.requests) == (1, 4, 9, QUOTAS["train"].requests)


def test_a_hugging_face_space_is_reachable_from_outside(monkeypatch):
    assert app.parse_options([]).host == "127.0.0.1"
    monkeypatch.setenv("SPACE_ID", "someone/convscope")
    assert app.parse_options([]).host == "0.0.0.0"


@pytest.mark.parametrize(
    ("arguments", "environment", "role"),
    [
        ([], {}, None),
        (["--host", "localhost"], {}, None),
        (["--host", "::1"], {}, None),
        (["--host", "0.0.0.0"], {}, "try"),
        (["--host", "192.168.1.7"], {}, "try"),
        (["--share"], {}, "try"),
        ([], {"SPACE_ID": "someone/convscope"}, "try"),
        ([], {"CONVSCOPE_VISITORS": "look"}, "look"),
        (["--share", "--visitors", "train"], {"CONVSCOPE_VISITORS": "look"}, "train"),
    ],
)
def test_what_visitors_may_do_unless_somebody_says_otherwise(monkeypatch, arguments, environment, role):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert app.parse_options(arguments).visitors == role


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "tpu"], "There is no device called tpu"),
        (["--auth", "nocolon"], "--auth takes USER:PASSWORD"),
        (["--port", "abc"], "invalid int value"),
        (["--port", "70000"], "--port takes a number from 1 to 65535"),
        (["--visitors", "owner"], "invalid choice: 'owner'"),
        (["--quota", "lunches=1"], "A quota is NAME=NUMBER, not lunches=1"),
        (["--host", "203.0.113.7"], "--host"),
        (["--host", "no.such.host.invalid"], "--host"),
    ],
)
def test_bad_options_end_with_one_message_and_status_2(arguments, message, monkeypatch, capsys):
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        status = app.main(arguments)
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("program", [["app.py"], ["cli.py", "models"]])
def test_too_little_memory_to_start_is_one_sentence(program):
    resource = pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, *program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 * 10**9, 2 * 10**9)),
    )
    assert done.returncode == 2 and done.stderr == f"error: {TOO_LITTLE_MEMORY_TO_START}\n"


def test_a_password_is_asked_for_and_a_failed_share_link_leaves_the_local_page(scratch, tmp_path):
    with run_server(tmp_path, "--auth", "teacher:secret", "--share", HF_HUB_OFFLINE="1", **scratch) as server:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.url}/config", timeout=10)
        assert refused.value.code == 401
        deadline = time.monotonic() + 30
        while "link" not in server.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        lines = server.log.read_text().splitlines()
        assert [line for line in lines if "link" in line.lower()] == [app.NO_LINK]
        expect_end(server, signal.SIGINT)


def test_a_taken_port_names_the_option():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with refused(port, error=app.AddressError, varies=r"\d+"):
            app.check_address("127.0.0.1", port)
        done = subprocess.run(
            [sys.executable, "app.py", "--port", str(port)], cwd=ROOT, capture_output=True, text=True, timeout=90
        )
    assert done.returncode == 2 and done.stderr.startswith(f"error: Port {port} is taken") and "--port" in done.stderr
    assert done.stderr.count("\n") == 1
    app.check_address("127.0.0.1", port)


def test_open_pages_and_work_under_way_do_not_hold_up_the_end(scratch, tmp_path):
    """A page keeps a connection for as long as it is open."""
    with run_server(tmp_path, **scratch) as server:
        client = Client(server.url, verbose=False)
        job = client.submit("coffee", "efficientnet_lite0", 32, "zero", api_name="/shift_map")
        with urllib.request.urlopen(f"{server.url}/gradio_api/heartbeat/somebody", timeout=10) as page:
            page.readline()
            time.sleep(1)
            assert not job.done()
            expect_end(server, signal.SIGTERM, seconds=4)
        assert server.log.read_text().count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("program", ["app.py", "cli.py"])
def test_a_signal_one_second_after_the_start_ends_cleanly(tmp_path, program, number):
    """Wherever that is: the libraries are still being imported, or the page is being built."""
    arguments = ["classify", "chelsea"] if program == "cli.py" else ["--port", "1", "--runs-root", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, program, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with suppress(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert "Traceback" not in output
    assert process.returncode in (0, 2, 130, 143)
