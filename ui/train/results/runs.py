"""All trainings: find one, compare some, name, note, keep and delete them."""

import math
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr
from markupsafe import Markup

from analysis.errors import UserError
from lab.runs.compare import describe_runs
from models.registry import DEFAULT_MODEL, RUN_PREFIX
from models.runs.queue import jobs_before
from models.runs.run import UNFINISHED, Run
from ui.services import Services
from ui.train.results.compare import MAX_COMPARED, RunComparison
from ui.train.results.downloads import CapsuleUpload, RunDownloads
from ui.train.results.panel import Panel
from ui.train.results.run_actions import RunActions, list_trainings
from ui.train.results.runs_table import CSS, ON_LOAD, runs_html
from ui.widgets.errors import clears_on_errors, shows_errors, warn
from ui.widgets.events import HIDDEN, PRIVATE, QUICK, Block, Update, Values
from ui.widgets.html import empty_html, note_html
from ui.workbench import Workbench, list_model_choices

PAGE_SIZE = 20
WATCH_SECONDS = 2.0
EMPTY = (
    "No training yet. Start one above, or open a capsule, the zip of a finished training with its settings, weights "
    "and curves: every run is listed here, with what came out of it."
)


class Runs(Panel):
    """All trainings, and what can be done with the chosen one.

    Args:
        services: The lab and what goes with it.
        run: The chosen run.
        bench: Whose models follow a run that is renamed, deleted or brought in.
    """

    def __init__(self, services: Services, run: gr.Dropdown, bench: Workbench):
        self.services, self.run, self.bench = services, run, bench
        self.page, self.seen = gr.State(0), gr.State(None)
        self.table = gr.HTML(empty_html(EMPTY), js_on_load=ON_LOAD, css_template=CSS, elem_id="runs-table")
        self.where = gr.HTML(elem_id="runs-where")
        with gr.Row(elem_classes="controls", visible=False) as self.pager:
            self.newer = gr.Button("Newer runs", size="sm", min_width=110, elem_id="runs-newer", scale=0)
            self.older = gr.Button("Older runs", size="sm", min_width=110, elem_id="runs-older", scale=0)
        self.capsule = CapsuleUpload(services)
        with gr.Column(visible=False, elem_id="runs-chosen") as self.about:
            self.heading = gr.Markdown(elem_id="runs-heading")
            actions = gr.Column()
            self.downloads = RunDownloads(services, run)
        gr.Markdown("## Compare")
        self.comparison = RunComparison(services)
        with actions:
            self.actions = RunActions(services, run, self.comparison.chosen)
        self.timer = gr.Timer(WATCH_SECONDS, active=False)
        self.timers = [self.timer]
        self.listing: list[Block] = [self.table, self.pager, self.where, self.newer, self.older, self.page]
        self.inputs: list[Block] = [run, self.page, self.seen, *self.comparison.inputs]
        self.outputs: list[Block] = [
            *(*self.listing, self.comparison.chosen, self.about, self.heading, *self.actions.outputs),
            *(*self.downloads.outputs, *self.comparison.outputs, self.capsule.note, self.seen, self.timer),
        ]
        self.followed = self.outputs

    def wire(self, show: Callable[[Values], Values], inputs: set[Any], outputs: Sequence[Block]) -> None:
        """Wires what happens inside it."""
        bench = self.bench

        def show_change(values: Values, change: tuple | None) -> Values:
            """The tab as it is now, and the choices of models after a run was renamed, deleted or added."""
            compared, kept = self.comparison.chosen, values[self.comparison.chosen] or []
            updates: Values = {}
            if change:
                old, new = change
                kept = [each for each in (new if each == old else each for each in kept) if each]
                updates = follow_change(self.services, change, bench, values)
                updates[compared] = gr.update(choices=list_trainings(self.services), value=kept)
            return show(values | {compared: kept}) | updates

        @clears_on_errors(lambda message: {self.capsule.note: ""})
        def open_capsule(
            values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()
        ) -> Values | Update:
            """Makes a run out of a capsule, and chooses it."""
            name = self.capsule.open(values[self.capsule.upload], request, progress)
            shown = show_change(values | {self.run: name}, (None, name))
            return shown | {self.capsule.note: self.capsule.describe(name)}

        def turning(by: int) -> Callable[[Values], Values]:
            return lambda values: self.look(values | {self.page: (values[self.page] or 0) + by})

        own: Any = {"inputs": {*self.inputs}, "outputs": self.outputs, **QUICK}
        gr.on([self.comparison.chosen.input, self.comparison.measure.input], self.follow, **own)
        self.newer.click(turning(-1), **own)
        self.older.click(turning(1), **own)
        everything, wider = {*inputs, bench.model, bench.compare}, [*outputs, bench.model, bench.compare, bench.card]
        self.table.select(self.chooser(show), inputs, outputs, **HIDDEN)
        self.table.input(shows_errors(self.compare), {*self.inputs}, self.outputs, **HIDDEN, trigger_mode="multiple")
        self.actions.wire(show_change, everything, wider)
        self.capsule.upload.upload(
            open_capsule, {*everything, self.capsule.upload}, wider, show_progress_on=self.capsule.note, **PRIVATE
        )

    def refresh(self, values: Values) -> Values:
        """The list and the chosen run as they are now."""
        return self.look(values) | {self.timer: gr.update(active=self.is_busy())}

    def follow(self, values: Values) -> Values | Update:
        """Shows what has changed."""
        updates = self.look(values)
        return updates | {self.timer: gr.update(active=self.is_busy())} if updates else gr.skip()

    def is_busy(self) -> bool:
        """Whether any training goes on or waits."""
        return any(run.state in UNFINISHED for run in self.services.jobs.list("training"))

    def offer(self, names: Sequence[str], values: Values) -> Update:
        """The choices of runs to compare; those that are gone are no longer chosen."""
        compared = values[self.comparison.chosen] or []
        kept = [name for name in compared if name in names]
        update = gr.update(choices=list(names))
        return update if kept == list(compared) else update | {"value": kept}

    def look(self, values: Values) -> Values:
        """The list and the chosen run; what has not changed is not sent again."""
        name, compared, last = values[self.run], values[self.comparison.chosen] or (), values[self.seen]
        runs = self.services.jobs.list_all()
        view = _list_page(runs, name, compared, values[self.page] or 0)
        found = next((run for run in runs if run.name == name and _is_listed(run)), None)
        about_run = (found.name, found.notes, found.state, found.has_model) if found else None
        version = (view.version, view.names, about_run)
        was = last or (None, None, None)
        is_gone = any(other not in view.names for other in compared)
        updates = self.comparison.show(values)
        if version == was and not is_gone:
            return updates
        updates[self.seen] = version
        if was[0] != version[0]:
            updates |= zip(self.listing, _show_page(view), strict=True)
        if was[1] != version[1] or is_gone:
            updates[self.comparison.chosen] = self.offer(view.names, values)
        if found is None:
            return updates | {self.about: gr.update(visible=False)}
        is_other = not was[2] or was[2][:2] != (found.name, found.notes)
        if is_other:
            updates[self.capsule.note] = ""
        updates |= {self.about: gr.update(visible=True), self.heading: f"## Chosen: {found.name}"}
        return updates | self.actions.show(found, is_other) | self.downloads.show(found, is_other)

    def chooser(self, show: Callable[[Values], Values]) -> Callable:
        """What a click on a name in the table does."""

        @shows_errors
        def choose(values: Values, event: gr.EventData) -> Values:
            """Chooses the run whose name was clicked."""
            name = (event._data if isinstance(event._data, dict) else {}).get("choose")
            if name not in list_trainings(self.services):
                raise UserError("This run is no longer there; it was deleted or renamed.")
            return show(values | {self.run: name})

        return choose

    def compare(self, values: Values, event: gr.EventData) -> Values:
        """Compares the runs whose boxes are ticked, and those of other pages that are compared already."""
        said = event._data if isinstance(event._data, dict) else {}
        names, compared = list_trainings(self.services), values[self.comparison.chosen] or []
        others = _pick(names, compared, said.get("ticked"))
        updates = self.look(values | {self.comparison.chosen: others})
        return updates | {self.comparison.chosen: gr.update(choices=names, value=others)}


def follow_change(services: Services, change: tuple, bench: Workbench, values: Values) -> Values:
    """What the sidebar shows after a run was renamed, deleted or added.

    Args:
        services: The lab and what goes with it.
        change: The old name, None for a run that is new, and the new one, None for a run that is gone.
        bench: The sidebar.
        values: Of its model, whose place another takes where it is gone, and of those that it is compared with.
    """
    others = [_follow(change, other) for other in values[bench.compare] or ()]
    model = _follow(change, values[bench.model]) or DEFAULT_MODEL
    now: Values = {bench.model: model, bench.compare: [other for other in others if other]}
    shown: Values = {bench.model: gr.update(choices=list_model_choices(services), value=model)}
    shown[bench.compare] = bench.offer_others(services, now)
    with suppress(UserError):  # somebody else has just deleted one; whoever asks it next says so
        shown |= bench.describe(services, now)
    return shown


def _follow(change: tuple, model: str) -> str | None:
    """What a model is called after a change; None if it is gone. The networks of its steps go with it."""
    old, new = change
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
    """The page of that number, or the nearest there is; of what is not listed only the queue takes notice."""
    trainings = [run for run in runs if _is_listed(run)]
    total = max(1, math.ceil(len(trainings) / PAGE_SIZE))
    number = min(max(number, 0), total - 1)
    shown = trainings[number * PAGE_SIZE : (number + 1) * PAGE_SIZE]
    waiting = {run.name: jobs_before(run, runs) for run in shown if run.state == "queued"}
    is_full = len(compared) >= MAX_COMPARED
    table = runs_html(describe_runs(shown), waiting, chosen, compared, is_full=is_full)
    html = table if shown else empty_html(EMPTY)
    return _Page(html, number, total, tuple(run.name for run in trainings))


def _is_listed(run: Run) -> bool:
    return run.kind == "training" and run.is_shown


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


def _pick(names: Sequence[str], compared: Sequence[str], ticked: object) -> list[str]:
    """What is compared, given what was, and for each box of the table whether it is ticked."""
    boxes = ticked if isinstance(ticked, dict) else {}
    kept = [name for name in compared if name in names and boxes.get(name, True)]
    others = kept + [name for name in names if boxes.get(name) and name not in kept]
    if len(others) > MAX_COMPARED:
        warn(f"At most {MAX_COMPARED} runs are compared at once; take one out first.")
    return others[:MAX_COMPARED]
