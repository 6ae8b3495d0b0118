"""Where in the picture each cell of a feature map looks: stride and receptive field, followed through a forward.

One forward pass runs under a ``TorchFunctionMode`` that sees every call of torch's Python interface, modules
and functional calls alike, and carries a :class:`Geometry` along with each tensor. The arithmetic is that of
Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019.
"""

import math
from dataclasses import dataclass, replace

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary


@dataclass(frozen=True)
class Axis:
    """Cell ``q`` looks at the input pixels from ``q * stride + low`` to ``q * stride + high``."""

    stride: int
    low: float
    high: float

    def slide(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> "Axis":
        """The axis after a window of this shape slides over it."""
        return Axis(
            self.stride * stride,
            self.low - padding * self.stride,
            self.high + (dilation * (kernel - 1) - padding) * self.stride,
        )


@dataclass(frozen=True)
class Geometry:
    """Both axes of a tensor, and which of its dimensions (counted from the end) they are.

    ``axes`` is None for a tensor without positions that has seen the whole picture, such as pooled features.
    """

    axes: tuple[Axis, Axis] | None
    dims: tuple[int, int] = (-2, -1)

    @property
    def stride(self) -> int | None:
        """Input pixels per cell, if the same both ways."""
        if self.axes is None or self.axes[0].stride != self.axes[1].stride:
            return None
        return self.axes[0].stride

    @property
    def receptive_field(self) -> float:
        """Side of the larger extent in input pixels; infinite when it is the whole picture."""
        if self.axes is None:
            return math.inf
        return max(axis.high - axis.low + 1 for axis in self.axes)


WHOLE_PICTURE = Geometry(axes=None)
UNKNOWN = None
"""Positions were mixed in a way that has no fixed window, as attention does."""


class GeometryMode(TorchFunctionMode):
    """Follows geometry from ``inputs (N, C, H, W)`` through everything computed inside the ``with`` block."""

    def __init__(self, inputs: Tensor):
        super().__init__()
        self._known = WeakTensorKeyDictionary()
        self._known[inputs] = Geometry((Axis(1, 0, 0), Axis(1, 0, 0)))

    def find(self, tensor: Tensor) -> Geometry | None:
        """The geometry of a tensor made inside the block, or ``UNKNOWN``."""
        return self._known.get(tensor, UNKNOWN)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        sources = [tensor for tensor in _iterate_tensors((args, kwargs)) if tensor in self._known]
        if sources:
            rule = _RULES.get(getattr(func, "__name__", ""), _keep_positions)
            geometries = [self._known[source] for source in sources]
            merged = UNKNOWN if UNKNOWN in geometries else _merge(geometries)
            # The one with positions, where a gate computed from the whole picture scales a feature map.
            source = next((s for s, g in zip(sources, geometries, strict=True) if g and g.axes), sources[0])
            for output in _iterate_tensors(result):
                self._known[output] = rule(merged, source, output, args, kwargs)
        return result


def _iterate_tensors(value):
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _iterate_tensors(item)
    elif isinstance(value, dict):
        yield from _iterate_tensors(list(value.values()))


def _merge(geometries: list[Geometry]) -> Geometry | None:
    """What a cell sees that is computed from cells at the same place in several tensors."""
    local = [g for g in geometries if g.axes is not None]
    if not local:
        return WHOLE_PICTURE
    if len({(g.dims, tuple(axis.stride for axis in g.axes)) for g in local}) > 1:
        return UNKNOWN
    is_global = len(local) < len(geometries)
    axes = []
    for pair in zip(*(g.axes for g in local), strict=True):
        low = -math.inf if is_global else min(axis.low for axis in pair)
        high = math.inf if is_global else max(axis.high for axis in pair)
        axes.append(Axis(pair[0].stride, low, high))
    return replace(local[0], axes=tuple(axes))


# Rules: (merged geometry, source tensor, output tensor, args, kwargs) -> geometry of the output.


def _keep_positions(geometry, source, output, args, kwargs):
    """Everything that works position by position, including views that leave height and width alone."""
    if geometry is UNKNOWN or geometry.axes is None:
        return geometry
    if output.ndim == 2:
        return WHOLE_PICTURE  # flattened
    keeps = output.ndim >= -min(geometry.dims) and all(output.shape[d] == source.shape[d] for d in geometry.dims)
    return geometry if keeps else UNKNOWN


def _forget(geometry, source, output, args, kwargs):
    return WHOLE_PICTURE if geometry is not UNKNOWN and geometry.axes is None else UNKNOWN


def _mix_last(geometry, source, output, args, kwargs):
    """A linear layer, which mixes everything along its last dimension."""
    if geometry is not UNKNOWN and geometry.axes is not None and -1 in geometry.dims:
        return UNKNOWN
    return _keep_positions(geometry, source, output, args, kwargs)


def _slide(geometry, kernel, stride, padding, dilation=(1, 1)):
    if geometry is UNKNOWN or geometry.axes is None:
        return geometry
    if geometry.dims != (-2, -1):
        return UNKNOWN
    shapes = zip(geometry.axes, _pair(kernel), _pair(stride), _pair(padding), _pair(dilation), strict=True)
    return replace(geometry, axes=tuple(axis.slide(k, s, p, d) for axis, k, s, p, d in shapes))


def _pair(value) -> tuple[int, int]:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    return values * 2 if len(values) == 1 else values


def _convolve(geometry, source, output, args, kwargs):
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    given = {"stride": 1, "padding": 0, "dilation": 1} | dict(zip(names, args, strict=False)) | kwargs
    kernel = given["weight"].shape[-2:]
    padding = given["padding"]
    if isinstance(padding, str):
        spans = (d * (k - 1) for k, d in zip(kernel, _pair(given["dilation"]), strict=True))
        padding = (0, 0) if padding == "valid" else tuple(span // 2 for span in spans)
    return _slide(geometry, kernel, given["stride"], padding, given["dilation"])


def _pool(geometry, source, output, args, kwargs):
    names = ("input", "kernel_size", "stride", "padding")
    given = {"stride": None, "padding": 0} | dict(zip(names, args, strict=False)) | kwargs
    dilation = kwargs.get("dilation", 1) if "dilation" in kwargs else 1
    stride = given["stride"] or given["kernel_size"]
    return _slide(geometry, given["kernel_size"], stride, given["padding"], dilation)


def _pool_adaptively(geometry, source, output, args, kwargs):
    if geometry is UNKNOWN or geometry.axes is None:
        return geometry
    before, after = source.shape[-2:], output.shape[-2:]
    if tuple(after) == (1, 1):
        return WHOLE_PICTURE
    if any(b % a for b, a in zip(before, after, strict=True)):
        return UNKNOWN  # windows of different sizes
    kernel = tuple(b // a for b, a in zip(before, after, strict=True))
    return _slide(geometry, kernel, kernel, 0)


def _reduce(geometry, source, output, args, kwargs):
    """mean, sum, amax … over some dimensions."""
    if geometry is UNKNOWN or geometry.axes is None:
        return geometry
    dims = kwargs.get("dim", args[1] if len(args) > 1 else None)
    dims = range(source.ndim) if dims is None else dims if isinstance(dims, (tuple, list)) else (dims,)
    reduced = {d - source.ndim if d >= 0 else d for d in dims}
    if reduced.issuperset(geometry.dims):
        return WHOLE_PICTURE
    return UNKNOWN if reduced & set(geometry.dims) else _keep_positions(geometry, source, output, args, kwargs)


def _pad(geometry, source, output, args, kwargs):
    if geometry is UNKNOWN or geometry.axes is None:
        return geometry
    if geometry.dims != (-2, -1):
        return UNKNOWN
    pad = [*(kwargs["pad"] if "pad" in kwargs else args[1]), 0, 0, 0, 0]
    rows, columns = geometry.axes
    before = (pad[2], pad[0])
    axes = tuple(
        Axis(axis.stride, axis.low - p * axis.stride, axis.high - p * axis.stride)
        for axis, p in zip((rows, columns), before, strict=True)
    )
    return replace(geometry, axes=axes)


def _permute(geometry, source, output, args, kwargs):
    order = kwargs["dims"] if "dims" in kwargs else args[1:]
    order = order[0] if isinstance(order[0], (tuple, list)) else order
    return _move_positions(geometry, [d % source.ndim for d in order])


def _transpose(geometry, source, output, args, kwargs):
    first, second = (*args[1:], *kwargs.values())
    order = list(range(source.ndim))
    order[first], order[second] = order[second], order[first]
    return _move_positions(geometry, order)


def _move_positions(geometry, order: list[int]):
    if geometry is UNKNOWN or geometry.axes is None:
        return geometry
    dims = tuple(order.index(d % len(order)) - len(order) for d in geometry.dims)
    return replace(geometry, dims=dims)


_RULES = {
    "conv2d": _convolve,
    "linear": _mix_last,
    "max_pool2d": _pool,
    "_max_pool2d": _pool,
    "max_pool2d_with_indices": _pool,
    "avg_pool2d": _pool,
    "adaptive_avg_pool2d": _pool_adaptively,
    "adaptive_max_pool2d": _pool_adaptively,
    "mean": _reduce,
    "sum": _reduce,
    "amax": _reduce,
    "pad": _pad,
    "permute": _permute,
    "transpose": _transpose,
    **dict.fromkeys(
        ("matmul", "bmm", "einsum", "roll", "scaled_dot_product_attention", "multi_head_attention_forward"),
        _forget,
    ),
}
