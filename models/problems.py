"""What is wrong with the machine and not with the program, such as a full disk or too little memory, as sentences."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from analysis.errors import UserError
from models.runs.run import RunWriter

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


@contextmanager
def open_job(run_dir: Path, *expected: type[Exception]) -> Iterator[RunWriter]:
    """Lends the files of a run to the process that works on it.

    Args:
        run_dir: Of the run.
        expected: Other errors than UserError whose message is a sentence for the user.

    Raises:
        UserError: In the place of whatever went wrong that somebody can put right; the run's state is then
            "failed", and its message that sentence.
    """
    # Once around it, for the writer's own files, and once inside it, so that the writer notes the sentence.
    with _explained(run_dir, expected), RunWriter(run_dir) as writer, _explained(run_dir, expected):
        yield writer


@contextmanager
def _explained(run_dir: Path, expected: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except expected as error:
        raise UserError(str(error)) from error
    except MAYBE_PROBLEMS as error:
        problem = describe_problem(error)
        if isinstance(error, OSError) and not is_out_of_memory(error):
            problem = f"{_name_place(error, run_dir)} ({error.strerror or error})."
        if problem is None:
            raise
        raise UserError(problem) from error


def _name_place(error: OSError, run_dir: Path) -> str:
    """What could not be done with which file; one without a name was being written."""
    if isinstance(error.filename, str) and not Path(error.filename).is_relative_to(run_dir):
        return f"{error.filename} cannot be used"
    return f"The run {run_dir.name} cannot be written"
