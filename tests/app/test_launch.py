"""Launch options, each through a real start of the app."""

import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

import app
from tests.server import ROOT, run_server


def test_environment_variables_stand_for_options(monkeypatch):
    for name, value in {"PORT": "7999", "DEVICE": "cpu", "SHARE": "1", "RUNS_ROOT": "r", "AUTH": "a:b:c"}.items():
        monkeypatch.setenv(f"CONVSCOPE_{name}", value)
    options = app.parse_options([])
    assert (options.port, options.device, options.share, options.auth) == (7999, "cpu", True, "a:b:c")
    assert str(options.runs_root) == "r"
    assert app.parse_options(["--port", "8001"]).port == 8001


def test_a_hugging_face_space_is_reachable_from_outside(monkeypatch):
    assert app.parse_options([]).host == "127.0.0.1"
    monkeypatch.setenv("SPACE_ID", "someone/convscope")
    assert app.parse_options([]).host == "0.0.0.0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "tpu"], "There is no device called tpu"),
        (["--auth", "nocolon"], "--auth takes USER:PASSWORD"),
        (["--port", "abc"], "invalid int value"),
    ],
)
def test_bad_options_end_with_one_message_and_status_2(arguments, message):
    done = subprocess.run(
        [sys.executable, "app.py", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_password_is_asked_for_and_a_failed_share_link_leaves_the_local_page(tmp_path):
    with run_server(tmp_path, "--auth", "teacher:secret", "--share", HF_HUB_OFFLINE="1") as server:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.url}/config", timeout=10)
        assert refused.value.code == 401
        deadline = time.monotonic() + 30
        while "link" not in server.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        lines = server.log.read_text().splitlines()
        assert [line for line in lines if "link" in line.lower()] == [app.NO_LINK]
