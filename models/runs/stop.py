"""How a training process learns that it should end: a signal, or a file in its run directory."""

import signal
import threading
from pathlib import Path
from typing import Any

from analysis.errors import Cancelled

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Inside the ``with`` block, signals only set a flag; the handlers found before are put back after it."""

    def __init__(self, run_dir: Path):
        self._file = run_dir / "stop"
        self._signalled = False
        self._handlers: dict[signal.Signals, Any] = {}

    @property
    def signalled(self) -> bool:
        """Whether this very process was asked to end."""
        return self._signalled

    @property
    def requested(self) -> bool:
        """Whether somebody asked this run to end."""
        return self._signalled or self._file.exists()

    def check(self, done: int = 0, total: int = 0) -> None:
        """Raises Cancelled if somebody asked this run to end; is a progress report itself."""
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
