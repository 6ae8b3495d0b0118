"""One request for each choice: it is taken over at once, and what is on the screen, and nothing else, is shown anew.

Values that a handler sets start no other handler: the page listens to what visitors do (``input``, ``select``,
``click``, ``release``), never to ``change``.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from analysis.errors import Cancelled, UserError
from models.cache import NotHere
from models.problems import MAYBE_PROBLEMS
from models.registry import DEFAULT_MODEL
from models.settings import check_choice
from ui.address import list_readers, read_query, write_query
from ui.entry import Page
from ui.jobs import write_busy
from ui.services import Action, Services, Superseded
from ui.widgets.errors import describe_error, inform, shows_errors, warn
from ui.widgets.events import Block, Tab, Update, Values, read_values
from ui.workbench import KEEP_PICTURE, Workbench, list_model_choices

FIRST_TAB = "classify"
NO_PICTURE = "Choose a picture on the left: upload one, take one, paste one, or click a sample."


class Dispatcher:
    """Brings the page up to date.

    Args:
        services: The lab and what goes with it.
        page: The whole page.
        bench: The sidebar.
        tabs: All tabs.
        views: Name -> a tab, and what is in it.
        bar: Where progress is shown.
        address: Where the query of the address goes.
        jobs: The list of jobs.
        role: Gets, when the page is opened, what whoever has opened it may do.
    """

    def __init__(
        self,
        services: Services,
        page: Page,
        bench: Workbench,
        tabs: gr.Tabs,
        views: Mapping[str, tuple[gr.Tab, Tab]],
        bar: gr.HTML,
        address: gr.HTML,
        jobs: gr.HTML,
        role: gr.HTML,
    ):
        self.jobs, self.role, self.page = jobs, role, page
        self.services, self.bench, self.tabs, self.address = services, bench, tabs, address
        self.views = {name: view for name, (_, view) in views.items()}
        self.names = {tab: name for name, (tab, _) in views.items()}
        self.opened = gr.Textbox(FIRST_TAB, visible="hidden", elem_id="opened-tab")
        self.is_ready = gr.Textbox(
            "", visible="hidden", elem_id="page-is-ready"
        )  # gradio also selects the first tab when it makes the page
        self.seen = {name: gr.State(None) for name in views}
        self.manner: dict[str, Any] = {
            "api_visibility": "private",
            "show_progress": "minimal",
            "show_progress_on": bar,
            "concurrency_limit": None,
            "trigger_mode": "multiple",  # what is chosen while another choice is answered takes its place
        }

    def wire(self) -> None:
        """Listens to whatever a visitor can choose."""
        bench, views = self.bench, self.views.values()
        inputs: set[Any] = {*bench.inputs, self.opened, self.is_ready, self.jobs, *self.seen.values()}
        parts = (self.opened, self.is_ready, self.tabs, self.address, self.jobs)
        outputs: dict[Block, None] = dict.fromkeys((*bench.inputs, bench.card, *parts))
        outputs |= dict.fromkeys(self.seen.values())
        for view in views:
            inputs |= {*view.inputs}
            outputs |= dict.fromkeys((*view.outputs, *view.timers, *(part for part, _ in view.linked.values())))
            outputs |= dict.fromkeys(part for _, others in view.runs.values() for part in others)
        for tab, name in self.names.items():  # what is chosen next is about this tab already
            tab.select(None, None, self.opened, js=f"() => '{name}'")
        chosen: list[tuple[Block, Block, str]] = [
            (bench.sample, bench.sample, "select"),
            (bench.image, bench.sample, "input"),  # a picture of one's own has taken the sample's place
            (bench.model, bench.model, "select"),  # gradio's dropdowns raise input twice for one choice
            (bench.compare, bench.compare, "input"),
            (bench.card, bench.card, "submit"),  # what is missing may be downloaded
        ]
        for source, component, event in (*chosen, *((tab, tab, "select") for tab in self.names)):
            getattr(component, event)(self._follower(source), inputs, list(outputs), **self.manner)
        order = sorted(inputs, key=lambda component: component._id)  # gradio's own
        keep = KEEP_PICTURE % (order.index(bench.image), order.index(bench.sample))
        self.page.load(self.restore, inputs, [*outputs, self.role], js=keep, **self.manner)
        self.jobs.select(self._opener(), inputs, list(outputs), **self.manner)
        for name, view in self.views.items():
            own = {*bench.inputs, *view.inputs, *(part for part, _ in view.linked.values())}
            shown = [*view.outputs, *view.timers, self.address, self.jobs]
            for source, event in view.triggers:
                getattr(source, event)(self._renewer(name, source), own, shown, **self.manner)

    def _follower(self, source: Any) -> Callable[..., Values | Update]:
        """What shows the tab on the screen after something was chosen in ``source``."""

        def show_anew(values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Values | Update:
            """Shows the tab on the screen as it is now; what was chosen itself the browser knows already."""
            if not values[self.is_ready] and self.names.get(source, FIRST_TAB) == FIRST_TAB:
                return gr.skip()
            name = self.names.get(source) or check_choice("tab", values[self.opened], self.views)
            view = self.views[name]

            def act(action: Action) -> Values:
                bench = self.bench
                made = {bench.image: bench.preview, bench.card: bench.download}.get(source)
                preview = made(self.services, values, action) if made else {}
                if source is bench.card:  # every tab may have missed what was downloaded
                    preview |= dict.fromkeys(self.seen.values())
                if source in self.names:
                    is_wanted = not (view.is_kept and values[self.seen[name]] == self._find_subject(name, values))
                else:
                    about = {bench.sample: bench.image, bench.card: bench.model}.get(source, source)
                    is_wanted = about in view.looks_at
                shown = self._show(name, values, action) if is_wanted else {}
                return preview | entered | shown

            if source in self.names and (job := _read_wanted(values[self.jobs])):
                try:
                    return self.open_run(job, values, source, request, progress)
                except UserError as error:  # it is gone; the tab is shown as it is
                    warn(str(error))
            entered = self._write_place(name, values)
            if source in self.names:
                entered |= self._stop_timers(name)
            if source is self.bench.sample:
                entered |= self.bench.show_sample(values)
            seen: Values = {self.seen[name]: self._find_subject(name, values)}
            return self._run(name, act, source, request, progress, entered, seen)

        return show_anew

    def restore(self, values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Values | Update:
        """Fills the controls from the address, so that a link opens the view it was made from."""
        bench = self.bench
        linked: dict[str, tuple[Component, Callable[[str], object]]] = {}
        for view in self.views.values():
            linked |= view.linked
        readers = list_readers(self.services.lab.registry, self.views)
        readers |= {key: read for key, (_, read) in linked.items()}
        wanted, problems = read_query(request.query_params, readers)
        if problems:
            warn(f"Not everything in the link can be used. {' '.join(problems)}")
        name = wanted.get("tab", FIRST_TAB)
        now: Values = values | {
            bench.sample: wanted.get("sample", values[bench.sample]),
            bench.model: wanted.get("model", DEFAULT_MODEL),
            bench.compare: wanted.get("compare", []),
        }
        now |= {part: wanted[key] for key, (part, _) in linked.items() if key in wanted}
        choices = list_model_choices(self.services)
        restored: Values = {part: now[part] for part, _ in linked.values() if part in now}
        restored[bench.model] = gr.update(choices=choices, value=now[bench.model])
        restored[bench.compare] = bench.offer_others(self.services, now)
        restored |= bench.describe(self.services, now)
        restored |= {bench.sample: now[bench.sample], bench.image: bench.find_picture(now)}
        restored |= self._write_place(name, now) | {self.is_ready: "yes", self.role: self.page.write_role()}
        if "tab" in wanted:
            restored[self.tabs] = gr.update(selected=name)
        else:  # the visitor may have opened another one in the meantime
            del restored[self.opened]

        def act(action: Action) -> Values:
            preview = {} if now[bench.sample] else bench.preview(self.services, now, action)
            shown, kept = self._show(name, now, action), read_values(restored)
            for part, update in shown.items():  # an update of choices or ends leaves the value that was restored
                if isinstance(update, dict) and part in kept:
                    update.setdefault("value", kept[part])
            return restored | preview | shown

        seen: Values = {self.seen[name]: self._find_subject(name, now)}
        return self._run(name, act, None, request, progress, restored, seen)

    def _opener(self) -> Callable[..., Values | Update]:
        """What shows a job whose tab is on the screen already."""

        @shows_errors
        def open_job(
            values: Values, event: gr.EventData, request: gr.Request, progress: gr.Progress = gr.Progress()
        ) -> Values | Update:
            """Shows the job that was chosen in the list."""
            name = (event._data if isinstance(event._data, dict) else {}).get("name", "")
            return self.open_run(name, values, self.jobs, request, progress)

        return open_job

    def open_run(
        self, job: str, values: Values, source: Any, request: gr.Request, progress: gr.Progress
    ) -> Values | Update:
        """Shows a job in its tab, which the browser has opened."""
        run = self.services.jobs.read(job)
        places = {kind: (name, *place) for name, view in self.views.items() for kind, place in view.runs.items()}
        if run.kind not in places:
            raise UserError("This job has no page of its own; who started it sees what it finds.")
        name, listed, others = places[run.kind]
        now: Values = values | others | {listed: run.name, self.opened: name}
        opened: Values = {**others, **self._write_place(name, now), **self._stop_timers(name)}
        return self._run(
            name, lambda action: opened | self._show(name, now, action), source, request, progress, opened, {}
        )

    def _renewer(self, name: str, source: Any) -> Callable[..., Values | Update]:
        """What shows a tab anew after its control ``source`` was used."""

        def renew(values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Values | Update:
            """Shows the tab as it is now."""
            address: Values = {self.address: self._write_query(name, values), self.jobs: write_busy(self.services)}

            def act(action: Action) -> Values:
                shown = self.views[name].show(values, action)
                return address | {self.address: self._write_query(name, values | read_values(shown))} | shown

            return self._run(name, act, source, request, progress, address, {})

        return renew

    def _run(
        self,
        name: str,
        act: Callable[[Action], Values],
        source: Any,
        request: gr.Request,
        progress: gr.Progress,
        otherwise: Values,
        seen: Values,
    ) -> Values | Update:
        """What an action gives; ``otherwise``, with nothing else in the tab, where something goes wrong.

        What went wrong goes wrong again: with ``seen``, the tab is not looked at anew when it is only opened again.
        """
        try:
            with self.services.act(request, progress, "page", source=source) as action:
                return act(action)
        except Superseded:
            return gr.skip()
        except Cancelled:
            inform("Cancelled.")
            return otherwise
        except NotHere as error:  # which the sidebar asks about
            return otherwise | self.views[name].clear(str(error))
        except MAYBE_PROBLEMS as error:
            message = describe_error(error)
            if message is None:
                raise
            warn(message)
            return otherwise | seen | self.views[name].clear(message)

    def _write_place(self, name: str, values: Values) -> Values:
        """What goes with being in a tab: its name, the address, and which jobs there are by now."""
        address = self._write_query(name, values)
        return {self.opened: name, self.address: address, self.jobs: write_busy(self.services)}

    def _stop_timers(self, name: str) -> Values:
        """No timer runs but those of a tab; each update of properties costs gradio 5 ms, so only where one leaves."""
        timers = (timer for other, view in self.views.items() if other != name for timer in view.timers)
        return {timer: gr.update(active=False) for timer in timers}

    def _show(self, name: str, values: Values, action: Action) -> Values:
        """The tab as it is now; remembers what is shown of it."""
        view = self.views[name]
        if self.bench.image in view.looks_at and self.bench.find_picture(values) is None:
            return view.clear(NO_PICTURE)
        return view.show(values, action) | {self.seen[name]: self._find_subject(name, values)}

    def _find_subject(self, name: str, values: Values) -> tuple:
        """What is looked at in a tab."""
        bench = self.bench
        chosen = [values[part] for part in self.views[name].looks_at if part is not bench.image]
        return bench.find_picture(values), *(tuple(each) if isinstance(each, list) else each for each in chosen)

    def _write_query(self, name: str, values: Values) -> str:
        bench = self.bench
        parts = {"tab": name, "sample": values[bench.sample], "model": values[bench.model]}
        parts |= {"compare": bench.list_models(values)[1:]}
        return write_query(parts | {key: values[part] for key, (part, _) in self.views[name].linked.items()})


def _read_wanted(told: object) -> str:
    """The job that the list says is to be shown in the tab that is opened; nothing where it says nothing."""
    try:
        found = json.loads(told) if isinstance(told, str) else None
    except ValueError:
        found = None
    wanted = found.get("open") if isinstance(found, dict) else None
    return wanted if isinstance(wanted, str) else ""
