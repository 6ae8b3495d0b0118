"""The layer meter: how well every layer of a network moves along with the picture, and what keeps it from it."""

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from analysis.causes import INVENTED, LayerProbe, Maps, Motion, Numbers, find_causes
from analysis.circular import CircularPadding
from analysis.equivariance import MapPair
from analysis.errors import Progress, no_progress
from analysis.forwards import ReducedForwards
from analysis.layers import Layer
from analysis.phase_spread import draw_phases, measure_phase_spread
from analysis.scene import Scene
from analysis.shift import shift_pixels
from analysis.valid_region import Axes, trace_axes

MIN_VALID = 0.05
"""A layer with a smaller part of its cells valid counts as having no padding-free region."""


@dataclass(frozen=True)
class LayerMeter:
    """One layer under one shift. Errors are relative to centred maps; None where one cannot be measured.

    With ``z`` and ``z'`` the maps of the picture and of the shifted picture, ``A`` the shift of maps by
    ``d / stride`` cells, ``m`` the level of each channel, and Euclidean norms over all channels and the cells
    whose source, or all that it is interpolated from, lies inside the map:

    Attributes:
        name: Of the layer.
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
        phase_spread: See :func:`analysis.phase_spread.measure_phase_spread`; needs two other pictures.
        stride_error: What strides alone do; this and the next two are explained at :func:`measure_layers`.
        padding_error: What padding alone does, at most.
        new_content_error: What invented pixels alone do.
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
    scene: Scene,
    dx: float,
    dy: float,
    layers: Collection[Layer],
    *,
    reference: Tensor | None = None,
    phases_per_axis: int = 2,
    seed: int = 0,
    progress: Progress = no_progress,
) -> tuple[LayerMeter, ...]:
    """Measures every layer under one shift, and which of three causes weighs most.

    Each cause is measured on pictures that differ in nothing else:

    * **new content**: ``z'`` against the map of the same shift with real surroundings
      (:meth:`analysis.scene.Scene.shift_real`): the same network, padding and phase, nothing interpolated, only
      the invented pixels differ. This and the error with real surroundings add up to ``z' - A z`` exactly. As a
      mere remainder of the other two, new content would be blamed for their interaction, even where no pixel
      is invented.
    * **stride**: the circular twin, the picture wrapping around, by the shift asked for. Nothing enters and
      nothing is padded, so only sampling is left. Maps that do not tile the picture cannot wrap around; there
      the error over the valid cells stands in, which has no other cause either.
    * **padding**: the network as trained, real surroundings, the nearest shift by whole cells
      (``lattice_error``): every stride keeps in step, and what enters is new only to windows that padding had cut
      off. Where a whole cell is more than the shift asked for, this is too much; so padding error is at most
      what the stride error leaves of the error with real surroundings, in squares. Both agree for shifts by
      whole cells.

    Over the valid cells the lattice error is an identity: 0 for any padding, or a receptive field is wrong.

    Args:
        module: A network in eval mode. Inside ``with CircularPadding():`` it is its circular twin.
        scene: The picture.
        dx: Pixels by which content moves to the right.
        dy: Pixels down.
        layers: The layers wanted; those without positions come back with a note.
        reference: ``(N, C, H, W)`` network input: a few other pictures, for the level of each channel and the
            phase spread. None takes the level from the picture itself.
        phases_per_axis: Phase spread uses the square of this many phases, see
            :func:`analysis.phase_spread.draw_phases`.
        seed: Of the phases.
        progress: Counts pictures computed.

    Raises:
        AnalysisError: The boundary rule cannot do this shift.
    """
    (meters,) = measure_pictures(
        *(module, [scene], dx, dy, layers),
        reference=reference,
        phases_per_axis=phases_per_axis,
        seed=seed,
        progress=progress,
    )
    return meters


def measure_pictures(
    module: nn.Module,
    scenes: Sequence[Scene],
    dx: float,
    dy: float,
    layers: Collection[Layer],
    *,
    reference: Tensor | None = None,
    phases_per_axis: int = 2,
    seed: int = 0,
    progress: Progress = no_progress,
) -> list[tuple[LayerMeter, ...]]:
    """:func:`measure_layers` of several pictures of one size, the reference being computed once for all of them."""
    measured = {layer.name: layer for layer in layers if layer.is_feature_map and layer.stride}
    axes = trace_axes(module, scenes[0].to_inputs(scenes[0].window[None]), measured.values())
    subjects = [_Subject.place(scene, (dx, dy), measured, axes) for scene in scenes]
    phases = draw_phases(math.lcm(*(layer.stride for layer in measured.values())), phases_per_axis, seed)
    per_axis = math.isqrt(len(phases))
    total = 0 if reference is None else len(reference) * (1 + len(phases))
    total += sum(subject.num_forwards for subject in subjects)
    forwards = ReducedForwards(module, measured, progress, total)

    pooled = {} if reference is None else forwards.pool(reference, ((0, 0),))
    numbers = [subject.measure(forwards, pooled) for subject in subjects]
    with CircularPadding():
        pooled = {} if reference is None else forwards.pool(reference, phases)
        twins = [subject.measure_twin(forwards, pooled) for subject in subjects]
    return [
        tuple(
            _read(
                layer,
                subject.probes[layer.name],
                own[layer.name] | twin[layer.name],
                pooled.get(layer.name),
                per_axis,
            )
            if layer.name in measured
            else LayerMeter(layer.name, None, layer.receptive_field, None, note=_NO_POSITIONS)
            for layer in layers
        )
        for subject, own, twin in zip(subjects, numbers, twins, strict=True)
    ]


@dataclass(frozen=True)
class _Subject:
    """One picture under one shift: the pictures whose maps are compared, and where each layer is measured."""

    scene: Scene
    probes: dict[str, LayerProbe]
    pictures: dict[Hashable, Tensor]
    rolled: dict[Hashable, Tensor]

    @classmethod
    def place(
        cls, scene: Scene, motion: Motion, measured: Mapping[str, Layer], axes: Mapping[str, Axes]
    ) -> "_Subject":
        moved = scene.shift(*motion)
        probes = {
            name: LayerProbe.place(layer, scene, motion, axes.get(name), moved.is_real)
            for name, layer in measured.items()
        }
        motions = dict.fromkeys([motion, *(probe.lattice for probe in probes.values())])
        invented = {} if moved.is_real.all() else {INVENTED: moved.pixels}
        pictures = {(0, 0): scene.window} | invented | {motion: scene.shift_real(*motion) for motion in motions}
        rolled = {(0, 0): scene.window, motion: shift_pixels(scene.window, *motion, "circular").pixels}
        return cls(scene, probes, pictures, rolled)

    @property
    def num_forwards(self) -> int:
        return sum(max(len(group) - 1, 1) for group in (self.pictures, self.rolled))

    def measure(self, forwards: ReducedForwards, pooled: Mapping[str, Tensor]) -> dict[str, Numbers]:
        return forwards.compare(
            self.pictures,
            self.scene.to_inputs,
            lambda name, maps: self.probes[name].measure(maps, _level(pooled, name)),
        )

    def measure_twin(self, forwards: ReducedForwards, pooled: Mapping[str, Tensor]) -> dict[str, Numbers]:
        return forwards.compare(
            self.rolled,
            self.scene.to_inputs,
            lambda name, maps: self.probes[name].measure_twin(maps, _level(pooled, name)),
        )


def measure_down_the_network(
    module: nn.Module,
    scene: Scene,
    layers: Collection[Layer],
    *,
    reference: Tensor | None = None,
    progress: Progress = no_progress,
) -> tuple[PhaseErrors, ...]:
    """The aligned error of every layer for a shift to the right, in phase with its stride and out of phase.

    Under the rule ``crop``, what the canvas does not have comes from its other side.

    Args:
        module: A network in eval mode.
        scene: The picture.
        layers: The layers wanted; those without positions are left out.
        reference: ``(N, C, H, W)`` network input for the level of each channel; None takes the picture's own.
        progress: Counts pictures computed.
    """
    measured = {layer.name: layer for layer in layers if layer.is_feature_map and layer.stride}
    distances = sorted({1, *(layer.stride for layer in measured.values())})
    shift = scene.shift_real if scene.boundary == "crop" else lambda dx, dy: scene.shift(dx, dy).pixels
    pictures = {0: scene.window} | {distance: shift(distance, 0) for distance in distances}
    total = len(pictures) - 1 + (0 if reference is None else len(reference))
    forwards = ReducedForwards(module, measured, progress, total)
    pooled = {} if reference is None else forwards.pool(reference, ((0, 0),))

    def measure(name: str, maps: Maps) -> Numbers:
        stride = measured[name].stride
        options = {"circular": scene.boundary == "circular", "mean": _level(pooled, name)}
        return {
            distance: MapPair.align(maps[0], maps[distance], distance / stride, 0, **options).error()
            for distance in {1, stride} & maps.keys()
        }

    errors = forwards.compare(pictures, scene.to_inputs, measure)
    return tuple(
        PhaseErrors(name, layer.stride, errors[name][layer.stride], errors[name][1])
        for name, layer in measured.items()
    )


def _level(pooled: Mapping[str, Tensor], name: str) -> Tensor | None:
    return pooled[name].mean(dim=(0, 1)) if name in pooled else None


def _read(layer: Layer, probe: LayerProbe, numbers: Numbers, pooled: Tensor | None, per_axis: int) -> LayerMeter:
    error, unaligned = numbers["error"], numbers["unaligned"]
    spread = None
    if pooled is not None and probe.tiles:
        spread = measure_phase_spread(pooled, is_complete=per_axis % layer.stride == 0)
    meter = LayerMeter(
        name=layer.name,
        stride=layer.stride,
        receptive_field=layer.receptive_field,
        num_cells=math.prod(layer.output_shape[1:]),
        valid_fraction=None if probe.valid is None else float(probe.valid.double().mean()),
        skill=1 - error / unaligned if error is not None and unaligned else None,
        phase_spread=spread,
        **{key: numbers[key] for key in _AS_MEASURED},
        **find_causes(numbers),
    )
    return replace(meter, note=_explain(meter, probe))


_AS_MEASURED = (
    "scale",
    "error",
    "error_valid",
    "unaligned",
    "cosine",
    "new_content_error",
    "lattice_error",
    "valid_lattice_error",
)
_NO_POSITIONS = "It has no positions that could move, or no stride to move them by."


def _explain(meter: LayerMeter, probe: LayerProbe) -> str:
    lacks_region = meter.valid_fraction is not None and meter.valid_fraction < MIN_VALID
    notes = {
        "Its cells have no fixed window, so no padding-free region is known.": meter.valid_fraction is None,
        "No padding-free region: use the circular twin.": lacks_region and probe.tiles,
        "No padding-free region, and its cells do not tile the picture, so that the circular twin cannot help.": (
            lacks_region and not probe.tiles
        ),
        "Its cells do not tile the picture: the stride error is that of the valid cells.": (
            not lacks_region and not probe.tiles
        ),
        "No cell can be compared, or all are the same.": meter.error is None,
        "The boundary circular can compare all cells.": meter.error is None and probe.tiles and not probe.is_circular,
    }
    return " ".join(note for note, applies in notes.items() if applies)
