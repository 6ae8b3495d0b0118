"""What a unit of a layer sees of a picture: by geometry, by its gradient over pictures, and by covering pixels."""

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from analysis.errors import Progress, UserError, no_progress
from analysis.network.layers import HANDS_ON, MapLayer, find_layer
from analysis.network.receptive_field import (
    Window,
    find_window,
    measure_covered,
    measure_influence,
    measure_side,
)
from analysis.network.windows import Size
from lab.facts import NUM_REFERENCES, load_references
from lab.session import Lab

MOST_PICTURES = 1 + NUM_REFERENCES
"""The picture itself, and a few samples of the kind that the model is for."""
SQUARES = 14
"""Squares along the side of a picture that are covered one after the other."""


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """What a unit sees.

    Attributes:
        cell: Its row and column in the map of ``layer``.
        window: What it can see at all.
        influence: ``(H, W)``: how strongly each pixel moves it (:func:`analysis.network.receptive_field
            .measure_influence`).
        pixels: ``(C, H, W)`` in [0, 1]: the picture as the network sees it.
        covered: ``(h, w)``: how far it moves when a square is covered; None if that was not asked for.
        num_pictures: Whose gradients ``influence`` is the mean of.
    """

    layer: MapLayer
    cell: Size
    window: Window
    influence: Tensor
    pixels: Tensor
    covered: Tensor | None
    num_pictures: int
    notes: tuple[str, ...]

    @property
    def effective(self) -> float:
        """Side in pixels of a square as large as what really moves the unit."""
        return measure_side(self.influence)

    @property
    def centre(self) -> tuple[float, float]:
        """Row and column, in pixels, of the middle of what it can see; of its cell, where that is not known."""
        row, column = (self.layer.stride * (at + 0.5) - 0.5 for at in self.cell)
        return self.window.centre or (row, column)

    def to_json(self) -> dict:
        """``theoretical`` and ``effective`` are sides in pixels; ``theoretical`` is null where it is not fixed."""
        return {
            "theoretical": self.layer.receptive_field,
            "effective": self.effective,
            "centre": list(self.centre),
            "stride": self.layer.stride,
        }


def list_map_layers(lab: Lab, model: str, loading: Progress = no_progress) -> tuple[MapLayer, ...]:
    """The layers of a model whose units can be asked what they see: each once, in the order of computation."""
    return tuple(
        layer
        for layer in lab.layers(model, loading)
        if isinstance(layer, MapLayer) and not layer.repeats and layer.type not in HANDS_ON
    )


def measure_field(
    lab: Lab,
    image: Image.Image,
    model: str,
    layer: str | None = None,
    cell: Size | None = None,
    channel: int | None = None,
    *,
    num_pictures: int = 1,
    cover: bool = False,
    progress: Progress = no_progress,
    loading: Progress = no_progress,
) -> ReceptiveField:
    """What the unit at a cell of a layer sees.

    Args:
        layer: A feature map; by default the last one that Grad-CAM can use.
        cell: Row and column; the middle one by default.
        channel: None stands for all channels at the cell together.
        num_pictures: The picture, and as many samples less one.
        cover: Whether to cover squares of the picture, too, which takes up to ``SQUARES`` squared forward passes.
        loading: Counts the bytes of weights that have to be downloaded.

    Raises:
        UserError: No such layer, cell or channel.
    """
    if not 1 <= num_pictures <= MOST_PICTURES:
        raise UserError(f"The gradient can be taken over 1 to {MOST_PICTURES} pictures, not over {num_pictures}.")
    layer = layer or lab.default_layer(model)
    with lab.use(model, loading) as (loaded, facts):
        found = find_layer(facts.layers, layer or "")
        if not isinstance(found, MapLayer):
            raise UserError(f"It is not known where the cells of {found.name} look.")
        cell = cell or (found.size[0] // 2, found.size[1] // 2)
        window = find_window(found, cell)
        prep, shared = loaded.spec.preprocessing, lab.models.turns.sharing(progress)
        pixels = prep.to_pixels(image)
        picture = loaded.to_inputs(pixels[None])  # (1, C, H, W)
        pictures = picture
        if num_pictures > 1:
            pictures = torch.cat([picture, load_references(loaded)[: num_pictures - 1]])
        asked = (found.name, cell)
        influence = measure_influence(loaded.module, pictures, *asked, channel, progress=shared)
        covered = None
        if cover:
            side = -(-max(pixels.shape[1:]) // SQUARES)
            covered = measure_covered(loaded.module, picture, *asked, window, side, channel, progress=shared)
        notes = tuple(prep.list_notes(image))
    return ReceptiveField(found, cell, window, influence, pixels, covered, len(pictures), notes)
