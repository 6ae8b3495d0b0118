"""A real server of the app in a process of its own, for the endpoint and browser tests."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
START_SECONDS = 90
STOP_SECONDS = 20


@dataclass
class Server:
    """A running app: its address, its folders, and its process."""

    url: str
    runs_root: Path
    process: subprocess.Popen
    log: Path

    @property
    def is_alive(self) -> bool:
        """Whether the process runs and answers."""
        return self.process.poll() is None and _answers(self.url)

    @property
    def owners_address(self) -> str:
        """What makes a browser the owner's, once; it is printed soon after the first answer."""
        deadline = time.monotonic() + START_SECONDS
        while not (found := re.search(r"http\S+owner=\S+", self.log.read_text())):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)
        return found[0]


@contextmanager
def run_server(folder: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    """Starts ``app.py`` on a free port with its runs and data below ``folder``; ends it afterwards."""
    port, runs_root, log = find_free_port(), folder / "runs", folder / "server.log"
    command = [sys.executable, "app.py", "--port", str(port), "--runs-root", str(runs_root)]
    command += ["--data-root", str(folder / "data"), *arguments]
    settings = {"GRADIO_TEMP_DIR": str(folder / "uploads"), "TORCH_HOME": str(folder / "torch"), **environment}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **settings}
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield Server(url, runs_root, process, log)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except urllib.error.HTTPError as error:
        return error.code in (401, 429)  # it does, though not this one
    except OSError:
        return False
