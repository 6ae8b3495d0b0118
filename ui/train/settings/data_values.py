"""What the values of the data panel stand for, and a few pictures of the data that they choose."""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from analysis.errors import UserError
from lab.data_overview import DataOverview, describe_data, is_quick
from lab.network_summary import DataKind, find_kind
from models.access import viewer
from models.data.shapes import ShapesConfig
from ui.widgets.class_boxes import count_boxes
from ui.widgets.own_data import OWN, OwnPictures

SHAPES_KEYS = ("position", "color", "clutter", "min_size", "max_size", "occlusion", "num_images")
SAMPLES, SAMPLED_SHAPES, MAX_SAMPLES_KEPT = 3, 60, 32


def find_subject(values: Mapping) -> Hashable:
    """What a look at the data is about: it is stale once this changes. The seed divides every set, or draws it."""
    keys: tuple[str, ...] = ()
    if values["dataset"] == "shapes":
        keys = SHAPES_KEYS
    elif values["dataset"] == OWN:
        keys = ("own_source", "boxes") if values["own_source"] == "boxes" else ("own_source", "zip", "folder")
    lists = (values[key] for key in keys)
    drawn = values["dataset"], values["seed"], int(values["image_size"] or 0)
    return *drawn, *(tuple(value) if isinstance(value, list) else value for value in lists)


def read_shapes(values: Mapping) -> ShapesConfig:
    """What is to be drawn.

    Raises:
        UserError: The values do not fit each other.
    """
    if values["min_size"] > values["max_size"]:
        raise UserError(
            f"The smallest shape ({values['min_size']:g} of the side) is larger than the largest "
            f"({values['max_size']:g}); swap the two."
        )
    rest = {key: values[key] for key in SHAPES_KEYS if key != "num_images"}
    return ShapesConfig(num_images=int(values["num_images"]), **rest)


def read_data(values: Mapping, own: OwnPictures) -> dict:
    """The arguments of ``TrainingConfig`` that the fields of the panel stand for.

    Raises:
        UserError: Own pictures are not chosen or cannot be used, or the values do not fit each other.
    """
    is_drawn = values["dataset"] == "shapes"
    return {
        "dataset": own.find(values) if values["dataset"] == OWN else values["dataset"],
        "shapes": read_shapes(values) if is_drawn else ShapesConfig(),
        "image_size": int(values["image_size"] or 0) or None,
        "train_limit": int(values["train_limit"] or 0) or None,
        "label_noise": values["label_noise"],
    }


def read_kind(values: Mapping, own: OwnPictures) -> DataKind:
    """What of the chosen data decides the shapes in a network.

    Raises:
        UserError: A folder or zip that cannot be trained on.
    """
    image_size = int(values["image_size"] or 0) or None
    if values["dataset"] != OWN:
        return find_kind(values["dataset"], image_size)
    if values["own_source"] == "boxes":
        count = count_boxes(values["boxes"])
        return find_kind(None, image_size, count if count > 1 else None)
    return find_kind(own.find(values) if values["zip"] or values["folder"] else None, image_size)


class Samples:
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
            self._kept[viewer(), subject] = pictures
            self._kept.move_to_end((viewer(), subject))
            while len(self._kept) > MAX_SAMPLES_KEPT:
                self._kept.popitem(last=False)
        return pictures

    def find(self, values: Mapping) -> Tensor | None:
        """The pictures of what is chosen, loaded where that is quick."""
        subject = viewer(), find_subject(values)
        with self._guard:
            pictures = self._kept.get(subject)
        if pictures is not None or not is_quick(values["dataset"], self.data_root):
            return pictures
        overview = describe_data(
            values["dataset"],
            data_root=self.data_root,
            seed=values["seed"],
            image_size=int(values["image_size"] or 0) or None,
            # The first drawings are the same however many there are.
            shapes=replace(read_shapes(values), num_images=SAMPLED_SHAPES) if values["dataset"] == "shapes" else None,
        )
        return self.keep(find_subject(values), overview)
