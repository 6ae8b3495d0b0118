"""The layers of a network as one forward pass meets them, and their feature maps."""

import difflib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from analysis.errors import UserError
from analysis.network.flow import FlowMode
from analysis.network.geometry import GeometryMode
from analysis.network.hooks import watch_outputs
from analysis.network.windows import Axis, Size

HANDS_ON = ("Identity", "Dropout")
"""Modules whose output, in eval mode, is their input."""


@dataclass(frozen=True)
class Layer:
    """One call of one module, or what the network holds beside its calls.

    Attributes:
        name: The module's name; its second call in a forward is ``name#2``, and so on.
        output_shape: Without the batch dimension; ``(C, h, w)`` for feature maps; a parameter's own shape; empty for
            a module that is never called.
        num_params: Parameters of this module itself. Those of modules that are never called on their own
            (a projection inside attention) count with the nearest one around them that is.
        stride: Input pixels per cell, or None for outputs without positions.
        receptive_field: Side in input pixels; the picture's own side when it is all of it; None when the
            window is not fixed (attention).
        is_feature_map: Whether the output is ``(C, h, w)`` with more than one position.
        sees_all: Whether the receptive field is the whole picture.
        repeats: Whether a container only hands on the output of its last part.
        axes: Where each row and each column of cells looks, for feature maps whose windows are known; the ends
            are infinite where a cell looks at the whole picture.
        reads: The calls whose outputs it works on; "" is the picture.
        made_from: The calls, its own parts mostly, that its output is put together from.
    """

    name: str
    type: str
    output_shape: tuple[int, ...]
    num_params: int
    stride: int | None
    receptive_field: int | None
    is_feature_map: bool
    sees_all: bool
    repeats: bool
    axes: tuple[Axis, Axis] | None = None
    reads: tuple[str, ...] = ()
    made_from: tuple[str, ...] = ()

    def summary(self) -> dict:
        """The public description."""
        keys = ("name", "type", "output_shape", "num_params", "stride", "receptive_field")
        return {key: getattr(self, key) for key in keys}


@dataclass(frozen=True)
class MapLayer(Layer):
    """A layer with a feature map whose stride is known, so that it is known how far the map should move."""

    stride: int

    @property
    def size(self) -> Size:
        """Rows and columns of the map."""
        _, height, width = self.output_shape
        return height, width


def list_layers(module: nn.Module, inputs: Tensor) -> tuple[Layer, ...]:
    """Every module call of one forward pass, in the order in which they finish, then what holds parameters beside.

    The latter are parameters of the network itself (the class token of a ViT) and modules of its first level that are
    not called (auxiliary classifiers), so that ``num_params`` adds up to the parameters of the network.

    Args:
        inputs: ``(N, C, H, W)``; only the first picture is used.
    """
    inputs = inputs[:1].detach().clone()
    image_side = max(inputs.shape[-2:])
    found: list[Layer] = []
    last: list[Tensor] = []

    def record(name: str, output: Tensor) -> None:
        part = module.get_submodule(name.split("#")[0])
        geometry = mode.find(output)
        axes, dims = (geometry.axes, geometry.dims) if geometry else (None, (-2, -1))
        is_map = is_feature_map(output.shape, inputs.shape[-2:]) and (axes is None or dims == (-2, -1))
        stride = None
        if is_map:
            stride = geometry.stride if geometry and axes else _guess_stride(output.shape, inputs.shape, found)
        extent = geometry.receptive_field if geometry else None
        sees_all = extent == math.inf
        repeats = bool(last) and output is last[0] and any(True for _ in part.children())
        reads, made_from = flow.leave(name, output, repeats=repeats)
        layer = Layer(
            name=name,
            type=type(part).__name__,
            output_shape=tuple(output.shape[1:]),
            num_params=0,
            stride=stride,
            receptive_field=None if extent is None else image_side if sees_all else int(extent),
            is_feature_map=is_map,
            sees_all=sees_all,
            repeats=repeats,
            axes=axes if is_map and extent is not None else None,
            reads=reads,
            made_from=made_from,
        )
        found.append(layer if stride is None else MapLayer(**vars(layer)))
        last[:] = [output]

    flow = FlowMode(inputs)
    with flow.watch(module), watch_outputs(module, None, record), GeometryMode(inputs) as mode, flow, torch.no_grad():
        module(inputs)
    counts = _count_own_params(module, {layer.name for layer in found})
    rows = [replace(layer, num_params=counts.pop(layer.name, 0)) for layer in found]
    return (*rows, *(_describe_uncalled(module, name, count) for name, count in counts.items()))


def _describe_uncalled(module: nn.Module, name: str, num_params: int) -> Layer:
    """The row of a parameter of ``module`` itself, or of one of its parts that no forward calls."""
    part = getattr(module, name)
    shape = tuple(part.shape) if isinstance(part, nn.Parameter) else ()
    return Layer(name, type(part).__name__, shape, num_params, None, None, False, False, False)


def _guess_stride(shape: Sequence[int], image_shape: Sequence[int], before: Sequence[Layer]) -> int | None:
    """The stride of a map whose grid was lost on the way, as in attention over windows and back.

    Only of a map that divides the picture evenly, and no finer than all maps before it: an attention matrix
    ``(1, heads, L, L)`` has the shape of a map too.
    """
    (rows, row_rest), (columns, column_rest) = map(divmod, image_shape[-2:], shape[-2:])
    finest = min((layer.stride for layer in before if layer.stride), default=1)
    is_grid = shape[0] == image_shape[0] and rows == columns and not (row_rest or column_rest)
    return rows if is_grid and rows >= finest else None


def is_feature_map(shape: Sequence[int], image_size: Sequence[int]) -> bool:
    """Whether ``shape`` is ``(N, C, h, w)`` with positions in its last two dimensions.

    A map keeps the proportions of the picture, up to rounding. Outputs with channels last, ``(N, h, w, C)``,
    and windows of attention do not.
    """
    if len(shape) != 4 or min(shape[2:]) < 2:
        return False
    (height, width), (full_height, full_width) = shape[2:], image_size
    return abs(height * full_width - width * full_height) <= 2 * max(image_size)


def outline(layers: Collection[Layer]) -> tuple[MapLayer, ...]:
    """The feature maps of the upper two levels of the module tree: enough to follow a network down.

    A map that several containers hand on counts once, under the name of its innermost part shown.
    """
    shown: list[MapLayer] = []
    is_new = False
    for layer in layers:
        is_new = is_new or not (layer.repeats or layer.type in HANDS_ON)
        if is_new and isinstance(layer, MapLayer) and _is_upper(layer):
            shown.append(layer)
            is_new = False
    return tuple(shown)


def _is_upper(layer: Layer) -> bool:
    return layer.name.count(".") < 2 and "#" not in layer.name and layer.type not in HANDS_ON


def find_layer(layers: Collection[Layer], name: str) -> Layer:
    """The layer called ``name``, which must be a feature map.

    Raises:
        UserError: No such layer, or no feature map; names the nearest ones.
    """
    maps = {layer.name: layer for layer in layers if layer.is_feature_map}
    if name in maps:
        return maps[name]
    near = difflib.get_close_matches(name, maps, n=3, cutoff=0.3) or list(maps)[-3:]
    known = any(layer.name == name for layer in layers)
    problem = f"{name} gives no feature map" if known else f"There is no layer called {name}"
    raise UserError(f"{problem}; try {', '.join(near)}." if near else f"{problem} in this model.")


def extract_features(module: nn.Module, inputs: Tensor, name: str) -> Tensor:
    """The feature map ``(N, C, h, w)`` of the layer ``name`` (with ``#2`` for a second call), on the CPU.

    Raises:
        UserError: The layer was not reached or has no feature map.
    """
    kept: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        kept[name] = output.float().cpu().clone()

    if name.split("#")[0] not in dict(module.named_modules()):
        raise UserError(f"There is no layer called {name} in this model.")
    with watch_outputs(module, [name], keep), torch.inference_mode():
        module(inputs)
    if name not in kept or not is_feature_map(kept[name].shape, inputs.shape[-2:]):
        raise UserError(f"The layer {name} gives no feature map for this input.")
    return kept[name]


def _count_own_params(module: nn.Module, called: set[str]) -> dict[str, int]:
    """Parameters per called module; each counts once, with the nearest called module around it.

    Where there is none, it counts under the name of the network's own parameter or part that it belongs to.
    """
    counts: dict[str, int] = {}
    for param_name, param in module.named_parameters():
        owner = param_name.rpartition(".")[0]
        while owner and owner not in called:
            owner = owner.rpartition(".")[0]
        owner = owner or param_name.split(".")[0]
        counts[owner] = counts.get(owner, 0) + param.numel()
    return counts
