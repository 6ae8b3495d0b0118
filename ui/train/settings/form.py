"""What is trained and how: the settings of the Train tab, and the configuration that they stand for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from analysis.errors import UserError
from models.devices import DEVICES, resolve_device
from models.training.config import TrainingConfig
from models.training.optimization import LOSSES, OPTIMIZERS, SCHEDULES
from models.training.precision import PRECISIONS
from models.training.trackers import TRACKERS
from ui.services import Services
from ui.train.settings.augmentation import build_augment_panel
from ui.train.settings.data import build_data_panel
from ui.train.settings.learning_rate import build_rate_panel
from ui.train.settings.network import build_network_panel
from ui.widgets.events import QUICK, Field, Values

LEARNING_RATES = {"sgd": TrainingConfig.learning_rate, "adam": 0.003, "adamw": 0.003}
"""Good starting points; each optimiser has its own scale."""
SCHEDULE_TITLES = {
    "one_cycle": "One cycle: up, then down",
    "constant": "Constant",
    "step": "Steps: a tenth at 1/2 and 3/4",
    "cosine": "Cosine",
}
OPTIMIZER_TITLES = {"sgd": "SGD with momentum", "adam": "Adam", "adamw": "AdamW"}
PLAIN = (
    *("epochs", "batch_size", "optimizer", "learning_rate", "schedule", "weight_decay", "l1", "loss"),
    *("label_smoothing", "accumulate", "precision", "compile", "seed", "device", "trackers"),
)
"""Fields whose value is that of the setting of the same name."""
OFF_AT_ZERO = ("clip_norm", "patience", "snapshot_every")


@dataclass(frozen=True)
class TrainForm:
    """The settings.

    Attributes:
        fields: Components by name; those of ``DataPanel``, ``NetworkPanel`` and ``AugmentPanel`` are among them.
        read: Values by name -> the configuration and the name of the run (None: to be chosen). UserError.
        is_upload: Values by name -> whether the data are a file that may vanish.
    """

    fields: dict[str, Field]
    read: Callable[[Mapping], tuple[TrainingConfig, str | None]]
    is_upload: Callable[[Mapping], bool]

    @property
    def inputs(self) -> list[Field]:
        """The components, for a handler that gives what it gets to :meth:`name_values`."""
        return list(self.fields.values())

    def read_config(self, values: Values) -> TrainingConfig:
        """The configuration that the values of the components stand for; UserError."""
        return self.read({name: values[field] for name, field in self.fields.items()})[0]

    def name_values(self, values: Sequence[Any]) -> dict[str, Any]:
        """The values of ``inputs`` by name."""
        return dict(zip(self.fields, values, strict=True))


def build_train_form(services: Services) -> TrainForm:
    """Lays out the settings and wires what depends on what."""
    with gr.Tabs(elem_id="train-settings"):
        with gr.Tab("Data", id="data") as data_tab:
            data = build_data_panel(services)
        with gr.Tab("Augmentation", id="augment") as augment_tab:
            augment = build_augment_panel(services, data)
        with gr.Tab("Network", id="network") as network_tab:
            network = build_network_panel(services, data)
        with gr.Tab("Training", id="training"):
            own = _build_training(services, data.fields["seed"])
            fields: dict[str, Field] = data.fields | augment.fields | network.fields | own

            def read(values: Mapping) -> tuple[TrainingConfig, str | None]:
                panels = {**data.read(values), **augment.read(values), **network.read(values)}
                return _read(services, values, panels)

            build_rate_panel(services, fields, lambda values: read(values)[0])
    for tab, panel in ((data_tab, data), (augment_tab, augment), (network_tab, network)):
        tab.select(**panel.on_open)
    fields["loss"].change(  # also by a preset
        lambda loss: gr.update(interactive=LOSSES[loss].allows_smoothing, value=0.0),
        *(fields["loss"], fields["label_smoothing"]),
        **QUICK,
    )
    return TrainForm(fields, read, data.is_upload)


def _build_training(services: Services, seed: Field) -> dict[str, Field]:
    f: dict[str, Field] = {}
    default = TrainingConfig
    with gr.Row():
        f["epochs"] = gr.Slider(1, 100, default.epochs, step=1, label="Epochs", elem_id="train-epochs", min_width=180)
        f["optimizer"] = optimizer = gr.Dropdown(
            [(title, name) for name, title in OPTIMIZER_TITLES.items() if name in OPTIMIZERS],
            value=default.optimizer,
            label="Optimiser",
            min_width=200,
        )
        f["learning_rate"] = gr.Number(
            default.learning_rate, label="Learning rate (peak)", elem_id="train-rate", min_width=140
        )
        f["schedule"] = gr.Dropdown(
            [(SCHEDULE_TITLES[name], name) for name in SCHEDULES],
            value=default.schedule,
            label="Schedule",
            min_width=250,
        )
    with gr.Row():
        f["batch_size"] = gr.Number(default.batch_size, precision=0, label="Batch size", min_width=110)
        f["loss"] = gr.Dropdown(
            [(loss.title, name) for name, loss in LOSSES.items()], value=default.loss, label="Loss", min_width=250
        )
        f["label_smoothing"] = gr.Slider(0, 0.5, 0, step=0.05, label="Label smoothing", min_width=150)
        f["weight_decay"] = gr.Number(default.weight_decay, label="Weight decay (L2)", min_width=130)
        f["l1"] = gr.Number(default.l1, label="L1 penalty", min_width=110)
        seed.render()
    optimizer.input(LEARNING_RATES.get, optimizer, f["learning_rate"], **QUICK)
    with gr.Accordion("More: stopping early, clipping, precision, device, name", open=False):
        with gr.Row():
            f["patience"] = gr.Slider(
                0, 20, 0, step=1, label="Stop early after", info="Epochs without progress; 0: never", min_width=180
            )
            f["clip_norm"] = gr.Number(0, label="Clip gradients at", info="Norm; 0: never", min_width=140)
            f["accumulate"] = gr.Slider(
                1, 16, 1, step=1, label="Parts of a batch", info="More: less memory", min_width=160
            )
            f["precision"] = gr.Dropdown(list(PRECISIONS), value=default.precision, label="Precision", min_width=120)
            f["snapshot_every"] = gr.Number(
                0, precision=0, label="Snapshot every", info="Steps; 0: chosen for you", min_width=140
            )
        with gr.Row():
            f["compile"] = gr.Checkbox(False, label="torch.compile", info="Pays for long trainings", min_width=160)
            f["trackers"] = gr.CheckboxGroup(list(TRACKERS), value=[], label="Report also to", min_width=200)
            f["device"] = gr.Dropdown(
                _list_devices(), value=services.lab.models.device.type, label="Device", min_width=100
            )
            f["name"] = gr.Textbox("", label="Name of the run", placeholder="chosen for you", min_width=160)
    return f


def _list_devices() -> list[str]:
    def is_here(name: str) -> bool:
        try:
            return bool(resolve_device(name))
        except UserError:
            return False

    return [name for name in DEVICES if is_here(name)]


def _read(services: Services, values: Mapping, panels: dict) -> tuple[TrainingConfig, str | None]:
    """The configuration and the name that the page's settings stand for."""
    plain: dict[str, Any] = {key: values[key] for key in PLAIN}
    optional: dict[str, Any] = {key: values[key] or None for key in OFF_AT_ZERO}
    config = TrainingConfig(**panels, **plain, **optional, data_root=str(services.lab.data_root))
    return config, values["name"].strip() or None
