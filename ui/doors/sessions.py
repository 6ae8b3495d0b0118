"""What gradio keeps of every session: pages before calls of the API, and nobody's in another's place."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from gradio.blocks import Blocks
from gradio.state_holder import SessionState, StateHolder

MAX_CALLS = 100
"""Sessions that have called the API only; they have nothing to lose."""


class Session(SessionState):
    """Gradio's, without what only its deep links need, which this page has no use for.

    That is a copy of the whole page (1 MB and 50 ms for each session), and the last value of everything, answers of
    the API included.
    """

    def __init__(self, blocks: Blocks):
        whole: Any = SimpleNamespace(default_config=blocks.default_config, blocks=())
        super().__init__(whole)
        self.config_values = _Nothing()

    def _update_config(self, key: int) -> None: ...

    def _update_value_in_config(self, key: int, value: Any) -> None: ...


class _Nothing(dict[int, dict[str, Any]]):
    def __setitem__(self, key: int, value: dict[str, Any]) -> None:
        """Keeps nothing."""


class Sessions(StateHolder):
    """Gradio's sessions. Where there are too many, those go first that are missed least."""

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[str, str] = {}

    def __getitem__(self, session_id: str) -> SessionState:
        """The session; a new one where there is none."""
        if session_id not in self.session_data:
            self.session_data[session_id] = Session(self.blocks)
        return super().__getitem__(session_id)

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
