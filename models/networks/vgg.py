"""VGG: stages of 3 x 3 convolutions, a halving after each, and two wide linear layers.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015, table 1. Three
stacked 3 x 3 layers see 7 x 7 pixels with 27 C^2 weights instead of 49 C^2. With the scan head, the linear layers are
applied at each position of the last map.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor, nn

from models.networks import blocks
from models.networks.blocks import build_conv_block, count_conv, count_features, count_linear, halve_size
from models.networks.options import ArchitectureConfig
from models.settings import Choice, Number, checked_dataclass

CHANNELS = (64, 128, 256, 512, 512)
HIDDEN = 4096


@dataclass(frozen=True)
class Configuration:
    """A column of the table: the kernel sizes of each stage; ``lrn`` puts a normalisation behind the first one."""

    title: str
    stages: tuple[tuple[int, ...], ...]
    lrn: bool = False


CONFIGURATIONS = {
    "A": Configuration("A, 11 layers", ((3,), (3,), (3, 3), (3, 3), (3, 3))),
    "A-LRN": Configuration("A-LRN, 11 layers", ((3,), (3,), (3, 3), (3, 3), (3, 3)), lrn=True),
    "B": Configuration("B, 13 layers", ((3, 3),) * 5),
    "C": Configuration("C, 16 layers, three of them 1 x 1", ((3, 3), (3, 3), *((3, 3, 1),) * 3)),
    "D": Configuration("D, 16 layers", ((3, 3), (3, 3), *((3, 3, 3),) * 3)),
    "E": Configuration("E, 19 layers", ((3, 3), (3, 3), *((3, 3, 3, 3),) * 3)),
}


@dataclass(frozen=True)
class _Convolution:
    """One convolution: its widths and kernel, the side of its input, and whether it ends a stage."""

    in_channels: int
    out_channels: int
    kernel_size: int
    size: int
    halve: bool


@checked_dataclass
class VGGConfig(ArchitectureConfig):
    """``width`` multiplies all numbers of channels and units; at 1 they are the published ones."""

    title: ClassVar[str] = "VGG"

    configuration: Annotated[str, Choice(CONFIGURATIONS, title="Configuration")] = "A"
    width: Annotated[float, Number(0.05, 2.0, title="Width")] = 0.25
    pooling: blocks.PoolingName = "max"
    blur_size: blocks.BlurSize = 3
    padding_mode: blocks.PaddingMode = "zeros"
    head: blocks.HeadName = "flatten"
    norm: blocks.NormName = "none"
    dropout: blocks.DropoutShare = 0.5
    activation: blocks.ActivationName = "relu"

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each of the five stages."""
        return tuple(round(channels * self.width) for channels in CHANNELS)

    @property
    def hidden(self) -> tuple[int, int]:
        """Units of the two linear layers before the last one."""
        return (round(HIDDEN * self.width),) * 2

    @property
    def sizes(self) -> tuple[int, ...]:
        """Side in pixels of the image and after each stage: six numbers."""
        sizes = [self.image_size]
        for _ in CHANNELS:
            sizes.append(halve_size(sizes[-1], self.pooling))
        return tuple(sizes)

    @property
    def convolutions(self) -> Iterator[_Convolution]:
        """All convolutions in order."""
        before = self.in_channels
        stages = CONFIGURATIONS[self.configuration].stages
        for channels, size, kernels in zip(self.channels, self.sizes, stages, strict=False):
            for i, kernel_size in enumerate(kernels, start=1):
                yield _Convolution(before, channels, kernel_size, size, halve=i == len(kernels))
                before = channels

    @property
    def num_parameters(self) -> int:
        convolutions = sum(
            count_conv(c.in_channels, c.out_channels, c.kernel_size, self.norm) for c in self.convolutions
        )
        features = count_features(self.head, self.channels[-1], self.sizes[-1])
        return convolutions + count_linear(features, *self.hidden, self.num_classes)

    def check_shapes(self) -> None:
        """Raises UserError where five halvings leave too little."""
        blocks.check_halvings(self.sizes)
        for conv in self.convolutions:
            blocks.check_padding(self.padding_mode, conv.kernel_size // 2, conv.size)
            steps = conv.halve and self.pooling == "stride"
            output = halve_size(conv.size, self.pooling) if steps else conv.size
            blocks.check_norm(self.norm, conv.out_channels, output**2)


class VGG(nn.Module):
    """Maps ``(N, in_channels, H, W)`` to logits ``(N, num_classes)``.

    ``features`` has one block per convolution with the parts ``conv``, ``norm``, one named as the activation, and,
    in the last block of a stage, ``pool``.
    """

    head_name = "head"

    def __init__(self, config: VGGConfig):
        super().__init__()
        self.config = config
        parts = [_build_block(config, i, conv) for i, conv in enumerate(config.convolutions)]
        self.features = nn.Sequential(*parts)
        self.head = blocks.build_head(config, config.channels[-1], config.sizes[-1], config.hidden)
        blocks.initialise(self, config.activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def _build_block(config: VGGConfig, index: int, conv: _Convolution) -> nn.Sequential:
    between = {}
    if CONFIGURATIONS[config.configuration].lrn and index == 0:
        # The constants of Krizhevsky et al., 2012, which the paper takes over.
        between["lrn"] = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)
    widths = (conv.in_channels, conv.out_channels)
    return build_conv_block(
        config, *widths, conv.kernel_size, conv.kernel_size // 2, halve=conv.halve, between=between
    )
