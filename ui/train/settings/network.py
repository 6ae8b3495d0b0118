"""Choosing a network: controls made from the options of each architecture, and what would come of the choice."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import gradio as gr
from markupsafe import Markup

from analysis.network.summary import Summary
from lab.network_summary import DataKind, fit_kind, summarize_network
from models.networks.options import list_options
from models.networks.table import ARCHITECTURES
from models.settings import Choice, Integer, Integers, Number, Setting
from models.training.config import TrainingConfig
from models.zoo.backbones import BACKBONES, find_backbone
from ui.services import Services
from ui.train.settings.data import DataPanel, when_visible
from ui.widgets.errors import answers_errors
from ui.widgets.html import empty_html, format_count, notes_html, sentence_html, table_html
from ui.workbench import format_bytes

COLUMNS = ("layer", "kind", "output shape", "parameters", "multiply-adds", "sees, px", "stride")
MAX_ROWS = 400
SLIDER_STEPS = 100
"""More whole numbers than these are typed, not slid to."""
ABOUT_NUMBERS = (
    "Shapes are channels × height × width for one picture. Multiply-adds are those of convolutions and matrix "
    "products. “Sees” is the side of the receptive field in input pixels, “stride” the input pixels from one cell to "
    "the next; a dash where there are no positions or no fixed window."
)


@dataclass(frozen=True)
class NetworkPanel:
    """The part of the page where the network is chosen.

    Attributes:
        fields: ``architecture`` (a key of ``ARCHITECTURES``), and for every option of every architecture
            ``<architecture>.<option>``, such as ``small_cnn.head``; lists of numbers are text, "16, 64, 64".
        read: Values by key -> the arguments ``architecture`` and ``model`` of ``TrainingConfig``; UserError for a
            value that is not possible by itself.
        on_open: An event listener, as keyword arguments, for when this part of the page is opened.
    """

    fields: dict[str, gr.components.Component]
    read: Callable[[Mapping], dict]
    on_open: dict


def build_network_panel(services: Services, data: DataPanel) -> NetworkPanel:
    """Lays out the panel and wires it."""
    choices = [(config_class.title, name) for name, (config_class, _) in ARCHITECTURES.items()]
    fields: dict[str, gr.components.Component] = {}
    with gr.Row(elem_classes="controls"):
        fields["architecture"] = gr.Dropdown(
            choices,
            value=TrainingConfig.architecture,
            label="Architecture",
            elem_id="train-architecture",
            min_width=300,
            scale=0,
        )
    groups = {}
    for name, (config_class, _) in ARCHITECTURES.items():
        options = list_options(config_class)
        with gr.Group(visible=name == TrainingConfig.architecture) as groups[name]:
            if not options:
                gr.HTML(empty_html("Nothing to choose: one template of the whole picture per class."))
            with gr.Row(visible=bool(options)):
                controls = {f"{name}.{key}": _build_control(name, key, option) for key, option in options.items()}
        fields |= controls
        _wire_effects(name, options, controls)
    summary = gr.HTML(elem_id="network-summary")
    shown = gr.Checkbox(True, visible=False)
    settings = fields | data.fields

    @answers_errors(lambda message: sentence_html(message, "bad"))
    def show(*inputs):
        """The layers of the network that is chosen, or why there can be none."""
        *values, is_visible = inputs
        if not is_visible:
            return gr.skip()
        values = dict(zip(settings, values, strict=True))
        chosen, kind = read_network(values), data.find_kind(values)
        network = chosen["architecture"], chosen["model"]
        if not values["image_size"]:
            kind = fit_kind(*network, kind)
        return describe_network(summarize_network(*network, kind), kind)

    architecture = fields["architecture"]
    quiet = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    architecture.change(
        lambda name: [gr.update(visible=name == other) for other in groups],
        architecture,
        list(groups.values()),
        **quiet,
    )
    backbones = {"fn": list_backbone_choices, "inputs": [architecture, fields["transfer.backbone"]]}
    architecture.change(**backbones, outputs=fields["transfer.backbone"], **quiet)
    listen = {"inputs": [*settings.values(), shown], "outputs": summary, "fn": show, **quiet}
    looked_at = [data.fields[key] for key in data.fields if key not in ("train_limit", "label_noise")]
    gr.on(
        [component.change for component in [*fields.values(), *looked_at]],
        **listen,
        js=when_visible("network-summary"),
        trigger_mode="always_last",
    )
    return NetworkPanel(fields, read_network, listen)


def read_network(values: Mapping) -> dict:
    """The arguments ``architecture`` and ``model`` of ``TrainingConfig``, the options of other networks left out.

    Raises:
        UserError: A value that is not possible by itself.
    """
    name = values["architecture"]
    options = list_options(ARCHITECTURES[name][0])
    return {
        "architecture": name,
        "model": {key: _read_option(key, option, values[f"{name}.{key}"]) for key, option in options.items()},
    }


def describe_network(summary: Summary, kind: DataKind) -> Markup:
    """The totals in words, and a row for each layer."""
    colour = "grey" if kind.in_channels == 1 else "colour"
    text = (
        f"{format_count(summary.num_params)} parameters and {format_count(summary.multiply_adds)} multiply-adds "
        f"for a {colour} picture of {kind.image_size} × {kind.image_size} pixels in {kind.num_classes} classes."
    )
    rows = [
        [
            row.name,
            row.kind,
            " × ".join(map(str, row.output_shape)),
            f"{row.num_params:,}" if row.num_params else "–",
            f"{row.multiply_adds:,}" if row.multiply_adds else "–",
            "–" if row.receptive_field is None else row.receptive_field,
            "–" if row.stride is None else row.stride,
        ]
        for row in summary.rows[:MAX_ROWS]
    ]
    rows.append(["all", "", "", f"{summary.num_params:,}", f"{summary.multiply_adds:,}", "", ""])
    return sentence_html(text) + table_html(COLUMNS, rows) + notes_html(filter(None, (kind.note, ABOUT_NUMBERS)))


def list_backbone_choices(architecture: str, chosen: str):
    """The pretrained networks, those whose weights are here first; only asked for where they are needed."""
    if architecture != "transfer":
        return gr.skip()
    specs = sorted(map(find_backbone, BACKBONES), key=lambda spec: not spec.is_cached)
    choices = [
        (
            f"{spec.name} (on this machine)"
            if spec.is_cached
            else f"{spec.name} ({format_bytes(spec.weights.num_bytes)} download)",
            spec.name,
        )
        for spec in specs
    ]
    return gr.update(choices=choices, value=chosen)


def _build_control(architecture: str, key: str, option: Setting) -> gr.components.Component:
    common = {"label": option.title, "elem_id": f"{architecture}-{key}", "min_width": 210}
    return _CONTROLS[type(option)](option, common)


def _build_choice(option: Choice, common: dict) -> gr.components.Component:
    if option.table is BACKBONES:
        # Only torchvision knows all of them, and it is not loaded before it is needed. Until then, any name will do.
        return gr.Dropdown([option.default], value=option.default, allow_custom_value=True, **common)
    return gr.Dropdown([(title, name) for name, title in option.choices.items()], value=option.default, **common)


def _build_integer(option: Integer, common: dict) -> gr.components.Component:
    if (option.high - option.low) / option.step > SLIDER_STEPS * 2:
        return gr.Number(option.default, precision=0, minimum=option.low, maximum=option.high, **common)
    return gr.Slider(option.low, option.high, option.default, step=option.step, **common)


_CONTROLS: dict[type[Setting], Callable[..., gr.components.Component]] = {
    Choice: _build_choice,
    Integer: _build_integer,
    Number: lambda option, common: gr.Slider(option.low, option.high, option.default, step=0.05, **common),
    Integers: lambda option, common: gr.Textbox(", ".join(map(str, option.default)), **common),
}
"""Kind of setting -> its control."""


def _read_option(key: str, option: Setting, value: object) -> object:
    """The value of a control; text stands for lists of numbers, and sliders may give 3.0 for 3."""
    if isinstance(option, Integers):
        return option.parse(key, str(value))
    if isinstance(option, Integer) and isinstance(value, float) and value.is_integer():
        value = int(value)
    option.check(key, value)
    return value


def _wire_effects(name: str, options: Mapping[str, Setting], controls: Mapping[str, gr.components.Component]) -> None:
    """Shows options that have an effect with certain values of another one only with those."""
    for key, option in options.items():
        for other, values in option.only_with.items():
            control = controls[f"{name}.{key}"]
            control.visible = options[other].default in values
            controls[f"{name}.{other}"].change(
                lambda value, values=values: gr.update(visible=value in values),
                *(controls[f"{name}.{other}"], control),
                **{"api_visibility": "private", "show_progress": "hidden", "queue": False},
            )
