"""Training: what to train above, what came out of a run below, and matched comparisons in a part of their own."""

from collections.abc import Callable

import gradio as gr

from analysis.errors import UserError
from models.registry import RUN_PREFIX
from models.training.config import TrainingConfig
from ui.services import Services
from ui.train.comparison import build_arms_panel
from ui.train.results.curves import build_curves_panel
from ui.train.results.mistakes import build_errors_panel
from ui.train.results.run_actions import list_trainings
from ui.train.results.runs import build_runs_panel, follow_change
from ui.train.results.snapshots import build_time_panel
from ui.train.settings.form import TrainForm, build_train_form
from ui.widgets.errors import inform, shows_errors
from ui.widgets.html import Tab, explain_this
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
PARTS = {
    "curves": ("Curves", build_curves_panel),
    "errors": ("Errors", build_errors_panel),
    "time": ("Time", build_time_panel),
    "runs": ("Runs", build_runs_panel),
}
"""What there is to see of a run."""
BUTTONS = {
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
            arms = build_arms_panel(
                services,
                lambda *values: form.read(dict(zip(form.fields, values, strict=True)))[0],
                list(form.fields.values()),
            )

    is_comparing = gr.State(False)

    def open_arms(chosen):
        """Lists the comparisons; to be followed by a refresh, as it says which part is on the screen."""
        names = arms.choices()
        chosen = chosen if chosen in names else (names or [None])[0]
        return gr.update(choices=names, value=chosen), True

    def refresh(tab, is_comparing, *values):
        """As for a single training; a comparison is followed while it is on the screen."""
        return *one.refresh(tab, *values), gr.update(active=tab == "train" and is_comparing)

    tab, *others = one.inputs
    view = Tab(refresh, [tab, is_comparing, *others], [*one.outputs, arms.timer], on_every_tab=True)
    # Nothing but the refresh sets the timer: gradio answers a refresh of before first, so that the last one holds.
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    opened = arms_tab.select(open_arms, arms.run, [arms.run, is_comparing], queue=False, **quiet)
    left = one_tab.select(lambda: False, None, is_comparing, queue=False, **quiet)
    for event in (opened, left):
        event.then(view.refresh, view.inputs, view.outputs, **quiet)
    return view


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
    panels, tabs = {}, {}
    with gr.Tabs(elem_id="train-results"):
        for name, (title, build) in PARTS.items():
            with gr.Tab(title, id=name, elem_id=f"train-tab-{name}") as tabs[name]:
                panels[name] = build(services, run)
    explain_this(EXPLANATION)
    _wire_parts(run, part, panels, tabs)
    _wire_actions(services, bench, form, run, buttons)
    _wire_presets(services, form, run, presets, transfer)
    panels["runs"].changed.change(
        lambda change, model, compared: follow_change(services, change, model, compared),
        [panels["runs"].changed, bench.model, bench.compare],
        [bench.model, bench.compare],
        api_visibility="private",
        show_progress="hidden",
    )
    return form, _make_refresh(services, bench, run, part, panels)


def _list_timers(panel) -> list[gr.Timer]:
    return [timer for timer in (panel.timer, getattr(panel, "player", None)) if timer is not None]


def _wire_parts(run: gr.Dropdown, part: gr.State, panels: dict, tabs: dict) -> None:
    """Only the part on the screen follows the run."""
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    for name, panel in panels.items():
        others = [timer for other, one in panels.items() if other != name for timer in _list_timers(one)]
        opened = tabs[name].select(
            lambda name=name, others=others: (name, *(gr.update(active=False) for _ in others)),
            None,
            [part, *others],
            **quiet,
            queue=False,
        )
        opened.then(panel.refresh, panel.inputs, panel.outputs, **quiet)
        run.change(_if_open(name, panel), [part, *panel.inputs], panel.outputs, **quiet, queue=False)


def _if_open(name: str, panel) -> Callable:
    def follow(part, *values):
        """Shows the run that is chosen now, where it is looked at."""
        return panel.refresh(*values) if part == name else gr.skip()

    return follow


def _make_refresh(services: Services, bench: Workbench, run: gr.Dropdown, part: gr.State, panels: dict) -> Tab:
    def refresh(tab, part, name, *others):
        """Lists the runs, and follows the chosen one while the tab is open."""
        if tab != "train":
            return gr.skip(), *(update for panel in panels.values() for update in _rest(panel))
        names = list_trainings(services)
        name = name if name in names else (names or [None])[0]
        updates, others = [], iter(others)
        for kind, panel in panels.items():
            values = [next(others) for _ in panel.inputs[1:]]
            found = panel.refresh(name, *values) if kind == part else None
            updates += found if isinstance(found, tuple) else [gr.skip()] * len(panel.outputs)
        return gr.update(choices=names, value=name), *updates

    outputs = [run, *(output for panel in panels.values() for output in panel.outputs)]
    inputs = [bench.tab, part, run, *(value for panel in panels.values() for value in panel.inputs[1:])]
    return Tab(refresh, inputs, outputs)


def _rest(panel) -> list:
    """Nothing changes but that its timers end."""
    timers = _list_timers(panel)
    return [gr.update(active=False) if output in timers else gr.skip() for output in panel.outputs]


def _wire_actions(services: Services, bench: Workbench, form: TrainForm, run: gr.Dropdown, buttons: dict) -> None:
    @shows_errors
    def begin(*values):
        """Starts a training with the settings of the page."""
        return _begin(services, form, values)

    def act(action: Callable[[str], None]) -> Callable:
        @shows_errors
        def handler(name):
            action(_chosen(name))
            return gr.update(choices=list_trainings(services), value=name)

        return handler

    @shows_errors
    def choose(name):
        """Makes the run's model the one that all tabs look at."""
        model = RUN_PREFIX + _chosen(name)
        services.lab.registry.get(model)
        choices = list_model_choices(services)
        inform(f"All tabs now use {model}.")
        return gr.update(choices=choices, value=model), gr.update(choices=choices)

    buttons["start"].click(begin, list(form.fields.values()), run, api_visibility="private")
    asked = {"api_visibility": "private", "show_progress": "hidden"}  # queued: gradio shows no errors of the others
    buttons["stop"].click(act(services.jobs.stop), run, run, **asked)
    buttons["resume"].click(act(services.jobs.resume), run, run, **asked)
    buttons["use"].click(choose, run, [bench.model, bench.compare], **asked)


def _wire_presets(services: Services, form: TrainForm, run: gr.Dropdown, presets: dict, transfer: gr.Button) -> None:
    quiet = {"api_visibility": "private", "show_progress": "hidden", "queue": False}

    @shows_errors
    def begin(*values):
        """Starts a training with the settings of the page."""
        return _begin(services, form, values)

    new = {key: field.value for key, field in form.fields.items() if key not in KEPT and not key.startswith("box_")}

    def fill(button: gr.Button, preset: dict):
        settings = new | preset
        return button.click(lambda: list(settings.values()), None, [form.fields[key] for key in settings], **quiet)

    for title, button in presets.items():
        fill(button, PRESETS[title]).then(begin, list(form.fields.values()), run, api_visibility="private")
    fill(transfer, TRANSFER | {"dataset": "own"})


def _begin(services: Services, form: TrainForm, values: tuple):
    settings = dict(zip(form.fields, values, strict=True))
    config, name = form.read(settings)
    name = services.jobs.start(config, name, is_upload=form.is_upload(settings))
    return gr.update(choices=list_trainings(services), value=name)


def _chosen(name: str | None) -> str:
    if not name:
        raise UserError("There is no run to do this with; start a training first.")
    return name
