"""Why a feature map does not move along with the picture: strides, padding or new content."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from analysis.equivariance.align import MapPair, tiles, to_double
from analysis.network.layers import MapLayer
from analysis.shift.scene import EVERYWHERE, Scene
from analysis.shift.valid_region import find_seeing_cells, find_valid_cells

INVENTED = "invented"
"""Key of the shifted picture with invented pixels; all others have real ones and their (dx, dy) for a key."""
NO_ERROR = 1e-4
"""Errors below this have no cause worth naming; rounding in float32 makes about 1e-6."""
MIN_VALID = 0.05
"""A layer with a smaller part of its cells valid counts as having none that is free of padding."""
MAX_REACH = 1
"""How far a larger picture goes on at each side of the window at most, in sides of the window."""
_SEES_TOO_MUCH = (
    "Nearly all of its cells look beyond the edge of the picture, or are compared with cells that do: how it would "
    "do without padding is not known, so what strides and padding do is not measured."
)
_REACHES_TOO_FAR = "Its windows reach too far beyond the picture, so what strides and padding do is not measured."

Motion = tuple[float, float]
Maps = Mapping[Hashable, Tensor]
Numbers = dict[str, float | None]


@dataclass(frozen=True)
class LayerProbe:
    """What is measured at one layer under one shift, from the maps of a few pictures.

    Attributes:
        motion: (dx, dy) of the content in pixels.
        lattice: The nearest motion by whole cells, at least one cell along every axis that moves.
        wraps: Whether maps do so too, because they tile it.
        valid: ``(h, w)`` bool, see :func:`analysis.shift.valid_region.find_valid_cells`; None if not known.
        lattice_valid: The same for ``lattice``.
        way: How maps without any padding are found: ``twin``, by the circular twin where maps wrap around;
            ``surroundings``, from a larger picture; or None where neither can be.
        obstacle: Why not, in a sentence.
        seeing: ``(h, w)`` bool: the cells that, with the picture's surroundings in place of padding, see nothing
            but the picture, now and before; None for all. Valid cells are among them.
        continues: Whether other cells are compared as well, which look beyond the picture.
        reach: Pixels around the window that its cells look at.
    """

    layer: MapLayer
    motion: Motion
    lattice: tuple[int, int]
    tiles: bool
    is_circular: bool
    wraps: bool
    valid: Tensor | None
    lattice_valid: Tensor | None
    way: str | None = None
    obstacle: str = ""
    seeing: Tensor | None = None
    continues: bool = False
    reach: int = 0

    @classmethod
    def place(
        cls, layer: MapLayer, scene: Scene, motion: Motion, is_real: Tensor, *, follows_tiles: bool
    ) -> "LayerProbe":
        """Works out where to measure.

        Args:
            is_real: ``(H, W)`` bool; False where the shift invented a pixel.
            follows_tiles: Whether the cells of all layers before it tile the picture, so that the circular twin has
                no edge anywhere.
        """
        cells, axes = layer.size, layer.axes
        is_circular, fits = scene.boundary == "circular", tiles(layer, (scene.size, scene.size))
        wraps = is_circular and fits
        lattice = _snap(motion[0], layer.stride), _snap(motion[1], layer.stride)
        probe = cls(layer, motion, lattice, fits, is_circular, wraps, None, None)
        if axes is not None:
            valid = find_valid_cells(axes, cells, is_real, *motion, circular=wraps)
            lattice_valid = find_valid_cells(axes, cells, torch.ones_like(is_real), *lattice, circular=wraps)
            probe = replace(probe, valid=valid, lattice_valid=lattice_valid)
        return replace(probe, way="twin") if wraps and follows_tiles else probe._look_around(scene)

    def _look_around(self, scene: Scene) -> "LayerProbe":
        """With a larger picture to find maps without padding from, or why there is none."""
        axes, cells = self.layer.axes, self.layer.size
        if axes is None:
            return replace(self, obstacle=_SEES_TOO_MUCH)
        extents = scene.find_real(0, 0), scene.find_real(*self.motion)
        seeing = find_seeing_cells(axes, cells, *extents, *self.motion, circular=self.wraps)
        compared = find_seeing_cells(axes, cells, EVERYWHERE, EVERYWHERE, *self.motion, circular=self.wraps)
        if float(seeing.double().mean()) < MIN_VALID:
            return replace(self, obstacle=_SEES_TOO_MUCH)
        ends = (
            max(-axis.low, (number - 1) * axis.stride + axis.high - (scene.size - 1))
            for axis, number in zip(axes, cells, strict=True)
        )
        reach = max(0, *map(int, ends))
        if reach > MAX_REACH * scene.size:
            return replace(self, obstacle=_REACHES_TOO_FAR)
        continues = not torch.equal(seeing, compared)
        return replace(self, way="surroundings", seeing=seeing, continues=continues, reach=reach)

    def measure(self, maps: Maps, mean: Tensor | None, drift: Tensor | None) -> Numbers:
        """The errors of the network, as far as their pictures are among ``maps``.

        Args:
            maps: ``(C, h, w)`` for each picture of a batch; (0, 0) is always there.
            mean: ``(C,)``, the level of each channel; None takes it from the picture.
            drift: :meth:`find_drift`, if known.
        """
        numbers: Numbers = {}
        if self.motion in maps:
            shifted = maps.get(INVENTED, maps[self.motion])
            pair = self._align(maps[0, 0], shifted, self.motion, mean)
            real = to_double(maps[self.motion])
            numbers |= {
                "scale": pair.scale,
                "error": pair.error(),
                "error_valid": pair.error(self.valid) if self.valid is not None else None,
                "unaligned": pair.relative(pair.shifted - pair.original),
                "cosine": pair.cosine(),
                "stride_error": None,
                "seeing_error": pair.error(self.seeing),
                "padding_error": None,
                "new_content_error": pair.relative(pair.shifted - real),
            }
            if drift is not None:
                drift = to_double(drift)
                numbers["stride_error"] = pair.relative(drift, self.seeing)
                numbers["padding_error"] = pair.relative(real - pair.moved - drift)
        if self.lattice in maps:
            pair = self._align(maps[0, 0], maps[self.lattice], self.lattice, mean)
            numbers["lattice_error"] = pair.error()
            numbers["valid_lattice_error"] = pair.error(self.lattice_valid) if self.valid is not None else None
        return numbers

    def find_drift(self, original: Tensor, shifted: Tensor) -> Tensor:
        """``z(T x) - A z(x)``, of maps ``(C, h, w)`` that have seen no padding: what sampling alone does."""
        pair = self._align(original, shifted, self.motion, None)
        return (pair.shifted - pair.moved).to(original.dtype)

    def _align(self, original: Tensor, shifted: Tensor, motion: Motion, mean: Tensor | None) -> MapPair:
        dx, dy = (distance / self.layer.stride for distance in motion)
        return MapPair.align(original, shifted, dx, dy, circular=self.wraps, mean=mean)


def name_cause(numbers: Numbers) -> str | None:
    """The cause that weighs most, ``none`` where there is no error, or None where one of them is not known."""
    if (error := numbers["error"]) is None:
        return None
    if error < NO_ERROR:
        return "none"
    sizes = {cause: size for cause, name in CAUSES.items() if (size := numbers[name]) is not None}
    if len(sizes) < len(CAUSES):
        return None
    largest = max(sizes, key=sizes.__getitem__)
    return largest if sizes[largest] >= NO_ERROR else "none"


CAUSES = {"stride": "stride_error", "padding": "padding_error", "new content": "new_content_error"}
"""Name of a cause -> field of :class:`analysis.equivariance.meter.LayerMeter` that says how much it does."""


def _snap(distance: float, stride: int) -> int:
    cells = max(1, round(abs(distance) / stride)) if distance else 0
    return int(math.copysign(cells * stride, distance))
