"""Choosing a network: controls made from the options of each architecture, and what would come of the choice."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from markupsafe import Markup

from analysis.errors import UserError
from analysis.grammar import count
from analysis.network.summary import Summary
from lab.network_summary import DataKind, fit_kind, summarize_network
from models.networks.options import list_options
from models.networks.table import ARCHITECTURES
from models.settings import Choice, Integer, Integers, Number, Setting, Text
from models.training.config import TrainingConfig
from models.zoo.backbones import BACKBONES, find_backbone
from ui.services import Action, Services
from ui.train.settings.data import SIDES, DataPanel, Look, name_values
from ui.widgets.errors import answers_errors
from ui.widgets.events import Block, Field, Update, Values
from ui.widgets.html import empty_html, format_count, notes_html, sentence_html, table_html
from ui.widgets.switch import Switch

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
        look: The layers of the network that is chosen.
        switches: What is there with which choice.
    """

    fields: dict[str, Field]
    read: Callable[[Mapping], dict]
    look: Look
    switches: Sequence[Switch]


def build_network_panel(services: Services, data: DataPanel) -> NetworkPanel:
    """Lays out the panel and wires it."""
    choices = [(config_class.title, name) for name, (config_class, _) in ARCHITECTURES.items()]
    with gr.Row(elem_classes="controls"):
        architecture = gr.Dropdown(
            choices,
            value=TrainingConfig.architecture,
            label="Architecture",
            elem_id="train-architecture",
            min_width=300,
            scale=0,
        )
    fields: dict[str, Field] = {"architecture": architecture}
    groups: dict[Block, list[str]] = {}
    switches: list[Switch] = []
    for name, (config_class, _) in ARCHITECTURES.items():
        options = list_options(config_class)
        with gr.Group() as group:
            if not options:
                gr.HTML(empty_html("Nothing to choose: one template of the whole picture per class."))
            with gr.Row(visible=bool(options)):
                controls = {f"{name}.{key}": _build_control(name, key, option) for key, option in options.items()}
        groups[group] = [name]
        fields |= controls
        switches += _list_effects(name, options, controls)
    summary = gr.HTML(elem_id="network-summary")
    settings: dict[str, Field] = fields | data.fields
    backbone = fields["transfer.backbone"]

    @answers_errors(lambda message: {summary: sentence_html(message, "bad")})
    def show(values: Values, action: Action) -> Values:
        """The layers of the network that is chosen, or why there can be none."""
        named = name_values(settings, values)
        chosen, kind = read_network(named), data.find_kind(named)
        network = chosen["architecture"], chosen["model"]
        if not named["image_size"]:
            kind = fit_kind(*network, kind)
        return {summary: describe_network(summarize_network(*network, kind), kind)}

    def look(values: Values, action: Action) -> Values:
        """The same, with the pretrained networks where one is to be chosen."""
        return {backbone: list_backbone_choices(values[architecture], values[backbone]), **show(values, action)}

    switches.append(Switch(architecture, groups))
    return NetworkPanel(fields, read_network, Look(look, [*settings.values()], [summary, backbone]), switches)


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


def read_stack(text: str) -> dict[str, Any]:
    """The settings by name for a network that was put together in Learn, and for data that it fits.

    Raises:
        UserError: It is none.
    """
    try:
        told = json.loads(text)
        (channels, side, _), layers = map(int, told["input"]), str(told["layers"])
    except (ValueError, TypeError, KeyError) as error:
        raise UserError("A stack to train needs its input and its layers.") from error
    nearest = min(SIDES, key=lambda each: abs(each - side))
    data = {"dataset": "fashion_mnist" if channels == 1 else "shapes", "image_size": nearest}
    return {"architecture": "stack", "stack.layers": layers, **data}


def describe_network(summary: Summary, kind: DataKind) -> Markup:
    """The totals in words, and a row for each layer."""
    colour = "grey" if kind.in_channels == 1 else "colour"
    text = (
        f"{format_count(summary.num_params)} parameters and {format_count(summary.multiply_adds)} multiply-adds "
        f"for a {colour} picture of {kind.image_size} × {kind.image_size} pixels in "
        f"{count(kind.num_classes, 'class')}."
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


def list_backbone_choices(architecture: str, chosen: str) -> Update:
    """The pretrained networks, those whose weights are here first; only asked for where they are needed."""
    if architecture != "transfer":
        return gr.skip()
    specs = sorted(map(find_backbone, BACKBONES), key=lambda spec: not spec.is_cached)
    sizes = ((spec.name, spec.to_download) for spec in specs)
    choices = [(f"{name} ({f'{size} download' if size else 'on this machine'})", name) for name, size in sizes]
    return gr.update(choices=choices, value=chosen)


def _build_control(architecture: str, key: str, option: Setting) -> Field:
    common = {"label": option.title, "elem_id": f"{architecture}-{key}", "min_width": 210}
    return _CONTROLS[type(option)](option, option.default, common)


def _build_choice(option: Choice, default: Any, common: dict) -> Field:
    if option.table is BACKBONES:
        # Only torchvision knows all of them, and it is not loaded before it is needed. Until then, any name will do.
        return gr.Dropdown([default], value=default, allow_custom_value=True, **common)
    return gr.Dropdown([(title, name) for name, title in option.choices.items()], value=default, **common)


def _build_integer(option: Integer, default: Any, common: dict) -> Field:
    if (option.high - option.low) / option.step > SLIDER_STEPS * 2:
        return gr.Number(default, precision=0, minimum=option.low, maximum=option.high, **common)
    return gr.Slider(option.low, option.high, default, step=option.step, **common)


_CONTROLS: dict[type[Setting], Callable[..., Field]] = {
    Choice: _build_choice,
    Integer: _build_integer,
    Number: lambda option, default, common: gr.Slider(option.low, option.high, default, step=0.05, **common),
    Integers: lambda option, default, common: gr.Textbox(", ".join(map(str, default)), **common),
    Text: lambda option, default, common: gr.Textbox(default, lines=2, max_lines=8, **common | {"min_width": 600}),
}
"""Kind of setting -> its control, with a default of this kind."""


def _read_option(key: str, option: Setting, value: object) -> object:
    """The value of a control; text stands for lists of numbers, and sliders may give 3.0 for 3."""
    if isinstance(option, Integers):
        return option.parse(key, str(value))
    if isinstance(option, Integer) and isinstance(value, float) and value.is_integer():
        value = int(value)
    option.check(key, value)
    return value


def _list_effects(name: str, options: Mapping[str, Setting], controls: Mapping[str, Field]) -> list[Switch]:
    """Shows options that have an effect with certain values of another one only with those."""
    return [
        Switch(controls[f"{name}.{other}"], {controls[f"{name}.{key}"]: values})
        for key, option in options.items()
        for other, values in option.only_with.items()
    ]
