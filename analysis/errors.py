"""What an analysis raises when its input cannot be analysed, or when its user has had enough."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)`` between chunks of a long analysis; may raise :class:`Cancelled`."""


class AnalysisError(ValueError):
    """What was wrong with this input and what to do about it, in one sentence for the user."""


class Cancelled(Exception):
    """Raised by a progress callback to end a long analysis between two chunks."""


def no_progress(done: int, total: int) -> None:
    """The progress callback of callers that do not watch."""
