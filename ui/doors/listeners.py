"""Who still waits for answers: without anybody, work ends and answers are thrown away."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gradio.queueing import Queue

PATIENCE_SECONDS = 60.0
MAX_UNHEARD = 50
"""Sessions that nobody listens to and whose answers are kept; the newest."""


class Listeners:
    """Which sessions of gradio's queue somebody listens to."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._open: Counter[str] = Counter()
        self._unheard_since: dict[str, float] = {}

    @contextmanager
    def listen(self, session: str) -> Iterator[None]:
        """Somebody does, in this context."""
        self._open[session] += 1
        self._unheard_since.pop(session, None)
        try:
            yield
        finally:
            self._open[session] -= 1
            if not self._open[session]:
                del self._open[session]

    async def sweep(self, queue: Queue) -> None:
        """Drops what waits for those that nobody has listened to for ``PATIENCE_SECONDS``, and ends their work.

        Call it every few seconds; time counts from the first call that finds a session without a listener. Sessions
        that this call is the first to find stay: who has just asked may be on the way to listen.
        """
        now = self._clock()
        unheard = [session for session in queue.pending_messages_per_session if session not in self._open]
        since = {}
        for session in unheard:
            has_messages = not queue.pending_messages_per_session[session].empty()
            if not has_messages and not queue.pending_event_ids_session.get(session):
                _forget(queue, session)  # has heard all
            else:
                since[session] = self._unheard_since.get(session, now)
        newest = sorted(since, key=since.__getitem__, reverse=True)
        for place, session in enumerate(newest):
            seconds = now - since[session]
            if seconds >= PATIENCE_SECONDS or (place >= MAX_UNHEARD and seconds > 0):
                del since[session]
                await queue.clean_events(session_hash=session)
                _forget(queue, session)
        self._unheard_since = since


def _forget(queue: Queue, session: str) -> None:
    queue.pending_messages_per_session.pop(session, None)
    queue.pending_event_ids_session.pop(session, None)


def find_session(queue: Queue, event_id: str) -> str:
    """Whose event that is, as gradio finds it."""
    event = queue.event_ids_to_events.get(event_id)
    if event is not None:
        return event.session_hash
    return next((name for name, ids in queue.pending_event_ids_session.items() if event_id in ids), event_id)
