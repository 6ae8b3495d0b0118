"""Why a feature map does not move along with the picture: strides, padding or new content."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.equivariance import MapPair, to_double
from analysis.layers import Layer
from analysis.scene import Scene
from analysis.valid_region import Axes, find_valid_cells

INVENTED = "invented"
"""Key of the shifted picture with invented pixels; all others have real ones and their (dx, dy) for a key."""
NO_ERROR = 1e-4
"""Errors below this have no cause worth naming; rounding in float32 makes about 1e-6."""

Motion = tuple[float, float]
Maps = Mapping[Hashable, Tensor]
Numbers = dict[str, float | None]


@dataclass(frozen=True)
class LayerProbe:
    """What is measured at one layer under one shift, from the maps of a few pictures.

    Attributes:
        stride: Input pixels per cell.
        motion: (dx, dy) of the content in pixels.
        lattice: The nearest motion by whole cells, at least one cell along every axis that moves.
        is_circular: Whether the picture wraps around, so that its maps have to.
        tiles: Whether the cells tile the picture, so that the maps of the circular twin can wrap around.
        valid: ``(h, w)`` bool, see :func:`analysis.valid_region.find_valid_cells`; None if not known.
        lattice_valid: The same for ``lattice``.
    """

    stride: int
    motion: Motion
    lattice: tuple[int, int]
    is_circular: bool
    tiles: bool
    valid: Tensor | None
    lattice_valid: Tensor | None

    @classmethod
    def place(cls, layer: Layer, scene: Scene, motion: Motion, axes: Axes | None, is_real: Tensor) -> "LayerProbe":
        """Works out where to measure; ``is_real (H, W)`` is False where the shift invented a pixel."""
        cells = layer.output_shape[1:]
        tiles = all(number * layer.stride == scene.size for number in cells)
        is_circular = scene.boundary == "circular"
        lattice = tuple(_snap(distance, layer.stride) for distance in motion)
        valid = lattice_valid = None
        if axes is not None:
            wraps = is_circular and tiles
            valid = find_valid_cells(axes, cells, is_real, *motion, circular=wraps)
            lattice_valid = find_valid_cells(axes, cells, torch.ones_like(is_real), *lattice, circular=wraps)
        return cls(layer.stride, motion, lattice, is_circular, tiles, valid, lattice_valid)

    def measure(self, maps: Maps, mean: Tensor | None) -> Numbers:
        """The errors of the network as trained, as far as their pictures are among ``maps``.

        Args:
            maps: ``(C, h, w)`` for each picture of a batch; (0, 0) is always there.
            mean: ``(C,)``, the level of each channel; None takes it from the picture.
        """
        numbers: Numbers = {}
        if self.motion in maps:
            shifted = maps.get(INVENTED, maps[self.motion])
            pair = self._align(maps, shifted, self.motion, mean)
            real = to_double(maps[self.motion])
            numbers |= {
                "scale": pair.scale,
                "error": pair.error(),
                "error_valid": pair.error(self.valid) if self.valid is not None else None,
                "unaligned": pair.relative(pair.shifted - pair.original),
                "cosine": pair.cosine(),
                "real_error": pair.relative(real - pair.moved),
                "new_content_error": pair.relative(pair.shifted - real),
            }
        if self.lattice in maps:
            pair = self._align(maps, maps[self.lattice], self.lattice, mean)
            numbers["lattice_error"] = pair.error()
            numbers["valid_lattice_error"] = pair.error(self.lattice_valid) if self.valid is not None else None
        return numbers

    def measure_twin(self, maps: Maps, mean: Tensor | None) -> Numbers:
        """The error of the circular twin for a picture that wraps around."""
        if not self.tiles:
            return {"stride_error": None}
        cells = [distance / self.stride for distance in self.motion]
        pair = MapPair.align(maps[0, 0], maps[self.motion], *cells, circular=True, mean=mean)
        return {"stride_error": pair.error()}

    def _align(self, maps: Maps, shifted: Tensor, motion: Motion, mean: Tensor | None) -> MapPair:
        cells = [distance / self.stride for distance in motion]
        return MapPair.align(maps[0, 0], shifted, *cells, circular=self.is_circular, mean=mean)


def find_causes(numbers: Numbers) -> dict[str, float | str | None]:
    """``stride_error``, ``padding_error`` and the ``cause`` that weighs most, from what was measured.

    See :func:`analysis.meter.measure_layers` for what they mean.

    Args:
        numbers: Of :meth:`LayerProbe.measure` and :meth:`LayerProbe.measure_twin`.
    """
    stride = numbers["stride_error"] if numbers["stride_error"] is not None else numbers["error_valid"]
    bounds = [numbers["lattice_error"]]
    if stride is not None and numbers["real_error"] is not None:
        bounds.append(math.sqrt(max(numbers["real_error"] ** 2 - stride**2, 0.0)))
    padding = min((bound for bound in bounds if bound is not None), default=None)
    sizes = {"stride": stride, "padding": padding, "new content": numbers["new_content_error"]}
    return {"stride_error": stride, "padding_error": padding, "cause": _name_cause(numbers["error"], sizes)}


def _name_cause(error: float | None, sizes: dict[str, float | None]) -> str | None:
    if error is None:
        return None
    if error < NO_ERROR:
        return "none"
    if None in sizes.values():
        return None
    largest = max(sizes, key=sizes.get)
    return largest if sizes[largest] >= NO_ERROR else "none"


def _snap(distance: float, stride: int) -> int:
    cells = max(1, round(abs(distance) / stride)) if distance else 0
    return int(math.copysign(cells * stride, distance))
