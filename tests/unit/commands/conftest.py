"""The command line as a user types it, with folders of its own."""

import json
import sys

import pytest

import cli
from lab.session import Lab
from tests.device import DEVICE


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVSCOPE_RUNS_ROOT", str(tmp_path / "runs"))
    monkeypatch.setenv("CONVSCOPE_DEVICE", DEVICE)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.fixture
def run(monkeypatch, capfd):
    """Runs one command in this process: its exit code, and what it wrote to stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["cli.py", *map(str, arguments)])
        capfd.readouterr()
        code = cli.main()
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def run_json(run):
    def run_json(*arguments):
        code, out, err = run(*arguments, "--json")
        assert (code, err) == (0, "")
        assert out.endswith("\n") and out.count("\n") == 1
        return json.loads(out)

    return run_json


@pytest.fixture
def settings(tmp_path):
    """The folder that commands run in."""
    return tmp_path


@pytest.fixture(scope="module")
def lab():
    return Lab(device=DEVICE)
