"""What torch functions do to the positions of a feature map: one table entry per function.

A rule takes a call and the index of one of its outputs, and gives that output's geometry. A function without a
rule is followed only where torch itself marks it as pointwise.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache

import torch
from torch import Tensor

from analysis.network.geometry_calls import Call, count_cells, fit_grid, list_coordinates
from analysis.network.windows import UNKNOWN, WHOLE_PICTURE, Axis, Geometry, pair

Rule = Callable[[Call, int], Geometry | None]


def _keep(call: Call, index: int) -> Geometry | None:
    """A function that works position by position."""
    output, dims = call.outputs[index], call.dims
    same = output.ndim >= -min(dims) and all(output.shape[d] == s.shape[d] for s, _ in call.sources for d in dims)
    return Geometry(call.axes, dims) if same else UNKNOWN  # a map of one cell, broadcast, is not position by position


def _forget(call: Call, index: int) -> None:
    return UNKNOWN


def _move(call: Call, index: int) -> Geometry | None:
    """Slices, views and joins: where cells went is read off from the same call on their coordinates."""
    source, output = call.source, call.outputs[index]
    if output.ndim == 2 and output.shape[0] == source.shape[0] and output.numel() == source.numel():
        return WHOLE_PICTURE  # flattened
    try:
        moved = [list_coordinates(call, axis)[index] for axis in range(2)]
    except (RuntimeError, IndexError, TypeError):  # moved to places that are themselves computed
        return UNKNOWN
    return fit_grid(call, moved)


def _move_along(place: int) -> Rule:
    """Joins and cuts along the dimension that is argument number ``place``: only there do cells move."""

    def rule(call: Call, index: int) -> Geometry | None:
        dim = call.get("dim", place, 0)
        is_elsewhere = dim % call.source.ndim - call.source.ndim not in call.dims
        return _keep(call, index) if is_elsewhere else _move(call, index)

    return rule


def _spread(call: Call, index: int, mixed: Iterable[int] | None) -> Geometry | None:
    """A function that lets everything along the dimensions ``mixed`` (None: all of them) act on every cell."""
    kept, ndim = _keep(call, index), call.source.ndim
    if kept is UNKNOWN:
        return UNKNOWN
    dims = set(range(ndim)) if mixed is None else {dim % ndim for dim in mixed}
    rows, columns = (
        Axis(axis.stride, -math.inf, math.inf) if dim % ndim in dims else axis
        for axis, dim in zip(call.axes, call.dims, strict=True)
    )
    return Geometry((rows, columns), call.dims)


def _spread_along(place: int, default: int | None = None) -> Rule:
    """Softmax, cumsum, sort …, whose dimension is the argument number ``place``."""

    def rule(call: Call, index: int) -> Geometry | None:
        dim = call.get("dim", place, default)
        return _spread(call, index, None if dim is None else (dim,))

    return rule


def _mix_last(call: Call, index: int) -> Geometry | None:
    """A linear layer, which mixes everything along its last dimension."""
    return UNKNOWN if -1 in call.dims else _keep(call, index)


def _slide(call: Call, kernel, stride, padding, dilation=1) -> Geometry | None:
    if call.dims != (-2, -1):
        return UNKNOWN
    shapes = zip(call.axes, *map(pair, (kernel, stride, padding, dilation)), strict=True)
    rows, columns = (axis.slide(*shape) for axis, *shape in shapes)
    return Geometry((rows, columns))


def _convolve(call: Call, index: int) -> Geometry | None:
    kernel = call.get("weight", 1).shape[-2:]
    padding, dilation = call.get("padding", 4, 0), call.get("dilation", 5, 1)
    if isinstance(padding, str):
        spans = (d * (k - 1) for k, d in zip(kernel, pair(dilation), strict=True))
        padding = (0, 0) if padding == "valid" else tuple(span // 2 for span in spans)
    return _slide(call, kernel, call.get("stride", 3, 1), padding, dilation)


def _pool(call: Call, place: int, *, padding=None, dilation=1) -> Geometry | None:
    kernel = call.get("kernel_size", place)
    padding = call.get("padding", place + 2, 0) if padding is None else padding
    return _slide(call, kernel, call.get("stride", place + 1) or kernel, padding, dilation)


def _pool_adaptively(call: Call, index: int) -> Geometry | None:
    before, after = call.source.shape[-2:], call.outputs[index].shape[-2:]
    if tuple(after) == (1, 1):
        return WHOLE_PICTURE
    if any(b % a for b, a in zip(before, after, strict=True)):
        return UNKNOWN  # windows of different sizes
    kernel = tuple(b // a for b, a in zip(before, after, strict=True))
    return _slide(call, kernel, kernel, 0)


def _reduce(call: Call, index: int) -> Geometry | None:
    """mean, sum, amax … over some dimensions."""
    dims, source = call.get("dim", 1), call.source
    if isinstance(dims, Tensor):
        return _keep(call, index)  # the larger of two, cell by cell
    everything = dims is None or isinstance(dims, bool)
    dims = range(source.ndim) if everything else dims if isinstance(dims, (tuple, list)) else (dims,)
    reduced = {d - source.ndim if d >= 0 else d for d in dims}
    if reduced.issuperset(call.dims):
        return WHOLE_PICTURE
    if reduced & set(call.dims):
        return UNKNOWN
    keeps = call.outputs[index].ndim == source.ndim
    return fit_grid(call, [count_cells(source, d).amax(tuple(reduced), keepdim=keeps) for d in call.dims])


def _pad(call: Call, index: int) -> Geometry | None:
    pad: Sequence[int] = call.get("pad", 1)
    left, _, top, *_ = *pad, 0, 0, 0
    return _slide(call, 1, 1, (top, left))


def _share(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


_RULES: dict[str, Rule] = {
    "conv2d": _convolve,
    "linear": _mix_last,
    "pad": _pad,
    "layer_norm": lambda call, index: _spread(call, index, range(-len(call.get("normalized_shape", 1)), 0)),
    "group_norm": lambda call, index: _spread(call, index, None),
    "instance_norm": lambda call, index: _spread(call, index, None if call.get("use_input_stats", 5, True) else ()),
    "batch_norm": lambda call, index: _spread(call, index, None if call.get("training", 5, False) else ()),
    "normalize": _spread_along(2, 1),
    "topk": _spread_along(2, -1),
    "lp_pool2d": lambda call, index: _pool(call, 2, padding=0),
    "avg_pool2d": lambda call, index: _pool(call, 1),
    **_share(
        lambda call, index: _pool(call, 1, dilation=call.get("dilation", 4, 1)),
        "max_pool2d _max_pool2d max_pool2d_with_indices",
    ),
    **_share(_pool_adaptively, "adaptive_avg_pool2d adaptive_max_pool2d adaptive_max_pool2d_with_indices"),
    **_share(_spread_along(1), "softmax log_softmax softmin cumsum cumprod"),
    **_share(_spread_along(1, -1), "sort argsort glu"),
    **_share(_reduce, "mean sum prod amax amin max min argmax argmin median std var logsumexp any all"),
    **_share(_move, "permute transpose swapaxes swapdims movedim moveaxis __get__ rot90 roll flip"),
    **_share(
        _move, "view reshape flatten unflatten squeeze unsqueeze expand expand_as repeat repeat_interleave tile"
    ),
    **_share(_move, "__getitem__ select narrow index_select unbind stack"),
    **_share(_move_along(1), "cat concat"),
    **_share(_move_along(2), "chunk split tensor_split"),
    **_share(_move, "pixel_shuffle pixel_unshuffle channel_shuffle"),
    **_share(_keep, "__iadd__ __isub__ __imul__ __itruediv__ __rsub__ __rdiv__ __rpow__ __floordiv__ floor_divide"),
    **_share(_keep, "__eq__ __and__ __or__ __invert__ hardswish prelu softsign tanhshrink logsigmoid"),
    **_share(_keep, "dropout dropout1d dropout2d feature_dropout alpha_dropout local_response_norm"),
    **_share(
        _keep, "contiguous detach to type type_as float double half bfloat16 bool cpu cuda copy_ requires_grad_"
    ),
}


MAKERS = frozenset("zeros_like ones_like full_like new_zeros new_ones new_full new_tensor".split())  # noqa: SIM905
"""Functions that take no more than shape and type from their argument."""


def find_rule(name: str) -> Rule:
    """The rule for a torch function, by its ``__name__``."""
    return _RULES.get(name) or (_keep if _is_pointwise(name) else _forget)


@cache
def _is_pointwise(name: str) -> bool:
    """Whether torch itself marks the function, or the one it is the in-place form of, as pointwise."""
    packet = getattr(torch.ops.aten, name.rstrip("_"), None)
    overloads = packet.overloads() if packet else ()
    return any(torch.Tag.pointwise in getattr(packet, overload).tags for overload in overloads)
