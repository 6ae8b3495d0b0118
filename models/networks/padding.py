"""Padding that keeps the size of a map, and max-pooling that obeys a network's padding mode."""

import math
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

_Mode = Literal["zeros", "circular", "reflect", "replicate"]
PADDING_MODES: tuple[_Mode, ...] = get_args(_Mode)


def find_mode(name: str) -> _Mode:
    """A padding mode by its name, as ``nn.Conv2d`` takes it."""
    return PADDING_MODES[PADDING_MODES.index(name)]


def pad_same(x: Tensor, window: int, mode: str, fill: float = 0.0) -> Tensor:
    """Pads a map so that a window sliding over it by single steps gives one value per pixel.

    ``(window - 1) // 2`` pixels go before and ``window // 2`` after: even windows look one further ahead.
    Reflection and wrapping repeat where the map is smaller than the padding.

    Args:
        x: ``(N, C, H, W)``.
        window: Side of the window in pixels.
        mode: One of ``PADDING_MODES``.
        fill: The constant of the mode "zeros".

    Returns:
        ``(N, C, H + window - 1, W + window - 1)``.
    """
    before, after = (window - 1) // 2, window // 2
    if mode == "zeros":
        return F.pad(x, (before, after, before, after), value=fill)
    if after < min(x.shape[-2:]):
        return F.pad(x, (before, after, before, after), mode)
    return _extend(_extend(x, -1, before, after, mode), -2, before, after, mode)


def _extend(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    size = x.shape[axis]
    if size == 1:
        mode = "replicate"  # whatever the mode, there is only one pixel to repeat
    # What one call of PyTorch can add; after a full step the extended map continues in the same way.
    limit = {"reflect": size - 1, "circular": size}.get(mode, max(before, after))
    while before or after:
        step = (min(before, limit), min(after, limit))
        x = F.pad(x, (*step, 0, 0) if axis == -1 else (0, 0, *step), mode)
        before, after = before - step[0], after - step[1]
    return x


class PaddedMaxPool2d(nn.Module):
    """Max-pooling with "same" padding in the mode of the network around it; zeros never win.

    With ``padding_mode="zeros"`` and an odd window it is ``nn.MaxPool2d(window, stride, window // 2)``.
    """

    def __init__(self, window: int, *, stride: int = 1, padding_mode: str = "zeros"):
        super().__init__()
        self.window, self.stride, self.padding_mode = window, stride, padding_mode

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, ceil(H / stride), ceil(W / stride))``."""
        return F.max_pool2d(pad_same(x, self.window, self.padding_mode, fill=-math.inf), self.window, self.stride)

    def extra_repr(self) -> str:
        return f"window={self.window}, stride={self.stride}, padding_mode={self.padding_mode!r}"
