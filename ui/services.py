"""The page. Everything here may import gradio; nothing below it does."""

import tempfile
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import gradio as gr
from gradio.context import LocalContext
from gradio.queueing import Event

from analysis.errors import Cancelled, Progress
from lab.jobs import JobManager
from lab.learning.lessons import Shelf
from lab.own_pictures import BoxStore
from lab.session import Lab
from models.runs.scratch import open_scratch

MAX_FILES = 200
"""Files for download kept at a time; gradio copies each one as soon as it is handed over."""


BAR_SECONDS = 0.2
"""A bar that is told more often only keeps the browser busy."""


class Bar(Protocol):
    """What shows how far something is: a ``gr.Progress``, or less."""

    def __call__(self, done: tuple[int, int], /, *, desc: str) -> object:
        """Shows how many of how many parts are done, and what is."""


def find_event() -> Event | None:
    """The event of gradio's queue that is being answered; None outside of any."""
    page, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    return page._queue.event_ids_to_events.get(event_id) if page is not None and event_id is not None else None


def tell_place(place: int, num_waiting: int) -> None:
    """Shows in the bar of the event that is being answered how many come before it."""
    gr.Progress()(None, desc=f"waiting, place {place + 1} of {num_waiting}")


class Superseded(Cancelled):
    """The visitor has asked for something newer in the same view."""


@dataclass(eq=False)
class Action:
    """Something a visitor has started; ``reason`` is set once it is to end.

    ``source`` is the component whose event it answers, where that matters; ``event`` is gradio's, which is no longer
    alive once nobody waits for its answer.
    """

    session: str
    progress: Bar
    view: str = ""
    subject: object = None
    source: Any = None
    reason: type[Cancelled] | None = None
    event: Event | None = field(default_factory=find_event)

    def report(self, what: str) -> Progress:
        """A progress callback that moves the bar, with these words, and raises ``Cancelled`` once that is asked."""

        told = -BAR_SECONDS

        def report(done: int, total: int) -> None:
            nonlocal told
            self.check()
            if time.monotonic() - told > BAR_SECONDS:
                told = time.monotonic()
                self.progress((done, total), desc=what)

        return report

    def end(self, reason: type[Cancelled]) -> None:
        """Asks it to end; the first reason stays."""
        self.reason = self.reason or reason

    def settle(self) -> None:
        """Takes note of a Cancel: what was done until then is the result. Not where something newer is asked for."""
        if self.reason is Cancelled:
            self.reason = None

    def check(self) -> None:
        """Raises ``Cancelled`` if it is to end, or nobody waits for it."""
        if self.event is not None and not self.event.alive:
            raise Cancelled
        if self.reason is not None:
            raise self.reason


@dataclass
class Services:
    """What every tab is given: the lab, the training jobs, and the way to stop what a visitor started."""

    lab: Lab
    jobs: JobManager
    boxes: BoxStore = field(default_factory=BoxStore)
    shelf: Shelf = field(default_factory=Shelf)
    _running: dict[str, set[Action]] = field(default_factory=lambda: defaultdict(set))
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _scratch: tempfile.TemporaryDirectory[str] = field(default_factory=open_scratch)
    _files: deque[Path] = field(default_factory=deque)

    @contextmanager
    def act(
        self, request: gr.Request, progress: Bar, view: str = "", subject: object = None, source: Any = None
    ) -> Iterator[Action]:
        """Lends an action of one visitor, which ends with ``Cancelled`` once the visitor has asked for that.

        Args:
            request: Whose action it is.
            progress: The bar.
            view: Where the result will be shown. An older action for the same view is superseded: it ends at
                its next report, or at the latest here, so that its result never replaces the newer one.
            subject: What the result will be about, for :meth:`supersede`.
            source: The component whose event it answers, where that matters.
        """
        session = request.session_hash or ""
        action = Action(session, progress, view, subject, source)
        with self._guard:
            for older in self._running[session]:
                if view and older.view == view:
                    older.end(Superseded)
            self._running[session].add(action)
        try:
            yield action
            action.check()
        finally:
            with self._guard:
                self._running[session].discard(action)
                if not self._running[session]:
                    del self._running[session]

    @contextmanager
    def watch(
        self, request: gr.Request, progress: Bar, what: str, view: str = "", subject: object = None
    ) -> Iterator[Progress]:
        """As :meth:`act`, for an action that is a single piece of work."""
        with self.act(request, progress, view, subject) as action:
            yield action.report(what)

    def supersede(self, session: str, view: str, subject: object) -> None:
        """Ends what a visitor has under way for a view, unless it is about ``subject``, which is chosen now."""
        with self._guard:
            for older in self._running.get(session, ()):
                if older.view == view and older.subject != subject:
                    older.end(Superseded)

    def cancel(self, request: gr.Request) -> bool:
        """Ends, between two of their steps, what this visitor has under way; says whether that is anything."""
        with self._guard:
            actions = self._running.get(request.session_hash or "", ())
            for action in actions:
                action.end(Cancelled)
            return bool(actions)

    def leave(self, request: gr.Request) -> None:
        """Ends what a visitor who has left has under way, and forgets the pictures in the class boxes."""
        self.cancel(request)
        self.boxes.forget(request.session_hash or "")

    def cancel_all(self) -> None:
        """As :meth:`cancel`, for all visitors; for the end of the server."""
        with self._guard:
            for actions in self._running.values():
                for action in actions:
                    action.end(Cancelled)

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

    @property
    def uploads(self) -> str:
        """A folder of this server alone for what comes in, which goes with it."""
        return str(Path(self._scratch.name).resolve() / "uploads")

    def write_file(self, name: str, text: str) -> str:
        """A file with this text that a visitor can download under ``name``."""
        path = self.new_file(name)
        path.write_text(text, encoding="utf-8", newline="")
        return str(path)

    def close(self) -> None:
        """Removes the files for download; for the end of the server."""
        self._scratch.cleanup()
