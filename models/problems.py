"""What is wrong with the machine and not with the program, such as a full disk or too little memory, as sentences."""

import errno

import torch

from analysis.errors import UserError

TOO_LITTLE_MEMORY = "The device has too little memory for this; try a smaller model."
DISK_IS_FULL = "The disk is full ({}); make room on it and try again."
MAYBE_PROBLEMS = (UserError, OSError, RuntimeError, MemoryError, ImportError)
"""What :func:`describe_problem` may have a sentence for."""

_OUT_OF_MEMORY = (
    "can't allocate memory",  # torch's allocator on a CPU
    "not enough memory",  # the same on Windows
    "std::bad_alloc",
    "out of memory",  # CUDA beside its allocator, MPS
    "alloc_failed",  # cuBLAS, cuDNN
    "failed to map segment",  # the loader, of a library that is imported when it is first needed
)
"""What the message of a RuntimeError or ImportError says, in small letters, that stands for too little memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine itself, has too little memory."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    message = str(error).lower() if isinstance(error, (RuntimeError, ImportError)) else ""
    return any(words in message for words in _OUT_OF_MEMORY)


def describe_problem(error: BaseException) -> str | None:
    """One sentence for the user about what somebody can put right; None if the error is a bug."""
    if isinstance(error, UserError):
        return str(error)
    if is_out_of_memory(error):
        return TOO_LITTLE_MEMORY
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DISK_IS_FULL.format(error.strerror)
    return None
