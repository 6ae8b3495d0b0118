"""Training: what to train, what came out of a run, and matched comparisons in a part of their own."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gradio as gr
from markupsafe import Markup

from analysis.errors import UserError
from lab.comparisons.claims import PRESETS
from lab.own_pictures import list_folders
from models.registry import RUN_PREFIX
from models.runs.run import BROKEN_OFF, Run
from models.training.config import TrainingConfig
from models.training.resume import RESUME_FILE
from ui.services import Action, Services
from ui.train.comparison import build_arms_panel
from ui.train.examples import EXAMPLES, Examples
from ui.train.results.curves import Curves
from ui.train.results.live import Live
from ui.train.results.mistakes import Mistakes
from ui.train.results.names import describe_settings
from ui.train.results.panel import Panel
from ui.train.results.run_actions import check_chosen, list_trainings
from ui.train.results.runs import Runs
from ui.train.results.snapshots import Through
from ui.train.settings.data import name_values
from ui.train.settings.form import VIEW, build_train_form
from ui.train.settings.network import read_stack
from ui.widgets.errors import inform, shows_errors
from ui.widgets.events import HIDDEN, QUICK, Block, Tab, Update, Values
from ui.widgets.html import explain_lack, explain_this, one_of
from ui.widgets.job_view import offer_runs
from ui.widgets.own_data import offer_folders
from ui.widgets.switch import Switch
from ui.workbench import Workbench, list_model_choices

KEPT = ("name", "device", "trackers", "seed", "own_source", "zip", "folder", "boxes")
"""Settings that no preset changes, and neither the boxes of own pictures."""
KINDS = {"one": "Single run", "arms": "Compare arms"}
PARTS = {
    "curves": "Curves",
    "errors": "Mistakes",
    "time": "Through training",
    "live": "Try it live",
    "runs": "Runs",
}
"""What there is to see of a run."""
BUTTONS = {"resume": ("Go on", 80), "use": ("Use this model", 140)}
"""Title and least width of what can be done with a run; what ends one is in the list of jobs."""
PUBLISHED = (
    "Visitors see this run now, with its settings, curves, notes and the pictures it got wrong, and can use its "
    "model; they can neither change it nor take its files away."
)
EXPLANATION = """
The network is trained on mini-batches: forward, loss, gradient, step. The **training** curve is the mean over the
last epoch's worth of steps, the **validation** curve is measured after each epoch on pictures that are never trained
on; the gap between them is overfitting. The test accuracy is measured once, at the end. Training is a process of its
own: close this page, come back, or watch from another computer. The same seed on the same machine gives the same
weights, also after a stop and “Go on”.
"""


def build_train_tab(services: Services, bench: Workbench) -> Tab:
    """Lays out the tab and wires what happens inside it."""
    return _Train(services, bench).wire()


class _Train:
    def __init__(self, services: Services, bench: Workbench):
        self.services, self.bench = services, bench
        self.kind = _build_choice(KINDS, "train-parts")
        with gr.Column() as one:
            self.build_settings()
            self.build_results()
        with gr.Column() as arms:
            self.arms, self.compared = build_arms_panel(services, self.form)
        self.sides = Switch(self.kind, {one: ["one"], arms: ["arms"]})
        self.timers = [*(timer for panel in self.panels.values() for timer in panel.timers), self.arms.timer]

    def build_settings(self) -> None:
        """The settings, which fold away once there is a run."""
        explain_lack("train")
        with gr.Column(elem_id="train-form") as self.opened:
            with gr.Column() as above:
                pass
            self.form = form = build_train_form(self.services)
            self.new = {key: field.value for key, field in form.fields.items()}
            with above:
                self.examples = Examples(self.services, lambda settings: form.read(self.new | settings)[0])
            with gr.Row(elem_classes="controls"):
                self.start = gr.Button(
                    "Start training", variant="primary", size="md", min_width=160, scale=0, elem_id="train-start"
                )
                fold = gr.Button("Fold away", size="md", min_width=110, scale=0, elem_id="train-fold")
        self.is_fresh = gr.State(True)
        fold.click(None, None, self.opened, js=_FOLD)

    def build_results(self) -> None:
        """The run that is shown, what can be done with it, and what there is to see of it."""
        with gr.Row(elem_classes="controls", elem_id="train-shown"):
            self.run = gr.Dropdown([], label="Run shown", elem_id="train-run", min_width=200)
            self.line = gr.HTML(elem_id="train-about", padding=False, min_width=200)
            self.published = gr.Checkbox(
                False, label="Show to visitors", elem_id="train-published", min_width=150, scale=0, container=False
            )
            self.change = gr.Button("Change…", size="md", min_width=90, scale=0, elem_id="train-change")
            another = gr.Button("New training", size="md", min_width=130, scale=0, elem_id="train-new")
        another.click(None, None, self.opened, js=_OPEN)
        with gr.Row(elem_classes="controls", elem_id="train-what"):
            self.part = _build_choice(PARTS, "train-results")
            self.buttons = {
                name: gr.Button(title, elem_id=f"train-{name}", size="md", min_width=width, scale=0)
                for name, (title, width) in BUTTONS.items()
            }
        groups, self.panels = {}, {}
        for name in PARTS:
            with gr.Column(elem_id=f"train-part-{name}") as group:
                self.panels[name] = self.build_panel(name)
                if name == "curves":
                    explain_this(EXPLANATION)
            groups[group] = [name]
        Switch(self.part, groups)

    def build_panel(self, name: str) -> Panel:
        """One part of what there is to see of a run."""
        parts: dict[str, Callable[[Services, gr.Dropdown], Panel]]
        parts = {"curves": Curves, "errors": Mistakes, "time": Through, "live": Live}
        return parts[name](self.services, self.run) if name in parts else Runs(self.services, self.run, self.bench)

    def wire(self) -> Tab:
        """Wires what happens, and says what the page has to know."""
        panels = self.panels.values()
        inputs: set[Any] = {self.run, self.part, *(part for panel in panels for part in panel.inputs)}
        outputs: list[Block] = [
            *(self.run, self.line, self.change, *self.buttons.values(), self.published),
            *(part for panel in panels for part in panel.outputs),
        ]
        outputs = list(dict.fromkeys(outputs))
        for panel in panels:
            panel.wire(self.show_run, inputs, outputs)
            if isinstance(panel, Curves | Runs):
                self.wire_timer(panel)
        self.wire_buttons(inputs, outputs)
        self.wire_settings(inputs, outputs)
        arms = self.arms
        folder = self.form.fields["folder"]
        return Tab(
            self.show,
            list(dict.fromkeys([*inputs, self.kind, self.is_fresh, *arms.inputs, *arms.form, self.compared.link])),
            [
                *(*outputs, *self.examples.outputs, folder, self.opened, self.is_fresh, *self.sides.groups),
                *(*arms.outputs, *arms.fitted, arms.timer, self.kind, *self.compared.chosen),
            ],
            lambda message: {},
            triggers=[(part, "input") for part in (self.kind, self.run, self.part)],
            timers=self.timers,
            runs={"training": (self.run, {self.kind: "one"}), "arms": (arms.run, {self.kind: "arms"})},
            linked={"arms": (self.compared.link, one_of(PRESETS))},
        )

    def show(self, values: Values, action: Action) -> Values:
        """The part that is open, which is the only one that is followed; of a link the comparison that it names."""
        if name := values[self.compared.link]:
            opened: Values = {self.kind: "arms", **self.compared.choose(name)}
            return opened | self.show(values | opened, action)
        sides = self.sides.show(values[self.kind])
        if values[self.kind] == "arms":
            return sides | self.stop(self.timers) | self.arms.open(values) | self.arms.fit(values)
        shown = sides | self.stop([self.arms.timer]) | self.show_run(values)
        if action.source not in (self.run, self.part):
            shown |= {self.form.fields["folder"]: offer_folders(self.services), **self.examples.show()}
        if values[self.is_fresh] and shown[self.run]["value"]:
            shown |= self.fold()
        return shown

    def show_run(self, values: Values) -> Values:
        """Lists the runs, and shows the chosen one, or the newest, where it is looked at."""
        listed = offer_runs(list_trainings(self.services), values[self.run])
        name, opened = listed["value"], values[self.part]
        others = [timer for part, panel in self.panels.items() if part != opened for timer in panel.timers]
        shown = self.panels[opened].refresh(values | {self.run: name})
        return {self.run: listed, **self.describe(name), **self.stop(others), **shown}

    def describe(self, name: str | None) -> Values:
        """What the run that is shown trains, and what can be done with it."""
        try:
            current: Run | None = self.services.jobs.read(name) if name else None
        except UserError:
            current = None
        line = Markup("<p>{}</p>").format(describe_settings(current)) if current else ""
        possible = {
            self.change: current is not None,
            self.buttons["resume"]: current is not None and current.state in BROKEN_OFF and current.is_own,
            self.buttons["use"]: current is not None and current.has_model,
        }
        published = gr.update(value=bool(current and current.is_published), interactive=bool(current))
        shown: Values = {button: gr.update(visible=is_shown) for button, is_shown in possible.items()}
        return {self.line: line, self.published: published, **shown}

    def fold(self, is_open: bool = False) -> Values:
        """The settings folded away, or there."""
        return {self.opened: gr.update(visible=is_open), self.is_fresh: False}

    def stop(self, timers: Iterable[gr.Timer]) -> Values:
        """Ends timers."""
        return {timer: gr.update(active=False) for timer in timers}

    def wire_timer(self, panel: Curves | Runs) -> None:
        """Lets a part send what is new; and with it what can be done with the run now."""

        def follow(values: Values) -> Values | Update:
            """Shows what has changed."""
            updates: dict[Any, Any] = panel.follow(values)
            return updates if updates == gr.skip() else updates | self.describe(values[self.run])

        shown = [*panel.followed, self.line, self.change, self.published, *self.buttons.values()]
        panel.timer.tick(follow, {*panel.inputs}, shown, **QUICK)

    def wire_buttons(self, inputs: set[Any], outputs: list[Block]) -> None:
        """What can be done with the run that is shown."""

        @shows_errors
        def resume(values: Values) -> Values:
            """Lets the run go on."""
            name = _check_chosen(values[self.run])
            is_saved = (self.services.jobs.read(name).path / RESUME_FILE).exists()
            self.services.jobs.resume(name)
            inform(
                f"{name} goes on where it was." if is_saved else f"{name} begins anew: nothing had been saved yet."
            )
            return self.show_run(values)

        @shows_errors
        def publish(values: Values) -> Values:
            """Shows the run to visitors, or no longer."""
            name = _check_chosen(values[self.run])
            self.services.jobs.publish(name, values[self.published])
            inform(PUBLISHED if values[self.published] else f"Visitors no longer see {name}.")
            return {self.published: values[self.published]}

        @shows_errors
        def choose(values: Values) -> Values:
            """Makes the run's model the one that all tabs look at."""
            model = RUN_PREFIX + _check_chosen(values[self.run])
            self.services.lab.registry.get(model)
            now, choices = values | {bench.model: model}, list_model_choices(self.services)
            inform(f"All tabs now use {model}.")
            shown: Values = {bench.model: gr.update(choices=choices, value=model)}
            return (
                shown | {bench.compare: bench.offer_others(self.services, now)} | bench.describe(self.services, now)
            )

        bench = self.bench
        self.buttons["resume"].click(resume, inputs, outputs, **HIDDEN)
        self.published.input(publish, {self.run, self.published}, [self.published], **HIDDEN)
        looked_at: set[Any] = {self.run, bench.model, bench.compare}
        self.buttons["use"].click(choose, looked_at, [bench.model, bench.compare, bench.card], **HIDDEN)

    def wire_settings(self, inputs: set[Any], outputs: list[Block]) -> None:
        """What starts a training, and what fills in the settings."""
        form, folding = self.form, [self.opened, self.is_fresh]
        given = {*inputs, *form.inputs}

        def start(values: Values) -> Values:
            """Starts a training with the settings of the page, and shows it."""
            settings = name_values(form.fields, values)
            config, name = form.read(settings)
            name = self.services.jobs.start(config, name, is_upload=form.is_upload(settings))
            return self.show_run(values | {self.run: name}) | self.fold()

        started = self.start.click(shows_errors(start), given, [*outputs, *folding], **HIDDEN)
        started.success(None, None, None, js=_BRING_RUN)
        filled = [*outputs, *folding, *form.outputs]
        for name, button in self.examples.buttons.items():
            example = EXAMPLES[name]
            begin = self.filler(_always(example.settings), start if example.starts else self.show_data)
            done = button.click(begin, given, [*filled, form.part, *form.parts.groups], **HIDDEN)
            done.success(None, None, None, js=_BRING_RUN if example.starts else _BRING_BOXES)
        change = self.filler(self.read_settings, self.unfold)
        opened = self.change.click(change, given, [*form.outputs, *folding], **HIDDEN)
        opened.success(None, None, None, js=_BRING_FORM)
        stacked = self.bench.stack.submit(
            self.filler(lambda values: read_stack(values[self.bench.stack]), self.show_network, part="network"),
            {*given, self.bench.stack},
            [*filled, form.part, *form.parts.groups, self.kind, *self.sides.groups],
            **HIDDEN,
        )
        stacked.success(None, None, None, js=_OPEN_TAB)

    def read_settings(self, values: Values) -> dict[str, Any]:
        """The settings of the run that is shown, by the names of the fields."""
        current = self.services.jobs.read(_check_chosen(values[self.run]))
        folders = list_folders(self.services.lab.data_root)
        return self.form.write(TrainingConfig.from_dict(current.config), folders)

    def show_data(self, values: Values) -> Values:
        """The settings of the data on the screen."""
        return {self.form.part: "data", **self.form.parts.show("data")}

    def show_network(self, values: Values) -> Values:
        """The settings of the network of a single run on the screen."""
        return {
            **{self.form.part: "network", self.kind: "one"},
            **self.form.parts.show("network"),
            **self.sides.show("one"),
            **self.unfold(values),
        }

    def unfold(self, values: Values) -> Values:
        """The settings in full."""
        return self.fold(is_open=True)

    def filler(
        self,
        choose: Callable[[Values], dict[str, Any]],
        then: Callable[[Values], Values] = lambda values: {},
        part: str = "",
    ) -> Callable:
        """What fills in settings: those that ``choose`` gives, all others as on a new page; ``then`` goes on.

        ``part`` is what will be on the screen, if not what is now.
        """
        fields = self.form.fields
        new = {key: value for key, value in self.new.items() if key not in KEPT}

        @shows_errors
        def fill(values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Values:
            """Fills in settings."""
            settings = new | choose(values)
            with self.services.act(request, progress, VIEW) as action:
                seen = values | ({self.form.part: part} if part else {})
                filled = self.form.fill(settings, seen, action)
            return filled | then(values | {fields[key]: value for key, value in settings.items()})

        return fill


def _always(settings: dict[str, Any]) -> Callable[[Values], dict[str, Any]]:
    return lambda values: settings


def _build_choice(titles: Mapping[str, str], elem_id: str) -> gr.Radio:
    """Which of several parts is on the screen; the first to begin with."""
    choices = [(title, name) for name, title in titles.items()]
    return gr.Radio(
        choices, value=next(iter(titles)), label="Shown below", show_label=False, container=False, elem_id=elem_id
    )


def _check_chosen(name: str | None) -> str:
    return check_chosen(name, "start a training first")


_FOLD = """() => ({__type__: "update", visible: false})"""
_OPEN = """() => { window.convscopeBring("#train-form"); return {__type__: "update", visible: true}; }"""
_BRING_FORM = """() => { window.convscopeBring("#train-form"); }"""
_BRING_BOXES = """() => { window.convscopeBring("#train-boxes", ".class-box button"); }"""
_OPEN_TAB = """() => { document.getElementById("tab-train-button").click(); window.convscopeBring("#train-form"); }"""
_BRING_RUN = """() => { window.convscopeBring("#train-shown"); }"""
