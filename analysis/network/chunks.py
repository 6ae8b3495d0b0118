"""Work in chunks, which get smaller as long as the device has too little memory for them."""

import errno
import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from analysis.errors import UserError

log = logging.getLogger(__name__)

Result = TypeVar("Result")

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


def unless_too_large(run: Callable[..., Result], *arguments: object) -> Result | None:
    """What ``run(*arguments)`` gives, or None where the device has too little memory for it.

    When this returns, the exception is gone with the tensors that it held: only then is there memory to try again.
    """
    try:
        return run(*arguments)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def halve(chunk: int, least: int = 1) -> int:
    """The next smaller chunk, at least ``least`` pictures.

    Raises:
        UserError: It cannot be smaller.
    """
    if chunk <= least:
        pictures = "one picture" if least == 1 else f"{least} pictures"
        raise UserError(f"The device has too little memory even for {pictures} at a time; choose a smaller model.")
    smaller = max(chunk // 2, least)
    log.warning("Out of memory: going on with chunks of %d.", smaller)
    return smaller
