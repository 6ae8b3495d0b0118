"""The circular twin of a network: the same weights, with every padded operation wrapping around."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from analysis.errors import UserError
from analysis.network.windows import pair


class CircularPadding(TorchFunctionMode):
    """Inside ``with CircularPadding():`` every network computes as its circular twin.

    What an operation reads beyond an edge of a map comes from the opposite edge: convolutions, max and average
    pooling (also the overhang of ``ceil_mode``) and ``F.pad`` of any mode on the last two dimensions of maps
    ``(N, C, h, w)`` or ``(C, h, w)``. Sizes stay those of the original operation; what pads nothing is unchanged.
    With sizes divisible by the strides the twin is exactly equivariant to circular shifts by multiples of them.

    This is a mode and not a changed copy of the module: functional calls are covered as well as modules, the
    weights are shared, and there is nothing to restore. It sees calls of torch's Python interface, not the inside
    of scripted modules.

    Raises:
        UserError: Padded max pooling is asked for the indices of the maxima, which wrapping would change.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if name == "pad":
            return self.pad(func, dict(zip(_PAD, args, strict=False)) | kwargs)
        if name in _WINDOWED:
            return self.slide(func, dict(zip(_WINDOWED[name], args, strict=False)) | kwargs)
        return func(*args, **kwargs)

    def slide(self, func, call: dict) -> Tensor:
        """Runs ``func(**call)``, an operation that slides a window over ``call["input"]``, wrapped around."""
        return run_wrapped(func, call, read_sweeps(call))

    def pad(self, func, call: dict) -> Tensor:
        """Runs ``F.pad`` with its last two dimensions wrapped around."""
        x, widths = call["input"], list(call["pad"])
        left, right, top, bottom = (widths + [0] * 4)[:4]
        if x.ndim not in (3, 4) or max(left, right, top, bottom) <= 0:
            return func(**call)
        wrapped = wrap(wrap(x, -2, top, bottom), -1, left, right)
        others = widths[4:]  # channels and pictures do not wrap around
        return func(**call | {"input": wrapped, "pad": [0, 0, 0, 0, *others]}) if any(others) else wrapped


@dataclass(frozen=True)
class Sweep:
    """The windows along one axis: number ``q`` reads ``span`` cells from ``q * stride - before`` on.

    Attributes:
        size: Cells of the map.
        span: From the first to the last cell of a window, gaps of its dilation included.
        stride: Cells from one window to the next.
        before: Cells by which the first window begins before the map.
        count: Number of windows.
    """

    size: int
    span: int
    stride: int
    before: int
    count: int

    @property
    def after(self) -> int:
        """Cells by which the last window ends after the map; negative if cells are left over."""
        return (self.count - 1) * self.stride + self.span - self.before - self.size


def read_sweeps(call: dict) -> tuple[Sweep, Sweep]:
    """Rows and columns of a windowed operation, from its arguments by name."""
    kernel = pair(call["weight"].shape[-2:] if "weight" in call else call["kernel_size"])
    strides = pair(call.get("stride") or (1 if "weight" in call else kernel))
    spans = [d * (k - 1) + 1 for d, k in zip(pair(call.get("dilation", 1)), kernel, strict=True)]
    padding = call.get("padding", 0)
    if isinstance(padding, str):
        margins = [(0, 0) if padding == "valid" else ((span - 1) // 2, span // 2) for span in spans]
    else:
        margins = [(p, p) for p in pair(padding)]
    axes = zip(call["input"].shape[-2:], spans, strides, margins, strict=True)
    rows, columns = (_count_windows(*axis, call.get("ceil_mode", False)) for axis in axes)
    return rows, columns


def _count_windows(size: int, span: int, stride: int, margins: tuple[int, int], ceil_mode: bool) -> Sweep:
    before, after = margins
    room = before + size + after - span
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (count - 1) * stride >= size + before:
        count -= 1  # PyTorch's rule: a window has to begin on the map or before it
    return Sweep(size, span, stride, before, count)


def run_wrapped(func, call: dict, sweeps: tuple[Sweep, Sweep]) -> Tensor:
    """Runs ``func(**call)`` with these windows instead of its own, on a map that wraps around."""
    rows, columns = sweeps
    margins = [(rows.before, max(rows.after, 0)), (columns.before, max(columns.after, 0))]
    if margins != [(0, 0), (0, 0)] and (call.get("return_indices") or "indices" in func.__name__):
        raise UserError("Max pooling that hands on the indices of its maxima has no circular twin.")
    wrapped = call["input"]
    for dim, (before, after) in zip((-2, -1), margins, strict=True):
        wrapped = wrap(wrapped, dim, before, after)
    unpadded = {"input": wrapped, "stride": (rows.stride, columns.stride), "padding": 0}
    if "ceil_mode" in call:
        unpadded["ceil_mode"] = False
    return func(**call | unpadded)


def wrap(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    """Cells ``-before`` to ``size + after`` of ``x (..., H, W)`` along ``dim``, continued as often as needed."""
    size = x.shape[dim]
    if before == after == 0:
        return x
    if min(before, after) < 0 or max(before, after) > size:
        return x.index_select(dim, torch.arange(-before, size + after, device=x.device) % size)
    return torch.cat([x.narrow(dim, size - before, before), x, x.narrow(dim, 0, after)], dim)


_PAD = ("input", "pad", "mode", "value")
_MAX_POOL = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_WINDOWED = {
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "avg_pool2d": ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    "max_pool2d": _MAX_POOL,
    "max_pool2d_with_indices": _MAX_POOL,
}
"""Names of the arguments, in order, of every operation with a sliding window."""
