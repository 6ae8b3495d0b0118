"""Full disks and too little memory become sentences, on every device the same ones."""

import errno
import os

import numpy as np
import pytest
import torch

from analysis.errors import is_out_of_memory
from models.problems import TOO_LITTLE_MEMORY, describe_problem

CPU = (
    "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
)
MEMORY = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory."),
    "cpu": RuntimeError(CPU),
    "windows": RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "loader": ImportError("sparse.so: failed to map segment from shared object"),
    "thread": RuntimeError("can't start new thread"),
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
