"""What every package raises when its input cannot be used, or when its user has had enough."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)`` between parts of a long work; may raise :class:`Cancelled`."""
MessageProgress = Callable[[float, str], None]
"""Called as ``progress(fraction, message)`` where the parts are of several kinds; may raise :class:`Cancelled`."""

_OUT_OF_MEMORY = (
    "can't allocate memory",  # torch's allocator on a CPU
    "not enough memory",  # the same on Windows
    "std::bad_alloc",
    "out of memory",  # CUDA beside its allocator, MPS
    "alloc_failed",  # cuBLAS, cuDNN
    "can't start new thread",  # whose stack finds no room
    "failed to map segment",  # the loader, of a library that is imported when it is first needed
)
"""What the message of a RuntimeError or ImportError says, in small letters, that stands for too little memory."""


class UserError(ValueError):
    """What was wrong with this input and what to do about it, in one sentence for the user."""


class Cancelled(Exception):
    """Raised by a progress callback, or after a request to stop, to end a long work between two parts."""


def no_progress(done: int, total: int) -> None:
    """The progress callback of callers that do not watch."""


@contextmanager
def explained(failure: str) -> Iterator[None]:
    """Raises UserError in the place of an OSError: ``failure`` is what cannot be done, the system's words say why."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{failure} ({error.strerror or error}).") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine itself, has too little memory."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, not imported for this
        return True
    message = str(error).lower() if isinstance(error, (RuntimeError, ImportError)) else ""
    return any(words in message for words in _OUT_OF_MEMORY)
