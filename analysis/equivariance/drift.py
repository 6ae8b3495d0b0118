"""What a network does to a shift where nothing is padded: its maps from a larger picture around the window."""

import math
from collections.abc import Mapping

from torch import Tensor

from analysis.equivariance.causes import LayerProbe, Motion
from analysis.equivariance.reduced_forwards import ReducedForwards
from analysis.shift.scene import Scene

REFUSED = "A larger picture does not give this layer, so what strides and padding do is not measured."


def find_drifts(
    forwards: ReducedForwards, scene: Scene, motion: Motion, probes: Mapping[str, LayerProbe]
) -> dict[str, Tensor]:
    """:meth:`LayerProbe.find_drift` of every layer that the network computes in a larger picture, in two forwards.

    That picture begins a whole number of cells of every layer further out, so that the window falls on the same
    phases, and far enough for no cell of the window to see its padding. Maps that wrap around need no more than
    the window. One picture goes through the network at a time and one map is kept of each layer: these are large.

    Args:
        forwards: Of the network; of its circular twin for maps that wrap around.
        scene: The picture.
        motion: (dx, dy) of the content in pixels.
        probes: The layers wanted.
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
