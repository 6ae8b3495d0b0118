"""LeNet-5: two convolutions with subsampling, then three layers that see everything.

LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998, with its 6, 16, 120 and 84 units. As
is usual today the second convolution sees all six maps, averaging has no weights, and the last layer is linear. Its
third convolution, 5 x 5 on a map of that size, is a linear layer here, so that other images fit as well.
"""

from typing import Annotated, ClassVar

from torch import Tensor, nn

from analysis.errors import UserError
from analysis.grammar import article, count
from models.networks import blocks
from models.networks.blocks import build_conv_block, count_conv, count_features, count_linear, halve_size
from models.networks.options import ArchitectureConfig, InChannels
from models.settings import Integer, checked_dataclass

CHANNELS = (6, 16)
HIDDEN = (120, 84)
KERNEL_SIZE = 5


@checked_dataclass
class LeNet5Config(ArchitectureConfig):
    """``padding`` is that of both convolutions, in pixels: 0 as published, 2 keeps the size."""

    title: ClassVar[str] = "LeNet-5"

    in_channels: InChannels = 1
    padding: Annotated[int, Integer(0, 2, title="Pixels of padding")] = 0
    padding_mode: blocks.PaddingMode = "zeros"
    pooling: blocks.PoolingName = "average"
    blur_size: blocks.BlurSize = 3
    head: blocks.HeadName = "flatten"
    norm: blocks.NormName = "none"
    dropout: blocks.DropoutShare = 0.0
    activation: blocks.ActivationName = "tanh"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Side in pixels of the image, and after each convolution and each halving: five numbers."""
        sizes = [self.image_size]
        for _ in CHANNELS:
            convolved = sizes[-1] + 2 * self.padding - (KERNEL_SIZE - 1)
            sizes += [convolved, halve_size(convolved, self.pooling)]
        return tuple(sizes)

    @property
    def num_parameters(self) -> int:
        first, second = CHANNELS
        convolutions = count_conv(self.in_channels, first, KERNEL_SIZE, self.norm)
        convolutions += count_conv(first, second, KERNEL_SIZE, self.norm)
        features = count_features(self.head, second, self.sizes[-1])
        return convolutions + count_linear(features, *HIDDEN, self.num_classes)

    def check_shapes(self) -> None:
        """Raises UserError where the image is too small."""
        sizes = self.sizes
        if min(sizes) < 1:
            sides = ", ".join(str(max(side, 0)) for side in sizes)
            raise UserError(
                f"Two 5 x 5 convolutions and two halvings leave nothing of {article(self.image_size)} x "
                f"{self.image_size} image with {count(self.padding, 'pixel')} of padding (sides {sides}); use larger "
                "images or more padding."
            )
        for channels, before, dense, halved in zip(CHANNELS, sizes[0::2], sizes[1::2], sizes[2::2], strict=False):
            blocks.check_padding(self.padding_mode, self.padding, before)
            blocks.check_norm(self.norm, channels, (halved if self.pooling == "stride" else dense) ** 2)


class LeNet5(nn.Module):
    """Maps ``(N, in_channels, H, W)`` to logits ``(N, num_classes)``.

    ``features`` has two blocks with the parts ``conv``, ``norm``, one named as the activation, and ``pool``.
    """

    head_name = "head"

    def __init__(self, config: LeNet5Config):
        super().__init__()
        self.config = config
        first, second = CHANNELS
        widths = ((config.in_channels, first), (first, second))
        self.features = nn.Sequential(
            *(build_conv_block(config, *pair, KERNEL_SIZE, config.padding, halve=True) for pair in widths)
        )
        self.head = blocks.build_head(config, second, config.sizes[-1], HIDDEN)
        blocks.initialise(self, config.activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
