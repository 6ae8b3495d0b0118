"""Watching work that goes on in a process of its own: choose a run, see how far it is, end it, go on, delete it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import gradio as gr
from markupsafe import Markup

from analysis.errors import UserError
from lab.jobs import JobManager
from models.runs.queue import jobs_before
from models.runs.run import UNFINISHED, Run
from ui.services import Services
from ui.widgets.errors import shows_errors
from ui.widgets.events import HIDDEN, QUICK, Block, Listener, Update
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


@dataclass(frozen=True)
class JobView:
    """The components that a tab refreshes: ``choices()`` lists the runs, the timer runs while the tab is open.

    ``on_open`` is an event listener, as keyword arguments, for when the part of the page is opened; or nothing.
    """

    run: gr.Dropdown
    timer: gr.Timer
    seen: gr.State
    choices: Callable[[], list[str]]
    on_open: Listener | None = None


def build_job_view(services: Services, kind: str, empty: str, build_result: Callable[[], Result]) -> JobView:
    """Lays out the view of one kind of run and wires it.

    Args:
        services: The lab and what goes with it.
        kind: A key of ``lab.jobs.JOBS``.
        empty: What stands there before the first run.
        build_result: Lays out the result below; returns its components, and what gives their values for a run.
    """
    with gr.Row(elem_classes="controls"):
        run = gr.Dropdown([], label="Run shown below", elem_id=f"{kind}-run", min_width=240, scale=2)
        buttons = {
            name: gr.Button(title, variant=variant, elem_id=f"{kind}-{name}", size="md", min_width=100)
            for name, (title, variant, _) in ACTIONS.items()
        }
    status = gr.HTML(empty_html(empty), elem_id=f"{kind}-status")
    parts, show = build_result()
    timer, seen = gr.Timer(WATCH_SECONDS, active=False), gr.State(None)

    def choices() -> list[str]:
        return [found.name for found in services.jobs.list(kind)]

    def watch(name: str | None, last: object) -> tuple | Update:
        """Shows a run as it is now; nothing is sent while nothing changes."""
        if not name:
            return gr.skip() if last == empty else (empty_html(empty), *show(None), empty)
        try:
            current = services.jobs.read(name)
        except UserError as error:
            return gr.skip() if last == str(error) else (empty_html(str(error)), *show(None), str(error))
        before = count_before(services, current)
        progress = [current.status.get("step"), current.status.get("sentence"), current.silence]
        version = [name, current.state, current.message, before, *progress]
        if version == last:
            return gr.skip()
        try:
            return _describe(current, before), *show(current), version
        except UserError as error:  # its files are damaged; nothing of it is shown
            return _describe(current, before) + sentence_html(str(error), "bad"), *show(None), version

    def act(action: Callable[[JobManager, str], object]) -> Callable:
        @shows_errors
        def handler(name: str | None) -> Update:
            if not name:
                raise UserError("There is no run to do this with; start one first.")
            action(services.jobs, name)
            return offer_runs(choices(), name)

        return handler

    for name, button in buttons.items():
        button.click(act(ACTIONS[name][-1]), run, run, **HIDDEN)
    gr.on([timer.tick, run.change], watch, [run, seen], [status, *parts, seen], **QUICK)
    return JobView(run, timer, seen, choices)


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
