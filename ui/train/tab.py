"""Training: what to train above, what came out of a run below, and matched comparisons in a part of their own."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

import gradio as gr

from models.registry import RUN_PREFIX
from models.training.config import TrainingConfig
from ui.services import Action, Services
from ui.train.comparison import build_arms_panel
from ui.train.results.curves import build_curves_panel
from ui.train.results.mistakes import build_errors_panel
from ui.train.results.run_actions import check_chosen, list_trainings
from ui.train.results.runs import build_runs_panel, follow_change
from ui.train.results.snapshots import build_time_panel
from ui.train.settings.form import TrainForm, build_train_form
from ui.widgets.errors import inform, shows_errors
from ui.widgets.events import HIDDEN, PRIVATE, QUICK, Block, Panel, Tab, Update, Values
from ui.widgets.html import explain_this
from ui.widgets.job_view import offer_runs
from ui.workbench import Workbench, list_model_choices

SHAPES_SMALL = {"dataset": "shapes", "epochs": 8, "architecture": "small_cnn"}
PRESETS = {
    "Fashion-MNIST, about a minute": {
        "dataset": "fashion_mnist",
        "epochs": TrainingConfig.epochs,
        "architecture": "small_cnn",
        "small_cnn.head": "gap",
    },
    "Drawn shapes, a few seconds": SHAPES_SMALL | {"position": "anywhere", "small_cnn.head": "gap"},
    "Shapes only on the left, flatten": SHAPES_SMALL | {"position": "left", "small_cnn.head": "flatten"},
}
"""Title -> the settings of a training that it starts; all others become those of a new page."""
TRANSFER = {
    "architecture": "transfer",
    "transfer.mode": "frozen",
    "optimizer": "adamw",
    "learning_rate": 0.003,
    "batch_size": 32,
    "epochs": 20,
}
"""Settings with which own pictures are learned in seconds, once there are any."""
KEPT = ("name", "device", "trackers", "seed", "own_source", "zip", "folder")
"""Settings that no preset changes, and neither the boxes of own pictures."""
PARTS: dict[str, tuple[str, Callable[[Services, gr.Dropdown], Panel]]] = {
    "curves": ("Curves", build_curves_panel),
    "errors": ("Errors", build_errors_panel),
    "time": ("Time", build_time_panel),
}
"""What there is to see of a run."""
BUTTONS: dict[str, tuple[str, int, Literal["primary", "stop", "secondary"]]] = {
    "start": ("Start training", 160, "primary"),
    "stop": ("Stop", 90, "stop"),
    "resume": ("Go on", 90, "secondary"),
    "use": ("Use this model", 130, "secondary"),
}
EXPLANATION = """
The network is trained on mini-batches: forward, loss, gradient, step. The **training** curve is the running mean
within each epoch, the **validation** curve is measured after each epoch on pictures that are never trained on; the
gap between them is overfitting. The test accuracy is measured once, at the end. Training is a process of its own:
close this page, come back, or watch from another computer. The same seed on the same machine gives the same weights,
also after a stop and “Go on”.
"""


def build_train_tab(services: Services, bench: Workbench) -> Tab:
    """Lays out the tab and wires what happens inside it."""
    with gr.Tabs(elem_id="train-parts"):
        with gr.Tab("Single run", id="train-one") as one_tab:
            form, one = _build_training(services, bench)
        with gr.Tab("Compare arms", id="train-arms") as arms_tab:
            arms = build_arms_panel(services, form)

    is_comparing = gr.State(False)
    parts: dict[Block | None, bool] = {one_tab: False, arms_tab: True}

    def show(values: Values, action: Action) -> Values:
        """The part that is open, which is the only one that is followed."""
        comparing = parts.get(action.source, values[is_comparing])
        if comparing:
            return {is_comparing: True, **_stop(one.timers), **arms.open(values)}
        return {is_comparing: False, **_stop([arms.timer]), **one.show(values, action)}

    return replace(
        one,
        show=show,
        inputs=[*one.inputs, is_comparing, *arms.inputs],
        outputs=[*one.outputs, is_comparing, *arms.outputs],
        triggers=[(one_tab, "select"), (arms_tab, "select")],
        timers=[*one.timers, arms.timer],
    )


def _build_training(services: Services, bench: Workbench) -> tuple[TrainForm, Tab]:
    with gr.Row(elem_classes="controls"):
        presets = {title: gr.Button(title, size="sm", min_width=200) for title in PRESETS}
        transfer = gr.Button("Own pictures, pretrained network", size="sm", min_width=200, elem_id="train-transfer")
    form = build_train_form(services)
    with gr.Row(elem_classes="controls"):
        buttons = {
            name: gr.Button(title, elem_id=f"train-{name}", size="md", min_width=width, variant=variant)
            for name, (title, width, variant) in BUTTONS.items()
        }
    run = gr.Dropdown([], label="Run shown below", elem_id="train-run")
    part = gr.State("curves")
    panels: dict[str, Panel] = {}
    tabs = {}
    with gr.Tabs(elem_id="train-results"):
        for name, (title, build) in PARTS.items():
            with gr.Tab(title, id=name, elem_id=f"train-tab-{name}") as tabs[name]:
                panels[name] = build(services, run)
        with gr.Tab("Runs", id="runs", elem_id="train-tab-runs") as tabs["runs"]:
            panels["runs"] = runs = build_runs_panel(services, run)
    explain_this(EXPLANATION)
    _wire_parts(run, part, panels, tabs)
    _wire_actions(services, bench, form, run, buttons)
    _wire_presets(services, form, run, presets, transfer)
    runs.changed.change(
        lambda change, model, compared: follow_change(services, change, model, compared),
        [runs.changed, bench.model, bench.compare],
        [bench.model, bench.compare],
        **HIDDEN,
    )
    return form, _make_tab(services, run, part, panels)


def _stop(timers: Iterable[gr.Timer]) -> Values:
    """Ends timers."""
    return {timer: gr.update(active=False) for timer in timers}


def _wire_parts(run: gr.Dropdown, part: gr.State, panels: dict[str, Panel], tabs: dict[str, gr.Tab]) -> None:
    """Only the part on the screen follows the run."""
    for name, panel in panels.items():
        timers = [timer for other in panels.values() if other is not panel for timer in other.timers]
        opened = tabs[name].select(
            lambda name=name, timers=timers: {part: name, **_stop(timers)}, *(None, [part, *timers]), **QUICK
        )
        opened.then(panel.refresh, set(panel.inputs), panel.outputs, **HIDDEN)
        run.change(_refresh_if_open(name, part, panel), {part, *panel.inputs}, panel.outputs, **QUICK)


def _refresh_if_open(name: str, part: gr.State, panel: Panel) -> Callable[[Values], Values | Update]:
    def follow(values: Values) -> Values | Update:
        """Shows the run that is chosen now, where it is looked at."""
        return panel.refresh(values) if values[part] == name else gr.skip()

    return follow


def _make_tab(services: Services, run: gr.Dropdown, part: gr.State, panels: dict[str, Panel]) -> Tab:
    def show(values: Values, action: Action) -> Values:
        """Lists the runs, and follows the chosen one."""
        listed = offer_runs(list_trainings(services), values[run])
        return {run: listed, **panels[values[part]].refresh(values | {run: listed["value"]})}

    outputs = [run, *(output for panel in panels.values() for output in panel.outputs)]
    others = (each for panel in panels.values() for each in panel.inputs if each is not run)
    timers = [timer for panel in panels.values() for timer in panel.timers]
    return Tab(show, [part, run, *others], outputs, lambda message: {}, timers=timers)


def _wire_actions(
    services: Services, bench: Workbench, form: TrainForm, run: gr.Dropdown, buttons: dict[str, gr.Button]
) -> None:
    def act(action: Callable[[str], object]) -> Callable:
        @shows_errors
        def handler(name: str | None) -> Update:
            action(_check_chosen(name))
            return gr.update(choices=list_trainings(services), value=name)

        return handler

    @shows_errors
    def choose(name: str | None) -> tuple[Update, Update]:
        """Makes the run's model the one that all tabs look at."""
        model = RUN_PREFIX + _check_chosen(name)
        services.lab.registry.get(model)
        choices = list_model_choices(services)
        inform(f"All tabs now use {model}.")
        return gr.update(choices=choices, value=model), gr.update(choices=choices)

    buttons["start"].click(_starter(services, form), form.inputs, run, **PRIVATE)
    # Queued: gradio shows no errors of the others.
    buttons["stop"].click(act(services.jobs.stop), run, run, **HIDDEN)
    buttons["resume"].click(act(services.jobs.resume), run, run, **HIDDEN)
    buttons["use"].click(choose, run, [bench.model, bench.compare], **HIDDEN)


def _wire_presets(
    services: Services, form: TrainForm, run: gr.Dropdown, presets: dict[str, gr.Button], transfer: gr.Button
) -> None:
    new = {key: field.value for key, field in form.fields.items() if key not in KEPT and not key.startswith("box_")}

    def fill(button: gr.Button, preset: dict) -> gr.events.Dependency:
        settings = new | preset
        return button.click(lambda: list(settings.values()), None, [form.fields[key] for key in settings], **QUICK)

    for title, button in presets.items():
        fill(button, PRESETS[title]).then(_starter(services, form), form.inputs, run, **PRIVATE)
    fill(transfer, TRANSFER | {"dataset": "own"})


def _starter(services: Services, form: TrainForm) -> Callable:
    @shows_errors
    def begin(*values: Any) -> Update:
        """Starts a training with the settings of the page."""
        settings = form.name_values(values)
        config, name = form.read(settings)
        name = services.jobs.start(config, name, is_upload=form.is_upload(settings))
        return gr.update(choices=list_trainings(services), value=name)

    return begin


def _check_chosen(name: str | None) -> str:
    return check_chosen(name, "start a training first")
