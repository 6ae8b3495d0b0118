"""The queue: first come first served, one holder per device, and Stop is heard while waiting."""

import os
import threading
import time

from models.runs import queue as module
from models.runs.process import record_process
from models.runs.queue import _is_first, device_turn, jobs_before, queue_place
from models.runs.run import list_runs, request_stop
from models.runs.status import ALLOWED
from models.runs.stop import StopRequest
from models.runs.submit import create_run
from models.runs.writer import RunWriter


def test_first_submitted_goes_first(tmp_path):
    paths = [create_run(tmp_path, name, {}) for name in ("b", "a", "c")]
    assert [_is_first(path, "cpu") for path in paths] == [True, False, False]
    RunWriter(paths[0]).update(state="running")
    assert [_is_first(path, "cpu") for path in paths[1:]] == [True, False]
    RunWriter(paths[1]).update(device="cuda")
    assert _is_first(paths[2], "cpu") and not _is_first(paths[2], "cuda")


def test_one_at_a_time_per_device_and_stop_while_waiting(tmp_path):
    first, second = (create_run(tmp_path, name, {}) for name in "ab")
    with StopRequest(first) as stop, device_turn(first, "cpu", stop) as turn:
        assert turn
        RunWriter(first).update(state="running")
        with StopRequest(second) as other, device_turn(second, "cuda", other) as turn:
            assert turn
        request_stop(second)
        with StopRequest(second) as other, device_turn(second, "cpu", other) as turn:
            assert not turn
    (second / "stop").unlink()
    with StopRequest(second) as other, device_turn(second, "cpu", other) as turn:
        assert turn


def test_a_part_of_a_job_need_not_wait_for_the_device_that_the_job_has(tmp_path):
    job, part = (create_run(tmp_path, name, {}) for name in ("job", "part"))
    for device in ("cpu", "cuda"):  # first in the line for one of them: the job itself waits
        RunWriter(job).update(state="queued")
        with StopRequest(job) as stop, device_turn(job, device, stop) as turn:
            assert turn
            with device_turn(part, device, stop) as inner:
                assert inner
            request_stop(part)
            with StopRequest(part) as other, device_turn(part, device, other) as inner:
                assert not inner
            (part / "stop").unlink()
    assert not module._held.get()


def test_places_in_the_line(tmp_path):
    paths = {name: create_run(tmp_path, name, {}) for name in ("a", "b", "c", "d", "e")}
    for name, device in zip("abcd", ("cpu", "cuda", "cpu", "cpu"), strict=True):
        RunWriter(paths[name]).update(device=device)

    def told(count):
        runs = list_runs(tmp_path)
        return {run.name: count(run, runs) for run in runs}

    assert told(queue_place) == {"a": 1, "b": 1, "c": 2, "d": 3, "e": 5}  # e may wait for either device
    assert told(jobs_before) == {"a": 0, "b": 0, "c": 1, "d": 2, "e": 4}
    record_process(paths["a"], os.getpid())
    RunWriter(paths["a"]).update(state="running")
    RunWriter(paths["e"]).update(device="cuda")
    assert told(queue_place) == {"a": None, "b": 1, "c": 1, "d": 2, "e": 2}
    assert told(jobs_before) == {"a": 0, "b": 0, "c": 1, "d": 2, "e": 1}


def test_runs_are_not_read_while_another_holds_the_device(tmp_path, monkeypatch):
    first, second = (create_run(tmp_path, name, {}) for name in "ab")
    looks, seen = [], []
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(module, "_is_first", lambda *_: looks.append(1) or True)

    def wait():
        with StopRequest(second) as stop, device_turn(second, "cpu", stop) as turn:
            seen.append(turn)

    waiter = threading.Thread(target=wait)
    with StopRequest(first) as stop, device_turn(first, "cpu", stop):
        looks.clear()
        waiter.start()
        waiter.join(0.2)
        assert waiter.is_alive() and not looks
    waiter.join(30)
    assert seen == [True] and looks


def test_the_time_that_a_job_may_work_begins_when_it_has_the_device(tmp_path):
    path = create_run(tmp_path, "a", {}, noted={ALLOWED: 1})
    with StopRequest(path) as stop:
        assert stop._end == float("inf")
        with device_turn(path, "cpu", stop):
            assert 59 < stop._end - time.monotonic() <= 60
