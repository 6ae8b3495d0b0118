"""What torch functions do to the positions of a feature map: one table entry per function.

A rule takes a call and the index of one of its outputs, and gives that output's geometry. A function without a
rule is followed only where torch itself marks it as pointwise.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from analysis.network.windows import UNKNOWN, WHOLE_PICTURE, Axis, Dims, Geometry, pair


@dataclass(frozen=True)
class Call:
    """One call of a torch function on tensors with positions.

    Attributes:
        func: The function.
        args: Its arguments by place.
        kwargs: And by keyword.
        sources: The arguments with positions, each with the dimensions that these have in it.
        outputs: The tensors that it gives.
        axes: What a cell sees that is computed from cells at the same place in all sources.
        dims: The dimensions of these axes.
    """

    func: Callable
    args: tuple
    kwargs: dict
    sources: list[tuple[Tensor, Dims]]
    outputs: list[Tensor]
    axes: tuple[Axis, Axis]
    dims: Dims

    @property
    def source(self) -> Tensor:
        """The first one with positions, where a gate computed from the whole picture scales a feature map."""
        return self.sources[0][0]

    def get(self, name: str, index: int, default=None):
        """An argument given by keyword or by place."""
        return self.kwargs.get(name, self.args[index] if len(self.args) > index else default)


Rule = Callable[[Call, int], Geometry | None]


def iterate_tensors(value) -> Iterator[Tensor]:
    """The tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from iterate_tensors(item)
    elif isinstance(value, dict):
        yield from iterate_tensors(list(value.values()))


def _replace_tensors(value, change: Callable[[Tensor], Tensor]):
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return type(value)(_replace_tensors(item, change) for item in value)
    if isinstance(value, dict):
        return {key: _replace_tensors(item, change) for key, item in value.items()}
    return value


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
        moved = [_list_coordinates(call, axis)[index] for axis in range(2)]
    except (RuntimeError, IndexError, TypeError):  # moved to places that are themselves computed
        return UNKNOWN
    return _fit(call, moved)


def _move_along(place: int) -> Rule:
    """Joins and cuts along the dimension that is argument number ``place``: only there do cells move."""

    def rule(call: Call, index: int) -> Geometry | None:
        dim = call.get("dim", place, 0)
        is_elsewhere = dim % call.source.ndim - call.source.ndim not in call.dims
        return _keep(call, index) if is_elsewhere else _move(call, index)

    return rule


def _list_coordinates(call: Call, axis: int) -> list[Tensor]:
    """What the call gives for the row or column number of every cell; NaN for all that has none."""
    places = {id(source): dims[axis] for source, dims in call.sources}

    def number(tensor: Tensor) -> Tensor:
        if id(tensor) in places:
            return _count_cells(tensor, places[id(tensor)])
        if tensor.is_floating_point():
            return torch.full_like(tensor, math.nan, device=_find_device(tensor))
        # Which one of several grids a computed index takes is unknown without numbers; any tells the geometry.
        return torch.zeros_like(tensor, device="cpu") if tensor.is_meta else tensor

    args, kwargs = _replace_tensors(call.args, number), _replace_tensors(call.kwargs, number)
    return list(iterate_tensors(call.func(*args, **kwargs)))


def _count_cells(tensor: Tensor, dim: int) -> Tensor:
    """The place along ``dim`` of every cell, laid out in memory as ``tensor`` is."""
    device = _find_device(tensor)
    counts = torch.arange(tensor.shape[dim], dtype=torch.float32, device=device)
    return torch.empty_like(tensor, dtype=torch.float32, device=device).copy_(counts.reshape(-1, *[1] * (-dim - 1)))


def _find_device(tensor: Tensor) -> torch.device:
    """Where to work with a tensor's coordinates: at its place, unless that has no numbers."""
    return torch.device("cpu") if tensor.is_meta else tensor.device


def _fit(call: Call, coordinates: list[Tensor]) -> Geometry | None:
    """The geometry of an output whose cells hold these row and column numbers of the source."""
    axes, dims = [], []
    for axis, places, before in zip(call.axes, coordinates, call.dims, strict=True):
        found = _find_grid(places, before)
        if found is None:
            return UNKNOWN
        dim, step, first, last = found
        axes.append(Axis(axis.stride * step, axis.low + first * axis.stride, axis.high + last * axis.stride))
        dims.append(dim)
    return Geometry((axes[0], axes[1]), (dims[0], dims[1])) if dims[0] != dims[1] else UNKNOWN


def _find_grid(places: Tensor, before: int) -> tuple[int, int, int, int] | None:
    """``(dim, step, first, last)`` so that cell ``q`` along ``dim`` holds numbers from q * step + first to + last."""
    grids = []
    for dim in range(-places.ndim, 0):
        steps = places.diff(dim=dim)
        steps = steps[~steps.isnan()]
        if len(steps) and steps[0] >= 1 and (steps == steps[0]).all():
            grids.append((int(steps[0]), dim))
    if not grids and (places.ndim < -before or places.shape[before] != 1):
        return None
    # Rows cut into bands have two grids, the bands and the rows of a band: the coarse one is the tighter.
    step, dim = max(grids, default=(1, before))
    counts = step * _count_cells(places, dim)
    offsets = (places - counts)[~places.isnan()]
    return (dim, step, int(offsets.min()), int(offsets.max())) if len(offsets) else None


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


def _normalize_layer(call: Call, index: int) -> Geometry | None:
    return _spread(call, index, range(-len(call.get("normalized_shape", 1)), 0))


def _normalize_groups(call: Call, index: int) -> Geometry | None:
    return _spread(call, index, None)


def _normalize_instances(call: Call, index: int) -> Geometry | None:
    return _spread(call, index, None if call.get("use_input_stats", 5, True) else ())


def _normalize_batch(call: Call, index: int) -> Geometry | None:
    return _spread(call, index, None if call.get("training", 5, False) else ())


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


def _pool_max(call: Call, index: int) -> Geometry | None:
    return _pool(call, 1, dilation=call.get("dilation", 4, 1))


def _pool_average(call: Call, index: int) -> Geometry | None:
    return _pool(call, 1)


def _pool_power(call: Call, index: int) -> Geometry | None:
    return _pool(call, 2, padding=0)


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
    return _fit(call, [_count_cells(source, d).amax(tuple(reduced), keepdim=keeps) for d in call.dims])


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
    "layer_norm": _normalize_layer,
    "group_norm": _normalize_groups,
    "instance_norm": _normalize_instances,
    "batch_norm": _normalize_batch,
    "normalize": _spread_along(2, 1),
    "topk": _spread_along(2, -1),
    "lp_pool2d": _pool_power,
    "avg_pool2d": _pool_average,
    **_share(_pool_max, "max_pool2d _max_pool2d max_pool2d_with_indices"),
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
        _keep,
        "contiguous detach to type type_as float double half bfloat16 bool cpu cuda copy_ requires_grad_",
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
