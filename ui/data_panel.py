"""What is trained on: choosing a data set or own pictures, and looking at them before anything is trained."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import gradio as gr
from torch import Tensor

from analysis.data_figures import plot_class_balance
from lab.data_overview import DataOverview, describe_data
from lab.network_summary import DataKind, find_kind
from models import cifar10
from models.data import DATASETS, OWN_PICTURES
from models.errors import ModelsError
from models.fashion_mnist import find_files
from models.shapes import COLORS, MAX_OCCLUSION, POSITIONS, ShapesConfig
from ui import Services
from ui.components import empty_html
from ui.data_preview import describe_overview, draw_classes
from ui.errors import answers_errors, clears_on_errors
from ui.own_data import OWN, OwnPictures, build_own_pictures, count_boxes, list_folders

VIEW = "data-preview"
SEED = 0
"""Of the split that is shown."""
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
IS_QUICK: dict[str, Callable[[Path], bool]] = {
    "shapes": lambda data_root: True,
    "digits": lambda data_root: True,
    "fashion_mnist": lambda data_root: find_files(data_root) is not None,
    "cifar10": lambda data_root: any(
        (data_root / path).is_file() for path in (cifar10.TEST_FILE, cifar10.PYTHON_FOLDER / cifar10.TEST_NAME)
    ),
}
"""Data set -> whether it can be shown within seconds, given the data root; all others wait for the button."""
SAMPLES, SAMPLED_SHAPES, MAX_SAMPLES_KEPT = 3, 60, 32
EMPTY = "Press “Look at the data”: examples and the mean of each class, how many there are, and what to beware of."
NO_PICTURES = "Choose own pictures above, then press “Look at the data”."


@dataclass(frozen=True)
class DataPanel:
    """The part of the page where the data are chosen.

    Attributes:
        fields: What can be chosen, by key: ``dataset`` (a key of ``DATASETS`` or ``own_data.OWN``), ``image_size``
            (0: the set's own), ``train_limit`` (0: all), ``label_noise`` (share), of own pictures those of
            ``own_data.OwnPictures``, and of shapes those of ``ShapesConfig``: ``position``, ``color``, ``clutter``,
            ``min_size``, ``max_size``, ``occlusion``, ``num_images``.
        read: Values by key -> the arguments of ``TrainingConfig`` that they stand for: dataset, shapes, image_size,
            train_limit, label_noise. ModelsError where own pictures are not chosen or cannot be used.
        is_upload: Values by key -> whether the data set is a file that may vanish, so that a run must copy it.
        find_kind: Values by key -> what of the data decides the shapes in a network, without opening pictures.
        find_pictures: Values by key -> three training pictures ``(3, C, H, W)`` uint8, or None where there are
            none at hand yet.
        on_open: An event listener, as keyword arguments, for when this part of the page is opened.
    """

    fields: dict[str, gr.components.Component]
    read: Callable[[Mapping], dict]
    is_upload: Callable[[Mapping], bool]
    find_kind: Callable[[Mapping], DataKind]
    find_pictures: Callable[[Mapping], Tensor | None]
    on_open: dict


def build_data_panel(services: Services) -> DataPanel:
    """Lays out the panel and wires it."""
    fields, own = _build_fields(services)
    samples = _Samples(services.lab.data_root)
    with gr.Row(elem_classes="controls"):
        button = gr.Button("Look at the data", elem_id="data-look", size="md", min_width=180, scale=0)
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
            overview = _describe(services, settings, report)
        samples.keep(subject, overview)
        figure = plot_class_balance(overview.categories, overview.counts)
        return describe_overview(overview), gr.update(value=figure, visible=True), draw_classes(overview), subject

    @clears_on_errors(clear)
    def look_now(*values, request: gr.Request, progress=gr.Progress()):
        """Looks at whatever is chosen."""
        return look(dict(zip(fields, values, strict=True)), request, progress)

    @answers_errors(clear)
    def follow(*inputs, request: gr.Request, progress=gr.Progress()):
        """Shows what is chosen now if that is quick and on the screen; never leaves what no longer belongs to it."""
        *values, last, is_visible = inputs
        values = dict(zip(fields, values, strict=True))
        subject = find_subject(values)
        services.supersede(request, VIEW, subject)
        if subject == last:
            return gr.skip()
        if is_visible and is_quick(values["dataset"], services.lab.data_root):
            return look(values, request, progress)
        return clear(NO_PICTURES if values["dataset"] == OWN else EMPTY)

    def open_panel(*inputs, request: gr.Request, progress=gr.Progress()):
        """Lists the folders that there are by now, and looks if that is quick."""
        update = follow(*inputs, request=request, progress=progress)
        folders = gr.update(choices=list_folders(services))
        return (folders, *(update if isinstance(update, tuple) else (gr.skip(),) * len(outputs)))

    private = {"api_visibility": "private"}
    chosen = list(fields.values())
    button.click(look_now, chosen, outputs, show_progress_on=finding, **private)
    gr.on(
        [fields[key].change for key in fields if key not in ("train_limit", "label_noise")],
        **{"fn": follow, "inputs": [*chosen, about, shown], "outputs": outputs, "js": when_visible("data-finding")},
        **{"trigger_mode": "always_last", "show_progress": "minimal", "show_progress_on": finding, **private},
    )
    on_open = {"fn": open_panel, "inputs": [*chosen, about, shown], "outputs": [fields["folder"], *outputs]}
    return DataPanel(
        fields=fields,
        read=lambda values: read_data(values, own),
        is_upload=lambda values: values["dataset"] == OWN and own.is_upload(values),
        find_kind=lambda values: _find_kind(values, own),
        find_pictures=samples.find,
        on_open=on_open | {"show_progress": "minimal", "show_progress_on": finding, **private},
    )


def when_visible(elem_id: str) -> str:
    """JavaScript for a listener whose last input becomes whether the element is on the screen."""
    return (
        "(...values) => [...values.slice(0, -1), "
        f"Boolean(document.getElementById({elem_id!r})?.getClientRects().length)]"
    )


def is_quick(dataset: str, data_root: Path) -> bool:
    """Whether a data set can be shown without being asked to."""
    return dataset in IS_QUICK and IS_QUICK[dataset](Path(data_root))


def find_subject(values: Mapping) -> Hashable:
    """What a look at the data is about: it is stale once this changes."""
    keys: tuple[str, ...] = ()
    if values["dataset"] == "shapes":
        keys = _SHAPES_KEYS
    elif values["dataset"] == OWN:
        keys = ("own_source", "zip", "folder")
        if values["own_source"] == "boxes":
            keys = tuple(key for key in values if key.startswith("box_"))
    lists = (values[key] for key in keys)
    return values["dataset"], int(values["image_size"] or 0), *(tuple(v) if isinstance(v, list) else v for v in lists)


def read_shapes(values: Mapping) -> ShapesConfig:
    """What is to be drawn.

    Raises:
        ModelsError: The values do not fit each other.
    """
    if values["min_size"] > values["max_size"]:
        raise ModelsError(
            f"The smallest shape ({values['min_size']:g} of the side) is larger than the largest "
            f"({values['max_size']:g}); swap the two."
        )
    rest = {key: values[key] for key in _SHAPES_KEYS if key != "num_images"}
    return ShapesConfig(num_images=int(values["num_images"]), **rest)


def read_data(values: Mapping, own: OwnPictures) -> dict:
    """The arguments of ``TrainingConfig`` that the fields of the panel stand for.

    Raises:
        ModelsError: Own pictures are not chosen or cannot be used, or the values do not fit each other.
    """
    is_drawn = values["dataset"] == "shapes"
    return {
        "dataset": own.find(values) if values["dataset"] == OWN else values["dataset"],
        "shapes": read_shapes(values) if is_drawn else ShapesConfig(),
        "image_size": int(values["image_size"] or 0) or None,
        "train_limit": int(values["train_limit"] or 0) or None,
        "label_noise": values["label_noise"],
    }


_SHAPES_KEYS = ("position", "color", "clutter", "min_size", "max_size", "occlusion", "num_images")


def _find_kind(values: Mapping, own: OwnPictures) -> DataKind:
    image_size = int(values["image_size"] or 0) or None
    if values["dataset"] != OWN:
        return find_kind(values["dataset"], image_size)
    if values["own_source"] == "boxes":
        count = count_boxes(values)
        return find_kind(None, image_size, count if count > 1 else None)
    return find_kind(own.find(values) if values["zip"] or values["folder"] else None, image_size)


def _describe(services: Services, settings: dict, report=None) -> DataOverview:
    options = {key: settings[key] for key in ("image_size", "shapes")}
    return describe_data(
        settings["dataset"],
        data_root=services.lab.data_root,
        seed=SEED,
        **options,
        **({"progress": report} if report else {}),
    )


class _Samples:
    """Three pictures of the data sets chosen last, for whoever wants to show what happens to them."""

    def __init__(self, data_root: Path):
        self.data_root = data_root
        self._kept: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._guard = threading.Lock()

    def keep(self, subject: Hashable, overview: DataOverview) -> Tensor:
        """Remembers the first example of three classes, or more of one where there are fewer."""
        images, labels = overview.preview.images, overview.preview.labels
        first = {int(label): place for place, label in reversed(list(enumerate(labels)))}
        places = [first[label] for label in sorted(first)]
        places += [place for place in range(len(labels)) if place not in places]
        pictures = images[places[:SAMPLES]].clone()
        with self._guard:
            self._kept[subject] = pictures
            self._kept.move_to_end(subject)
            while len(self._kept) > MAX_SAMPLES_KEPT:
                self._kept.popitem(last=False)
        return pictures

    def find(self, values: Mapping) -> Tensor | None:
        """The pictures of what is chosen, loaded where that is quick."""
        subject = find_subject(values)
        with self._guard:
            pictures = self._kept.get(subject)
        if pictures is not None or not is_quick(values["dataset"], self.data_root):
            return pictures
        overview = describe_data(
            values["dataset"],
            data_root=self.data_root,
            seed=SEED,
            image_size=int(values["image_size"] or 0) or None,
            # The first drawings are the same however many there are.
            shapes=replace(read_shapes(values), num_images=SAMPLED_SHAPES) if values["dataset"] == "shapes" else None,
        )
        return self.keep(subject, overview)


def _build_fields(services: Services) -> tuple[dict[str, gr.components.Component], OwnPictures]:
    f: dict[str, gr.components.Component] = {}
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
        f["train_limit"] = gr.Number(
            *(0,), precision=0, minimum=0, label="Training pictures to use (0: all)", min_width=180
        )
        f["label_noise"] = gr.Slider(0, 1, 0, step=0.05, label="Share of wrong labels", min_width=180)
    with gr.Column(visible=False) as own_group:
        own = build_own_pictures(services, "train")
    with gr.Group(visible=False) as shapes_group, gr.Row():
        f |= _build_shapes()
    f["dataset"].change(
        lambda dataset: [gr.update(visible=dataset == OWN), gr.update(visible=dataset == "shapes")],
        f["dataset"],
        [own_group, shapes_group],
        **{"queue": False, "show_progress": "hidden", "api_visibility": "private"},
    )
    return f | own.fields, own


def _build_shapes() -> dict[str, gr.components.Component]:
    config = ShapesConfig

    def choose(table, value: str, label: str) -> gr.Dropdown:
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
        "num_images": gr.Slider(1000, 20000, config.num_images, step=1000, label="Pictures", min_width=150),
    }
