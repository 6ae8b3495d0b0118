"""A small convolutional network that is easy to take apart: conv, norm, ReLU, downsampling, repeated."""

from itertools import pairwise
from typing import Annotated, ClassVar

from torch import Tensor, nn

from analysis.errors import UserError
from analysis.grammar import article, count
from models.networks import blocks
from models.networks.blocks import build_conv_block, build_head, count_conv, count_features, count_linear
from models.networks.options import ArchitectureConfig, ImageSize, InChannels
from models.settings import Integer, Integers, checked_dataclass


@checked_dataclass
class SmallCNNConfig(ArchitectureConfig):
    """One block per entry of ``channels``; every block but the last halves the image (sizes in pixels).

    ``blur_size`` is the number of taps of the low-pass filter, where ``pooling`` has one.
    """

    title: ClassVar[str] = "Small CNN"
    max_parameters: ClassVar[int] = 50_000_000

    in_channels: InChannels = 1
    image_size: ImageSize = 28
    channels: Annotated[
        tuple[int, ...], Integers(1, 1024, (1, 8), (16, 64, 64), title="Channels, one number per block")
    ] = (16, 64, 64)
    kernel_size: Annotated[
        int, Integer(1, 15, step=2, rule="odd, so that both sides get the same padding", title="Kernel")
    ] = 3
    pooling: blocks.PoolingName = "max"
    padding_mode: blocks.PaddingMode = "zeros"
    head: blocks.HeadName = "gap"
    norm: blocks.NormName = "batch"
    dropout: blocks.DropoutShare = 0.0
    blur_size: blocks.BlurSize = 3
    activation: blocks.ActivationName = "relu"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Side in pixels of the input and of each block's output: ``len(channels) + 1`` numbers."""
        sizes = [self.image_size]
        for _ in self.channels[1:]:
            sizes.append(blocks.halve_size(sizes[-1], self.pooling))
        return (*sizes, sizes[-1])

    @property
    def num_parameters(self) -> int:
        widths = pairwise((self.in_channels, *self.channels))
        convolutions = sum(count_conv(*pair, self.kernel_size, self.norm) for pair in widths)
        features = count_features(self.head, self.channels[-1], self.sizes[-1])
        return convolutions + count_linear(features, self.num_classes)

    def check_shapes(self) -> None:
        """Raises UserError where the halvings leave too little for the blocks behind them."""
        num_blocks, size, smallest = len(self.channels), self.image_size, self.sizes[-1]
        if smallest < 1:
            raise UserError(
                f"{num_blocks} blocks halve {article(size)} x {size} image {count(num_blocks - 1, 'time')}, which "
                f"leaves nothing; use at most {count(size.bit_length(), 'block')} or larger images."
            )
        blocks.check_padding(self.padding_mode, self.kernel_size // 2, smallest)
        # A map is normalised before it is pooled, but after a convolution has stepped.
        outputs = self.sizes[1:] if self.pooling == "stride" else self.sizes[:-1]
        for channels, output in zip(self.channels, outputs, strict=True):
            blocks.check_norm(self.norm, channels, output**2)


class SmallCNN(nn.Module):
    """Maps ``(N, in_channels, H, W)`` to logits ``(N, num_classes)``.

    ``features`` is a sequence of blocks with the parts ``conv``, ``norm``, ``relu`` (or the name of another
    activation), ``pool``; ``head`` holds ``head.classifier``, whose weights fit both the GAP and the scan head.
    """

    head_name = "head"

    def __init__(self, config: SmallCNNConfig):
        super().__init__()
        self.config = config
        widths, last = pairwise((config.in_channels, *config.channels)), len(config.channels) - 1
        k = config.kernel_size
        self.features = nn.Sequential(
            *(build_conv_block(config, *pair, k, k // 2, halve=i < last) for i, pair in enumerate(widths))
        )
        self.head = build_head(config, config.channels[-1], config.sizes[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
