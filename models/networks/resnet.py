"""Residual networks whose padding and downsampling can be chosen; weights and names are torchvision's.

He et al., "Deep Residual Learning for Image Recognition", 2016. With zero padding and strides it computes what
torchvision's ``resnet18`` and its sisters compute. Every ReLU is a module of its own, used once.
"""

from dataclasses import replace
from typing import Annotated, ClassVar

from torch import Tensor, nn

from models.networks import parts
from models.networks.blur_pool import BLUR_SIZES
from models.networks.options import ArchitectureConfig, NumClasses
from models.networks.padding import PaddedMaxPool2d, find_mode
from models.networks.polyphase_sampling import PairedPolyphaseSampling2d
from models.settings import Choice, Integer, checked_dataclass

PADDING_MODES = ("zeros", "circular")
WIDTHS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; where it halves, both branches do so in the same way."""

    expansion = 1

    def __init__(self, config: "ResNetConfig", in_channels: int, width: int, *, halve: bool):
        super().__init__()
        self.conv1 = _conv(config, in_channels, width, 3, halve=halve)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.halve = POOLING[config.pooling].pair(config) if halve else Both()
        self.conv2 = _conv(config, width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _build_shortcut(config, in_channels, width, halve=halve)
        self.relu2 = nn.ReLU()

    @staticmethod
    def count_parameters(in_channels: int, width: int) -> int:
        """Trainable numbers, without those of a shortcut."""
        return _count_conv(in_channels, width, 3) + _count_conv(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` to ``(N, width, h, w)``."""
        out = self.relu1(self.bn1(self.conv1(x)))
        out, shortcut = self.halve(out, x)
        out = self.bn2(self.conv2(out))
        return self.relu2(out + self.downsample(shortcut))


class Bottleneck(nn.Module):
    """Convolutions of 1 x 1, 3 x 3 (which may halve) and 1 x 1, and a shortcut."""

    expansion = 4

    def __init__(self, config: "ResNetConfig", in_channels: int, width: int, *, halve: bool):
        super().__init__()
        self.conv1 = _conv(config, in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv(config, width, width, 3, halve=halve)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.halve = POOLING[config.pooling].pair(config) if halve else Both()
        self.conv3 = _conv(config, width, 4 * width, 1)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = _build_shortcut(config, in_channels, 4 * width, halve=halve)
        self.relu3 = nn.ReLU()

    @staticmethod
    def count_parameters(in_channels: int, width: int) -> int:
        """Trainable numbers, without those of a shortcut."""
        inner = _count_conv(in_channels, width, 1) + _count_conv(width, width, 3)
        return inner + _count_conv(width, 4 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` to ``(N, 4 * width, h, w)``."""
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        out, shortcut = self.halve(out, x)
        out = self.bn3(self.conv3(out))
        return self.relu3(out + self.downsample(shortcut))


BUILDERS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
"""torchvision's name -> (block, blocks in each stage)."""


class Both(nn.Module):
    """Hands on both branches of a block that does not halve, or does it in its convolutions."""

    def forward(self, x: Tensor, shortcut: Tensor) -> tuple[Tensor, Tensor]:
        """The same two tensors."""
        return x, shortcut


POOLING = {
    # The shortcut has a convolution, which steps by 2 as well.
    "stride": replace(parts.POOLING["stride"], pair=lambda config: Both()),
    "blur": parts.POOLING["blur_stride"],
    "aps": replace(parts.POOLING["aps_stride"], pair=lambda config: PairedPolyphaseSampling2d()),
}
"""How maps are halved: as in strided convolutions; the first maximum comes before its blur or sampling anyway."""


@checked_dataclass
class ResNetConfig(ArchitectureConfig):
    """Five halvings: the first convolution, max-pooling, and one in each stage but the first (sizes in pixels).

    ``blur_size`` is the number of taps of the low-pass filter, where ``pooling`` has one.
    """

    title: ClassVar[str] = "ResNet"

    num_classes: NumClasses = 1000
    image_size: Annotated[int, Integer(8, 1024, title="Side of the picture in pixels")] = 224
    builder: Annotated[str, Choice(BUILDERS, title="Depth")] = "resnet18"
    padding_mode: Annotated[str, Choice(PADDING_MODES, title="Padding")] = "zeros"
    pooling: Annotated[str, Choice(POOLING, title="Downsampling")] = "stride"
    blur_size: Annotated[
        int, Integer(BLUR_SIZES[0], BLUR_SIZES[-1], only_with={"pooling": ("blur",)}, title="Taps of the blur")
    ] = 3

    @property
    def num_parameters(self) -> int:
        """Trainable numbers of the whole network; every convolution has a scale and a shift per channel."""
        block, depths = BUILDERS[self.builder]
        total, before = _count_conv(self.in_channels, WIDTHS[0], 7), WIDTHS[0]
        for width, depth in zip(WIDTHS, depths, strict=True):
            after = width * block.expansion
            total += block.count_parameters(before, width) + (depth - 1) * block.count_parameters(after, width)
            if before != after:
                total += _count_conv(before, after, 1)  # the shortcut
            before = after
        return total + (before + 1) * self.num_classes

    @property
    def sizes(self) -> tuple[int, ...]:
        """Side in pixels of the input, and after each halving: six numbers."""
        sizes = [self.image_size]
        for _ in range(5):
            sizes.append((sizes[-1] + 1) // 2)
        return tuple(sizes)


class ResNet(nn.Module):
    """Maps ``(N, in_channels, H, W)`` to logits ``(N, num_classes)``."""

    head_name = "fc"
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, config: ResNetConfig):
        super().__init__()
        self.config = config
        block, depths = BUILDERS[config.builder]
        build_sampling = POOLING[config.pooling].build or (lambda config: nn.Identity())
        self.conv1 = _conv(config, config.in_channels, WIDTHS[0], 7, halve=True)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU()
        self.sample1 = build_sampling(config)
        self.maxpool = PaddedMaxPool2d(3, stride=_step(config), padding_mode=config.padding_mode)
        self.sample2 = build_sampling(config)
        channels = WIDTHS[0]
        for stage, (width, depth) in enumerate(zip(WIDTHS, depths, strict=True)):
            blocks = []
            for i in range(depth):
                blocks.append(block(config, channels, width, halve=stage > 0 and i == 0))
                channels = width * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, config.num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.sample1(self.relu(self.bn1(self.conv1(x))))
        x = self.sample2(self.maxpool(x))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.flatten(self.avgpool(x)))


def _step(config: ResNetConfig) -> int:
    """By how many cells convolutions and max-pooling move where a map is halved."""
    return 2 if POOLING[config.pooling].build is None else 1


def _conv(
    config: ResNetConfig, in_channels: int, out_channels: int, window: int, *, halve: bool = False
) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels,
        out_channels,
        window,
        stride=_step(config) if halve else 1,
        padding=window // 2,
        padding_mode=find_mode(config.padding_mode),
        bias=False,
    )


def _count_conv(in_channels: int, out_channels: int, window: int) -> int:
    """Trainable numbers of a convolution and its batch normalisation."""
    return out_channels * (in_channels * window**2 + 2)


def _build_shortcut(config: ResNetConfig, in_channels: int, out_channels: int, *, halve: bool) -> nn.Module:
    """What makes the block's input addable to its output; blur and sampling come before it and commute with it."""
    if not halve and in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(_conv(config, in_channels, out_channels, 1, halve=halve), nn.BatchNorm2d(out_channels))
