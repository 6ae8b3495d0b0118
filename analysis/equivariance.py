"""How far a network's feature maps move along when its input moves."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.errors import AnalysisError
from analysis.layers import Layer, watch_outputs
from analysis.shift import shift_features


@dataclass(frozen=True)
class LayerError:
    """``relative_error`` of one layer (see :func:`measure_shift`); None where no cell can be compared."""

    name: str
    stride: int
    relative_error: float | None


@dataclass(frozen=True)
class MapComparison:
    """One channel of one layer, seen both ways round.

    Attributes:
        layer: Name.
        stride: Input pixels per cell.
        channel: Index of the channel shown.
        num_channels: Number of channels of the layer.
        of_shifted: ``(h, w)``: the map of the shifted picture.
        shifted_map: ``(h, w)``: the map of the original picture, shifted.
        difference: ``of_shifted - shifted_map``, zero where nothing can be compared.
        is_valid: ``(h, w)`` bool; False where the shifted map has no source.
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
    dx: int,
    dy: int,
    layers: Collection[Layer],
    *,
    circular: bool,
    compare: Layer | None = None,
    channel: int | None = None,
) -> ShiftMeasurement:
    """Compares "shift, then compute" with "compute, then shift" at every layer, in one forward pass.

    The relative error of a layer ``z`` with stride ``s`` is ``|z(T x) - A z(x)| / |A z(x)|``: Euclidean
    norms over all channels and the cells whose source lies inside the map, with ``A`` the shift by
    ``dx / s, dy / s`` cells (:func:`analysis.shift.shift_features`). It is 0 for an equivariant layer.

    Args:
        module: A network in eval mode.
        inputs: ``(2, C, H, W)``: the original and the shifted picture.
        dx: Pixels by which content moved to the right.
        dy: Pixels by which content moved down.
        layers: Feature maps to watch.
        circular: Whether the picture wrapped around, so that feature maps have to.
        compare: The layer whose maps are wanted too.
        channel: Which channel of it; None takes the one that responds most.

    Raises:
        AnalysisError: A layer has no stride, so it is not known how far its maps should move.
    """
    watched = {layer.name: layer for layer in (*layers, *([compare] if compare else []))}
    for layer in watched.values():
        if layer.stride is None:
            raise AnalysisError(f"The layer {layer.name} has no stride to shift its maps by; choose another layer.")
    errors: dict[str, LayerError] = {}
    comparison: list[MapComparison] = []

    def observe(name: str, output: Tensor) -> None:
        layer = watched.get(name)
        if layer is None:
            return
        maps = output.float()
        shifted, is_valid = shift_features(maps[0], dx / layer.stride, dy / layer.stride, circular=circular)
        difference = (maps[1] - shifted) * is_valid
        error = LayerError(name, layer.stride, _relative_norm(difference, shifted * is_valid, is_valid))
        errors[name] = error
        if layer is compare:
            comparison.append(_compare(error, maps, shifted, difference, is_valid, channel))

    names = {name.split("#")[0] for name in watched}
    with watch_outputs(module, names, observe), torch.inference_mode():
        logits = module(inputs)
    ordered = tuple(errors[layer.name] for layer in layers)
    return ShiftMeasurement(logits, ordered, comparison[0] if comparison else None)


def _relative_norm(difference: Tensor, reference: Tensor, is_valid: Tensor) -> float | None:
    if not is_valid.any():
        return None
    error, scale = float(difference.norm()), float(reference.norm())
    if scale == 0:
        return 0.0 if error == 0 else None
    return error / scale


def _compare(
    error: LayerError,
    maps: Tensor,
    shifted: Tensor,
    difference: Tensor,
    is_valid: Tensor,
    channel: int | None,
) -> MapComparison:
    num_channels = maps.shape[1]
    if channel is None:
        channel = int(maps[0].abs().mean(dim=(1, 2)).argmax())
    channel = min(max(channel, 0), num_channels - 1)
    return MapComparison(
        layer=error.name,
        stride=error.stride,
        channel=channel,
        num_channels=num_channels,
        of_shifted=maps[1, channel].cpu().clone(),
        shifted_map=shifted[channel].cpu().clone(),
        difference=difference[channel].cpu().clone(),
        is_valid=is_valid.cpu(),
        relative_error=error.relative_error,
    )
