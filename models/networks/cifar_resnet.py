"""The residual networks for small pictures: three stages, whose shortcuts have no weights.

He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2: 6 n + 2 layers, 0.27 million weights at
20 layers and ten classes. Where a stage begins with more channels, the shortcut has zeros in the new ones (option A).
"""

from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks import blocks
from models.networks.blocks import count_conv, count_features, count_linear
from models.networks.options import ArchitectureConfig
from models.networks.padding import find_mode
from models.networks.parts import ACTIVATIONS, NORMS, POOLING, BothBranches
from models.settings import Integer, checked_dataclass


@checked_dataclass
class CifarResNetConfig(ArchitectureConfig):
    """``width`` is the number of channels of the first stage, which doubles twice, with each halving."""

    title: ClassVar[str] = "CIFAR ResNet"

    depth: Annotated[int, Integer(8, 110, step=6, rule="6 n + 2, such as 20, 32 or 44", title="Layers")] = 20
    width: Annotated[int, Integer(4, 160, title="Channels of the first stage")] = 16
    pooling: blocks.PoolingName = "stride"
    blur_size: blocks.BlurSize = 3
    padding_mode: blocks.PaddingMode = "zeros"
    head: blocks.HeadName = "gap"
    norm: blocks.NormName = "batch"
    dropout: blocks.DropoutShare = 0.0
    activation: blocks.ActivationName = "relu"

    @property
    def blocks_per_stage(self) -> int:
        """Residual blocks in each of the three stages."""
        return (self.depth - 2) // 6

    @property
    def channels(self) -> tuple[int, int, int]:
        """Channels of each stage."""
        return (self.width, 2 * self.width, 4 * self.width)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Side in pixels of the maps of each stage: three numbers."""
        sizes = [self.image_size]
        for _ in range(2):
            sizes.append(blocks.halve_size(sizes[-1], self.pooling))
        return tuple(sizes)

    @property
    def num_parameters(self) -> int:
        same = sum(count_conv(c, c, 3, self.norm) for c in self.channels) * (2 * self.blocks_per_stage - 1)
        wider = sum(count_conv(*pair, 3, self.norm) for pair in pairwise((self.width, *self.channels)))
        first = count_conv(self.in_channels, self.width, 3, self.norm)
        features = count_features(self.head, self.channels[-1], self.sizes[-1])
        return first + same + wider + count_linear(features, self.num_classes)

    def check_shapes(self) -> None:
        """Raises UserError where two halvings leave too little."""
        blocks.check_halvings(self.sizes)
        for channels, size in zip(self.channels, self.sizes, strict=True):
            blocks.check_padding(self.padding_mode, 1, size)
            blocks.check_norm(self.norm, channels, size**2)


class CifarResNet(nn.Module):
    """Maps ``(N, in_channels, H, W)`` to logits ``(N, num_classes)``; ``stage1`` to ``stage3`` hold the blocks."""

    head_name = "head"
    stage1: nn.Sequential
    stage2: nn.Sequential
    stage3: nn.Sequential

    def __init__(self, config: CifarResNetConfig):
        super().__init__()
        self.config = config
        self.conv = _conv(config, config.in_channels, config.width)
        self.norm = _norm(config, config.width)
        self.activation = ACTIVATIONS[config.activation].build()
        for stage, (before, channels) in enumerate(pairwise((config.width, *config.channels)), start=1):
            first = ResidualBlock(config, before, channels, halve=stage > 1)
            others = (ResidualBlock(config, channels, channels) for _ in range(config.blocks_per_stage - 1))
            self.add_module(f"stage{stage}", nn.Sequential(first, *others))
        self.head = blocks.build_head(config, config.channels[-1], config.sizes[-1])
        blocks.initialise(self, config.activation)
        if config.norm == "none":
            self._calm_branches()

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.norm(self.conv(x)))
        return self.head(self.stage3(self.stage2(self.stage1(x))))

    @torch.no_grad()
    def _calm_branches(self) -> None:
        """Makes the second convolutions of all L blocks smaller, by L^-0.5.

        Without normalisation each block would double the variance of the signal; so all together multiply it by
        (1 + 1 / L)^L < e at most. As in: Zhang, Dauphin & Ma, "Fixup Initialization", 2019.
        """
        branches = [part for part in self.modules() if isinstance(part, ResidualBlock)]
        for branch in branches:
            branch.conv2.weight *= len(branches) ** -0.5


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut without weights; where it halves, both branches do so in the same way."""

    def __init__(self, config: CifarResNetConfig, in_channels: int, out_channels: int, *, halve: bool = False):
        super().__init__()
        pooling = POOLING[config.pooling]
        stride = 2 if halve and pooling.build is None else 1
        self.conv1 = _conv(config, in_channels, out_channels, stride)
        self.norm1 = _norm(config, out_channels)
        self.activation1 = ACTIVATIONS[config.activation].build()
        self.halve = pooling.pair(config) if halve else BothBranches(nn.Identity(), nn.Identity())
        self.conv2 = _conv(config, out_channels, out_channels)
        self.norm2 = _norm(config, out_channels)
        self.extend = ZeroChannels(out_channels - in_channels) if out_channels > in_channels else nn.Identity()
        self.activation2 = ACTIVATIONS[config.activation].build()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` to ``(N, out_channels, h, w)``."""
        out = self.activation1(self.norm1(self.conv1(x)))
        out, shortcut = self.halve(out, x)
        return self.activation2(self.norm2(self.conv2(out)) + self.extend(shortcut))


class ZeroChannels(nn.Module):
    """Adds channels of zeros behind those of a map."""

    def __init__(self, num: int):
        super().__init__()
        self.num = num

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C + num, H, W)``."""
        return F.pad(x, (0, 0, 0, 0, 0, self.num))

    def extra_repr(self) -> str:
        return str(self.num)


def _conv(config: CifarResNetConfig, in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    bias = config.norm == "none"
    return nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=bias, padding_mode=find_mode(config.padding_mode))


def _norm(config: CifarResNetConfig, channels: int) -> nn.Module:
    norm = NORMS[config.norm]
    return norm.build(channels) if norm else nn.Identity()
