"""Watching work that goes on in a process of its own: choose a run, see how far it is, end it, go on, delete it."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import gradio as gr
from markupsafe import Markup

from analysis.errors import UserError
from lab.jobs import JobManager
from models.runs.queue import jobs_before
from models.runs.run import UNFINISHED, Run
from ui.services import Services
from ui.widgets.errors import shows_errors
from ui.widgets.events import HIDDEN, PRIVATE, QUICK, Block, Update, Values
from ui.widgets.html import empty_html, progress_html, sentence_html

WATCH_SECONDS = 1.0
TONES = {"finished": "good", "failed": "bad", "damaged": "bad"}
ACTIONS: dict[str, tuple[str, Literal["stop", "secondary"], Callable[[JobManager, str], object]]] = {
    "stop": ("Stop", "stop", JobManager.stop),
    "kill": ("Kill", "secondary", JobManager.kill),
    "resume": ("Go on", "secondary", JobManager.resume),
    "delete": ("Delete run", "secondary", JobManager.delete),
}
"""What can be done with a run: title, looks, and what it does."""


Result = tuple[Sequence[Block], Callable[[Run | None], tuple]]
"""Components, and what gives their values for a run; without one they are empty."""


class JobView:
    """The view of one kind of run; the timer only runs while there is something to follow on the screen.

    Args:
        services: The lab and what goes with it.
        kind: A key of ``lab.jobs.JOBS``.
        empty: What stands there before the first run.
        build_result: Lays out the result below; returns its components, and what gives their values for a run.

    Attributes:
        inputs: Of :meth:`open`.
        outputs: Of :meth:`open`, beside the timer.
        fitted: Controls of the same part of the page, which ``fit`` gives new values when it is opened, or when
            another model is chosen.
    """

    def __init__(self, services: Services, kind: str, empty: str, build_result: Callable[[], Result]):
        self._services, self._kind, self._empty = services, kind, empty
        with gr.Row(elem_classes="controls"):
            self.run = gr.Dropdown([], label="Run shown below", elem_id=f"{kind}-run", min_width=240, scale=2)
            buttons = {
                name: gr.Button(title, variant=variant, elem_id=f"{kind}-{name}", size="md", min_width=100)
                for name, (title, variant, _) in ACTIONS.items()
            }
        self._status = gr.HTML(empty_html(empty), elem_id=f"{kind}-status")
        self._parts, self._show = build_result()
        self.timer, self._seen = gr.Timer(WATCH_SECONDS, active=False), gr.State(None)
        self.inputs: list[Block] = [self.run]
        self.outputs: list[Block] = [self.run, self._status, *self._parts, self._seen]
        self.fitted: Sequence[Block] = ()
        self.fit: Callable[[Values], Values] = lambda values: {}
        everything = [*self.outputs, self.timer]
        for name, button in buttons.items():
            button.click(self._actor(ACTIONS[name][-1]), {self.run, self._seen}, everything, **HIDDEN)
        gr.on([self.timer.tick, self.run.input], self._follow, {self.run, self._seen}, everything, **QUICK)

    def open(self, values: Values) -> Values:
        """Lists the runs, and shows the chosen one, or the newest, as it is now."""
        return self._list(values[self.run])

    def wire_start(self, button: gr.Button, begin: Callable[[Values], str], inputs: set[Any]) -> None:
        """Lets a button start a run: ``begin`` gives its name from the values of ``inputs``."""

        @shows_errors
        def start(values: Values) -> Values:
            """Starts a run in the background, and shows it."""
            return self._list(begin(values))

        button.click(start, inputs, [*self.outputs, self.timer], **PRIVATE)

    def _list(self, name: str | None) -> Values:
        listed = offer_runs([found.name for found in self._services.jobs.list(self._kind)], name)
        return {self.run: listed, **self._look(listed["value"], None)}

    def _follow(self, values: Values) -> Values | Update:
        """Shows the run as it is now; nothing is sent while nothing changes."""
        return self._look(values[self.run], values[self._seen]) or gr.skip()

    def _look(self, name: str | None, last: object) -> Values:
        if not name:
            return self._say(empty_html(self._empty), self._empty)
        try:
            current = self._services.jobs.read(name)
        except UserError as error:
            return self._say(empty_html(str(error)), str(error))
        before = count_before(self._services, current)
        progress = [current.status.get("step"), current.status.get("sentence"), current.silence]
        version = [name, current.state, current.message, before, *progress]
        if version == last:
            return {}
        said, follows = _describe(current, before), current.state in UNFINISHED
        try:
            return self._say(said, version, current, follows)
        except UserError as error:  # its files are damaged; nothing of it is shown
            return self._say(said + sentence_html(str(error), "bad"), version, None, follows)

    def _say(self, said: Markup, version: object, run: Run | None = None, follows: bool = False) -> Values:
        shown = dict(zip(self._parts, self._show(run), strict=True))
        return {self._status: said, **shown, self._seen: version, self.timer: gr.update(active=follows)}

    def _actor(self, action: Callable[[JobManager, str], object]) -> Callable:
        @shows_errors
        def act(values: Values) -> Values:
            name = values[self.run]
            if not name:
                raise UserError("There is no run to do this with; start one first.")
            action(self._services.jobs, name)
            return self._list(name)

        return act


def offer_runs(names: Sequence[str], chosen: str | None) -> Update:
    """The choices of a list of runs; where the chosen one is gone, the newest takes its place."""
    return gr.update(choices=list(names), value=chosen if chosen in names else next(iter(names), None))


def count_before(services: Services, run: Run) -> int:
    """How many jobs come before a run that waits; of others, 0 without looking at all runs."""
    return jobs_before(run, services.jobs.list()) if run.state == "queued" else 0


def describe_wait(before: int) -> str:
    """What a queued run waits for, given how many jobs come before it."""
    if not before:
        return "It is about to start."
    return f"It waits: {before} job{'' if before == 1 else 's'} before it on this device."


def _describe(run: Run, before: int) -> Markup:
    if run.state not in UNFINISHED:
        return sentence_html(f"{run.name}: {run.state}. {run.message}".rstrip(), TONES.get(run.state, ""))
    step, total = run.status.get("step") or 0, run.status.get("total_steps") or 0
    left, words = run.status.get("seconds_left"), [f"{run.name}: {run.state}"]
    if total and run.state != "queued":
        words.append(f"{step} of {total}")
        if isinstance(left, int | float) and not run.silence:
            words.append(f"about {left:.0f} s left")
    text = ", ".join(filter(None, [*words, run.silence]))
    said = f"{describe_wait(before)} {run.message}" if run.state == "queued" else run.message
    return sentence_html(f"{text}. {said}".rstrip()) + progress_html(step / total if total else 0)
