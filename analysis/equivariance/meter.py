"""The layer meter: how well every layer of a network moves along with the picture, and what keeps it from it."""

import math
import re
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from analysis.equivariance.align import ROUNDING, MapPair, tiles
from analysis.equivariance.causes import MIN_VALID, LayerProbe, Maps, Numbers, name_cause
from analysis.equivariance.phase_spread import draw_phases, measure_phase_spread
from analysis.equivariance.picture_probe import PictureProbe
from analysis.equivariance.reduced_forwards import ReducedForwards, average
from analysis.errors import Progress, no_progress
from analysis.grammar import count
from analysis.network.layers import Layer, MapLayer
from analysis.shift.circular import CircularPadding
from analysis.shift.scene import Scene

ALIKE = 1e-3
"""Errors that differ by a smaller part look the same; no note says why one is larger."""


@dataclass(frozen=True)
class LayerMeter:
    """One layer under one shift. Errors are relative to centred maps; None where one cannot be measured.

    With ``z`` and ``z'`` the maps of the picture and of the shifted picture, ``A`` the shift of maps by
    ``d / stride`` cells, ``m`` the level of each channel, and Euclidean norms over all channels and the cells
    whose source, or all that it is interpolated from, lies inside the map:

    Attributes:
        stride: Input pixels per cell.
        receptive_field: Side in input pixels.
        num_cells: ``h * w``.
        valid_fraction: Cells that see neither padding nor invented pixels, now and before, over ``h * w``.
        scale: ``|A z - m|``, what the errors of the shift asked for are relative to.
        error: ``|z' - A z| / |A z - m|``.
        error_valid: The same over the valid cells alone.
        unaligned: ``|z' - z| / |A z - m|``: the error if the maps were not expected to move.
        skill: ``1 - error / unaligned``: the part of the change that is motion.
        cosine: Between ``A z - m`` and ``z' - m``.
        phase_spread: See :func:`analysis.equivariance.phase_spread.measure_phase_spread`; needs two other pictures.
        stride_error: What strides alone do; this and the next two are explained at :func:`measure_layers`.
        padding_error: What padding adds to that.
        new_content_error: What invented pixels add to both.
        lattice_error: For the nearest shift by whole cells, with real surroundings.
        valid_lattice_error: The same over the valid cells alone, which has to be 0.
        cause: ``stride``, ``padding`` or ``new content``, whichever is largest, or ``none``.
        note: Why something is None, in sentences.
    """

    name: str
    stride: int | None
    receptive_field: int | None
    num_cells: int | None
    valid_fraction: float | None = None
    scale: float | None = None
    error: float | None = None
    error_valid: float | None = None
    unaligned: float | None = None
    skill: float | None = None
    cosine: float | None = None
    phase_spread: float | None = None
    stride_error: float | None = None
    padding_error: float | None = None
    new_content_error: float | None = None
    lattice_error: float | None = None
    valid_lattice_error: float | None = None
    cause: str | None = None
    note: str = ""


@dataclass(frozen=True)
class PhaseErrors:
    """Aligned error of one layer: ``in_phase`` for a shift by its own stride, ``out_of_phase`` by one pixel."""

    name: str
    stride: int
    in_phase: float | None
    out_of_phase: float | None


def measure_layers(
    module: nn.Module,
    scenes: Sequence[Scene],
    dx: float,
    dy: float,
    layers: Collection[Layer],
    *,
    reference: Tensor | None = None,
    levels: Mapping[str, Tensor] | None = None,
    phases_per_axis: int = 2,
    seed: int = 0,
    progress: Progress = no_progress,
) -> list[tuple[LayerMeter, ...]]:
    """Measures every layer under one shift of each picture, and which of three causes weighs most.

    With ``x'`` the shifted picture, ``x_r`` the same with real surroundings
    (:meth:`analysis.shift.scene.Scene.shift_real`) instead of invented pixels, and ``u`` the map that the layer
    computes without padding, from the surroundings of the picture instead, the error is a sum of three steps, each
    between pictures or maps that differ in nothing else:

        ``z(x') - A z(x) = [u(x_r) - A u(x)] + [p(x_r) - A p(x)] + [z(x') - z(x_r)]``, where ``p = z - u``.

    * **stride**: the first. Nothing is padded or invented, so only sampling is left. It is taken over the cells
      whose windows hold nothing but the picture, as far as that goes beyond what the network sees.
    * **padding**: the second: by how much ``p``, what padding changes in a map, does not move along.
    * **new content**: the third: the same network, padding and phase, only the invented pixels differ.

    ``u`` comes from the same network on a larger picture, which begins a whole number of cells of every layer
    further out, so that the window falls on the same phases. Where the picture ends, its mirror image goes
    on. A picture that wraps around goes on with itself: there ``u`` is the map of the circular twin. A layer of
    which hardly a cell sees the picture alone has no ``u``: what strides and padding do is then None. Causes can act
    against each other; a note says where one is larger than the whole error.

    Over the valid cells the lattice error is an identity: 0 for any padding, or a receptive field is wrong.

    Args:
        module: A network in eval mode. Inside ``with CircularPadding():`` it is its circular twin.
        scenes: The pictures, of one size.
        layers: The layers wanted; those without positions come back with a note.
        reference: ``(N, C, H, W)`` network input: a few other pictures, for the level of each channel and the
            phase spread, computed once for all scenes. None takes the level from the picture itself.
        levels: Those levels, if they are known already
            (:func:`analysis.equivariance.reduced_forwards.measure_levels`).
        phases_per_axis: Phase spread uses the square of this many phases, see
            :func:`analysis.equivariance.phase_spread.draw_phases`.

    Raises:
        UserError: The boundary rule cannot do this shift.
    """
    measured = {layer.name: layer for layer in layers if isinstance(layer, MapLayer)}
    probes = [PictureProbe.place(scene, (dx, dy), measured) for scene in scenes]
    phases = draw_phases(math.lcm(*(layer.stride for layer in measured.values())), phases_per_axis, seed)
    per_axis = math.isqrt(len(phases))
    num_references = 0 if reference is None else len(reference)
    total = num_references * (len(phases) + (levels is None)) + sum(probe.num_forwards for probe in probes)
    forwards = ReducedForwards(module, measured, progress, total)

    known = _find_levels(forwards, reference, levels)
    numbers = [probe.measure(forwards, known) for probe in probes]
    with CircularPadding():
        pooled = {} if reference is None else forwards.pool(reference, phases)
    return [
        tuple(
            _read(probe.layers[layer.name], found[layer.name], pooled.get(layer.name), per_axis)
            if layer.name in measured
            else LayerMeter(layer.name, None, layer.receptive_field, None, note=_NO_POSITIONS)
            for layer in layers
        )
        for probe, found in zip(probes, numbers, strict=True)
    ]


def _find_levels(
    forwards: ReducedForwards, reference: Tensor | None, levels: Mapping[str, Tensor] | None
) -> Mapping[str, Tensor]:
    """The level of each channel by layer: as it is given, or of the reference, where there is one."""
    if levels is None:
        return {} if reference is None else average(forwards.pool(reference, ((0, 0),)))
    return levels


def measure_down_the_network(
    module: nn.Module,
    scene: Scene,
    layers: Collection[Layer],
    *,
    reference: Tensor | None = None,
    levels: Mapping[str, Tensor] | None = None,
    progress: Progress = no_progress,
) -> tuple[PhaseErrors, ...]:
    """The aligned error of every layer for a shift to the right, in phase with its stride and out of phase.

    Under the rule ``crop``, what the canvas does not have comes from its mirror image.

    Args:
        layers: The layers wanted; those without positions are left out.
        reference: ``(N, C, H, W)`` network input for the level of each channel; None takes the picture's own.
    """
    measured = {layer.name: layer for layer in layers if isinstance(layer, MapLayer)}
    distances = sorted({1, *(layer.stride for layer in measured.values())})
    pictures: dict[Hashable, Tensor] = {0: scene.window}
    for distance in distances:
        is_crop = scene.boundary == "crop"
        pictures[distance] = scene.shift_real(distance, 0) if is_crop else scene.shift(distance, 0).pixels
    num_references = len(reference) if levels is None and reference is not None else 0
    forwards = ReducedForwards(module, measured, progress, len(pictures) - 1 + num_references)
    known = _find_levels(forwards, reference, levels)

    def measure(name: str, maps: Maps) -> dict[int, float | None]:
        layer, stride = measured[name], measured[name].stride
        wraps = scene.boundary == "circular" and tiles(layer, scene.window.shape[-2:])

        def compare(distance: int) -> float | None:
            cells = distance / stride
            return MapPair.align(maps[0], maps[distance], cells, 0, circular=wraps, mean=known.get(name)).error()

        return {distance: compare(distance) for distance in {1, stride} & maps.keys()}

    errors = forwards.compare(pictures, scene.to_inputs, measure)
    return tuple(
        PhaseErrors(name, layer.stride, errors[name][layer.stride], errors[name][1])
        for name, layer in measured.items()
    )


def _read(probe: LayerProbe, numbers: Numbers, pooled: Tensor | None, per_axis: int) -> LayerMeter:
    layer = probe.layer
    error, unaligned, spread = numbers["error"], numbers["unaligned"], None
    if pooled is not None and probe.tiles:
        spread = measure_phase_spread(pooled, is_complete=per_axis % layer.stride == 0)
    meter = LayerMeter(
        name=layer.name,
        stride=layer.stride,
        receptive_field=layer.receptive_field,
        num_cells=math.prod(layer.output_shape[1:]),
        valid_fraction=None if probe.valid is None else float(probe.valid.double().mean()),
        scale=numbers["scale"],
        error=error,
        error_valid=numbers["error_valid"],
        unaligned=unaligned,
        skill=1 - error / unaligned if error is not None and unaligned else None,
        cosine=numbers["cosine"],
        phase_spread=spread,
        stride_error=numbers["stride_error"],
        padding_error=numbers["padding_error"],
        new_content_error=numbers["new_content_error"],
        lattice_error=numbers["lattice_error"],
        valid_lattice_error=numbers["valid_lattice_error"],
        cause=name_cause(numbers),
    )
    return replace(meter, note=_explain(meter, probe, numbers))


_NO_POSITIONS = "It has no positions that could move, or no stride to move them by."


def _explain(meter: LayerMeter, probe: LayerProbe, numbers: Numbers) -> str:
    is_measured = meter.error is not None
    is_split = None not in (meter.stride_error, meter.padding_error)

    def is_more(cause: float | None, error: float | None = meter.error) -> bool:
        return cause is not None and error is not None and cause > error * (1 + ALIKE) + ROUNDING

    notes = {
        "No cell can be compared, or all are the same.": not (is_measured and (is_split or probe.obstacle)),
        "With the uncovered border that wraps around (circular) all its cells can be compared.": not is_measured
        and probe.tiles
        and not probe.is_circular,
        "Its cells do not tile the picture, so its maps do not wrap around with it: only cells whose source lies "
        "inside are compared.": probe.is_circular and not probe.tiles,
        "Its cells have no fixed window, as in attention, so no part of its map is known to be free of padding.": (
            meter.valid_fraction is None
        ),
        "Nearly every cell looks at padding or at invented pixels, so hardly a part of its map is free of them.": (
            meter.valid_fraction is not None and meter.valid_fraction < MIN_VALID
        ),
        probe.obstacle: is_measured and bool(probe.obstacle),
        "With the uncovered border that wraps around (circular) the picture has no edge, so that what strides do and "
        "what padding does can be told apart.": (
            is_measured and not is_split and probe.tiles and not probe.is_circular
        ),
        "Where its windows reach beyond the picture, padding is compared with the mirror image of the picture.": (
            is_split and probe.continues
        ),
        "The cells that see nothing but the picture, which the stride error is taken over, have more error than the "
        "others.": is_more(meter.stride_error) and not is_more(meter.stride_error, numbers["seeing_error"]),
        "Causes act against each other: one alone does more than all together.": (
            is_more(meter.stride_error, numbers["seeing_error"])
            or is_more(meter.padding_error)
            or is_more(meter.new_content_error)
        ),
    }
    return " ".join(note for note, applies in notes.items() if applies)


def count_notes(meters: Collection[LayerMeter]) -> list[str]:
    """Every sentence of the notes of some layers, once, in the order in which they come up, and for how many."""
    counts = Counter(sentence for meter in meters for sentence in re.findall(r"\S[^.]*\.", meter.note))
    return [f"{sentence} ({number} of {count(len(meters), 'layer')})" for sentence, number in counts.items()]
