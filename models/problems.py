"""What is wrong with the machine and not with the program, such as a full disk or too little memory, as sentences."""

import errno

from analysis.errors import UserError, is_out_of_memory

TOO_LITTLE_MEMORY = "The device has too little memory for this; try a smaller model."
TOO_LITTLE_MEMORY_TO_START = (
    "Too little memory to start ConvScope; end other programs, or raise the limit of this one."
)
DISK_IS_FULL = "The disk is full ({}); make room on it and try again."
_FULL = (errno.ENOSPC, errno.EDQUOT)
MAYBE_PROBLEMS = (UserError, OSError, RuntimeError, MemoryError, ImportError)
"""What :func:`describe_problem` may have a sentence for."""


def describe_problem(error: BaseException) -> str | None:
    """One sentence for the user about what somebody can put right; None if the error is a bug."""
    if isinstance(error, UserError):
        return str(error)
    if is_out_of_memory(error):
        return TOO_LITTLE_MEMORY
    if isinstance(error, OSError) and is_disk_full(error):
        return DISK_IS_FULL.format(error.strerror)
    return None


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that a disk is full, or is a sentence in the place of one that does."""
    cause = error.__cause__ if isinstance(error, UserError) else error
    return isinstance(cause, OSError) and cause.errno in _FULL
