"""The page. Everything here may import gradio; nothing below it does."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import gradio as gr

from analysis.errors import Cancelled, Progress
from lab import Lab
from models.jobs import JobManager


@dataclass
class Services:
    """What every tab is given: the lab, the training jobs, and the way to stop what a visitor started."""

    lab: Lab
    jobs: JobManager
    _running: dict[str, set[threading.Event]] = field(default_factory=lambda: defaultdict(set))
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def watch(self, request: gr.Request, progress: gr.Progress, what: str) -> Iterator[Progress]:
        """Lends a progress callback for one action of one visitor.

        It moves the bar on the page and raises ``Cancelled`` once the visitor has asked for that.
        """
        session, cancelled = request.session_hash or "", threading.Event()

        def report(done: int, total: int) -> None:
            if cancelled.is_set():
                raise Cancelled
            progress((done, total), desc=what)

        with self._guard:
            self._running[session].add(cancelled)
        try:
            yield report
        finally:
            with self._guard:
                self._running[session].discard(cancelled)
                if not self._running[session]:
                    del self._running[session]

    def cancel(self, request: gr.Request) -> None:
        """Ends, between two of their steps, all actions that this visitor has under way."""
        with self._guard:
            for cancelled in self._running.get(request.session_hash or "", ()):
                cancelled.set()
