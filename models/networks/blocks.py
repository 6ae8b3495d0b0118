"""Blocks and heads made of :mod:`models.networks.parts`: their options, their sizes beforehand, their weights."""

from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Protocol

import torch
from torch import Tensor, nn

from analysis.errors import UserError
from analysis.grammar import agree, article, count
from models.networks.blur_pool import BLUR_SIZES
from models.networks.padding import PADDING_MODES, find_mode
from models.networks.parts import ACTIVATIONS, HEADS, NORMS, POOLING, PoolingConfig
from models.settings import Choice, Integer, Number


class ConvConfig(PoolingConfig, Protocol):
    """What the blocks read from a configuration."""

    @property
    def num_classes(self) -> int: ...
    @property
    def pooling(self) -> str: ...
    @property
    def head(self) -> str: ...
    @property
    def norm(self) -> str: ...
    @property
    def dropout(self) -> float: ...
    @property
    def activation(self) -> str: ...


PoolingName = Annotated[str, Choice(POOLING, title="Downsampling")]
BlurSize = Annotated[
    int,
    Integer(BLUR_SIZES[0], BLUR_SIZES[-1], title="Taps of the blur", only_with={"pooling": ("blur", "blur_stride")}),
]
"""Taps of the low-pass filter, where ``pooling`` has one."""
PaddingMode = Annotated[str, Choice(PADDING_MODES, title="Padding")]
HeadName = Annotated[str, Choice(HEADS, title="Head")]
NormName = Annotated[str, Choice(NORMS, title="Normalisation")]
DropoutShare = Annotated[float, Number(0.0, 0.95, title="Dropout")]
"""Of the features, what training leaves out."""
ActivationName = Annotated[str, Choice(ACTIVATIONS, title="Activation")]


def halve_size(size: int, pooling: str) -> int:
    """Side of a map after one halving."""
    return (size + (not POOLING[pooling].rounds_down)) // 2


def check_halvings(sizes: tuple[int, ...]) -> None:
    """Refuses an image of which halvings leave nothing; ``sizes`` are its side and that after each halving.

    Raises:
        UserError: The last side is 0.
    """
    if sizes[-1] < 1:
        image, halvings = sizes[0], len(sizes) - 1
        sides, leave = ", ".join(map(str, sizes)), agree(halvings, "leave")
        raise UserError(
            f"{count(halvings, 'halving')} of {article(image)} x {image} image {leave} nothing (sides {sides}); use "
            f"images of at least {2**halvings} pixels, or strides or blur, which keep the last row of an odd map."
        )


def check_padding(mode: str, padding: int, size: int) -> None:
    """Refuses padding that has to copy more pixels than a ``size x size`` map has.

    Raises:
        UserError: The map is too small.
    """
    # Reflection needs one pixel more than it copies, wrapping around exactly as many.
    needed = {"reflect": padding + 1, "circular": padding}.get(mode, 1)
    if padding and size < needed:
        raise UserError(
            f"{mode} padding of {count(padding, 'pixel')} does not fit the {size} x {size} map of a layer; "
            "use larger images, a smaller kernel or fewer halvings."
        )


def check_norm(norm: str, channels: int, positions: int = 1) -> None:
    """Refuses a normalisation that would have a single value to normalise, and so leave only zeros.

    Raises:
        UserError: There is one value per statistic.
    """
    kind = NORMS[norm]
    if kind and kind.share and kind.share(channels) * positions < 2:
        raise UserError(
            f"{kind.title.capitalize()} normalisation needs at least 2 values at a time, but a layer of "
            f"{count(channels, 'channel')} with 1 position each gives it 1; use larger maps or another normalisation."
        )


def build_conv_block(
    config: ConvConfig,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    padding: int,
    *,
    halve: bool,
    between: Mapping[str, nn.Module] = MappingProxyType({}),
) -> "ConvBlock":
    """Parts ``conv``, ``norm``, one named as the activation, and ``pool`` where it halves.

    ``between`` has further parts that go before the activation.
    """
    pooling = POOLING[config.pooling]
    norm, block = NORMS[config.norm], OrderedDict[str, nn.Module]()
    block["conv"] = nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=2 if halve and pooling.build is None else 1,
        padding=padding,
        padding_mode=find_mode(config.padding_mode),
        bias=norm is None,  # every normalisation has its own shift
    )
    if norm:
        block["norm"] = norm.build(out_channels)
    block |= between
    block[config.activation] = ACTIVATIONS[config.activation].build()
    if halve and pooling.build is not None:
        block["pool"] = pooling.build(config)
    return ConvBlock(block)


class ConvBlock(nn.Sequential):
    """Its parts in turn; while it is trained, in a way that costs less.

    A ReLU and the max-pooling behind it then change places, with the same values and gradients to the last bit, as
    the largest number of a window is still the largest: the ReLU has a quarter of the work. And gradients are brought
    into the memory layout of the maps they belong to, or the steps before this one would crawl.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` to ``(N, out_channels, h, w)``."""
        parts = list(self)
        if self.training and [type(part) for part in parts[-2:]] == [nn.ReLU, nn.MaxPool2d]:
            parts[-2:] = parts[-1], parts[-2]
        for part in parts:
            x = part(x)
        if self.training and x.requires_grad and x.is_contiguous(memory_format=torch.channels_last):
            x.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
        return x


def count_conv(in_channels: int, out_channels: int, kernel_size: int, norm: str) -> int:
    """Trainable numbers of a convolution and its normalisation."""
    per_channel = 2 if NORMS[norm] else 1  # scale and shift, or the bias
    return out_channels * (in_channels * kernel_size**2 + per_channel)


def count_features(head: str, channels: int, size: int) -> int:
    """Inputs of the head's first linear layer, for maps of ``size x size``."""
    return channels * (size**2 if HEADS[head].flat else 1)


def count_linear(*widths: int) -> int:
    """Trainable numbers of linear layers with biases, from the inputs of the first to the outputs of the last."""
    return sum((before + 1) * after for before, after in pairwise(widths))


def build_head(config: ConvConfig, channels: int, size: int, hidden: tuple[int, ...] = ()) -> nn.Sequential:
    """Maps ``(N, channels, size, size)`` to logits; ``hidden`` are widths of linear layers before the last one.

    The parts of hidden layer ``i`` are ``fc{i}``, its activation and its dropout; the last one is ``classifier``.
    """
    kind = HEADS[config.head]
    widths = (count_features(config.head, channels, size), *hidden)
    head = OrderedDict(kind.before())
    for i, pair in enumerate(pairwise(widths), start=1):
        head[f"fc{i}"] = nn.Linear(*pair)
        head[f"{config.activation}{i}"] = ACTIVATIONS[config.activation].build()
        if config.dropout:
            head[f"dropout{i}"] = nn.Dropout(config.dropout)
    if config.dropout and not hidden:
        head["dropout"] = nn.Dropout(config.dropout)
    head["classifier"] = nn.Linear(widths[-1], config.num_classes)
    return nn.Sequential(head | kind.after())


def initialise(module: nn.Module, activation: str) -> None:
    """Draws weights with which a signal keeps its size through many layers; biases are 0.

    He et al., "Delving Deep into Rectifiers", 2015: normal with variance gain^2 / inputs of a unit. The
    ``classifier`` keeps PyTorch's smaller values, so that the first logits are near each other.
    """
    gain = ACTIVATIONS[activation].gain
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d | nn.Linear) and name.rpartition(".")[2] != "classifier":
            nn.init.normal_(part.weight, std=gain / part.weight[0].numel() ** 0.5)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
