"""Watching work that goes on in a process of its own: choose a run, see how far it is, let it go on, delete it.

What ends it is in the list of jobs (:mod:`ui.jobs`), which all tabs share.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from markupsafe import Markup

from analysis.errors import UserError
from analysis.grammar import count
from lab.jobs import JobManager
from models.runs.queue import jobs_before
from models.runs.run import UNFINISHED, Run
from ui.services import Services
from ui.widgets.errors import shows_errors
from ui.widgets.events import HIDDEN, PRIVATE, QUICK, Block, Update, Values
from ui.widgets.html import empty_html, progress_html, sentence_html
from ui.widgets.question import ask_first

WATCH_SECONDS = 1.0
TONES = {"finished": "good", "failed": "bad", "damaged": "bad"}


@dataclass(frozen=True)
class _Action:
    """What can be done with a run; ``question`` says what is lost by it, where anything is."""

    title: str
    do: Callable[[JobManager, str], object]
    is_possible: Callable[[str], bool]
    question: str = ""


ACTIONS = {
    "resume": _Action("Go on", JobManager.resume, lambda state: state in ("stopped", "failed")),
    "delete": _Action(
        "Delete run",
        JobManager.delete,
        lambda state: state not in UNFINISHED,
        "Delete {}, for everybody? Its settings, measurements and results cannot be brought back. Networks that it "
        "has trained are runs of their own, and stay.",
    ),
}


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
        form: Controls of the same part of the page, whose values ``fit`` gets beside those of the sidebar.
        fitted: What ``fit`` gives values when the part is opened, or when another model is chosen.
    """

    def __init__(self, services: Services, kind: str, empty: str, build_result: Callable[[], Result]):
        self.kind = kind
        self._services, self._empty = services, empty
        with gr.Row(elem_classes=["controls", "runs"]):
            self.run = gr.Dropdown([], label="Run shown below", elem_id=f"{kind}-run", min_width=240, visible=False)
            self._buttons = {
                name: gr.Button(
                    action.title, elem_id=f"{kind}-{name}", size="md", min_width=110, scale=0, visible=False
                )
                for name, action in ACTIONS.items()
            }
        self._status = gr.HTML(empty_html(empty), elem_id=f"{kind}-status")
        self._parts, self._show = build_result()
        self.timer, self._seen = gr.Timer(WATCH_SECONDS, active=False), gr.State(None)
        self.inputs: list[Block] = [self.run]
        buttons = self._buttons.values()
        self.outputs: list[Block] = [self.run, self._status, *buttons, *self._parts, self._seen]
        self.form: Sequence[Block] = ()
        self.fitted: Sequence[Block] = ()
        self.fit: Callable[[Values], Values] = lambda values: {}
        everything = [*self.outputs, self.timer]
        for name, button in self._buttons.items():
            action = ACTIONS[name]
            agreed = ask_first(button, self.run, action.question).select if action.question else button.click
            agreed(self._actor(action.do), {self.run, self._seen}, everything, **HIDDEN)
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
        listed = offer_runs([found.name for found in self._services.jobs.list(self.kind)], name)
        return {self.run: listed | {"visible": bool(listed["choices"])}, **self._look(listed["value"], None)}

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
        said = _describe(current, before)
        try:
            return self._say(said, version, current, current.state, is_own=current.is_own)
        except UserError as error:  # its files are damaged; nothing of it is shown
            said += sentence_html(str(error), "bad")
            return self._say(said, version, None, current.state, is_own=current.is_own)

    def _say(
        self, said: Markup, version: object, run: Run | None = None, state: str = "", *, is_own: bool = False
    ) -> Values:
        shown: Values = dict(zip(self._parts, self._show(run), strict=True))
        for name, button in self._buttons.items():
            shown[button] = gr.update(visible=is_own and ACTIONS[name].is_possible(state))
        follows = gr.update(active=state in UNFINISHED)
        return {self._status: said, **shown, self._seen: version, self.timer: follows}

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
    return jobs_before(run, services.jobs.list_all()) if run.state == "queued" else 0


def describe_wait(before: int) -> str:
    """What a queued run waits for, given how many jobs come before it."""
    if not before:
        return "It is about to start."
    return f"It waits: {count(before, 'job')} before it on this device."


def busy_html(run: Run, stop: str = "") -> Markup:
    """Tells the list of jobs of one that is not done yet; a button called ``stop`` opens the list there."""
    button = Markup('<button type="button" class="to-job" data-job="{}">{}</button>').format(run.name, stop)
    return Markup('<busy-job data-name="{}">{}</busy-job>').format(run.name, button if stop else "")


def describe_time(seconds: float) -> str:
    """In words: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _describe(run: Run, before: int) -> Markup:
    if run.state not in UNFINISHED:
        return sentence_html(f"{run.name}: {run.state}. {run.message}".rstrip(), TONES.get(run.state, ""))
    step, total = run.status.get("step") or 0, run.status.get("total_steps") or 0
    left, words = run.status.get("seconds_left"), [f"{run.name}: {run.state}"]
    if total and run.state != "queued":
        words.append(f"{step} of {total}")
        if isinstance(left, int | float) and not run.silence:
            words.append(f"about {describe_time(left)} left")
    text = ", ".join(filter(None, [*words, run.silence]))
    said = f"{describe_wait(before)} {run.message}" if run.state == "queued" else run.message
    bar = progress_html(step / total if total else 0)
    return sentence_html(f"{text}. {said}".rstrip()) + bar + busy_html(run, "Stop…")
