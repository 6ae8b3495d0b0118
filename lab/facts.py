"""What is worked out once of a loaded model: its layers, what can explain it, and the level of its channels.

That level is the one on a few pictures of the kind that the model is for.
"""

import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from analysis.attribution.methods import find_obstacles
from analysis.attribution.obstacles import default_layer
from analysis.equivariance.reduced_forwards import measure_levels
from analysis.network.layers import Layer, list_layers
from analysis.shift.circular import CircularPadding
from models.cache import LoadedModel
from models.data.images import open_image
from models.data.samples import list_samples
from models.zoo.spec import ModelSpec

NUM_REFERENCES = 6
"""Pictures that say what the level of each channel is."""
TIMED = 4
"""Pictures of a pass that is timed."""


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


@dataclass
class Facts:
    """What is known of a loaded model; whoever asks has it lent."""

    layers: tuple[Layer, ...]
    obstacles: dict[str, str] | None = None
    default_layer: str | None = None
    levels: dict[bool, dict[str, Tensor]] = field(default_factory=dict)
    seconds: float | None = None

    @classmethod
    def find(cls, loaded: LoadedModel) -> "Facts":
        """Of a model that is new here; warms it up, so that the first measured forward is like the others."""
        return cls(list_layers(loaded.module, _blank_inputs(loaded)))

    def find_obstacles(self, loaded: LoadedModel) -> dict[str, str]:
        """The explanation methods that cannot work on the model, with the reason; finds ``default_layer`` as well."""
        if self.obstacles is None:
            inputs = _blank_inputs(loaded)
            self.default_layer = default_layer(loaded.module, inputs)
            self.obstacles = find_obstacles(loaded.module, inputs)
        return self.obstacles

    def find_seconds(self, loaded: LoadedModel) -> float:
        """How long a picture takes here on its way through the model, a few at a time: the best of three passes."""
        if self.seconds is None:
            inputs = _blank_inputs(loaded).repeat(TIMED, 1, 1, 1)
            passes = []
            with torch.inference_mode():
                for _ in range(3):
                    started = time.perf_counter()
                    loaded.module(inputs).sum().item()  # waits until it is there
                    passes.append(time.perf_counter() - started)
            self.seconds = min(passes) / TIMED
        return self.seconds

    def find_levels(self, loaded: LoadedModel, *, twin: bool) -> dict[str, Tensor]:
        """The level ``m`` of each channel, of the model or of its circular twin, that every error of a layer is
        relative to; see docs/equivariance.md.
        """
        if twin not in self.levels:
            with CircularPadding() if twin else nullcontext():
                self.levels[twin] = measure_levels(loaded.module, self.layers, load_references(loaded))
        return self.levels[twin]


def _blank_inputs(loaded: LoadedModel) -> Tensor:
    prep = loaded.spec.preprocessing
    return loaded.to_inputs(torch.full((1, prep.num_channels, prep.crop_size, prep.crop_size), 0.5))
