"""What is trained and how: the settings of the Train tab, and the configuration that they stand for."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from analysis.errors import UserError
from models.data.augment.augment import AugmentConfig
from models.data.datasets import DATASETS
from models.devices import DEVICES, resolve_device
from models.runs.submit import PLACES
from models.training.config import TrainingConfig
from models.training.optimization import LOSSES, OPTIMIZERS, SCHEDULES
from models.training.precision import PRECISIONS
from models.training.trackers import TRACKERS
from ui.services import Action, Services
from ui.train.settings.augmentation import KEY, AugmentPanel, build_augment_panel, suited_strengths
from ui.train.settings.data import DataPanel, Look, build_data_panel, name_values
from ui.train.settings.data_values import SHAPES_KEYS
from ui.train.settings.learning_rate import build_rate_panel
from ui.train.settings.network import NetworkPanel, build_network_panel
from ui.widgets.events import HIDDEN, QUICK, Block, Field, Update, Values
from ui.widgets.own_data import OWN
from ui.widgets.switch import Switch, merge

VIEW = "train-settings"
PARTS = {"data": "Data", "augment": "Augmentation", "network": "Network", "training": "Training"}
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
        parts: Which kind of settings is on the screen.
        looks: Kind of settings -> what is shown of them.
        switches: What is there with which choice.
        read: Values by name -> the configuration and the name of the run (None: to be chosen). UserError.
        is_upload: Values by name -> whether the data are a file that may vanish.
    """

    fields: dict[str, Field]
    parts: Switch
    looks: Mapping[str, Look]
    switches: Sequence[Switch]
    read: Callable[[Mapping], tuple[TrainingConfig, str | None]]
    is_upload: Callable[[Mapping], bool]

    @property
    def part(self) -> Field:
        """The control that chooses which kind of settings is on the screen."""
        return self.parts.control

    @property
    def inputs(self) -> set[Any]:
        """Of :meth:`look` and :meth:`read_config`."""
        return {*self.fields.values(), self.part, *(part for look in self.looks.values() for part in look.inputs)}

    @property
    def shown(self) -> list[Block]:
        """Outputs of :meth:`look`."""
        return list(dict.fromkeys(part for look in self.looks.values() for part in look.outputs))

    @property
    def outputs(self) -> list[Block]:
        """Of :meth:`fill`."""
        groups = (group for switch in self.switches for group in switch.groups)
        return list(dict.fromkeys([*self.fields.values(), *groups, *self.shown]))

    def read_config(self, values: Values) -> TrainingConfig:
        """The configuration that the values of the components stand for; UserError."""
        return self.read(name_values(self.fields, values))[0]

    def look(self, values: Values, action: Action) -> Values:
        """What is shown of the settings on the screen."""
        look = self.looks.get(values[self.part])
        found = look.show(values, action) if look else {}
        return {} if found == gr.skip() else found

    def fill(self, settings: Mapping[str, Any], values: Values, action: Action) -> Values:
        """Sets fields by name, with all that depends on them; the values of the fields are among the updates."""
        filled: Values = {self.fields[key]: value for key, value in settings.items()}
        there = [switch.show(filled[switch.control]) for switch in self.switches if switch.control in filled]
        smoothing: Values = {}
        if "loss" in settings:
            smoothing[self.fields["label_smoothing"]] = _fit_smoothing(settings["loss"])
        return merge(*there, smoothing, filled, self.look(values | filled, action))

    def write(self, config: TrainingConfig, folders: Collection[str]) -> dict[str, Any]:
        """Values by name that stand for a configuration, as far as the page has a field for it.

        Args:
            config: The configuration.
            folders: Those that own pictures can be chosen from.
        """
        told = config.to_dict()
        settings: dict[str, Any] = {key: told[key] for key in PLAIN if key not in PLACES}
        settings |= {key: told[key] or 0 for key in (*OFF_AT_ZERO, "image_size", "train_limit")}
        settings |= {"label_noise": config.label_noise, "architecture": config.architecture, "name": ""}
        settings |= {key: told["shapes"][key] for key in SHAPES_KEYS}
        for key, value in told["model"].items():
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            settings[f"{config.architecture}.{key}"] = text
        settings |= {"dataset": config.dataset} if config.dataset in DATASETS else {"dataset": OWN}
        folder = Path(config.dataset).name
        if settings["dataset"] == OWN and folder in folders:
            settings |= {"own_source": "files", "zip": None, "folder": folder}
        return settings | _write_augment(config)


def _write_augment(config: TrainingConfig) -> dict[str, Any]:
    """The mode and the strengths."""
    if isinstance(config.augment, AugmentConfig):
        return {"augment": "own"} | {KEY.format(name): part for name, part in config.augment.to_dict().items()}
    strengths = suited_strengths(config.dataset) if config.augment else AugmentConfig()
    mode = "suited" if config.augment else "off"
    return {"augment": mode} | {KEY.format(name): part for name, part in strengths.to_dict().items()}


def _fit_rate(optimizer: str) -> float | None:
    """The learning rate to begin with."""
    return LEARNING_RATES.get(optimizer)


def _fit_smoothing(loss: str) -> Update:
    """Labels are smoothed only where the loss has probabilities."""
    allows = LOSSES[loss].allows_smoothing
    return gr.update(interactive=allows) if allows else gr.update(interactive=False, value=0.0)


def build_train_form(services: Services) -> TrainForm:
    """Lays out the settings and wires what depends on what."""
    part = gr.Radio(
        [(title, name) for name, title in PARTS.items()],
        value="data",
        label="Settings shown",
        show_label=False,
        container=False,
        elem_id="train-settings",
    )
    with gr.Column() as data_group:
        data = build_data_panel(services)
    with gr.Column() as augment_group:
        augment = build_augment_panel(services, data)
    with gr.Column() as network_group:
        network = build_network_panel(services, data)
    with gr.Column() as training_group:
        own = _build_training(services, data.fields["seed"])
        fields: dict[str, Field] = data.fields | augment.fields | network.fields | own

        def read(values: Mapping) -> tuple[TrainingConfig, str | None]:
            panels = {**data.read(values), **augment.read(values), **network.read(values)}
            return _read(services, values, panels)

        pace = build_rate_panel(services, fields, lambda values: read(values)[0])
    groups = (data_group, augment_group, network_group, training_group)
    parts = Switch(part, {group: [name] for name, group in zip(PARTS, groups, strict=True)})
    looks = {"data": data.look, "augment": augment.look, "network": network.look, "training": pace}
    form = TrainForm(fields, parts, looks, [*data.switches, *network.switches], read, data.is_upload)
    _wire_looks(services, form, data, augment, network)
    return form


def _wire_looks(
    services: Services, form: TrainForm, data: DataPanel, augment: AugmentPanel, network: NetworkPanel
) -> None:
    """Shows what is chosen as it is chosen."""
    mode, *sliders = augment.fields.values()

    def on(events: Sequence[Any], change: Callable[[Values], Values] = lambda values: {}) -> None:
        def renew(values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Values:
            """Shows what comes of a choice, and of what else it decides."""
            changed = change(values)
            fitted = changed | augment.fit(values | changed)
            with services.act(request, progress, VIEW) as action:
                return merge(fitted, form.look(values | fitted, action)) or gr.skip()

        outputs = [*form.shown, mode, *sliders, augment.seed]
        gr.on(events, renew, form.inputs, outputs, **HIDDEN, trigger_mode="always_last")

    pace = form.fields["epochs"], form.fields["batch_size"]
    chosen = [form.part, mode, *data.looked_at, *network.fields.values(), *pace]
    on([event for each in chosen for event in _list_events(each)])
    on([event for slider in sliders for event in _list_events(slider)], lambda values: {mode: "own"})
    on([augment.again.click], lambda values: {augment.seed: values[augment.seed] + 1})
    on([augment.reset.click], lambda values: {mode: "off"})


def _list_events(field: Field) -> list[Any]:
    """What a visitor can do with a control to choose something else."""
    if isinstance(field, gr.File):
        return [field.upload, field.clear]
    if isinstance(field, gr.Textbox):  # gradio does not hear what is pasted
        return [field.input, field.blur]
    return [field.release if isinstance(field, gr.Slider) else field.input]


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
        f["loss"] = loss = gr.Dropdown(
            [(loss.title, name) for name, loss in LOSSES.items()], value=default.loss, label="Loss", min_width=250
        )
        f["label_smoothing"] = gr.Slider(0, 0.5, 0, step=0.05, label="Label smoothing", min_width=150)
        f["weight_decay"] = gr.Number(default.weight_decay, label="Weight decay (L2)", min_width=130)
        f["l1"] = gr.Number(default.l1, label="L1 penalty", min_width=110)
        seed.render()
    loss.input(_fit_smoothing, loss, f["label_smoothing"], **QUICK)
    optimizer.input(_fit_rate, optimizer, f["learning_rate"], **QUICK)
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
