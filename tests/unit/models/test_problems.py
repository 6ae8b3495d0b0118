"""Full disks and too little memory become sentences, in every kind of job the same ones."""

import errno
import importlib
import os

import numpy as np
import pytest
import torch

from analysis.errors import UserError
from models.problems import TOO_LITTLE_MEMORY, describe_problem, is_out_of_memory, open_job
from models.runs.manager import PROGRAMS
from models.runs.run import create_run, read_run

CPU = (
    "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
)
MEMORY = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory."),
    "cpu": RuntimeError(CPU),
    "windows": RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "loader": ImportError("sparse.so: failed to map segment from shared object"),
    "python": MemoryError(),
    "numpy": np._core._exceptions._ArrayMemoryError((2**40,), np.dtype("f8")),
    "system": OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
}
DISK = {
    name: OSError(number, os.strerror(number)) for name, number in (("full", errno.ENOSPC), ("quota", errno.EDQUOT))
}


@pytest.mark.parametrize("name", MEMORY)
def test_too_little_memory_is_known_on_every_device(name):
    assert is_out_of_memory(MEMORY[name]) and describe_problem(MEMORY[name]) == TOO_LITTLE_MEMORY


def test_a_tensor_that_no_machine_can_hold_is_too_little_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "bug",
    [
        *(RuntimeError("mat1 and mat2 shapes"), OSError(errno.EIO, "x"), ValueError("out of memory"), KeyError("x")),
        ImportError("No module named x"),
    ],
)
def test_bugs_have_no_sentence(bug):
    assert not is_out_of_memory(bug) and describe_problem(bug) is None


@pytest.fixture
def run_dir(tmp_path):
    return create_run(tmp_path, "job", {})


@pytest.mark.parametrize("error", [*MEMORY.values(), *DISK.values(), UserError("Bad."), UserError("Bad.")])
def test_a_job_ends_with_a_sentence_that_its_run_keeps(run_dir, error):
    with pytest.raises(UserError) as caught, open_job(run_dir, UserError):
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


@pytest.mark.parametrize("kind", PROGRAMS)
def test_every_kind_of_job_says_that_the_disk_is_full(kind, tmp_path, monkeypatch, capsys):
    """Its own files, written from the first moment on, are what cannot be written."""
    run_dir = create_run(tmp_path, "job", {}, kind)

    def refuse(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("models.runs.files.write_bytes", refuse)
    assert importlib.import_module(PROGRAMS[kind]).main([str(run_dir)]) == 1
    err = capsys.readouterr().err
    assert "cannot be written" in err and "No space left" in err and err.count("\n") == 1
