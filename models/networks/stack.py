"""A network of layers that are written in a row, such as the Learn tab stacks and the command ``stack`` measures."""

import math
from collections import OrderedDict
from typing import Annotated, ClassVar

from torch import Tensor, nn

from analysis.convolution.layers import Layer, Row
from analysis.convolution.stack import MAX_LETTERS, build, measure_stack, read_layers
from analysis.errors import UserError
from models.networks import blocks
from models.networks.options import ArchitectureConfig
from models.settings import Text, checked_dataclass


@checked_dataclass
class StackConfig(ArchitectureConfig):
    """``layers`` is what :func:`analysis.convolution.stack.read_layers` reads.

    A linear layer at the end gets as many outputs as there are classes; where there is none, one is added.
    """

    title: ClassVar[str] = "Stack of layers"

    layers: Annotated[
        str, Text("layers in a row, such as conv(16,3) relu gap", max_length=MAX_LETTERS, title="Layers in a row")
    ] = "conv(16,3,1,1) norm relu pool(2) conv(32,3,1,1) norm relu pool(2) conv(64,3,1,1) norm relu gap linear(10)"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a picture: channels, height, width."""
        return self.in_channels, self.image_size, self.image_size

    @property
    def features(self) -> tuple[Layer, ...]:
        """All layers but a linear one at the end."""
        layers = read_layers(self.layers)
        return layers[:-1] if layers[-1].kind == "linear" else layers

    @property
    def rows(self) -> tuple[Row, ...]:
        """What the features make of a picture, and what they cost."""
        return measure_stack(self.features, self.shape) if self.features else ()

    @property
    def num_features(self) -> int:
        """Numbers that the last layer sees."""
        return math.prod(self.rows[-1].shape if self.rows else self.shape)

    @property
    def num_parameters(self) -> int:
        return sum(row.parameters for row in self.rows) + blocks.count_linear(self.num_features, self.num_classes)

    def check_shapes(self) -> None:
        """Raises UserError where the layers cannot be read, or one cannot follow the one before it."""
        try:
            _ = self.rows
        except UserError as error:
            raise UserError(f"layers: {error}") from None


class Stack(nn.Module):
    """Maps ``(N, in_channels, image_size, image_size)`` to logits ``(N, num_classes)``.

    ``features`` has a part per layer, by its place; ``head`` flattens what is not a vector yet.
    """

    head_name = "head"

    def __init__(self, config: StackConfig):
        super().__init__()
        self.config = config
        self.features = build(config.features, config.shape)
        classifier = nn.Linear(config.num_features, config.num_classes)
        self.head = nn.Sequential(OrderedDict(flatten=nn.Flatten(), classifier=classifier))
        blocks.initialise(self, "relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
