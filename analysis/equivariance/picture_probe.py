"""One picture under one shift: its maps, those of the pictures it is compared with, and those without padding."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from analysis.equivariance.align import tiles
from analysis.equivariance.causes import INVENTED, LayerProbe, Motion, Numbers
from analysis.equivariance.reduced_forwards import ReducedForwards
from analysis.network.layers import MapLayer
from analysis.shift.circular import CircularPadding
from analysis.shift.scene import Scene

REFUSED = "A larger picture does not give this layer, so what strides and padding do is not measured."


@dataclass(frozen=True)
class PictureProbe:
    """One picture under one shift.

    Attributes:
        motion: (dx, dy) of the content in pixels.
        layers: What is measured where, by name of the layer.
        pictures: ``(C, H, W)`` pixels of the pictures whose maps are compared.
    """

    scene: Scene
    motion: Motion
    layers: dict[str, LayerProbe]
    pictures: dict[Hashable, Tensor]

    @classmethod
    def place(cls, scene: Scene, motion: Motion, measured: Mapping[str, MapLayer]) -> "PictureProbe":
        """Works out where to measure each of the layers."""
        moved, probes, follows_tiles = scene.shift(*motion), dict[str, LayerProbe](), True
        for name, layer in measured.items():
            follows_tiles = follows_tiles and tiles(layer, moved.is_real.shape)
            probes[name] = LayerProbe.place(layer, scene, motion, moved.is_real, follows_tiles=follows_tiles)
        motions = dict.fromkeys([motion, *(probe.lattice for probe in probes.values())])
        pictures: dict[Hashable, Tensor] = {(0, 0): scene.window}
        if not moved.is_real.all():
            pictures[INVENTED] = moved.pixels
        pictures |= {motion: scene.shift_real(*motion) for motion in motions}
        return cls(scene, motion, probes, pictures)

    @property
    def num_forwards(self) -> int:
        """Pictures that :meth:`measure` computes."""
        return max(len(self.pictures) - 1, 1) + 2 * sum(bool(self._select(way)) for way in ("twin", "surroundings"))

    def measure(self, forwards: ReducedForwards, levels: Mapping[str, Tensor]) -> dict[str, Numbers]:
        """What :meth:`LayerProbe.measure` finds of each layer, relative to its levels ``(C,)``."""
        around, wrapped = self._select("surroundings"), self._select("twin")
        drifts = find_drifts(forwards, self.scene, self.motion, around)
        with CircularPadding():
            drifts |= find_drifts(forwards, self.scene, self.motion, wrapped)
        for name in {**around, **wrapped}.keys() - drifts.keys():
            self.layers[name] = replace(self.layers[name], way=None, obstacle=REFUSED)
        return forwards.compare(
            self.pictures,
            self.scene.to_inputs,
            lambda name, maps: self.layers[name].measure(maps, levels.get(name), drifts.get(name)),
        )

    def _select(self, way: str) -> dict[str, LayerProbe]:
        return {name: probe for name, probe in self.layers.items() if probe.way == way}


def find_drifts(
    forwards: ReducedForwards, scene: Scene, motion: Motion, probes: Mapping[str, LayerProbe]
) -> dict[str, Tensor]:
    """:meth:`LayerProbe.find_drift` of every layer that the network computes in a larger picture, in two forwards.

    That picture begins a whole number of cells of every layer further out, so that the window falls on the same
    phases, and far enough for no cell of the window to see its padding. Maps that wrap around need no more than
    the window. One picture goes through the network at a time and one map is kept of each layer: these are large.

    Args:
        forwards: Of the network; of its circular twin for maps that wrap around.
    """
    if not probes:
        return {}
    period = math.lcm(*(probe.layer.stride for probe in probes.values()))
    margin = -(-max(probe.reach for probe in probes.values()) // period) * period
    originals: dict[str, Tensor] = {}
    drifts: dict[str, Tensor] = {}

    def cut(name: str, output: Tensor) -> Tensor | None:
        (height, width), cells = probes[name].layer.size, margin // probes[name].layer.stride
        if output.shape[1:] != (height + 2 * cells, width + 2 * cells):
            return None  # pooled to a fixed size: its cells are others there
        return output[:, cells : cells + height, cells : cells + width]

    def keep(name: str, output: Tensor) -> None:
        if (window := cut(name, output)) is not None:
            originals[name] = window.clone()

    def compare(name: str, output: Tensor) -> None:
        if name in originals and (window := cut(name, output)) is not None:
            drifts[name] = probes[name].find_drift(originals.pop(name), window)

    for (dx, dy), look in (((0, 0), keep), (motion, compare)):
        forwards.explore(scene.to_inputs(scene.shift_real(dx, dy, margin)[None]), probes, look)
    return drifts
