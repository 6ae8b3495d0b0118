"""What is trained on: choosing a data set or own pictures, and looking at them before anything is trained."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from torch import Tensor

from analysis.errors import Cancelled, Progress
from analysis.figures.classes import plot_class_balance
from lab.data_overview import DataOverview, describe_data, is_quick
from lab.network_summary import DataKind
from models.data.datasets import DATASETS, OWN_PICTURES
from models.data.shapes import COLORS, MAX_OCCLUSION, POSITIONS, ShapesConfig
from models.training.config import TrainingConfig
from ui.services import Action, Services, Superseded
from ui.train.settings.data_preview import describe_overview, draw_classes
from ui.train.settings.data_values import Samples, find_subject, read_data, read_kind
from ui.widgets.chart import Chart
from ui.widgets.errors import answers_errors, clears_on_errors
from ui.widgets.events import PRIVATE, Block, Field, Values
from ui.widgets.html import empty_html
from ui.widgets.own_data import OWN, OwnPictures, build_own_pictures
from ui.widgets.switch import Switch

VIEW = "data-preview"
SIDES = (16, 28, 32, 48, 64, 96, 128, 160, 192, 224, 256)
SHAPES_TITLES = {
    "anywhere": "anywhere",
    "left": "on the left",
    "right": "on the right",
    "center": "in the centre",
    "random": "random",
    "by_class": "one for each class",
    "fixed": "the same for all",
}
EMPTY = "Press “Look at the data”: examples and the mean of each class, how many there are, and what to beware of."
NO_PICTURES = "Choose own pictures above, then press “Look at the data”."


@dataclass(frozen=True)
class Look:
    """What is shown of the settings of one kind, once they are chosen.

    Attributes:
        show: Values of ``inputs`` by component -> those of ``outputs``.
        inputs: Of ``show``.
        outputs: Of ``show``.
    """

    show: Callable[[Values, Action], Values]
    inputs: Sequence[Block]
    outputs: Sequence[Block]


@dataclass(frozen=True)
class DataPanel:
    """The part of the page where the data are chosen.

    Attributes:
        fields: What can be chosen, by key: ``dataset`` (a key of ``DATASETS`` or ``own_data.OWN``), ``image_size``
            (0: the set's own), ``train_limit`` (0: all), ``label_noise`` (share), of own pictures those of
            ``own_data.OwnPictures``, and of shapes those of ``ShapesConfig``: ``position``, ``color``, ``clutter``,
            ``min_size``, ``max_size``, ``occlusion``, ``num_images``. Also ``seed``, which divides or draws them: it
            belongs to the whole training, and whoever lays that out renders it.
        read: Values by key -> the arguments of ``TrainingConfig`` that they stand for: dataset, shapes, image_size,
            train_limit, label_noise. UserError where own pictures are not chosen or cannot be used.
        is_upload: Values by key -> whether the data set is a file that may vanish, so that a run must copy it.
        find_kind: Values by key -> what of the data decides the shapes in a network, without opening pictures.
        find_pictures: Values by key -> three training pictures ``(3, C, H, W)`` uint8, or None where there are
            none at hand yet.
        look: What the data look like, where that is looked at and quick.
        switches: What is there with which choice.
    """

    fields: dict[str, Field]
    read: Callable[[Mapping], dict]
    is_upload: Callable[[Mapping], bool]
    find_kind: Callable[[Mapping], DataKind]
    find_pictures: Callable[[Mapping], Tensor | None]
    look: Look
    switches: Sequence[Switch]

    @property
    def looked_at(self) -> list[Field]:
        """The fields that decide how the pictures look."""
        return [field for key, field in self.fields.items() if key not in ("train_limit", "label_noise")]


def name_values(fields: Mapping[str, Field], values: Values) -> dict[str, Any]:
    """Values by component, by the names of the fields."""
    return {key: values[field] for key, field in fields.items()}


def build_data_panel(services: Services) -> DataPanel:
    """Lays out the panel and wires it."""
    fields, own, chosen = _build_fields(services)
    samples = Samples(services.lab.data_root)
    with gr.Row(elem_classes="controls"):
        button = gr.Button("Look at the data", elem_id="data-look", size="md", min_width=180, scale=0)
        hide = gr.Button("Hide the data", elem_id="data-hide", size="md", min_width=140, scale=0, visible=False)
    with gr.Column(visible=False, elem_id="data-view") as view:
        finding = gr.HTML(empty_html(EMPTY), elem_id="data-finding")
        balance = Chart(elem_id="data-balance", visible=False)
        classes = gr.HTML(elem_id="data-classes")
    about, is_open = gr.State(None), gr.Checkbox(False, visible=False)
    inputs, outputs = [*fields.values(), about, is_open], [finding, balance, classes, about]

    def clear(message: str) -> Values:
        return {finding: empty_html(message), balance: gr.update(value=None, visible=False), classes: "", about: None}

    def describe(named: dict, action: Action) -> Values:
        settings = read_data(named, own)
        overview = _describe(services, settings, named["seed"], action.report("Looking at the data"))
        subject = find_subject(named)
        samples.keep(subject, overview)
        figure = plot_class_balance(overview.categories, overview.counts)
        return {
            finding: describe_overview(overview, _name(named["dataset"])),
            balance: gr.update(value=figure, visible=True),
            classes: draw_classes(overview),
            about: subject,
        }

    @answers_errors(clear)
    def show(values: Values, action: Action) -> Values:
        """Shows what is chosen now if that is quick and on the screen; never leaves what no longer belongs to it."""
        named = name_values(fields, values)
        subject = find_subject(named)
        services.supersede(action.session, VIEW, subject)
        if subject == values[about]:
            return {}
        if values[is_open] and is_quick(named["dataset"], services.lab.data_root):
            try:
                return describe(named, action)
            except Superseded:
                raise
            except Cancelled:  # what is still shown is about something else
                return clear(EMPTY)
        return clear(NO_PICTURES if named["dataset"] == OWN else EMPTY)

    @clears_on_errors(clear)
    def look_now(values: Values, request: gr.Request, progress: gr.Progress = gr.Progress()) -> Values:
        """Looks at whatever is chosen; from now on what is quick follows."""
        named = name_values(fields, values)
        with services.act(request, progress, VIEW, subject=find_subject(named)) as action:
            opened: Values = {view: gr.update(visible=True), hide: gr.update(visible=True), is_open: True}
            return opened | describe(named, action)

    button.click(look_now, {*inputs}, [*outputs, view, hide, is_open], **PRIVATE)
    hide.click(None, None, [view, hide, is_open], js=_HIDE)
    return DataPanel(
        fields=fields,
        read=lambda values: read_data(values, own),
        is_upload=lambda values: values["dataset"] == OWN and own.is_upload(values),
        find_kind=lambda values: read_kind(values, own),
        find_pictures=samples.find,
        look=Look(show, inputs, outputs),
        switches=[chosen, own.switch],
    )


def _name(dataset: str) -> str:
    return DATASETS[dataset].title.partition(",")[0] if dataset in DATASETS else "Your pictures"


def _describe(services: Services, settings: dict, seed: int, progress: Progress) -> DataOverview:
    return describe_data(
        settings["dataset"],
        data_root=services.lab.data_root,
        seed=seed,
        image_size=settings["image_size"],
        shapes=settings["shapes"],
        progress=progress,
    )


def _build_fields(services: Services) -> tuple[dict[str, Field], OwnPictures, Switch]:
    f: dict[str, Field] = {}
    datasets = [(spec.title, name) for name, spec in DATASETS.items()] + [(OWN_PICTURES.title, OWN)]
    with gr.Row(elem_classes="controls"):
        f["dataset"] = gr.Dropdown(
            datasets, value="fashion_mnist", label="Data", elem_id="train-dataset", min_width=260, scale=2
        )
        f["image_size"] = gr.Dropdown(
            [("as the data set has it", 0), *((f"{side} × {side} pixels", side) for side in SIDES)],
            value=0,
            label="Picture size",
            elem_id="train-image-size",
            min_width=180,
        )
        f["train_limit"] = gr.Number(*(0,), precision=0, minimum=0, label="Training pictures (0: all)", min_width=200)
    f["seed"] = gr.Number(TrainingConfig.seed, precision=0, minimum=0, label="Seed", min_width=90, render=False)
    with gr.Column() as own_group:
        own = build_own_pictures(services, "train")
    with gr.Group() as shapes_group, gr.Row():
        f |= _build_shapes()
    f["label_noise"] = gr.Slider(0, 1, 0, step=0.05, label="Share of wrong labels", min_width=260)
    chosen = Switch(f["dataset"], {own_group: [OWN], shapes_group: ["shapes"]})
    return f | own.fields, own, chosen


def _build_shapes() -> dict[str, Field]:
    config = ShapesConfig

    def choose(table: Iterable[str], value: str, label: str) -> gr.Dropdown:
        return gr.Dropdown([(SHAPES_TITLES[key], key) for key in table], value=value, label=label, min_width=150)

    return {
        "position": choose(POSITIONS, config.position, "Position"),
        "color": choose(COLORS, config.color, "Colour"),
        "clutter": gr.Slider(0, 1, config.clutter, step=0.05, label="Clutter", min_width=150),
        "occlusion": gr.Slider(
            0, MAX_OCCLUSION, config.occlusion, step=0.05, label="Hidden behind a bar", min_width=150
        ),
        "min_size": gr.Slider(0.2, 1, config.min_size, step=0.05, label="Smallest, of the side", min_width=150),
        "max_size": gr.Slider(0.2, 1, config.max_size, step=0.05, label="Largest, of the side", min_width=150),
        "num_images": gr.Slider(1000, 50000, config.num_images, step=1000, label="Pictures", min_width=150),
    }


_HIDE = "() => [false, false].map((visible) => ({__type__: 'update', visible})).concat(false)"
