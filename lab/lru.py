"""Results that took long to compute, kept in memory as far as they fit into a number of bytes."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Result = TypeVar("Result")


class RecentResults(Generic[Result]):
    """The most recently used results by key; many threads may ask at once.

    Args:
        max_bytes: Of all results together; what is larger on its own is not kept.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self._kept: OrderedDict[tuple, tuple[Result, int]] = OrderedDict()
        self._guard = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: tuple) -> Result | None:
        """The result, or None."""
        with self._guard:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def keep(self, key: tuple, result: Result, num_bytes: int) -> None:
        """Remembers a result of this size, and forgets those not asked for longest where there is no room."""
        with self._guard:
            self._kept.pop(key, None)
            if num_bytes > self.max_bytes:
                return
            self._kept[key] = result, num_bytes
            while sum(size for _, size in self._kept.values()) > self.max_bytes:
                self._kept.popitem(last=False)
