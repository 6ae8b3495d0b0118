"""Downsampling behind a low-pass filter, which keeps fine detail from turning into phase-dependent noise.

Zhang, "Making Convolutional Networks Shift-Invariant Again", 2019: the filter goes behind the non-linearity, so
max-pooling becomes dense max-pooling and blur, a strided convolution becomes a dense one, ReLU, and blur.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.padding import pad_same

BLUR_SIZES = (2, 3, 4, 5)


class BlurPool2d(nn.Module):
    """Halves a map: a binomial filter over each channel, then every second pixel.

    The taps are those of Pascal's triangle divided by their sum, in both directions, so a constant stays the
    same. Padding is "same" (:func:`models.networks.padding.pad_same`): an odd filter is centred on the pixels 0, 2, 4
    …, an even one half a pixel to their right and below.

    Args:
        size: Taps per direction, 2 to 5.
    """

    def __init__(self, size: int = 3, *, padding_mode: str = "zeros"):
        super().__init__()
        self.size, self.padding_mode = size, padding_mode

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, ceil(H / 2), ceil(W / 2))``."""
        # Made here, not kept as a buffer: checkpoints are the same with every kind of downsampling. And made there,
        # by filling: a copy from the CPU cannot be part of a CUDA graph.
        taps = torch.stack([x.new_full((), tap) for tap in binomial_taps(self.size)])
        kernel = torch.outer(taps, taps).expand(x.shape[1], 1, -1, -1)  # (C, 1, size, size)
        return F.conv2d(pad_same(x, self.size, self.padding_mode), kernel, stride=2, groups=x.shape[1])

    def extra_repr(self) -> str:
        return f"size={self.size}, padding_mode={self.padding_mode!r}"


def binomial_taps(size: int) -> list[float]:
    """One row of Pascal's triangle, divided by its sum: ``[0.25, 0.5, 0.25]`` for size 3."""
    return [math.comb(size - 1, k) / 2 ** (size - 1) for k in range(size)]
