"""A data set in memory: three splits of pictures as tensors, and what whoever uses them should know."""

import itertools
from dataclasses import dataclass, field

import torch
from torch import Tensor

from analysis.errors import UserError
from models.data.preprocessing import Preprocessing, measure_channels
from models.names import describe_skipped

MIN_CONTRAST = 2.0
"""Standard deviation of a channel, of 255, below which a picture counts as plain."""
MAX_PLAIN = 0.9
"""Share of plain pictures from which on it is said."""
_LOOKED_AT, _AT_ONCE = 2000, 500


@dataclass(frozen=True)
class Split:
    """Images ``(N, C, H, W)`` uint8, labels ``(N,)`` int64 and the pictures' numbers in their source.

    ``ids (N,)`` int64 are unique over the three splits of a data set that :func:`load_dataset` made, and the
    same for the same data and seed; by default they count from 0.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __post_init__(self):
        if not len(self.ids):
            object.__setattr__(self, "ids", torch.arange(len(self.labels), device=self.labels.device))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> "Split":
        """The pictures at these places, or where a mask ``(N,)`` is True, with their labels and ids."""
        return Split(self.images[index], self.labels[index], self.ids[index])


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits over the same categories.

    Attributes:
        augmentations: What may change in training without changing the class.
        source_parts: (name, number of pictures) of the parts that the ids count through, such as "train", 60000.
        file_names: Name of the file behind each id, where there is one.
    """

    name: str
    categories: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    augmentations: tuple[str, ...] = ()
    source_parts: tuple[tuple[str, int], ...] = ()
    file_names: tuple[str, ...] = ()

    def source_name(self, picture_id: int) -> str:
        """Where a picture came from: its file, or its place in its source such as "train 123".

        Raises:
            UserError: The source has no picture of that number.
        """
        picture_id = int(picture_id)
        parts = self.source_parts or (("picture", max(len(self.file_names), self.num_images)),)
        total = sum(count for _, count in parts)
        if not 0 <= picture_id < total:
            raise UserError(f"There is no picture {picture_id} in {self.name}; the numbers go up to {total - 1}.")
        if self.file_names:
            return self.file_names[picture_id]
        starts = itertools.accumulate((count for _, count in parts), initial=0)
        part, start = [(part, start) for (part, _), start in zip(parts, starts, strict=False) if start <= picture_id][
            -1
        ]
        return f"{part} {picture_id - start}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever uses these data should know, in sentences."""
        return tuple(filter(None, (describe_skipped(self.skipped), *self.notes, describe_plain(self.train.images))))

    @property
    def num_images(self) -> int:
        """Pictures in all three splits."""
        return len(self.train) + len(self.validation) + len(self.test)

    @property
    def in_channels(self) -> int:
        """1 for grey pictures, 3 for colour."""
        return self.train.images.shape[1]

    @property
    def image_size(self) -> int:
        """Side of the square pictures in pixels."""
        return self.train.images.shape[2]

    def preprocessing(self) -> Preprocessing:
        """The steps that lead from any picture to this set's input, with the train set's mean and std."""
        mean, std = measure_channels(self.train.images)
        return Preprocessing(crop_size=self.image_size, resize_size=self.image_size, mean=mean, std=std)


def pick_evenly(num: int, most: int) -> Tensor:
    """Places ``(min(num, most),)`` int64 of pictures out of ``num``, at even distances from the first to the last."""
    return torch.linspace(0, num - 1, min(num, most), dtype=torch.float64).round().long()


def has_contrast(images: Tensor) -> Tensor:
    """Whether each picture ``(N, C, H, W)`` uint8 has more than one colour: ``(N,)`` bool."""
    return images.flatten(2).float().std(2, correction=0).amax(1) >= MIN_CONTRAST


def describe_plain(images: Tensor) -> str:
    """A warning if nearly all pictures are of one colour each, judged by 2,000 of them; nothing otherwise."""
    if not len(images):
        return ""
    chosen = torch.linspace(0, len(images) - 1, min(len(images), _LOOKED_AT)).round().long()
    plain = sum(int((~has_contrast(images[part])).sum()) for part in chosen.split(_AT_ONCE))
    if plain < MAX_PLAIN * len(chosen):
        return ""
    return (
        f"Nearly all pictures ({100 * plain / len(chosen):.0f} %) are of one colour each, so there is nothing to "
        "learn from; look at some of them, and if they should show something, save them as 8-bit PNG or JPEG."
    )
