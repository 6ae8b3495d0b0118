"""A small convolutional network that is easy to take apart: conv, norm, ReLU, downsampling, repeated.

Every operation that an explanation method may want to hook is a module of its own, used once.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from models.blur_pool import BLUR_SIZES, BlurPool2d
from models.errors import ModelsError
from models.padding import PADDING_MODES, PaddedMaxPool2d
from models.polyphase_sampling import PolyphaseSampling2d
from models.validation import check_choice, check_integer, check_number


def _blur(config: "SmallCNNConfig") -> nn.Module:
    return BlurPool2d(config.blur_size, padding_mode=config.padding_mode)


def _behind_max(config: "SmallCNNConfig", **part: nn.Module) -> nn.Module:
    """Max-pooling without its stride, and then what takes every second pixel."""
    return nn.Sequential(OrderedDict(max=PaddedMaxPool2d(2, padding_mode=config.padding_mode), **part))


POOLING: dict[str, Callable[["SmallCNNConfig"], nn.Module] | None] = {
    "max": lambda config: nn.MaxPool2d(2),
    "average": lambda config: nn.AvgPool2d(2),
    "stride": None,  # the convolution itself steps by 2
    "blur": lambda config: _behind_max(config, blur=_blur(config)),
    "blur_stride": _blur,
    "aps": lambda config: _behind_max(config, sample=PolyphaseSampling2d()),
    "aps_stride": lambda config: PolyphaseSampling2d(),
}
"""How a block halves its map; none of them has weights. "blur" and "aps" are for networks that were trained with
max-pooling, the two with "_stride" for those with strided convolutions."""
ROUNDS_DOWN = ("max", "average")
"""Pooling that leaves out the last row of an odd map; the others keep it."""
_BEFORE_CLASSIFIER: dict[str, Callable[[], dict[str, nn.Module]]] = {
    "gap": lambda: {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()},
    "flatten": lambda: {"flatten": nn.Flatten()},
    "scan": lambda: {"positions": Positions()},
}
HEADS = tuple(_BEFORE_CLASSIFIER)
NORMS = ("batch", "none")
MAX_PARAMETERS = 50_000_000


@dataclass(frozen=True)
class SmallCNNConfig:
    """One block per entry of ``channels``; every block but the last halves the image (sizes in pixels).

    ``blur_size`` is the number of taps of the low-pass filter, where ``pooling`` has one.
    """

    num_classes: int = 10
    in_channels: int = 1
    image_size: int = 28
    channels: tuple[int, ...] = (16, 48, 96)
    kernel_size: int = 3
    pooling: str = "max"
    padding_mode: str = "zeros"
    head: str = "gap"
    norm: str = "batch"
    dropout: float = 0.0
    blur_size: int = 3

    def __post_init__(self):
        if not isinstance(self.channels, list | tuple) or not 1 <= len(self.channels) <= 8:
            raise ModelsError("channels must list 1 to 8 numbers, one for each block, such as 16, 48, 96.")
        object.__setattr__(self, "channels", tuple(self.channels))
        for channels in self.channels:
            check_integer("Each entry of channels", channels, 1, 1024)
        check_integer("num_classes", self.num_classes, 2, 10_000)
        check_integer("in_channels", self.in_channels, 1, 16)
        check_integer("image_size", self.image_size, 1, 1024)
        check_integer("kernel_size", self.kernel_size, 1, 15)
        check_choice("pooling", self.pooling, POOLING)
        check_choice("padding_mode", self.padding_mode, PADDING_MODES)
        check_choice("head", self.head, HEADS)
        check_choice("norm", self.norm, NORMS)
        check_number("dropout", self.dropout, 0.0, 0.95)
        check_integer("blur_size", self.blur_size, BLUR_SIZES[0], BLUR_SIZES[-1])
        if self.kernel_size % 2 == 0:
            raise ModelsError(
                f"kernel_size must be odd, so that both sides get the same padding, not {self.kernel_size}."
            )
        self._check_sizes()
        if self.num_parameters > MAX_PARAMETERS:
            raise ModelsError(
                f"These channels make {self.num_parameters / 1e6:.0f} million weights; "
                f"at most {MAX_PARAMETERS // 10**6} million are possible here."
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Side in pixels of the input and of each block's output: ``len(channels) + 1`` numbers."""
        sizes = [self.image_size]
        for _ in self.channels[1:]:
            sizes.append((sizes[-1] + (self.pooling not in ROUNDS_DOWN)) // 2)
        return (*sizes, sizes[-1])

    @property
    def num_features(self) -> int:
        """Inputs of the last, linear layer."""
        return self.channels[-1] * (self.sizes[-1] ** 2 if self.head == "flatten" else 1)

    @property
    def num_parameters(self) -> int:
        """Trainable numbers of the whole network."""
        per_channel = 2 if self.norm == "batch" else 1  # scale and shift, or the bias
        widths = zip((self.in_channels, *self.channels), self.channels, strict=False)
        convolutions = sum(c_out * (c_in * self.kernel_size**2 + per_channel) for c_in, c_out in widths)
        return convolutions + self.num_classes * (self.num_features + 1)

    def _check_sizes(self) -> None:
        blocks, size, padding = len(self.channels), self.image_size, self.kernel_size // 2
        if self.sizes[-1] < 1:
            raise ModelsError(
                f"{blocks} blocks halve a {size} x {size} image {blocks - 1} times, which leaves nothing; "
                f"use at most {size.bit_length()} blocks or larger images."
            )
        # Reflection needs one pixel more than it copies, wrapping around exactly as many.
        needed = {"reflect": padding + 1, "circular": padding}.get(self.padding_mode, 1)
        smallest = self.sizes[-1]
        if smallest < needed:
            raise ModelsError(
                f"{self.padding_mode} padding of {padding} pixels (kernel_size {self.kernel_size}) does not "
                f"fit the {smallest} x {smallest} image in the last block; use a smaller kernel or fewer blocks."
            )


class SmallCNN(nn.Module):
    """Maps ``(N, in_channels, H, W)`` to logits ``(N, num_classes)``.

    ``features`` is a sequence of blocks with the parts ``conv``, ``norm``, ``relu``, ``pool``;
    ``head`` holds ``head.classifier``, whose weights fit both the GAP head (Lin et al., "Network in Network",
    2014), which classifies the mean of all positions, and the scan head, which classifies each position and
    takes the maximum.
    """

    head_name = "head"

    def __init__(self, config: SmallCNNConfig):
        super().__init__()
        self.config = config
        widths = zip((config.in_channels, *config.channels), config.channels, strict=False)
        last = len(config.channels) - 1
        self.features = nn.Sequential(*(_build_block(config, *pair, halve=i < last) for i, pair in enumerate(widths)))
        self.head = _build_head(config)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, num_classes)`` of normalised images ``(N, in_channels, H, W)``."""
        return self.head(self.features(x))


def _build_block(config: SmallCNNConfig, in_channels: int, out_channels: int, *, halve: bool) -> nn.Sequential:
    build_pool = POOLING[config.pooling]
    block = OrderedDict()
    block["conv"] = nn.Conv2d(
        in_channels,
        out_channels,
        config.kernel_size,
        stride=2 if halve and build_pool is None else 1,
        padding=config.kernel_size // 2,
        padding_mode=config.padding_mode,
        bias=config.norm == "none",  # batch normalisation has its own shift
    )
    if config.norm == "batch":
        block["norm"] = nn.BatchNorm2d(out_channels)
    block["relu"] = nn.ReLU()
    if halve and build_pool is not None:
        block["pool"] = build_pool(config)
    return nn.Sequential(block)


def _build_head(config: SmallCNNConfig) -> nn.Sequential:
    head = OrderedDict(_BEFORE_CLASSIFIER[config.head]())
    if config.dropout:
        head["dropout"] = nn.Dropout(config.dropout)
    head["classifier"] = nn.Linear(config.num_features, config.num_classes)
    if config.head == "scan":
        head["max"] = MaxOverPositions()
    return nn.Sequential(head)


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
