"""The layers that a stack can have: what each makes of a shape, what it costs and sees, and its module."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from analysis.convolution.sizes import Slide, by_sides, check_slides, put_formulas
from analysis.errors import UserError
from analysis.network.windows import WHOLE_PICTURE, Axis, Geometry, merge

MAX_STRIDE = 2**31
"""Of a cell, in pixels of the picture; what it sees is then a number that JSON has."""


@dataclass(frozen=True)
class Layer:
    """One layer as it is written: ``text``, its kind (a key of ``KINDS``) and its numbers by name.

    ``inside`` are the layers that a residual block goes round.
    """

    text: str
    kind: str
    numbers: Mapping[str, int] = field(default_factory=dict)
    inside: tuple["Layer", ...] = ()

    @property
    def title(self) -> str:
        """What its kind is called."""
        return KINDS[self.kind].title


@dataclass(frozen=True)
class Row:
    """What a layer makes, costs and sees.

    Attributes:
        shape: ``(C, H, W)`` of a map, ``(N,)`` of a vector.
        parameters: Trained numbers.
        macs: Multiplications with additions, for one picture; as in :mod:`analysis.network.summary` only those of
            convolutions and linear layers, without the bias.
        receptive_field_previous: Side of the window in cells of the layer before; all numbers, if that is a vector.
        receptive_field_input: Side of the window in pixels of the picture, padding included; the picture's own side
            where it is all of it.
        sums: How the numbers came about: ``size`` of the output, number of ``parameters``, ``receptive_field``.
        side: The longer one of the picture.
        geometry: Where its cells look.
    """

    layer: str
    shape: tuple[int, ...]
    parameters: int = 0
    macs: int = 0
    receptive_field_previous: int = 1
    sums: Mapping[str, str] = field(default_factory=dict)
    side: int = 1
    geometry: Geometry | None = WHOLE_PICTURE

    @property
    def receptive_field_input(self) -> int:
        seen = self.geometry.receptive_field if self.geometry else math.inf
        return int(seen) if seen is not None and seen < math.inf else self.side

    def to_json(self) -> dict:
        """The public description."""
        names = ["layer", "shape", "parameters", "macs", "receptive_field_previous", "receptive_field_input"]
        return {name: getattr(self, name) for name in names} | {"shape": list(self.shape)}


Measure = Callable[[Layer, Row], list[Row]]


@dataclass(frozen=True)
class Kind:
    """A kind of layer.

    Attributes:
        numbers: What it is told, in this order: name -> default, None where there is none.
        measure: Its rows, from itself and the row before; the last one goes on.
        build: Its module, from itself and the shape before.
        needs_map: Whether it works on maps alone, or (False) on vectors alone; None takes both.
    """

    title: str
    measure: Measure
    build: Callable[[Layer, tuple[int, ...]], nn.Module]
    numbers: Mapping[str, int | None] = field(default_factory=dict)
    needs_map: bool | None = None


class Residual(nn.Module):
    """The sum of what ``main`` makes of a map and what ``shortcut`` does."""

    def __init__(self, main: nn.Module, shortcut: nn.Module):
        super().__init__()
        self.main, self.shortcut = main, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C', H', W')``."""
        return self.main(x) + self.shortcut(x)


def start(shape: tuple[int, ...]) -> Row:
    """The row of the picture itself, ``(C, H, W)``."""
    return Row("input", shape, side=max(shape[1:]), geometry=Geometry((Axis(1, 0, 0), Axis(1, 0, 0))))


def measure_all(layers: tuple[Layer, ...], before: Row) -> list[Row]:
    """The rows of layers one after the other.

    Raises:
        UserError: One cannot follow the one before it.
    """
    rows: list[Row] = []
    for layer in layers:
        _check_input(layer, before)
        rows += KINDS[layer.kind].measure(layer, before)
        before = rows[-1]
    return rows


def build_all(layers: tuple[Layer, ...], before: Row) -> nn.Sequential:
    """The modules of layers one after the other, as ``(N, C, H, W)`` goes through them."""
    parts: list[nn.Module] = []
    for layer in layers:
        parts.append(KINDS[layer.kind].build(layer, before.shape))
        before = measure_all((layer,), before)[-1]
    return nn.Sequential(*parts)


def _check_input(layer: Layer, before: Row) -> None:
    needs_map, is_map = KINDS[layer.kind].needs_map, len(before.shape) == 3
    if needs_map is None or needs_map == is_map:
        return
    if is_map:
        raise UserError(
            f"{layer.text} needs a row of numbers, but {before.layer} gives {by_sides(before.shape)}: put flatten or "
            "gap in between."
        )
    raise UserError(f"{layer.text} needs a map, but {before.layer} gives {before.shape[0]} numbers in a row.")


def _keep(layer: Layer, before: Row, parameters: int = 0, sums: Mapping[str, str] | None = None) -> list[Row]:
    """Works cell by cell."""
    return [Row(layer.text, before.shape, parameters, sums=sums or {}, side=before.side, geometry=before.geometry)]


def _slide(layer: Layer, before: Row, channels: int, what: str, **costs: Any) -> Row:
    numbers = layer.numbers
    kernel, stride, padding = numbers["kernel"], numbers["stride"] or numbers["kernel"], numbers["padding"]
    dilation = numbers.get("dilation", 1)
    slides = [Slide(size, kernel, stride, padding, dilation) for size in before.shape[1:]]
    try:
        check_slides(slides, what)
    except UserError as error:
        raise UserError(f"{layer.text} after {before.layer}: {error}") from None
    rows, columns = before.geometry.axes if before.geometry and before.geometry.axes else (Axis(1, 0, 0),) * 2
    seen = Geometry((rows.slide(kernel, stride, padding, dilation), columns.slide(kernel, stride, padding, dilation)))
    if max(axis.stride for axis in seen.axes or ()) > MAX_STRIDE:
        raise UserError(
            f"{layer.text} after {before.layer}: its cells would lie more than {MAX_STRIDE:,} pixels apart."
        )
    sums = costs.pop("sums", {}) | {"size": put_formulas(slides)}
    if (side := seen.receptive_field) is not None and side < math.inf:
        sums["receptive_field"] = (
            f"{before.receptive_field_input} + ({slides[0].span} - 1)*{rows.stride} = {int(side)}"
        )
    shape = (channels, *(slide.output for slide in slides))
    return Row(
        layer.text,
        shape,
        **costs,
        receptive_field_previous=slides[0].span,
        sums=sums,
        side=before.side,
        geometry=seen,
    )


def _measure_conv(layer: Layer, before: Row) -> list[Row]:
    numbers, channels = layer.numbers, before.shape[0]
    filters, kernel, groups, bias = (numbers[name] for name in ("filters", "kernel", "groups", "bias"))
    for what, number in (("input channels", channels), ("filters", filters)):
        if number % groups:
            raise UserError(f"{layer.text}: {number} {what} cannot be shared out evenly among {groups} groups.")
    cells = kernel * kernel * channels // groups
    window = f"{kernel}*{kernel}*{channels // groups}"
    parameters = filters * (cells + bool(bias))
    sum_of = f"{filters} * ({window} + 1) = {parameters}" if bias else f"{filters} * {window} = {parameters}"
    row = _slide(layer, before, filters, "A kernel", parameters=parameters, sums={"parameters": sum_of})
    return [replace(row, macs=math.prod(row.shape) * cells)]


def _build_conv(layer: Layer, shape: tuple[int, ...]) -> nn.Module:
    filters, kernel, stride, padding, dilation, groups, bias = (layer.numbers[name] for name in KINDS["conv"].numbers)
    return nn.Conv2d(shape[0], filters, kernel, stride, padding, dilation, groups, bool(bias))


def _measure_pool(layer: Layer, before: Row) -> list[Row]:
    kernel, padding = layer.numbers["kernel"], layer.numbers["padding"]
    if padding > kernel // 2:
        raise UserError(
            f"{layer.text}: a window of {kernel} can be padded by {kernel // 2} at most, not by {padding}."
        )
    return [_slide(layer, before, before.shape[0], "A window")]


def _pool_of(module: Callable[..., nn.Module]) -> Callable[[Layer, tuple[int, ...]], nn.Module]:
    def build(layer: Layer, shape: tuple[int, ...]) -> nn.Module:
        kernel, stride, padding = (layer.numbers[name] for name in ("kernel", "stride", "padding"))
        return module(kernel, stride or kernel, padding)

    return build


def _measure_norm(layer: Layer, before: Row) -> list[Row]:
    channels, groups = before.shape[0], layer.numbers.get("groups", 1)
    if channels % groups:
        raise UserError(f"{layer.text}: {channels} channels cannot be shared out evenly among {groups} groups.")
    sums = {"parameters": f"2 * {channels} = {2 * channels}"}
    (row,) = _keep(layer, before, 2 * channels, sums)
    if layer.kind == "norm" or before.geometry is None or before.geometry.axes is None:
        return [row]
    # Unlike those of a batch, the mean and variance of a picture come from all of its cells.
    rows, columns = (Axis(axis.stride, -math.inf, math.inf) for axis in before.geometry.axes)
    return [replace(row, receptive_field_previous=max(before.shape[1:]), geometry=Geometry((rows, columns)))]


def _build_norm(layer: Layer, shape: tuple[int, ...]) -> nn.Module:
    return nn.BatchNorm2d(shape[0]) if len(shape) == 3 else nn.BatchNorm1d(shape[0])


def _measure_flatten(layer: Layer, before: Row) -> list[Row]:
    number = math.prod(before.shape)
    sums = {"size": f"{'*'.join(map(str, before.shape))} = {number}"}
    return [Row(layer.text, (number,), sums=sums, side=before.side, geometry=before.geometry)]


def _measure_gap(layer: Layer, before: Row) -> list[Row]:
    return [Row(layer.text, before.shape[:1], receptive_field_previous=max(before.shape[1:]), side=before.side)]


def _measure_linear(layer: Layer, before: Row) -> list[Row]:
    (features,), units, bias = before.shape, layer.numbers["units"], bool(layer.numbers["bias"])
    parameters = units * (features + bias)
    sums = {"parameters": f"{units} * {f'({features} + 1)' if bias else features} = {parameters}"}
    return [Row(layer.text, (units,), parameters, units * features, features, sums, before.side)]


def _build_linear(layer: Layer, shape: tuple[int, ...]) -> nn.Module:
    return nn.Linear(shape[0], layer.numbers["units"], bias=bool(layer.numbers["bias"]))


def _measure_residual(layer: Layer, before: Row) -> list[Row]:
    rows = measure_all(layer.inside, before)
    beside = _find_shortcut(layer, before, rows[-1])
    extra = [replace(row, layer=f"shortcut {row.layer}") for row in measure_all(beside, before)]
    end, other = rows[-1], (extra or [before])[-1]
    if end.shape != other.shape:
        raise UserError(
            f"{layer.text}: the layers inside make {by_sides(end.shape)}, the shortcut {by_sides(other.shape)}; they "
            "cannot be added."
        )
    seen = merge([end.geometry, other.geometry])
    return [*rows, *extra, Row("add", end.shape, side=before.side, geometry=seen)]


def _find_shortcut(layer: Layer, before: Row, end: Row) -> tuple[Layer, ...]:
    """Nothing, or the projection of He et al., 2016, where the shape changes: 1 x 1 with the stride, then a norm."""
    if end.shape == before.shape:
        return ()
    if len(end.shape) != 3:
        raise UserError(f"{layer.text}: only layers that make a map can have a shortcut around them.")
    stride = -(-before.shape[1] // end.shape[1])
    numbers = {"filters": end.shape[0], "kernel": 1, "stride": stride, "padding": 0}
    numbers |= {"dilation": 1, "groups": 1, "bias": 0}
    return (Layer(f"conv({end.shape[0]},1,{stride},bias=0)", "conv", numbers), Layer("norm", "norm"))


def _build_residual(layer: Layer, shape: tuple[int, ...]) -> nn.Module:
    before = start(shape)
    end = measure_all(layer.inside, before)[-1]
    shortcut = build_all(_find_shortcut(layer, before, end), before)
    return Residual(build_all(layer.inside, before), shortcut if len(shortcut) else nn.Identity())


def _act(title: str, module: Callable[[], nn.Module]) -> Kind:
    return Kind(title, _keep, lambda layer, shape: module())


_WINDOW: dict[str, int | None] = {"kernel": None, "stride": 0, "padding": 0}
KINDS = {
    "conv": Kind(
        "convolution",
        _measure_conv,
        _build_conv,
        {"filters": None, "kernel": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1, "bias": 1},
        needs_map=True,
    ),
    "pool": Kind("max pooling", _measure_pool, _pool_of(nn.MaxPool2d), _WINDOW, needs_map=True),
    "avgpool": Kind("average pooling", _measure_pool, _pool_of(nn.AvgPool2d), _WINDOW, needs_map=True),
    "norm": Kind("batch normalisation", _measure_norm, _build_norm),
    "groupnorm": Kind(
        "group normalisation",
        _measure_norm,
        lambda layer, shape: nn.GroupNorm(layer.numbers["groups"], shape[0]),
        {"groups": 1},
        needs_map=True,
    ),
    "lrn": Kind("local response normalisation", _keep, lambda layer, shape: nn.LocalResponseNorm(5), needs_map=True),
    "relu": _act("ReLU", nn.ReLU),
    "leaky_relu": _act("leaky ReLU", nn.LeakyReLU),
    "gelu": _act("GELU", nn.GELU),
    "silu": _act("SiLU", nn.SiLU),
    "tanh": _act("tanh", nn.Tanh),
    "sigmoid": _act("sigmoid", nn.Sigmoid),
    "dropout": Kind(
        "dropout", _keep, lambda layer, shape: nn.Dropout(layer.numbers["percent"] / 100), {"percent": 50}
    ),
    "flatten": Kind("flatten", _measure_flatten, lambda layer, shape: nn.Flatten(), needs_map=True),
    "gap": Kind(
        "global average pooling",
        _measure_gap,
        lambda layer, shape: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        needs_map=True,
    ),
    "linear": Kind("linear", _measure_linear, _build_linear, {"units": None, "bias": 1}, needs_map=False),
    "residual": Kind("residual block", _measure_residual, _build_residual, needs_map=True),
}
"""Name in a stack -> kind of layer. 0 as the stride of a pooling is that of its window."""
LIMITS = {"padding": (0, 64), "bias": (0, 1), "percent": (0, 99), "filters": (1, 65_536), "units": (1, 1_000_000)}
"""What a number may be; all others are from 1 (0 where 0 is their default) to 1,024."""
