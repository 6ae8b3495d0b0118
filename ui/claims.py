"""To whom files and sessions were given."""

import threading
from collections import OrderedDict

MAX_KEPT, MAX_KEPT_EACH = 50_000, 2000
"""Files and sessions that are remembered, and of one browser; the ones longest unused are forgotten first."""


class Claims:
    """To whom something was given, by name: those who were given it may have it. Bounded; many threads may ask.

    Args:
        limit: Of all.
        limit_each: Of one name, so that nobody makes what others were given be forgotten.
    """

    def __init__(self, limit: int = MAX_KEPT, limit_each: int = MAX_KEPT_EACH):
        self._limit, self._limit_each = limit, limit_each
        self._whose: OrderedDict[str, set[str]] = OrderedDict()
        self._given: dict[str, OrderedDict[str, None]] = {}
        self._guard = threading.Lock()

    def give(self, thing: str, name: str) -> None:
        """From now on it is theirs, too."""
        with self._guard:
            self._give(thing, name)

    def has(self, thing: str, name: str) -> bool:
        """Whether it was given to them."""
        with self._guard:
            return name in self._whose.get(thing, ())

    def take(self, thing: str, name: str) -> bool:
        """Whether it is theirs, which it is of the first who asks."""
        with self._guard:
            is_theirs = name in self._whose.get(thing, {name})
            if is_theirs:
                self._give(thing, name)
            return is_theirs

    def may_have(self, thing: str, name: str) -> bool:
        """Whether it is theirs, or nobody's."""
        with self._guard:
            return name in self._whose.get(thing, {name})

    def drop(self, thing: str, name: str) -> bool:
        """It is theirs no longer; whether it is nobody's now."""
        with self._guard:
            return self._drop(thing, name)

    def list_given(self) -> dict[str, list[str]]:
        """Name -> what was given to it, the last one last."""
        with self._guard:
            return {name: [*things] for name, things in self._given.items()}

    def _give(self, thing: str, name: str) -> None:
        self._whose.setdefault(thing, set()).add(name)
        self._whose.move_to_end(thing)
        own = self._given.setdefault(name, OrderedDict())
        own[thing] = None
        own.move_to_end(thing)
        if len(own) > self._limit_each:
            self._drop(next(iter(own)), name)
        while len(self._whose) > self._limit:
            oldest = next(iter(self._whose))
            for each in [*self._whose[oldest]]:
                self._drop(oldest, each)

    def _drop(self, thing: str, name: str) -> bool:
        if own := self._given.get(name):
            own.pop(thing, None)
            if not own:
                del self._given[name]
        whose = self._whose.get(thing, set())
        whose.discard(name)
        if not whose:
            self._whose.pop(thing, None)
        return not whose
