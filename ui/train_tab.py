"""Training a small network: set it up, watch it, stop it, use it. The training is a process of its own."""

from html import escape

import gradio as gr

from analysis.figures import plot_training
from models.data import DATASETS, OWN_PICTURES
from models.devices import DEVICES, resolve_device
from models.errors import ModelsError
from models.pretrained import DEFAULT_MODEL
from models.registry import RUN_PREFIX
from models.runs import UNFINISHED, Run
from models.shapes import COLORS, POSITIONS, ShapesConfig
from models.small_cnn import NORMS, PADDING_MODES, POOLING, SmallCNNConfig
from models.trainer import OPTIMIZERS
from models.training import TrainingConfig
from ui import Services
from ui.components import Tab, empty_html, explain_this, format_count, progress_html, sentence_html
from ui.errors import shows_errors
from ui.own_data import OWN, build_own_data, find_own_data
from ui.workbench import Workbench, list_model_choices

LEARNING_RATES = {"sgd": TrainingConfig.learning_rate, "adam": 0.003, "adamw": 0.003}
"""Good starting points; each optimiser has its own scale."""
HEAD_TITLES = {"gap": "Global average pooling", "flatten": "Flatten", "scan": "Scan, then best position"}
WATCH_SECONDS = 1.0
PRESETS = {
    "Fashion-MNIST, about a minute": {"dataset": "fashion_mnist", "epochs": TrainingConfig.epochs, "head": "gap"},
    "Drawn shapes, a few seconds": {"dataset": "shapes", "epochs": 8, "position": "anywhere", "head": "gap"},
    "Shapes only on the left, flatten": {"dataset": "shapes", "epochs": 8, "position": "left", "head": "flatten"},
}
EXPLANATION = """
The network is trained on mini-batches: forward, loss (cross-entropy), gradient, step. The **training** curve is
the running mean within each epoch, the **validation** curve is measured after each epoch on pictures that are never
trained on; the gap between them is overfitting. The test accuracy is measured once, at the end. Training is a process
of its own: close this page, come back, or watch from another computer. The same seed on the same machine gives the
same weights.
"""


def build_train_tab(services: Services, bench: Workbench) -> Tab:
    """Lays out the tab and wires what happens inside it."""
    with gr.Row(elem_classes="controls"):
        presets = {title: gr.Button(title, size="sm", min_width=200) for title in PRESETS}
    fields, panels = _build_fields(services)
    with gr.Row(elem_classes="controls"):
        start = gr.Button("Start training", variant="primary", elem_id="train-start", size="md", min_width=160)
        stop = gr.Button("Stop", variant="stop", elem_id="train-stop", size="md", min_width=90)
        use = gr.Button("Use this model", elem_id="train-use", size="md", min_width=130)
        delete = gr.Button("Delete run", elem_id="train-delete", size="md", min_width=110)
    run = gr.Dropdown([], label="Run shown below", elem_id="train-run")
    status = gr.HTML(empty_html(_NO_RUN), elem_id="train-status")
    with gr.Row(visible=False) as curves:
        loss = gr.Plot(show_label=False, elem_id="train-loss", min_width=300)
        accuracy = gr.Plot(show_label=False, elem_id="train-accuracy", min_width=300)
    with gr.Accordion("Log", open=False):
        log = gr.Textbox(show_label=False, lines=8, max_lines=16, interactive=False, container=False)
    explain_this(EXPLANATION)
    seen = gr.State(None)
    timer = gr.Timer(WATCH_SECONDS, active=False)
    shown = [status, curves, loss, accuracy, log, seen]

    @shows_errors
    def begin(*values):
        """Starts a training with the settings of the page."""
        settings = dict(zip(fields, values, strict=True))
        config, name = _to_config(services, settings)
        name = services.jobs.start(config, name, is_upload=config.dataset == settings["zip"])
        return gr.update(choices=_run_names(services), value=name)

    def refresh(tab, name):
        """Lists the runs, and watches the chosen one while the tab is open."""
        if tab != "train":
            return gr.skip(), gr.update(active=False), None
        names = _run_names(services)
        name = name if name in names else (names or [None])[0]
        return gr.update(choices=names, value=name), gr.update(active=True), None

    def watch(name, last):
        """Shows a run as it is now; nothing is sent while nothing changes."""
        if not name:
            return gr.skip() if last == _NO_RUN else _show_nothing(_NO_RUN)
        try:
            current = services.jobs.read(name)
        except ModelsError as error:
            return gr.skip() if last == str(error) else _show_nothing(str(error))
        version = [name, current.state, current.message, current.status.get("step"), current.status.get("epoch")]
        return gr.skip() if version == last else (*_show_run(current), version)

    @shows_errors
    def end(name):
        """Asks the run to end at its next step."""
        services.jobs.stop(_chosen(name))

    @shows_errors
    def remove(name, model, compared):
        """Deletes a run that has ended."""
        services.jobs.delete(_chosen(name))
        names, models = _run_names(services), list_model_choices(services)
        lost = RUN_PREFIX + name
        return (
            gr.update(choices=names, value=(names or [None])[0]),
            gr.update(choices=models, value=DEFAULT_MODEL if model == lost else model),
            gr.update(choices=models, value=[other for other in compared or [] if other != lost]),
        )

    @shows_errors
    def choose(name):
        """Makes the run's model the one that all tabs look at."""
        model = RUN_PREFIX + _chosen(name)
        services.lab.registry.get(model)
        choices = list_model_choices(services)
        gr.Info(f"All tabs now use {model}.")
        return gr.update(choices=choices, value=model), gr.update(choices=choices)

    quiet = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    start.click(begin, list(fields.values()), run, api_visibility="private")
    asked = {"api_visibility": "private", "show_progress": "hidden"}  # queued: gradio shows no errors of the others
    stop.click(end, run, None, **asked)
    delete.click(remove, [run, bench.model, bench.compare], [run, bench.model, bench.compare], **asked)
    use.click(choose, run, [bench.model, bench.compare], **asked)
    gr.on([timer.tick, run.change], watch, [run, seen], shown, **quiet)
    for title, button in presets.items():
        button.click(
            lambda changed=PRESETS[title]: [*changed.values(), *_show_panels(changed["dataset"])],
            None,
            [*(fields[key] for key in PRESETS[title]), *panels],
            **quiet,
        ).then(begin, list(fields.values()), run, api_visibility="private")
    return Tab(refresh, [bench.tab, run], [run, timer, seen], on_every_tab=True)


_NO_RUN = "No training yet. Click an example above, or choose settings and start: curves appear here within seconds."


def _build_fields(services: Services) -> tuple[dict[str, gr.components.Component], list[gr.Group]]:
    """The settings by name, and the groups that are shown for one kind of data only."""
    f: dict[str, gr.components.Component] = {}
    datasets = [(spec.title, name) for name, spec in DATASETS.items()] + [(OWN_PICTURES.title, OWN)]
    with gr.Row(elem_classes="controls"):
        f["dataset"] = gr.Dropdown(
            datasets, value="fashion_mnist", label="Data", elem_id="train-dataset", min_width=260, scale=2
        )
        f["epochs"] = gr.Slider(1, 50, TrainingConfig.epochs, step=1, label="Epochs", min_width=160)
        f["augment"] = gr.Checkbox(False, label="Augment", info="Small random changes", min_width=220)
        f["seed"] = gr.Number(0, precision=0, minimum=0, label="Seed", min_width=90)
    with gr.Group(visible=False) as own, gr.Row():
        f["zip"], f["folder"] = build_own_data(services, "train-folder")
    with gr.Group(visible=False) as shapes, gr.Row():
        f["position"] = gr.Dropdown(list(POSITIONS), value=ShapesConfig.position, label="Position", min_width=120)
        f["color"] = gr.Dropdown(list(COLORS), value=ShapesConfig.color, label="Colour", min_width=120)
        f["clutter"] = gr.Slider(0, 1, ShapesConfig.clutter, step=0.05, label="Clutter", min_width=140)
        f["num_images"] = gr.Slider(1000, 20000, ShapesConfig.num_images, step=1000, label="Pictures", min_width=140)
    with gr.Accordion("Architecture", open=False), gr.Row():
        channels = ", ".join(map(str, SmallCNNConfig.channels))
        f["channels"] = gr.Textbox(channels, label="Channels, one number per block", min_width=180)
        f["kernel_size"] = gr.Dropdown([1, 3, 5, 7], value=SmallCNNConfig.kernel_size, label="Kernel", min_width=90)
        f["pooling"] = gr.Dropdown(list(POOLING), value=SmallCNNConfig.pooling, label="Downsampling", min_width=120)
        f["blur_size"] = gr.Slider(2, 5, SmallCNNConfig.blur_size, step=1, label="Blur, if it has one", min_width=130)
        f["padding_mode"] = gr.Dropdown(
            list(PADDING_MODES), value=SmallCNNConfig.padding_mode, label="Padding", min_width=120
        )
        f["head"] = gr.Dropdown(
            [(title, name) for name, title in HEAD_TITLES.items()], value="gap", label="Head", min_width=180
        )
        f["norm"] = gr.Dropdown(list(NORMS), value=SmallCNNConfig.norm, label="Normalisation", min_width=120)
        f["dropout"] = gr.Slider(0, 0.9, SmallCNNConfig.dropout, step=0.05, label="Dropout", min_width=140)
    with gr.Accordion("Optimiser and device", open=False), gr.Row():
        f["optimizer"] = gr.Dropdown(
            list(OPTIMIZERS), value=TrainingConfig.optimizer, label="Optimiser", min_width=110
        )
        f["learning_rate"] = gr.Number(TrainingConfig.learning_rate, label="Learning rate (peak)", min_width=130)
        f["weight_decay"] = gr.Number(TrainingConfig.weight_decay, label="Weight decay", min_width=120)
        f["batch_size"] = gr.Number(TrainingConfig.batch_size, precision=0, label="Batch size", min_width=100)
        f["device"] = gr.Dropdown(
            _list_devices(), value=services.lab.models.device.type, label="Device", min_width=100
        )
        f["name"] = gr.Textbox("", label="Name of the run", placeholder="chosen for you", min_width=160)
    panels = [own, shapes]
    quiet = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    f["dataset"].change(_show_panels, f["dataset"], panels, **quiet)
    f["optimizer"].input(LEARNING_RATES.get, f["optimizer"], f["learning_rate"], **quiet)
    return f, panels


def _show_panels(dataset: str) -> list:
    return [gr.update(visible=dataset == OWN), gr.update(visible=dataset == "shapes")]


def _list_devices() -> list[str]:
    def is_here(name: str) -> bool:
        try:
            return bool(resolve_device(name))
        except ModelsError:
            return False

    return [name for name in DEVICES if is_here(name)]


def _to_config(services: Services, values: dict) -> tuple[TrainingConfig, str | None]:
    """The configuration and the name that the page's settings stand for."""
    dataset = values["dataset"]
    if dataset == OWN:
        dataset = find_own_data(services, values["zip"], values["folder"])
    try:
        channels = tuple(int(part) for part in str(values["channels"]).split(","))
    except ValueError:
        raise ModelsError("Channels are whole numbers with commas between them, such as 16, 48, 96.") from None
    config = TrainingConfig(
        dataset=dataset,
        model={
            "channels": channels,
            **{
                key: values[key]
                for key in ("kernel_size", "pooling", "blur_size", "padding_mode", "head", "norm", "dropout")
            },
        },
        shapes=ShapesConfig(
            num_images=int(values["num_images"]), **{key: values[key] for key in ("position", "color", "clutter")}
        ),
        data_root=str(services.lab.data_root),
        **{
            key: values[key]
            for key in (
                *("epochs", "batch_size", "optimizer", "learning_rate"),
                *("weight_decay", "augment", "seed", "device"),
            )
        },
    )
    return config, values["name"].strip() or None


def _chosen(name: str | None) -> str:
    if not name:
        raise ModelsError("There is no run to do this with; start a training first.")
    return name


def _run_names(services: Services) -> list[str]:
    return [run.name for run in services.jobs.list("training")]


def _show_run(run: Run) -> tuple:
    status, records = run.status, run.metrics
    epochs = max(status.get("epochs") or 1, 1)
    steps_per_epoch = max((status.get("total_steps") or epochs) / epochs, 1)
    plots = (plot_training(records, measure, steps_per_epoch) for measure in ("loss", "accuracy"))
    text = sentence_html(_describe_run(run), _TONES.get(run.state, "")) + _bar(run) + _list_skipped(run)
    return text, gr.update(visible=bool(records)), *plots, run.log_tail


def _show_nothing(reason: str) -> tuple:
    return empty_html(reason), gr.update(visible=False), None, None, "", reason


_TONES = {"finished": "good", "failed": "bad", "damaged": "bad"}


def _describe_run(run: Run) -> str:
    status, result = run.status, run.result or {}
    if run.state == "running" and status.get("samples_per_second"):
        epoch = f"epoch {max(status['epoch'], 1)} of {status['epochs']}"
        speed = f"{format_count(status['samples_per_second'])} pictures a second"
        return f"{run.name}: running, {epoch}, {speed}, about {status['seconds_left']:.0f} s left."
    if result.get("test_accuracy") is not None:
        accuracy = f"test accuracy {result['test_accuracy']:.1%}, validation {result['val_accuracy']:.1%}"
        return f"{run.name}: {run.state} after {result['epochs']} epochs and {result['seconds']:.0f} s, {accuracy}."
    notes = {"queued": "It waits until the device is free.", "stopped": "The model so far can be used."}
    note = notes.get(run.state, "") if run.state != "stopped" or run.has_model else ""
    return f"{run.name}: {run.state}. {run.message} {note}".rstrip()


def _list_skipped(run: Run) -> str:
    """The files that were left out; the run keeps at most the first hundred."""
    skipped = run.status.get("skipped") or []
    lines = "".join(f"<li>{escape(line)}</li>" for line in skipped)
    summary = f"{len(skipped)}{' or more' if len(skipped) >= 100 else ''} files were left out"
    return f'<details class="note"><summary>{summary}</summary><ul>{lines}</ul></details>' if skipped else ""


def _bar(run: Run) -> str:
    if run.state not in UNFINISHED:
        return ""
    total = run.status.get("total_steps") or 1
    share = (run.status.get("step") or 0) / total
    return progress_html(share)
