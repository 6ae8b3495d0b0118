"""How far a network's feature maps move along when its input moves."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from analysis.errors import UserError
from analysis.network.hooks import watch_outputs
from analysis.network.layers import Layer, MapLayer
from analysis.shift.features import shift_features

ROUNDING = 1e-6
"""Maps whose variation is a smaller part of them than this are constant, but for float32 rounding."""


@dataclass(frozen=True)
class LayerError:
    """``relative_error`` of one layer (see :func:`measure_shift`); None where no cell can be compared."""

    name: str
    stride: int
    relative_error: float | None


@dataclass(frozen=True)
class MapPair:
    """The maps of one layer for a picture and for the shifted picture, aligned; in float64.

    Attributes:
        original: ``(C, h, w)``: ``z``.
        shifted: ``(C, h, w)``: ``z'``.
        moved: ``(C, h, w)``: ``A z``, the original moved along.
        cells: ``(h, w)`` bool; False where ``A z`` lacks its source, or a part of it.
        mean: ``(C,)``: the level ``m`` of each channel.
    """

    original: Tensor
    shifted: Tensor
    moved: Tensor
    cells: Tensor
    mean: Tensor

    @classmethod
    def align(
        cls, original: Tensor, shifted: Tensor, dx: float, dy: float, *, circular: bool, mean: Tensor | None = None
    ) -> "MapPair":
        """Moves ``original`` by (dx, dy) cells; ``mean`` None takes the mean over ``original`` itself."""
        original, shifted = to_double(original), to_double(shifted)
        moved, cells = shift_features(original, dx, dy, circular=circular)
        mean = original.mean(dim=(1, 2)) if mean is None else mean.to(original)
        return cls(original, shifted, moved, cells, mean)

    def error(self, cells: Tensor | None = None) -> float | None:
        """``|z' - A z|`` over ``cells (h, w)``; see :meth:`relative`."""
        return self.relative(self.shifted - self.moved, cells)

    def relative(self, difference: Tensor, cells: Tensor | None = None) -> float | None:
        """``|difference| / |A z - m|``: Euclidean norms over all channels and :attr:`cells`.

        Without the mean, maps that share nothing but their level would look alike: after a ReLU, unrelated
        pictures differ by as little as 0.3 of their norm. With it they differ by about sqrt(2).

        Args:
            difference: ``(C, h, w)``.
            cells: ``(h, w)`` bool: only these.

        Returns:
            None where there is no scale: no cell, or maps that are constant while there is a difference.
        """
        if cells is None:
            cells, (scale, size) = self.cells, self._sizes
        else:
            cells = self.cells & cells.to(self.cells.device)
            scale, size = self._measure(cells)
        if not cells.any():
            return None
        error = float((difference * cells).norm())
        if scale <= ROUNDING * size:
            return 0.0 if error <= ROUNDING * size else None
        return error / scale

    def cosine(self) -> float | None:
        """Between ``A z - m`` and ``z' - m``; None where one of them is constant."""
        expected, found = ((maps - self._level) * self.cells for maps in (self.moved, self.shifted))
        sizes = [float((maps * self.cells).norm()) for maps in (self.moved, self.shifted)]
        norms = [float(maps.norm()) for maps in (expected, found)]
        if any(norm <= ROUNDING * size for norm, size in zip(norms, sizes, strict=True)):
            return None
        return float((expected * found).sum()) / (norms[0] * norms[1])

    @property
    def scale(self) -> float:
        """``|A z - m|`` over :attr:`cells`."""
        return self._sizes[0]

    @cached_property
    def _sizes(self) -> tuple[float, float]:
        return self._measure(self.cells)

    def _measure(self, cells: Tensor) -> tuple[float, float]:
        """``|A z - m|`` and ``|A z|``."""
        return float(((self.moved - self._level) * cells).norm()), float((self.moved * cells).norm())

    @property
    def _level(self) -> Tensor:
        return self.mean[:, None, None]


@dataclass(frozen=True)
class MapComparison:
    """One channel of one layer, seen both ways round.

    Attributes:
        stride: Input pixels per cell.
        of_shifted: ``(h, w)``: the map of the shifted picture.
        shifted_map: ``(h, w)``: the map of the original picture, shifted.
        difference: ``of_shifted - shifted_map``, zero where nothing can be compared.
        is_valid: ``(h, w)`` bool; False where the shifted map lacks its source, or a part of it.
        relative_error: Over all channels of the layer.
    """

    layer: str
    stride: int
    channel: int
    num_channels: int
    of_shifted: Tensor
    shifted_map: Tensor
    difference: Tensor
    is_valid: Tensor
    relative_error: float | None

    @property
    def limit(self) -> float:
        """The largest magnitude in all three maps: the end of their one colour scale."""
        return max(float(m.abs().max()) for m in (self.of_shifted, self.shifted_map, self.difference))


@dataclass(frozen=True)
class ShiftMeasurement:
    """Logits ``(2, K)`` of the original and the shifted picture, and how every watched layer behaved."""

    logits: Tensor
    layers: tuple[LayerError, ...]
    comparison: MapComparison | None


def measure_shift(
    module: nn.Module,
    inputs: Tensor,
    dx: float,
    dy: float,
    layers: Collection[Layer],
    *,
    circular: bool,
    levels: Mapping[str, Tensor] | None = None,
    compare: Layer | None = None,
    channel: int | None = None,
) -> ShiftMeasurement:
    """Compares "shift, then compute" with "compute, then shift" at every layer, in one forward pass.

    The relative error of a layer ``z`` with stride ``s`` is ``|z(T x) - A z(x)| / |A z(x) - m|``: Euclidean
    norms over all channels and the cells whose source lies inside the map with all that it mixes, ``A`` the shift by
    ``dx / s, dy / s`` cells (:func:`analysis.shift.features.shift_features`) and ``m`` the level of each channel.
    It is 0 for an equivariant layer, and about 1.4 where the maps have nothing in common.

    Args:
        inputs: ``(2, C, H, W)``: the original and the shifted picture.
        circular: Whether the picture wrapped around, so that feature maps that tile it have to.
        levels: ``(C,)`` by layer name (:func:`analysis.equivariance.reduced_forwards.measure_levels`); a layer that
            is not there takes the means of ``z(x)`` itself.
        compare: The layer whose maps are wanted too.
        channel: Which channel of it; None takes the one that responds most.

    Raises:
        UserError: A layer has no stride, so it is not known how far its maps should move.
    """
    watched: dict[str, MapLayer] = {}
    for layer in (*layers, *([compare] if compare else [])):
        if not isinstance(layer, MapLayer):
            raise UserError(f"The layer {layer.name} has no stride to shift its maps by; choose another layer.")
        watched[layer.name] = layer
    errors: dict[str, LayerError] = {}
    comparison: list[MapComparison] = []

    def observe(name: str, output: Tensor) -> None:
        layer = watched[name]
        wraps = circular and tiles(layer, inputs.shape[-2:])
        (original, shifted), mean = output, (levels or {}).get(name)
        pair = MapPair.align(original, shifted, dx / layer.stride, dy / layer.stride, circular=wraps, mean=mean)
        errors[name] = LayerError(name, layer.stride, pair.error())
        if layer is compare:
            comparison.append(_compare(errors[name], pair, channel))

    with watch_outputs(module, watched, observe), torch.inference_mode():
        logits = module(inputs)
    ordered = tuple(errors[layer.name] for layer in layers)
    return ShiftMeasurement(logits, ordered, comparison[0] if comparison else None)


def _compare(error: LayerError, pair: MapPair, channel: int | None) -> MapComparison:
    num_channels = len(pair.original)
    if channel is None:
        channel = int(pair.original.abs().mean(dim=(1, 2)).argmax())
    channel = min(max(channel, 0), num_channels - 1)
    of_shifted, shifted_map = (maps[channel].float().cpu() for maps in (pair.shifted, pair.moved))
    is_valid = pair.cells.cpu()
    return MapComparison(
        layer=error.name,
        stride=error.stride,
        channel=channel,
        num_channels=num_channels,
        of_shifted=of_shifted,
        shifted_map=shifted_map,
        difference=(of_shifted - shifted_map) * is_valid,
        is_valid=is_valid,
        relative_error=error.relative_error,
    )


def tiles(layer: MapLayer, size: Sequence[int]) -> bool:
    """Whether the cells of a layer tile a picture of ``size`` (H, W), so that its maps wrap around if that does."""
    sides = zip(layer.size, size, strict=True)
    return all(cells * layer.stride == pixels for cells, pixels in sides)


def to_double(maps: Tensor) -> Tensor:
    """Maps of any shape in float64, on the CPU where the device has no such numbers."""
    return maps.double() if maps.device.type != "mps" else maps.cpu().double()
