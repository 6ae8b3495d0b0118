"""Ways to make a map smaller, what a shift of one pixel does to each, and which of them are linear."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from analysis.convolution.sizes import Slide, check_slides, check_work
from analysis.errors import UserError


@dataclass(frozen=True)
class Pooling:
    """A way to pool.

    Attributes:
        about: What it does to a window, in a sentence.
        apply: ``(x (C, H, W), window, stride) -> (C, h, w)`` with ``h = floor((H - window) / stride) + 1``.
        code: The line of PyTorch, with ``{window}``, ``{stride}`` and ``{size}`` (the output's) to be put in.
        is_linear: Whether the pooled sum of two maps is the sum of the pooled maps.
    """

    title: str
    about: str
    apply: Callable[[Tensor, int, int], Tensor]
    code: str
    is_linear: bool

    def write_code(self, window: int, stride: int, size: tuple[int, int]) -> str:
        """The line that does the same to ``(N, C, H, W)``; ``size`` is that of the output."""
        return self.code.format(window=window, stride=stride, size=size)


def _take_every(x: Tensor, window: int, stride: int) -> Tensor:
    rows, columns = _find_size(x, window, stride)
    return x[:, ::stride, ::stride][:, :rows, :columns]


def _pool_adaptively(x: Tensor, window: int, stride: int) -> Tensor:
    return F.adaptive_avg_pool2d(x, _find_size(x, window, stride))


def _blur(x: Tensor, window: int, stride: int) -> Tensor:
    """Zhang, "Making Convolutional Networks Shift-Invariant Again", 2019: a binomial filter, then every second cell.

    Here with a filter of 3 x 3 and a picture that wraps around, so that the border plays no part.
    """
    taps = torch.tensor([math.comb(2, k) for k in range(3)], dtype=x.dtype) / 4
    kernel = torch.outer(taps, taps).expand(x.shape[0], 1, -1, -1)  # (C, 1, 3, 3)
    wrapped = F.pad(x[None], (1, 1, 1, 1), "circular")
    return _take_every(F.conv2d(wrapped, kernel, groups=x.shape[0])[0], window, stride)


def _blur_maxima(x: Tensor, window: int, stride: int) -> Tensor:
    wrapped = F.pad(x[None], (0, window - 1, 0, window - 1), "circular")
    return _blur(F.max_pool2d(wrapped, window, 1)[0], window, stride)


POOLINGS = {
    "max": Pooling(
        "Max pooling",
        "The largest value of each window.",
        F.max_pool2d,
        "nn.MaxPool2d({window}, stride={stride})",
        is_linear=False,
    ),
    "average": Pooling(
        "Average pooling",
        "The mean of each window.",
        F.avg_pool2d,
        "nn.AvgPool2d({window}, stride={stride})",
        is_linear=True,
    ),
    "l2": Pooling(
        "L2 pooling",
        "The root of the sum of squares of each window.",
        lambda x, window, stride: F.lp_pool2d(x, 2.0, window, stride),
        "nn.LPPool2d(2, {window}, stride={stride})",
        is_linear=False,
    ),
    "adaptive": Pooling(
        "Adaptive average pooling",
        "The mean of windows that are as large as the wanted size of the output asks for.",
        _pool_adaptively,
        "nn.AdaptiveAvgPool2d({size})",
        is_linear=True,
    ),
    "strided": Pooling(
        "Every second cell",
        "The upper left value of each window; the rest is thrown away, as by a convolution with a stride.",
        _take_every,
        "x[..., ::{stride}, ::{stride}]",
        is_linear=True,
    ),
    "blur": Pooling(
        "BlurPool",
        "A blur of 3 x 3 first, then the upper left value of each window.",
        _blur,
        "blur = torch.tensor([1.0, 2, 1]).outer(torch.tensor([1.0, 2, 1])) / 16; "
        'F.conv2d(F.pad(x, (1, 1, 1, 1), "circular"), blur.expand(x.shape[1], 1, 3, 3), '
        "stride={stride}, groups=x.shape[1])",
        is_linear=True,
    ),
    "max_blur": Pooling(
        "Max pooling with blur",
        "The largest value of each window at every place, then BlurPool.",
        _blur_maxima,
        'nn.MaxPool2d({window}, stride=1)(F.pad(x, (0, {window} - 1, 0, {window} - 1), "circular"))  # then BlurPool',
        is_linear=False,
    ),
}
"""Name -> way to pool, in the order in which they are shown."""


@dataclass(frozen=True, eq=False)
class PooledShift:
    """A picture and the same picture one pixel to the right, which wraps around, both pooled.

    Even a perfect pooling changes, as its cells would have to move by less than a cell; but nothing should be lost.

    Attributes:
        change: ``|pool(shifted) - pool(picture)| / |pool(picture)|``, norms over all cells.
        mean_change: By how much the mean over all cells changes, in shares of the mean size of a cell: 0 where global
            average pooling behind it would not notice the shift.
    """

    before: Tensor
    after: Tensor

    @property
    def change(self) -> float:
        size = self.before.norm().item()
        return (self.after - self.before).norm().item() / size if size else 0.0

    @property
    def mean_change(self) -> float:
        size = self.before.abs().mean().item()
        return abs((self.after.mean() - self.before.mean()).item()) / size if size else 0.0


@dataclass(frozen=True, eq=False)
class Sums:
    """Whether pooling is linear, by numbers: both maps ``(C, h, w)``.

    Attributes:
        pooled_sum: What becomes of the sum of two pictures.
        sum_of_pooled: The sum of what becomes of each.
    """

    pooled_sum: Tensor
    sum_of_pooled: Tensor

    @property
    def difference(self) -> float:
        """The largest, of a cell: 0 if it is linear, up to rounding."""
        return (self.pooled_sum - self.sum_of_pooled).abs().max().item()


def pool(name: str, values: Tensor, window: int = 2, stride: int | None = None) -> Tensor:
    """Pools ``values (C, H, W)``.

    Args:
        stride: The window's side if not given.

    Raises:
        UserError: There is no such way to pool, or the window does not fit.
    """
    if name not in POOLINGS:
        raise UserError(f"There is no pooling called {name[:40]}; there are {', '.join(POOLINGS)}.")
    stride = window if stride is None else stride
    slides = [Slide(size, window, stride) for size in values.shape[-2:]]
    check_slides(slides, "A window")
    check_work(slides, values.shape[0], values.shape[0], values.shape[0])
    return POOLINGS[name].apply(values.double(), window, stride)


def pool_shifted(name: str, values: Tensor, window: int = 2, stride: int | None = None, dx: int = 1) -> PooledShift:
    """Pools a picture ``(C, H, W)``, and the same picture moved ``dx`` pixels to the right, which wraps around."""
    before, after = (pool(name, values.roll(by, -1), window, stride) for by in (0, dx))
    return PooledShift(before, after)


def pool_sum(name: str, first: Tensor, second: Tensor, window: int = 2, stride: int | None = None) -> Sums:
    """Pools the sum of two pictures ``(C, H, W)``, and each of them."""
    both, *each = (pool(name, values, window, stride) for values in (first + second, first, second))
    return Sums(both, each[0] + each[1])


def _find_size(x: Tensor, window: int, stride: int) -> tuple[int, int]:
    rows, columns = (Slide(size, window, stride).output for size in x.shape[-2:])
    return rows, columns
