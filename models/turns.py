"""Whose turn it is to compute: one has it at a time, and it goes to whoever has been without for longest."""

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from analysis.errors import Progress

TELL_SECONDS = 1.0
"""So often, whoever waits is told their place."""
SHARE, LATEST = 8, 64
"""Turns of one place among the latest ones, from which on others come first: at least an eighth is left to them."""
MAX_REMEMBERED = 1000
"""Visitors of whom it is known when they had their last turn."""


def never() -> bool:
    """Of who waits for nothing but the turn."""
    return False


@dataclass(eq=False)
class _Waiter:
    visitor: str
    place: str
    is_served: Callable[[], bool]


class Turns:
    """Lends the device to one thread at a time.

    A forward pass uses all cores: two at once take as long as one after the other, and neither is done before the
    other. So who computes does it alone, for a part of its work; whoever waits meanwhile is asked for in the order
    of their visitors' last turns. Ten requests of a visitor thus do not stand before the first of another. A visitor
    is quickly made: so one place, with however many of them, leaves a share of the turns to all others.

    Args:
        whose: Names the visitor that the calling thread works for.

    Attributes:
        where: Names the place that this visitor is at.
        check: Raises UserError where that visitor has had enough turns for now; asked before a turn is waited for
            and after that.
        count: Told for how many seconds the calling thread has had the turn.
        tell: Told, in a thread that waits, how many come before it, and how many wait.
    """

    def __init__(self, whose: Callable[[], str] = str):
        self.whose = whose
        self.where: Callable[[], str] = str
        self.check: Callable[[], None] = lambda: None
        self.count: Callable[[float], None] = lambda seconds: None
        self.tell: Callable[[int, int], None] = lambda place, num_waiting: None
        self._since = 0.0
        self._changed = threading.Condition()
        self._holder: int | None = None
        self._waiting: list[_Waiter] = []
        self._last: OrderedDict[str, int] = OrderedDict()
        self._places: deque[str] = deque(maxlen=LATEST)
        self._num_turns = 0

    @contextmanager
    def take(self, is_served: Callable[[], bool] = never) -> Iterator[bool]:
        """Waits for the turn, and has it for the length of a ``with`` block; at once inside another such block.

        Args:
            is_served: Whether somebody else has done the work in the meantime: then the turn is not waited for.

        Yields:
            Whether it is this thread's turn.

        Raises:
            UserError: See :attr:`check`.
        """
        if self._holder == threading.get_ident():
            yield True
            return
        self.check()
        has_turn = self._wait(is_served)
        try:
            if has_turn:
                self.check()  # others of this visitor's may have used up what there was
            yield has_turn
        finally:
            if has_turn:
                self._end()

    def give_way(self) -> None:
        """Between two parts of a long work: whoever waits comes first. Nothing where the turn is another thread's."""
        if self._holder == threading.get_ident() and self._waiting:
            self._end()
            self._wait(never)

    def sharing(self, progress: Progress) -> Progress:
        """The same callback, which also gives way."""

        def report(done: int, total: int) -> None:
            progress(done, total)
            self.give_way()

        return report

    def hand_on(self, seconds: float) -> None:
        """Counts so much of the turn for another: call it in the context of what it was needed for."""
        self._since += seconds
        self.count(seconds)

    @property
    def num_waiting(self) -> int:
        """How many threads wait."""
        return len(self._waiting)

    def _wait(self, is_served: Callable[[], bool]) -> bool:
        waiter, told = _Waiter(self.whose(), self.where(), is_served), time.monotonic()
        with self._changed:
            self._waiting.append(waiter)
            try:
                while not is_served():
                    if self._holder is None and self._find_next() is waiter:
                        self._holder, self._since = threading.get_ident(), time.monotonic()
                        self._note(waiter)
                        return True
                    self._changed.wait(TELL_SECONDS)
                    if time.monotonic() - told >= TELL_SECONDS:
                        told = time.monotonic()
                        self.tell(self._find_place(waiter), len(self._waiting))
                return False
            finally:
                self._waiting.remove(waiter)
                self._changed.notify_all()  # another may be the next now

    def _end(self) -> None:
        self.count(time.monotonic() - self._since)
        with self._changed:
            self._holder = None
            self._changed.notify_all()

    def _find_next(self) -> _Waiter:
        """Of those whose visitors have been without a turn for longest, the one who came first."""
        turns = Counter(self._places)
        return min(
            self._waiting, key=lambda waiter: (turns[waiter.place] // SHARE, self._last.get(waiter.visitor, 0))
        )

    def _find_place(self, waiter: _Waiter) -> int:
        """How many come before one who waits, if nobody else comes."""
        rounds: Counter[str] = Counter()
        places: list[tuple[int, int, int]] = []
        for number, each in enumerate(self._waiting):
            places.append((rounds[each.visitor], self._last.get(each.visitor, 0), number))
            rounds[each.visitor] += 1
        return sorted(places).index(places[self._waiting.index(waiter)])

    def _note(self, waiter: _Waiter) -> None:
        self._num_turns += 1
        self._last[waiter.visitor] = self._num_turns
        self._last.move_to_end(waiter.visitor)
        self._places.append(waiter.place)
        if len(self._last) > MAX_REMEMBERED:
            self._last.popitem(last=False)
