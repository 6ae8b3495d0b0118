"""The page. Everything here may import gradio; nothing below it does."""

import tempfile
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr

from analysis.errors import Cancelled, Progress
from lab import Lab
from models.jobs import JobManager

MAX_FILES = 200
"""Files for download kept at a time; gradio copies each one as soon as it is handed over."""


@dataclass
class Services:
    """What every tab is given: the lab, the training jobs, and the way to stop what a visitor started."""

    lab: Lab
    jobs: JobManager
    _running: dict[str, set[threading.Event]] = field(default_factory=lambda: defaultdict(set))
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _scratch: tempfile.TemporaryDirectory = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="convscope-")
    )
    _files: deque[Path] = field(default_factory=deque)

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

    def new_file(self, name: str) -> Path:
        """Where to write a file that a visitor can download under ``name``."""
        path = Path(tempfile.mkdtemp(dir=self._scratch.name)) / name
        with self._guard:
            self._files.append(path)
            oldest = self._files.popleft() if len(self._files) > MAX_FILES else None
        if oldest is not None:
            oldest.unlink(missing_ok=True)
            oldest.parent.rmdir()
        return path
