"""Stop requests by signal and by file, and the handlers put back."""

import os
import signal
import threading

import pytest

from analysis.errors import Cancelled
from models.runs import stop as module
from models.runs.stop import SIGNALS, StopRequest


def test_signals_set_a_flag_and_handlers_return(tmp_path):
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopRequest(tmp_path) as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_file_works_in_any_thread(tmp_path):
    seen = []

    def work():
        with StopRequest(tmp_path) as stop:
            seen.append(stop.requested)
            (tmp_path / "stop").touch()
            seen.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, True]


def test_a_check_raises_once_somebody_asked(tmp_path):
    with StopRequest(tmp_path) as stop:
        stop.check()
        (tmp_path / "stop").touch()
        assert not stop.signalled  # it was not this process that was asked
        with pytest.raises(Cancelled):
            stop.check()
    with StopRequest(tmp_path / "elsewhere") as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signalled
        with pytest.raises(Cancelled):
            stop.check()


def test_a_job_has_to_end_when_its_time_is_up(tmp_path, monkeypatch):
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with StopRequest(tmp_path) as stop:
        assert not stop.requested
        stop.allow(2)
        now = 220.0
        assert not stop.requested and not stop.reason
        now = 220.1
        assert stop.requested and not stop.signalled and "after 2 min" in stop.reason
        with pytest.raises(Cancelled):
            stop.check()
