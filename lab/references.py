"""What models are compared with: a few pictures of the kind that each is for, and the level of its channels there."""

from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from analysis.equivariance.reduced_forwards import measure_levels
from analysis.network.layers import Layer
from analysis.shift.circular import CircularPadding
from models.cache import LoadedModel
from models.data.images import open_image
from models.data.samples import list_samples
from models.zoo.spec import ModelSpec

NUM_REFERENCES = 6
"""Pictures that say what the level of each channel is."""


def load_references(loaded: LoadedModel) -> Tensor:
    """``(N, C, H, W)`` network input: a few samples of the kind that the model is for."""
    prep = loaded.spec.preprocessing
    pictures = [open_image(path) for path in find_references(loaded.spec)]
    return loaded.to_inputs(torch.stack([prep.to_pixels(picture) for picture in pictures]))


def find_references(spec: ModelSpec) -> list[Path]:
    """The files of :func:`load_references`."""
    kind = "garments" if spec.preprocessing.num_channels == 1 else "photographs"
    kind = "shapes" if spec.trained_on == "shapes" else kind
    return [sample.path for sample in list_samples().values() if sample.kind == kind][:NUM_REFERENCES]


def find_levels(loaded: LoadedModel, layers: tuple[Layer, ...], *, twin: bool) -> dict[str, Tensor]:
    """The level ``m`` of each channel that every error of a layer is relative to; see docs/equivariance.md."""
    with CircularPadding() if twin else nullcontext():
        return measure_levels(loaded.module, layers, load_references(loaded))
