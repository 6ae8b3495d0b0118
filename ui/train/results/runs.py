"""All trainings: find one, compare some, name, note, keep and delete them."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import gradio as gr
from markupsafe import Markup

from analysis.errors import UserError
from lab.runs.compare import describe_runs
from models.registry import DEFAULT_MODEL, RUN_PREFIX
from models.runs.queue import jobs_before
from models.runs.run import Run
from ui.services import Services
from ui.train.results.compare import MAX_COMPARED, build_run_comparison
from ui.train.results.downloads import build_capsule_upload, build_run_downloads
from ui.train.results.run_actions import RunActions, list_trainings
from ui.train.results.runs_table import CSS, ON_LOAD, runs_html
from ui.widgets.errors import shows_errors, warn
from ui.widgets.events import HIDDEN, QUICK, Block, Panel, Update, Values, Work
from ui.widgets.html import empty_html, note_html
from ui.workbench import list_model_choices

PAGE_SIZE = 20
WATCH_SECONDS = 2.0
EMPTY = "No training yet. Start one above, or open a capsule: every run is listed here, with what came out of it."


@dataclass(frozen=True)
class RunsPanel(Panel):
    """The panel; of its inputs all but the chosen run may be None.

    Attributes:
        changed: ``(old name or None, new name or None, moment)`` of a run that was renamed, deleted or brought in;
            its change calls for :func:`follow_change` on the choices of models.
    """

    changed: gr.State


def build_runs_panel(services: Services, run: gr.Dropdown) -> RunsPanel:
    """Lays out the panel and wires it.

    Args:
        services: The lab and what goes with it.
        run: The chosen run; the panel also chooses another one, and lists the runs anew when they change.
    """
    timer = gr.Timer(WATCH_SECONDS, active=False)
    changed, page, shown = gr.State(None), gr.State(0), gr.State(None)
    table = gr.HTML(empty_html(EMPTY), js_on_load=ON_LOAD, css_template=CSS, elem_id="runs-table")
    where = gr.HTML(elem_id="runs-where")
    with gr.Row(elem_classes="controls", visible=False) as pager:
        newer = gr.Button("Newer runs", size="sm", min_width=110, elem_id="runs-newer", scale=0)
        older = gr.Button("Older runs", size="sm", min_width=110, elem_id="runs-older", scale=0)
    opened = build_capsule_upload(services, run, changed)
    about = gr.Column(visible=False, elem_id="runs-chosen")
    gr.Markdown("### Compare")
    compare = build_run_comparison(services, timer)
    with about:
        heading = gr.Markdown(elem_id="runs-heading")
        actions = RunActions(services, run, compare, changed)
        downloads = build_run_downloads(services, run)
    listing: list[Block] = [table, pager, where, newer, older, page]
    details = [about, heading, *actions.outputs, *downloads.outputs]

    def update(values: Values) -> Values:
        """The list and the chosen run as they are now; what has not changed is not sent again."""
        name, compared, last = values[run], values[compare] or (), values[shown]
        runs = services.jobs.list()
        view = _list_page(runs, name, compared, values[page] or 0)
        found = next((run for run in runs if run.name == name and run.kind == "training"), None)
        about_run = (found.name, found.notes, found.state, found.has_model) if found else None
        version = (view.version, view.names, about_run)
        was = last or (None, None, None)
        is_gone = any(other not in view.names for other in compared)
        if version == was and not is_gone:
            return {}
        updates: Values = {shown: version}
        if was[0] != version[0]:
            updates |= zip(listing, _show_page(view), strict=True)
        if was[1] != version[1] or is_gone:
            updates[compare] = _offer(view.names, compared)
        if found is None:
            return updates | {about: gr.update(visible=False)}
        is_other = not was[2] or was[2][:2] != (found.name, found.notes)
        updates |= {about: gr.update(visible=True), heading: f"### Chosen: {found.name}"}
        updates |= zip(actions.outputs, actions.show(found, is_other), strict=True)
        updates |= zip(downloads.outputs, downloads.show(found, is_other), strict=True)
        return updates

    def follow(values: Values) -> Values | Update:
        """Shows what has changed."""
        return update(values) or gr.skip()

    def refresh(values: Values) -> Values:
        """The same when the panel is opened, with its timer."""
        return update(values) | {timer: gr.update(active=True)}

    def pick(name: str | None, compared: list[str] | None, event: gr.EventData) -> tuple:
        """Chooses the run whose name was clicked, or compares the one whose box was."""
        said = event._data if isinstance(event._data, dict) else {}
        return _pick(list_trainings(services), name, compared or [], said)

    inputs, outputs = [run, compare, page, shown], [*listing, compare, *details, shown]
    again: Work = {"fn": follow, "inputs": set(inputs), "outputs": outputs}
    gr.on([timer.tick, compare.change], **again, **QUICK, trigger_mode="always_last")
    table.select(shows_errors(pick), [run, compare], [run, compare], **HIDDEN).then(**again, **QUICK)
    for event in (opened, *actions.done):
        event.success(**again, **QUICK)
    newer.click(lambda number: number - 1, page, page, **QUICK).then(**again, **QUICK)
    older.click(lambda number: number + 1, page, page, **QUICK).then(**again, **QUICK)
    return RunsPanel(refresh, inputs, [*outputs, timer], [timer], changed)


def follow_change(services: Services, change: tuple, model: str, compared: Sequence[str]) -> tuple:
    """Updates for the choice of a model and of others to compare with, after a run was renamed, deleted or added.

    Args:
        services: The lab and what goes with it.
        change: The value of :attr:`RunsPanel.changed`.
        model: The model that is chosen; another takes its place where it is gone.
        compared: Models it is compared with.
    """
    choices = list_model_choices(services)
    if not change:
        return gr.update(choices=choices), gr.update(choices=choices)
    others = [_follow(change, other) for other in compared or ()]
    return (
        gr.update(choices=choices, value=_follow(change, model) or DEFAULT_MODEL),
        gr.update(choices=choices, value=[other for other in others if other]),
    )


def _follow(change: tuple, model: str) -> str | None:
    """What a model is called after a change; None if it is gone. The networks of its steps go with it."""
    old, new, _ = change
    name, at, step = model.partition("@")
    if old is None or name != f"{RUN_PREFIX}{old}":
        return model
    return new and f"{RUN_PREFIX}{new}{at}{step}"


@dataclass(frozen=True)
class _Page:
    """A page of the list; ``names`` are those of all trainings."""

    html: Markup
    number: int
    total: int
    names: tuple[str, ...]

    @property
    def version(self) -> tuple:
        return hash(self.html), self.number, len(self.names)


def _list_page(runs: Sequence[Run], chosen: str | None, compared: Collection[str], number: int) -> _Page:
    """The page of that number, or the nearest there is; of other kinds of runs only the queue takes notice."""
    trainings = [run for run in runs if run.kind == "training"]
    total = max(1, math.ceil(len(trainings) / PAGE_SIZE))
    number = min(max(number, 0), total - 1)
    shown = trainings[number * PAGE_SIZE : (number + 1) * PAGE_SIZE]
    waiting = {run.name: jobs_before(run, runs) for run in shown if run.state == "queued"}
    is_full = len(compared) >= MAX_COMPARED
    table = runs_html(describe_runs(shown), waiting, chosen, compared, is_full=is_full)
    html = table if shown else empty_html(EMPTY)
    return _Page(html, number, total, tuple(run.name for run in trainings))


def _show_page(page: _Page) -> list:
    first = page.number * PAGE_SIZE
    words = f"Runs {first + 1} to {min(first + PAGE_SIZE, len(page.names))} of {len(page.names)}"
    return [
        page.html,
        gr.update(visible=page.total > 1),
        note_html(words) if page.names else "",
        gr.update(interactive=page.number > 0),
        gr.update(interactive=page.number < page.total - 1),
        page.number,
    ]


def _offer(names: Sequence[str], compared: Sequence[str]) -> dict:
    """The choices of runs to compare; those that are gone are no longer chosen."""
    kept = [name for name in compared if name in names]
    update = gr.update(choices=list(names))
    return update if kept == list(compared) else update | {"value": kept}


def _pick(names: Sequence[str], chosen: str | None, compared: Sequence[str], event: Mapping) -> tuple:
    """What is chosen and compared after a click into the table."""
    if event.get("choose") is not None:
        return gr.update(choices=list(names), value=_find(event["choose"], names)), gr.skip()
    other = _find(event.get("compare"), names)
    others = [name for name in compared if name != other and name in names]
    if event.get("is_on"):
        if len(others) >= MAX_COMPARED:
            warn(f"At most {MAX_COMPARED} runs are compared at once; take one out first.")
        else:
            others.append(other)
    return gr.skip(), gr.update(choices=list(names), value=others)


def _find(name: object, names: Sequence[str]) -> str:
    if not isinstance(name, str) or name not in names:
        raise UserError("This run is no longer there; it was deleted or renamed.")
    return name
