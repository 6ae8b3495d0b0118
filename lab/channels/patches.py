"""The patches of a data set that every channel of a layer answers to most: found once, then kept in a file."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.attribution.placement import Centres, find_centres
from analysis.channels.patches import Frame, frame_cell
from analysis.channels.strongest import CHUNK, NUM_STRONGEST, Strongest, find_strongest
from analysis.errors import Progress, UserError, no_progress
from analysis.network.layers import Layer, find_layer
from analysis.network.receptive_field import check_channel
from analysis.network.windows import Size, find_size
from lab.channels.pictures import Pictures, open_pictures
from lab.lru import RecentResults
from lab.session import Lab
from models.cache import LoadedModel
from models.data.decoding.formats import ImageError
from models.runs.tensor_files import TensorFiles, hash_state

FORMAT = 1
"""To be raised where other patches are found for the same question."""
FOLDER = ".channels"
"""Inside the folder of runs."""
MAX_BYTES = 256 * 2**20
"""Of the files in it: 72 KiB for a layer of 256 channels."""
DEFAULT_LIMIT = 1000

_HASHES: RecentResults[str] = RecentResults(64)
_SECONDS: RecentResults[float] = RecentResults(64)


@dataclass(frozen=True, eq=False)
class ChannelPatches:
    """What every channel of a layer answers to most in a data set.

    Attributes:
        size: Rows and columns of the network's input.
        strongest: Numbers of pictures count through those that were looked at.
        names: Of these.
        places: Their numbers in the data set.
        unreadable: Names of those that could not be opened.
    """

    model: str
    layer: Layer
    data: str
    size: Size
    centres: Centres
    strongest: Strongest
    names: tuple[str, ...]
    places: tuple[int, ...]
    unreadable: tuple[str, ...]
    was_kept: bool

    def frame(self, channel: int, rank: int) -> Frame:
        """What the cell looks at that is the channel's strongest but ``rank``."""
        row, column = self.strongest.cells[channel, rank].tolist()
        return frame_cell(self.layer, self.centres, (row, column), self.size)

    def to_json(self, channels: Sequence[int] | None = None) -> dict:
        """Patches by channel, strongest first; ``box`` is ``[top, left, bottom, right]`` in pixels of the input."""
        every = range(len(self.strongest.values)) if channels is None else channels
        return {
            "model": self.model,
            "layer": self.layer.name,
            "data": self.data,
            "num_pictures": len(self.places) - len(self.unreadable),
            "unreadable": list(self.unreadable),
            "placement": "even" if self.centres is None else "centres",
            "channels": [{"channel": each, "patches": self._list(each)} for each in every],
        }

    def _list(self, channel: int) -> list[dict]:
        found, rows = self.strongest, []
        for rank, (value, number) in enumerate(
            zip(found.values[channel].tolist(), found.pictures[channel].tolist(), strict=True)
        ):
            frame = self.frame(channel, rank)
            rows.append(
                {
                    "value": value,
                    "picture": self.places[number],
                    "name": self.names[number],
                    "cell": found.cells[channel, rank].tolist(),
                    "centre": list(frame.centre),
                    "box": list(frame.box),
                }
            )
        return rows


@dataclass(frozen=True, eq=False)
class Patch:
    """A part of a picture, ``pixels (C, h, w)`` in [0, 1].

    Attributes:
        name: Of the picture.
        mark: Row and column of the cell's centre in the part.
        category: Of the picture; nothing where it is not known.
    """

    pixels: Tensor
    value: float
    name: str
    category: str
    mark: tuple[float, float]
    frame: Frame


def find_patches(
    lab: Lab,
    model: str,
    layer: str,
    data: str,
    limit: int = DEFAULT_LIMIT,
    *,
    only_kept: bool = False,
    progress: Progress = no_progress,
    loading: Progress = no_progress,
) -> ChannelPatches | None:
    """The patches of a data set that each channel of a layer answers to most, of different pictures.

    They are kept in a file below the folder of runs, under a name made of everything that decides them.

    Args:
        data: ``samples``, a key of ``DATASETS``, or a folder or zip.
        limit: Pictures that are looked at, at most, at even distances.
        only_kept: Whether to give None in the place of a long work.
        loading: Counts the bytes of weights that have to be downloaded.

    Raises:
        UserError: No such model, layer or data, or none of its pictures can be read.
    """
    lab.layers(model, loading)
    with open_pictures(lab, model, data, limit) as pictures, lab.use(model) as (loaded, facts):
        chosen = find_layer(facts.layers, layer)
        files = TensorFiles(lab.runs_root / FOLDER, MAX_BYTES)
        key = _hash_question(loaded, pictures, chosen.name)
        strongest = _read(files, key, chosen, len(pictures))
        was_kept = strongest is not None
        if strongest is None:
            if only_kept:
                return None
            found = find_strongest(
                loaded.module,
                lambda numbers: pictures.load(loaded, numbers),
                len(pictures),
                [chosen.name],
                progress=lab.models.turns.sharing(progress),
            )
            strongest = found[chosen.name]
            if not pictures.unreadable:  # what is read tomorrow may be more
                files.write(key, _pack(strongest))
        prep = loaded.spec.preprocessing
        blank = loaded.to_inputs(torch.zeros(1, prep.num_channels, prep.crop_size, prep.crop_size))
        return ChannelPatches(
            model=model,
            layer=chosen,
            data=data,
            size=find_size(blank),
            centres=find_centres(loaded.module, blank, chosen.name.split("#")[0]) if "#" not in chosen.name else None,
            strongest=strongest,
            names=tuple(map(pictures.name, range(len(pictures)))),
            places=tuple(pictures.places.tolist()),
            unreadable=tuple(dict.fromkeys(pictures.unreadable)),
            was_kept=was_kept,
        )


def cut_patches(lab: Lab, found: ChannelPatches, channel: int) -> list[Patch]:
    """The patches of a channel as pictures, strongest first; those that are no longer there are left out.

    Raises:
        UserError: No such channel.
    """
    check_channel(found.layer.name, channel, len(found.strongest.values))
    spec, cut = lab.registry.get(found.model), []
    rows = zip(found.strongest.values[channel].tolist(), found.strongest.pictures[channel].tolist(), strict=True)
    with open_pictures(lab, found.model, found.data, len(found.places)) as pictures:
        if tuple(map(pictures.name, range(len(pictures)))) != found.names:
            raise UserError("The pictures have changed since; find the patches again.")
        for rank, (value, number) in enumerate(rows):
            try:
                pixels = pictures.pixels(spec, number)
            except ImageError:
                continue
            frame = found.frame(channel, rank)
            top, left, bottom, right = frame.box
            category = pictures.category(number)
            mark = frame.centre[0] - top, frame.centre[1] - left
            cut.append(Patch(pixels[:, top:bottom, left:right], value, found.names[number], category, mark, frame))
    return cut


def estimate_seconds(lab: Lab, model: str, num_pictures: int) -> float:
    """About how long :func:`find_patches` takes here: by the quickest of two forward passes of blank pictures."""
    key = (lab.models.device.type, model, lab.registry.get(model).version)
    seconds = _SECONDS.get(key)
    if seconds is None:
        with lab.use(model) as (loaded, _), torch.inference_mode():
            prep = loaded.spec.preprocessing
            blank = loaded.to_inputs(torch.zeros(CHUNK, prep.num_channels, prep.crop_size, prep.crop_size))
            seconds = min(_time(loaded, blank) for _ in range(2)) / CHUNK
        _SECONDS.keep(key, seconds, 1)
    return num_pictures * seconds


def _time(loaded: LoadedModel, inputs: Tensor) -> float:
    start = time.perf_counter()
    loaded.module(inputs)[0, 0].item()
    return time.perf_counter() - start


def hash_weights(loaded: LoadedModel) -> str:
    """The SHA-256 of a model's weights and buffers."""
    key = (loaded.spec.name, loaded.spec.version, loaded.device.type)
    digest = _HASHES.get(key) if loaded.spec.source != "run" else None
    if digest is None:
        sha = hashlib.sha256()
        hash_state(sha, loaded.module.state_dict())
        digest = sha.hexdigest()
        _HASHES.keep(key, digest, 1)
    return digest


def _hash_question(loaded: LoadedModel, pictures: Pictures, layer: str) -> str:
    prep, data = loaded.spec.preprocessing, pictures.data
    facts = (FORMAT, torch.__version__, loaded.device.type, hash_weights(loaded), prep.to_dict(), layer)
    question = (*facts, data.name, data.version, len(data), len(pictures), NUM_STRONGEST)
    return hashlib.sha256(repr(question).encode()).hexdigest()


def _pack(strongest: Strongest) -> dict[str, Tensor]:
    pictures, cells = strongest.pictures.int().contiguous(), strongest.cells.short().contiguous()
    return {"values": strongest.values.contiguous(), "pictures": pictures, "cells": cells}


def _read(files: TensorFiles, key: str, layer: Layer, num_pictures: int) -> Strongest | None:
    """What was kept, if it can be what was asked for."""
    channels, rows, columns = layer.output_shape
    k = min(NUM_STRONGEST, num_pictures)
    shape = (channels, k)
    expected = {
        "values": (torch.float32, shape),
        "pictures": (torch.int32, shape),
        "cells": (torch.int16, (*shape, 2)),
    }
    kept = files.read(key, expected)
    if kept is None:
        return None
    pictures, cells = kept["pictures"].long(), kept["cells"].long()
    is_inside = (cells >= 0).all() & (cells < torch.tensor([rows, columns])).all()
    is_inside &= (pictures >= 0).all() & (pictures < num_pictures).all()
    return Strongest(kept["values"], pictures, cells) if bool(is_inside) else None
