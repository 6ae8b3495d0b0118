"""What gradio keeps of every session: pages before calls of the API, and nobody's in another's place."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from gradio.state_holder import StateHolder

MAX_CALLS = 100
"""Sessions that have called the API only; they have nothing to lose."""


class Sessions(StateHolder):
    """Gradio's sessions. Where there are too many, those go first that are missed least."""

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[str, str] = {}

    @contextmanager
    def open(self, session: str, address: str) -> Iterator[None]:
        """A page is open, at this address, in this context."""
        self._open[session] = address
        try:
            yield
        finally:
            self._open.pop(session, None)

    def update(self, session_id: str) -> None:
        """The session is used; makes room where there are too many others."""
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            others = list(self.session_data)[:-1]
            calls = [name for name in others if not self.session_data[name].state_data]
            if len(calls) > MAX_CALLS or len(self.session_data) > self.capacity:
                gone = self._choose(calls or others)
                del self.session_data[gone]
                self.time_last_used.pop(gone, None)

    def _choose(self, names: list[str]) -> str:
        """The oldest of those whose page is closed; else of those at the address that has most pages open."""
        num_open = Counter(self._open.values())

        def rank(name: str) -> int:
            return num_open.total() - num_open[self._open[name]] if name in self._open else -1

        return min(names, key=rank)
