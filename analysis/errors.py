"""What every package raises when its input cannot be used, or when its user has had enough."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)`` between parts of a long work; may raise :class:`Cancelled`."""
MessageProgress = Callable[[float, str], None]
"""Called as ``progress(fraction, message)`` where the parts are of several kinds; may raise :class:`Cancelled`."""


class UserError(ValueError):
    """What was wrong with this input and what to do about it, in one sentence for the user."""


class Cancelled(Exception):
    """Raised by a progress callback, or after a request to stop, to end a long work between two parts."""


def no_progress(done: int, total: int) -> None:
    """The progress callback of callers that do not watch."""
