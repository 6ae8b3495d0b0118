"""A multilayer perceptron: a bank of templates of the whole picture, and layers that combine them."""

from collections import OrderedDict
from itertools import pairwise
from typing import Annotated, ClassVar

from torch import Tensor, nn

from models.networks import blocks
from models.networks.blocks import count_linear
from models.networks.options import ArchitectureConfig
from models.networks.parts import ACTIVATIONS, NORMS
from models.settings import Choice, Integers, checked_dataclass

FLAT_NORMS = {name: norm for name, norm in NORMS.items() if name != "instance"}
"""Instance normalisation has one number per unit, of which it leaves nothing."""


@checked_dataclass
class MLPConfig(ArchitectureConfig):
    """One hidden layer per entry of ``hidden``, which is its width."""

    title: ClassVar[str] = "MLP"

    hidden: Annotated[
        tuple[int, ...], Integers(1, 16_384, (1, 8), (256, 128), title="Width of each hidden layer")
    ] = (256, 128)
    norm: Annotated[str, Choice(FLAT_NORMS, title="Normalisation")] = "none"
    dropout: blocks.DropoutShare = 0.0
    activation: blocks.ActivationName = "relu"

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers in the picture and in each hidden layer."""
        return (self.in_channels * self.image_size**2, *self.hidden)

    @property
    def num_parameters(self) -> int:
        per_unit = 1 if NORMS[self.norm] else 0  # scale and shift, instead of the bias
        return count_linear(*self.widths, self.num_classes) + per_unit * sum(self.hidden)

    def check_shapes(self) -> None:
        """Raises UserError where a normalisation would have a single number at a time."""
        for width in self.hidden:
            blocks.check_norm(self.norm, width)


class MLP(nn.Module):
    """Maps ``(N, in_channels, image_size, image_size)`` to logits ``(N, num_classes)``.

    ``hidden`` is a sequence of blocks with the parts ``linear``, ``norm``, one named as the activation, ``dropout``.
    """

    head_name = "head"

    def __init__(self, config: MLPConfig):
        super().__init__()
        self.config = config
        self.flatten = nn.Flatten()
        self.hidden = nn.Sequential(*(_build_block(config, *pair) for pair in pairwise(config.widths)))
        self.head = nn.Sequential(OrderedDict(classifier=nn.Linear(config.widths[-1], config.num_classes)))
        blocks.initialise(self, config.activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(self.flatten(x)))


def _build_block(config: MLPConfig, in_features: int, out_features: int) -> nn.Sequential:
    norm = NORMS[config.norm]
    block = OrderedDict[str, nn.Module](linear=nn.Linear(in_features, out_features, bias=norm is None))
    if norm:
        block["norm"] = norm.build_flat(out_features)
    block[config.activation] = ACTIVATIONS[config.activation].build()
    if config.dropout:
        block["dropout"] = nn.Dropout(config.dropout)
    return nn.Sequential(block)
