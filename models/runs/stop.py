"""How a training process learns that it should end: a signal, a file in its run directory, or that its time is up."""

import signal
import threading
import time
from pathlib import Path
from typing import Any

from analysis.errors import Cancelled

SIGNALS = (signal.SIGTERM, signal.SIGINT)


TIME_IS_UP = "Stopped after {:g} min, the longest that a visitor’s job may work at a time; it can go on after others."


class StopRequest:
    """Inside the ``with`` block, signals only set a flag; the handlers found before are put back after it."""

    def __init__(self, run_dir: Path):
        self._file = run_dir / "stop"
        self._signalled = False
        self._handlers: dict[signal.Signals, Any] = {}
        self._minutes, self._end = 0.0, float("inf")

    def allow(self, minutes: float) -> None:
        """From now on it may work for so long."""
        self._minutes, self._end = minutes, time.monotonic() + 60 * minutes

    @property
    def reason(self) -> str:
        """Why it has to end, in a sentence; empty where somebody has asked for it, or it has not."""
        return TIME_IS_UP.format(self._minutes) if time.monotonic() > self._end else ""

    @property
    def signalled(self) -> bool:
        """Whether this very process was asked to end."""
        return self._signalled

    @property
    def requested(self) -> bool:
        """Whether this run has to end."""
        return self._signalled or time.monotonic() > self._end or self._file.exists()

    def check(self, done: int = 0, total: int = 0) -> None:
        """Raises Cancelled if this run has to end; is a progress report itself."""
        if self.requested:
            raise Cancelled

    def __enter__(self) -> "StopRequest":
        # Python lets only the main thread receive signals.
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: object) -> None:
        self._signalled = True
