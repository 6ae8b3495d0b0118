"""The tables of what networks are built from: downsampling, normalisations, activations and heads.

Every operation that an explanation method may want to hook is a module of its own, used once and not in place.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

import torch
from torch import Tensor, nn

from models.networks.blur_pool import BlurPool2d
from models.networks.padding import PaddedMaxPool2d
from models.networks.polyphase_sampling import PairedPolyphaseSampling2d, PolyphaseSampling2d


class PoolingConfig(Protocol):
    """What halves a map reads from a configuration."""

    @property
    def blur_size(self) -> int: ...
    @property
    def padding_mode(self) -> str: ...


class BothBranches(nn.Module):
    """Halves both branches of a residual block, each by its own module, and then both ``sample`` together."""

    def __init__(self, main: nn.Module, shortcut: nn.Module, sample: nn.Module | None = None):
        super().__init__()
        self.main, self.shortcut, self.sample = main, shortcut, sample

    def forward(self, x: Tensor, shortcut: Tensor) -> tuple[Tensor, Tensor]:
        """Two maps ``(N, C, H, W)`` of the same height and width to two of half of it."""
        x, shortcut = self.main(x), self.shortcut(shortcut)
        return (x, shortcut) if self.sample is None else self.sample(x, shortcut)


def _dense_max(config: PoolingConfig) -> nn.Module:
    """Max-pooling without its stride."""
    return PaddedMaxPool2d(2, padding_mode=config.padding_mode)


def _blur(config: PoolingConfig) -> nn.Module:
    return BlurPool2d(config.blur_size, padding_mode=config.padding_mode)


def _blurred_max(config: PoolingConfig) -> nn.Module:
    return nn.Sequential(OrderedDict(max=_dense_max(config), blur=_blur(config)))


def _sampled_max(config: PoolingConfig) -> nn.Module:
    return nn.Sequential(OrderedDict(max=_dense_max(config), sample=PolyphaseSampling2d()))


@dataclass(frozen=True)
class Pooling:
    """How a map is halved, without weights.

    ``build`` gives what follows the activation (None: the convolution itself steps by 2), ``pair`` the module that
    halves both branches of a residual block; ``rounds_down`` says that the last row of an odd map is left out.
    """

    title: str
    build: Callable[[PoolingConfig], nn.Module] | None
    pair: Callable[[PoolingConfig], nn.Module]
    rounds_down: bool = False


def _pool_apart(title: str, build: Callable[[PoolingConfig], nn.Module], *, rounds_down: bool = False) -> Pooling:
    return Pooling(title, build, lambda config: BothBranches(build(config), build(config)), rounds_down)


POOLING = {
    "max": _pool_apart("max-pooling", lambda config: nn.MaxPool2d(2), rounds_down=True),
    "average": _pool_apart("average pooling", lambda config: nn.AvgPool2d(2), rounds_down=True),
    # A window of one pixel takes every second one, in the branch without a convolution.
    "stride": Pooling(
        "strided convolution", None, lambda config: BothBranches(nn.Identity(), nn.MaxPool2d(1, stride=2))
    ),
    "blur": _pool_apart("max-pooling with blur", _blurred_max),
    "blur_stride": _pool_apart("blur", _blur),
    "aps": Pooling(
        "max-pooling with adaptive sampling",
        _sampled_max,
        lambda config: BothBranches(_dense_max(config), _dense_max(config), PairedPolyphaseSampling2d()),
    ),
    "aps_stride": Pooling(
        "adaptive sampling",
        lambda config: PolyphaseSampling2d(),
        lambda config: BothBranches(nn.Identity(), nn.Identity(), PairedPolyphaseSampling2d()),
    ),
}
"""How a map is halved. "blur" and "aps" are for networks that were trained with max-pooling, the two with "_stride"
for those with strided convolutions."""


@dataclass(frozen=True)
class Norm:
    """A normalisation; each has a scale and a shift per channel.

    ``build`` takes the number of channels, ``build_flat`` does so for vectors; ``share`` says how many channels are
    normalised together (None: statistics are over the pictures of a batch, whose number the training checks).
    """

    title: str
    build: Callable[[int], nn.Module]
    build_flat: Callable[[int], nn.Module]
    share: Callable[[int], int] | None


def count_groups(channels: int) -> int:
    """Groups for group normalisation: the largest divisor up to 32 that leaves two channels or more in a group.

    32 is the number in Wu & He, "Group Normalization", 2018; 7 channels make one group, 48 make 24.
    """
    return max(n for n in range(1, min(32, max(channels // 2, 1)) + 1) if channels % n == 0)


def _build_group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(count_groups(channels), channels)


def _build_layer_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(1, channels)


_build_instance_norm = partial(nn.InstanceNorm2d, affine=True)

NORMS: dict[str, Norm | None] = {
    "batch": Norm("batch", nn.BatchNorm2d, nn.BatchNorm1d, None),
    "none": None,
    "layer": Norm("layer", _build_layer_norm, _build_layer_norm, lambda channels: channels),
    "instance": Norm("instance", _build_instance_norm, _build_instance_norm, lambda channels: 1),
    "group": Norm("group", _build_group_norm, _build_group_norm, lambda channels: channels // count_groups(channels)),
}
"""Layer normalisation is that of Wu & He, 2018: over channels, rows and columns of a picture together, which is group
normalisation with one group; not over the channels of each position."""


@dataclass(frozen=True)
class Activation:
    """A non-linearity."""

    title: str
    build: Callable[[], nn.Module]

    @cached_property
    def gain(self) -> float:
        """What keeps the mean square of a signal: 1 / sqrt(E[f(z)^2]) for standard normal z, sqrt(2) for ReLU."""
        z = torch.linspace(-8, 8, 1601, dtype=torch.float64, device="cpu")
        density = (-z.square() / 2).exp()
        return (density.sum() / (density * self.build()(z).square()).sum()).sqrt().item()


ACTIVATIONS = {
    "relu": Activation("ReLU", nn.ReLU),
    "leaky_relu": Activation("leaky ReLU", nn.LeakyReLU),
    "elu": Activation("ELU", nn.ELU),
    "gelu": Activation("GELU", nn.GELU),
    "silu": Activation("SiLU", nn.SiLU),
    "tanh": Activation("tanh", nn.Tanh),
    "sigmoid": Activation("sigmoid", nn.Sigmoid),
}


class Positions(nn.Module):
    """Puts the channels of a map last, so that a linear layer is applied at each position."""

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, H, W, C)``."""
        return x.permute(0, 2, 3, 1)


class MaxOverPositions(nn.Module):
    """The largest logit of each class, wherever it occurs."""

    def forward(self, logits: Tensor) -> Tensor:
        """``(N, H, W, K)`` to ``(N, K)``."""
        return logits.amax((1, 2))


@dataclass(frozen=True)
class Head:
    """From feature maps to logits: what is before and after the linear layers.

    ``flat`` says that they have weights for each position.
    """

    title: str
    before: Callable[[], dict[str, nn.Module]]
    after: Callable[[], dict[str, nn.Module]] = dict
    flat: bool = False


HEADS = {
    "gap": Head("global average pooling", lambda: {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}),
    "flatten": Head("flatten", lambda: {"flatten": nn.Flatten()}, flat=True),
    "scan": Head("scan, then maximum", lambda: {"positions": Positions()}, lambda: {"max": MaxOverPositions()}),
}
"""The weights of "gap" (Lin et al., "Network in Network", 2014), which classifies the mean of all positions, fit
"scan" as well, which classifies each position and takes the maximum."""
