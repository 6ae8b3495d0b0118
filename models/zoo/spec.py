"""What is known of a model before its weights are touched."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.data.preprocessing import Preprocessing
from models.weights import WeightsFile


@dataclass(frozen=True)
class ModelSpec:
    """A model of any source.

    ``build`` returns the module with its weights, in eval mode on the CPU. ``weights`` is the file that
    has to be downloaded first, if any. ``accuracy`` is the published or measured top-1 accuracy.
    ``version`` changes when other weights appear under the same name. ``memory_format`` is the layout of
    module and input in memory. ``family`` is the same for the sizes of a network.
    """

    name: str
    source: str
    num_params: int
    categories: tuple[str, ...]
    preprocessing: Preprocessing
    build: Callable[[], nn.Module]
    trained_on: str
    accuracy: float | None = None
    measured_on: str = "test pictures"
    weights: WeightsFile | None = None
    version: int = 0
    memory_format: torch.memory_format = torch.channels_last
    family: str = ""

    @property
    def is_cached(self) -> bool:
        """Whether the model can be used without a connection."""
        return self.weights is None or self.weights.is_cached

    @property
    def to_download(self) -> str:
        """How much has to be downloaded, such as 98 MB; nothing where the weights are here."""
        if self.weights is None or self.is_cached:
            return ""
        size = self.weights.num_bytes / 2**20
        return f"{size:.0f} MB" if size < 1000 else f"{size / 1024:.1f} GB"

    def to_inputs(self, pixels: Tensor, device: torch.device) -> Tensor:
        """Network input ``(N, C, H, W)`` on a device from pixels ``(N, C, H, W)`` in [0, 1]."""
        inputs = self.preprocessing.normalize(pixels).to(device)
        return inputs.contiguous(memory_format=self.memory_format)

    def summary(self) -> dict:
        """The public description: ``name, source, num_params, num_classes, input_size, cached``."""
        return {
            "name": self.name,
            "source": self.source,
            "num_params": self.num_params,
            "num_classes": len(self.categories),
            "input_size": self.preprocessing.crop_size,
            "cached": self.is_cached,
        }
