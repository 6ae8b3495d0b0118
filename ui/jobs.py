"""The list of all jobs in the header: what each is, whose, how far, when its turn comes; and how to end it."""

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import gradio as gr

from analysis.grammar import count
from lab.experiments.table import EXPERIMENTS
from lab.job_list import BUSY, ListedJob, list_jobs
from lab.jobs import JobManager
from models.access import viewer
from models.problems import MAYBE_PROBLEMS
from models.runs.run import BROKEN_OFF, UNFINISHED, Run
from models.settings import check_choice
from ui.services import Services
from ui.train.results.names import describe_settings, name_data
from ui.widgets.errors import describe_error, hide_paths
from ui.widgets.job_view import describe_time

ASSETS = Path(__file__).parents[1] / "assets"
HIDDEN = "Somebody else’s job"
"""The title of a job that is nobody's business."""
SEARCH = "range_test"
"""The kind of job whose result whoever started it waits for; nothing of it is kept."""
GOES_ON = "What it has done so far is kept, and “Go on” takes it up from there."
OWNERS = {
    "own": ("yours", ""),
    "another": ("another browser’s", " It was started in another browser."),
    "terminal": ("the command line’s", " It was started from the command line."),
    "owner": ("the owner’s", ""),
}
"""Whose a job is -> how the list says so, and how a question does."""


@dataclass(frozen=True)
class _Action:
    """What the list can do with a job; ``ask`` says what is lost by it, or nothing where it needs no question."""

    title: str
    do: Callable[[JobManager, str], object]
    is_possible: Callable[[ListedJob], bool]
    ask: Callable[[ListedJob, str], str] = lambda job, owner: ""


def _ask_stop(job: ListedJob, owner: str) -> str:
    if job.run.kind == SEARCH:
        return "Stop it? Nothing of it is kept, and whoever started it waits for it."
    kept = "It gives up its place; “Go on” puts it at the end." if job.state == "waiting" else GOES_ON
    return "" if owner == "own" else f"Stop it?{OWNERS[owner][1]} {kept}"


def _ask_kill(job: ListedJob, owner: str) -> str:
    return f"End it at once?{OWNERS[owner][1]} What it has not written yet is lost; it is about to stop by itself."


ACTIONS = {
    "stop": _Action("Stop", JobManager.stop, lambda job: job.state in ("running", "waiting"), _ask_stop),
    "kill": _Action("End at once", JobManager.kill, lambda job: job.state == "stopping", _ask_kill),
    "resume": _Action("Go on", JobManager.resume, lambda job: job.run.state in BROKEN_OFF and job.run.kind != SEARCH),
}

KINDS: dict[str, tuple[str, Callable[[Run], str]]] = {
    "training": ("train", lambda run: f"Training: {describe_settings(run)}"),
    "evaluation": (
        "evaluate",
        lambda run: f"How often is it right? {_list(run.config.get('models'))}, {name_data(run.config.get('data'))}",
    ),
    "repair": ("evaluate", lambda run: f"Can it be cured? {run.config.get('start_from')}"),
    "experiment": ("evaluate", lambda run: f"Experiment. {_name_experiment(run.config.get('experiment'))}"),
    "arms": ("train", lambda run: f"Comparison: {run.config.get('title')}"),
    "features": ("learn", lambda run: f"Features by hand or learned, {name_data(run.config.get('dataset'))}"),
    "trust": (
        "",
        lambda run: f"Can explanations be trusted? {run.config.get('model')}, {name_data(run.config.get('data'))}",
    ),
    SEARCH: ("", lambda run: f"Search for a learning rate: {describe_settings(run)}"),
}
"""Kind of work -> the tab that shows it, if any, and what a job is, in plain words."""


def build_job_list(services: Services) -> gr.HTML:
    """The list, behind a button that says how many jobs there are.

    Its value is what :func:`write_busy` gives; with that, and when it is opened, the browser asks for the lines, and
    for what is new of them as long as any job is busy (``assets/jobs.js``). It raises ``select``, with ``name``, when
    a job is to be shown.
    """

    def follow(asked: object) -> dict:
        """Does what is asked, ``do`` with the job ``name``; gives what is not ``known`` of the list, by name."""
        wanted = asked if isinstance(asked, dict) else {}
        said = ""
        try:
            if "do" in wanted:
                check_choice("What is to be done", wanted["do"], ACTIONS)
                ACTIONS[wanted["do"]].do(services.jobs, str(wanted.get("name")))
        except MAYBE_PROBLEMS as error:
            if (message := describe_error(error)) is None:
                raise
            said = message
        known = wanted.get("known")
        return write_news(services, known if isinstance(known, dict) else {}) | {"said": said}

    return gr.HTML(
        "",
        html_template=(ASSETS / "jobs.html").read_text(encoding="utf-8"),
        js_on_load=(ASSETS / "jobs.js").read_text(encoding="utf-8"),
        server_functions=[follow],
        elem_id="jobs",
    )


def write_busy(services: Services) -> str:
    """The names of the jobs that have not ended, as JSON."""
    return json.dumps([_name(job.run) for job in _list_jobs(services) if job.state in BUSY])


def write_news(services: Services, known: dict) -> dict:
    """The names of all jobs in their order, and the lines of those that have changed.

    Args:
        services: The lab and what goes with it.
        known: Name of a job -> ``version`` of the line that the browser has of it.
    """
    lines = [write_line(job) for job in _list_jobs(services)]
    return {
        "order": [line["name"] for line in lines],
        "lines": [line for line in lines if line["version"] != known.get(line["name"])],
    }


def write_line(job: ListedJob) -> dict:
    """A job as the browser shows it; nothing in it says which other browser it is of.

    Of what whoever asks may not see, it says no more than where it is in the queue.
    """
    run, owner = job.run, _find_owner(job.run)
    if not run.is_shown:
        return _write(run, title=HIDDEN, state=job.state, owner="another", about=f"{_describe(job)}.", share=None)
    tab, name = KINDS.get(run.kind, ("", lambda run: run.kind))
    possible = [(name, action) for name, action in ACTIONS.items() if run.is_own and action.is_possible(job)]
    return _write(
        run,
        title=hide_paths(name(run)),
        state=job.state,
        owner=owner,
        about=hide_paths(f"{run.name}, {OWNERS[owner][0]}: {_describe(job)}."),
        opens=tab,
        share=(round(run.fraction_done, 3) or None) if job.state in BUSY else None,
        actions=[[name, action.title, action.ask(job, owner)] for name, action in possible],
    )


def _write(run: Run, **line: object) -> dict:
    line = {"name": _name(run), "opens": "", "actions": []} | line
    return line | {"version": f"{crc32(json.dumps(line).encode()):x}"}


def _list_jobs(services: Services) -> list[ListedJob]:
    """All that have not ended, as they are in each other's way, and those others that may be seen."""
    return list_jobs([run for run in services.jobs.list_all() if run.is_shown or run.state in UNFINISHED])


def _name(run: Run) -> str:
    """What the browser calls a job: one that may not be seen by something that does not tell its name."""
    return run.name if run.is_shown else hashlib.blake2b(run.name.encode(), key=_SECRET, digest_size=8).hexdigest()


def _find_owner(run: Run) -> str:
    if run.starter.is_owner and not viewer().is_owner:
        return "owner"
    if run.owner is None:
        return "terminal"
    return "own" if run.owner == viewer().name != "" else "another"


def _describe(job: ListedJob) -> str:
    """What a job is at, as far as something is known about it."""
    run, takes = job.run, "" if job.seconds is None else f"about {describe_time(job.seconds)}"
    if job.state not in BUSY:
        said = run.message.rstrip(".")
        return said if job.state == "stopped" and said else ". ".join(filter(None, [job.state, said]))
    if job.state == "waiting":
        ahead = f"{count(job.before, 'job')} before it" if job.before else "about to begin"
        until = "" if job.seconds_until is None else f"begins in about {describe_time(job.seconds_until)}"
        return ", ".join(filter(None, ["waiting", ahead, until, takes and f"takes {takes}"]))
    words = [job.state if job.state == "stopping" else run.state]
    if run.fraction_done:
        words.append(f"{run.fraction_done:.0%}".replace("%", " %"))
    return ", ".join([*words, *filter(None, [run.silence or (takes and f"{takes} left")])])


_SECRET = secrets.token_bytes(32)


def _list(names: object) -> str:
    return " and ".join(map(str, names)) if isinstance(names, list) else "a model"


def _name_experiment(name: object) -> str:
    return EXPERIMENTS[name].title if isinstance(name, str) and name in EXPERIMENTS else str(name)
