"""How often something is saved, so that a large network is trained and not only written to a disk."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

LONGER = 20
"""Between two savings lies at least so many times the time that the last one took."""


class Pace:
    """When to save next: some seconds after the last time, or later where saving takes long.

    Args:
        seconds: The least from the end of one saving to the next.
        is_due: Whether the first is due at once, and not only after those seconds.
    """

    def __init__(self, seconds: float, *, is_due: bool = False):
        self.seconds, self._cost = seconds, 0.0
        self._ended = -math.inf if is_due else time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time."""
        return time.monotonic() - self._ended >= max(self.seconds, LONGER * self._cost)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Put around the saving: how long it takes, and when it ends, decides when the next is due."""
        started = time.monotonic()
        yield
        self._ended = time.monotonic()
        self._cost = self._ended - started
