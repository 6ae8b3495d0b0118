"""The frame around all kinds of work: their files, and what becomes of results, stops and errors."""

import errno
import os
from dataclasses import dataclass, replace

import pytest
import torch

from analysis.errors import Cancelled, UserError
from models.runs.job import Job, open_job
from models.runs.run import read_run
from models.runs.submit import create_run
from tests.sentences import refused

PROBLEMS = [
    torch.OutOfMemoryError("CUDA out of memory."),
    MemoryError(),
    *(OSError(number, os.strerror(number)) for number in (errno.ENOMEM, errno.ENOSPC, errno.EDQUOT)),
    UserError("Bad."),
]


@pytest.fixture
def run_dir(tmp_path):
    return create_run(tmp_path, "job", {})


@pytest.mark.parametrize("error", PROBLEMS)
def test_a_job_ends_with_a_sentence_that_its_run_keeps(run_dir, error):
    with pytest.raises(UserError) as caught, open_job(run_dir):
        raise error
    run = read_run(run_dir.parent, "job")
    assert (run.state, run.message) == ("failed", str(caught.value))
    assert "Error" not in run.message


def test_a_bug_in_a_job_stays_one(run_dir):
    with pytest.raises(ZeroDivisionError), open_job(run_dir):
        raise ZeroDivisionError("x")
    assert read_run(run_dir.parent, "job").message == "ZeroDivisionError: x"


def test_another_file_is_named(run_dir):
    with refused("/data/x.png"), open_job(run_dir):
        raise PermissionError(errno.EACCES, "Permission denied", "/data/x.png")


@dataclass(frozen=True)
class Sum:
    """Settings of a job that adds."""

    terms: tuple[int, ...]

    def to_dict(self):
        return {"terms": self.terms}


def add(config, writer, stop, listen):
    """Adds; stops at a term of 0."""
    for term in config.terms:
        listen(term)
        if term == 0:
            raise Cancelled
    return sum(config.terms)


ADDING = Job(
    kind="sum",
    read_config=lambda values: Sum(**values),
    work=add,
    describe=str,
    summarize=lambda total: {"result": {"total": total}},
    to_document=lambda total: {"total": total},
    stopped="Enough.",
    go_on="{run} was stopped.",
)


def test_a_result_is_kept_and_summarized(tmp_path):
    heard = []
    assert ADDING.start(Sum((1, 2)), tmp_path / "a", heard.append) == 3 == sum(heard)
    run = read_run(tmp_path, "a")
    assert (run.kind, run.state, run.result, run.document) == ("sum", "finished", {"total": 3}, {"total": 3})
    with refused("a"):
        ADDING.start(Sum((1, 2)), tmp_path / "a")
    assert ADDING.run(tmp_path / "a") == 3


def test_a_stop_is_noted_and_the_same_command_goes_on(tmp_path, monkeypatch):
    for _ in range(2):
        with refused("a"):
            ADDING.start(Sum((1, 0)), tmp_path / "a")
        run = read_run(tmp_path, "a")
        assert (run.state, run.message, run.document) == ("stopped", "Enough.", None)
    with refused("a"):
        ADDING.start(Sum((0,)), tmp_path / "a")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert ADDING.start(Sum((1, 0)), tmp_path / "a") is None


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_a_job_whose_time_is_up_says_so(run_dir, is_cancelled):
    def work(config, writer, stop, listen):
        stop.allow(0)
        if is_cancelled:
            stop.check()
        return 3

    slow = replace(
        ADDING, read_config=lambda values: Sum(()), work=work, summarize=lambda total: {"state": "stopped"}
    )
    assert slow.run(run_dir) == (None if is_cancelled else 3)
    run = read_run(run_dir.parent, "job")
    assert run.state == "stopped" and "after 0 min" in run.message


def test_bad_settings_are_a_failed_run(tmp_path):
    def refuse(values):
        raise UserError("terms?")

    with refused("terms"):
        replace(ADDING, read_config=refuse).start(Sum((1,)), tmp_path / "a")
    assert read_run(tmp_path, "a").state == "failed"
