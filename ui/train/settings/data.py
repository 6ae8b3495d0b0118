"""What is trained on: choosing a data set or own pictures, and looking at them before anything is trained."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from torch import Tensor

from analysis.errors import Cancelled, Progress
from analysis.figures.classes import plot_class_balance
from lab.data_overview import DataOverview, describe_data, is_quick
from lab.network_summary import DataKind
from lab.own_pictures import list_folders
from models.data.datasets import DATASETS, OWN_PICTURES
from models.data.shapes import COLORS, MAX_OCCLUSION, POSITIONS, ShapesConfig
from models.training.config import TrainingConfig
from ui.services import Services, Superseded
from ui.train.settings.data_preview import describe_overview, draw_classes
from ui.train.settings.data_values import Samples, find_subject, read_data, read_kind
from ui.widgets.errors import answers_errors, clears_on_errors
from ui.widgets.events import PRIVATE, QUICK, Field, Listener, Manner, Update, Work
from ui.widgets.html import empty_html
from ui.widgets.own_data import OWN, OwnPictures, build_own_pictures

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
        on_open: An event listener, as keyword arguments, for when this part of the page is opened.
    """

    fields: dict[str, Field]
    read: Callable[[Mapping], dict]
    is_upload: Callable[[Mapping], bool]
    find_kind: Callable[[Mapping], DataKind]
    find_pictures: Callable[[Mapping], Tensor | None]
    on_open: Listener

    @property
    def looked_at(self) -> list[Field]:
        """The fields that decide how the pictures look."""
        return [field for key, field in self.fields.items() if key not in ("train_limit", "label_noise")]


def build_data_panel(services: Services) -> DataPanel:
    """Lays out the panel and wires it."""
    fields, own = _build_fields(services)
    samples = Samples(services.lab.data_root)
    with gr.Row(elem_classes="controls"):
        button = gr.Button("Look at the data", elem_id="data-look", size="md", min_width=180, scale=0)
    with gr.Accordion("What the data look like", open=False, elem_id="data-view") as view:
        finding = gr.HTML(empty_html(EMPTY), elem_id="data-finding")
        balance = gr.Plot(show_label=False, elem_id="data-balance", visible=False)
        classes = gr.HTML(elem_id="data-classes")
    about, shown = gr.State(None), gr.Checkbox(True, visible=False)
    outputs = [finding, balance, classes, about]

    def clear(message: str) -> tuple:
        return empty_html(message), gr.update(value=None, visible=False), "", None

    def look(values: dict, request: gr.Request, progress: gr.Progress) -> tuple:
        subject = find_subject(values)
        with services.watch(request, progress, "Looking at the data", VIEW, subject=subject) as report:
            settings = read_data(values, own)
            overview = _describe(services, settings, values["seed"], report)
        samples.keep(subject, overview)
        figure = plot_class_balance(overview.categories, overview.counts)
        text = describe_overview(overview, _name(values["dataset"]))
        return text, gr.update(value=figure, visible=True), draw_classes(overview), subject

    @clears_on_errors(clear)
    def look_now(request: gr.Request, progress: gr.Progress = gr.Progress(), *values: Any) -> tuple:
        """Looks at whatever is chosen."""
        return look(dict(zip(fields, values, strict=True)), request, progress)

    @answers_errors(clear)
    def follow(request: gr.Request, progress: gr.Progress = gr.Progress(), *inputs: Any) -> tuple | Update:
        """Shows what is chosen now if that is quick and on the screen; never leaves what no longer belongs to it."""
        *chosen, last, is_visible = inputs
        values = dict(zip(fields, chosen, strict=True))
        subject = find_subject(values)
        services.supersede(request.session_hash or "", VIEW, subject)
        if subject == last:
            return gr.skip()
        if is_visible and is_quick(values["dataset"], services.lab.data_root):
            try:
                return look(values, request, progress)
            except Superseded:
                raise
            except Cancelled:  # what is still shown is about something else
                return clear(EMPTY)
        return clear(NO_PICTURES if values["dataset"] == OWN else EMPTY)

    def open_panel(request: gr.Request, progress: gr.Progress = gr.Progress(), *inputs: Any) -> tuple:
        """Lists the folders that there are by now, and looks if that is quick."""
        update = follow(request, progress, *inputs)
        folders = gr.update(choices=list_folders(services.lab.data_root))
        return (folders, *(update if isinstance(update, tuple) else (gr.skip(),) * len(outputs)))

    inputs = [*fields.values(), about, shown]
    minimal: Manner = {"api_visibility": "private", "show_progress": "minimal"}
    work: Work = {"fn": follow, "inputs": inputs, "outputs": outputs}
    is_seen = when_visible("data-finding")
    opened = button.click(lambda: gr.update(open=True), None, view, **QUICK)
    opened.then(look_now, list(fields.values()), outputs, show_progress_on=finding, **PRIVATE)
    view.expand(**work, **minimal, js=is_seen, show_progress_on=finding)
    on_open: Listener = {
        "fn": open_panel,
        "inputs": inputs,
        "outputs": [fields["folder"], *outputs],
        **minimal,
        "show_progress_on": finding,
    }
    panel = DataPanel(
        fields=fields,
        read=lambda values: read_data(values, own),
        is_upload=lambda values: values["dataset"] == OWN and own.is_upload(values),
        find_kind=lambda values: read_kind(values, own),
        find_pictures=samples.find,
        on_open=on_open,
    )
    changes = [component.change for component in panel.looked_at]
    gr.on(changes, **work, **minimal, js=is_seen, show_progress_on=finding, trigger_mode="always_last")
    return panel


def when_visible(elem_id: str) -> str:
    """JavaScript for a listener whose last input becomes whether the element is on the screen."""
    return (
        "(...values) => [...values.slice(0, -1), "
        f"Boolean(document.getElementById({elem_id!r})?.getClientRects().length)]"
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


def _build_fields(services: Services) -> tuple[dict[str, Field], OwnPictures]:
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
        f["label_noise"] = gr.Slider(0, 1, 0, step=0.05, label="Share of wrong labels", min_width=260)
    f["seed"] = gr.Number(TrainingConfig.seed, precision=0, minimum=0, label="Seed", min_width=90, render=False)
    with gr.Column(visible=False) as own_group:
        own = build_own_pictures(services, "train")
    with gr.Group(visible=False) as shapes_group, gr.Row():
        f |= _build_shapes()
    f["dataset"].change(
        lambda dataset: [gr.update(visible=dataset == OWN), gr.update(visible=dataset == "shapes")],
        *(f["dataset"], [own_group, shapes_group]),
        **QUICK,
    )
    return f | own.fields, own


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
