"""The frame around every program: its argument, its exit status, and what it prints."""

import errno
import os

import pytest
import torch

from analysis.errors import UserError
from models.runs.job import open_job, run_program
from models.runs.run import create_run, read_run

PROBLEMS = [
    torch.OutOfMemoryError("CUDA out of memory."),
    MemoryError(),
    *(OSError(number, os.strerror(number)) for number in (errno.ENOMEM, errno.ENOSPC, errno.EDQUOT)),
    UserError("Bad."),
]


def test_the_result_is_described(tmp_path, capsys):
    assert run_program("a.b", [str(tmp_path / "x" / ".." / "run")], lambda run_dir: run_dir, str) == 0
    assert capsys.readouterr() == (f"{tmp_path / 'run'}\n", "")


def test_an_expected_error_is_one_line_and_status_1(tmp_path, capsys):
    def fail(run_dir):
        raise UserError("Too hot.")

    assert run_program("a.b", [str(tmp_path)], fail, str) == 1
    assert capsys.readouterr() == ("", "Too hot.\n")


def test_wrong_arguments_say_how_it_is_used(capsys):
    assert run_program("a.b", ["x", "y"], lambda run_dir: run_dir, str) == 2
    assert capsys.readouterr() == ("", "usage: python -m a.b RUN_DIR\n")


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
    with pytest.raises(UserError, match=r"/data/x\.png cannot be used"), open_job(run_dir):
        raise PermissionError(errno.EACCES, "Permission denied", "/data/x.png")
