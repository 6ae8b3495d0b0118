"""A linear classifier: one template of the whole picture per class."""

from collections import OrderedDict
from typing import ClassVar

from torch import Tensor, nn

from models.networks.blocks import count_linear
from models.networks.options import ArchitectureConfig
from models.settings import checked_dataclass


@checked_dataclass
class LinearConfig(ArchitectureConfig):
    """Nothing to choose: what the one layer learns is decided by the loss."""

    title: ClassVar[str] = "Linear classifier"

    @property
    def num_parameters(self) -> int:
        return count_linear(self.in_channels * self.image_size**2, self.num_classes)


class LinearClassifier(nn.Module):
    """Maps ``(N, in_channels, image_size, image_size)`` to logits ``(N, num_classes)``."""

    head_name = "head"

    def __init__(self, config: LinearConfig):
        super().__init__()
        self.config = config
        classifier = nn.Linear(config.in_channels * config.image_size**2, config.num_classes)
        self.head = nn.Sequential(OrderedDict(flatten=nn.Flatten(), classifier=classifier))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)
