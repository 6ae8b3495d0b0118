"""The own error of a layer: its input moves by whole cells and nothing else changes. What else loses equivariance?"""

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from analysis.equivariance.align import MapPair
from analysis.equivariance.causes import NO_ERROR
from analysis.errors import Progress, UserError, no_progress
from analysis.network.flow import PICTURE
from analysis.network.geometry_calls import iterate_tensors, replace_tensors
from analysis.network.hooks import find_tensor, number_calls
from analysis.network.layers import Layer, MapLayer
from analysis.network.windows import Size, find_size
from analysis.shift.circular import CircularPadding
from analysis.shift.features import shift_features
from analysis.shift.scene import Scene


@dataclass(frozen=True)
class OwnError:
    """What one layer does to equivariance by itself; see :class:`OwnErrors`. None: it cannot be measured.

    Attributes:
        input_stride: Pixels of the picture per cell of its input.
        stride: Pixels of the picture per cell of its output.
        error: When its input moves by one cell. The output of a layer with a stride moves by part of a cell then.
        in_phase: When its input moves so far that its output moves by one cell; without a stride the same.
        stride_error: The part of ``error`` that is left if its padding wraps around.
        padding_error: What its padding adds.
        cause: ``stride``, ``padding``, whichever is larger; ``none`` below
            :data:`analysis.equivariance.causes.NO_ERROR`; ``position`` where a layer without a stride has an error
            even if its padding wraps around (windows of attention, embedded positions); None for a block that
            computes something between its parts.
    """

    name: str
    input_stride: int | None
    stride: int
    error: float | None = None
    in_phase: float | None = None
    stride_error: float | None = None
    padding_error: float | None = None
    cause: str | None = None

    def is_in_phase(self, dx: float, dy: float) -> bool:
        """Whether a shift of the picture moves the output by whole cells."""
        return not (dx % self.stride or dy % self.stride)

    def find_distance(self, dx: float, dy: float) -> int:
        """By how many pixels the input moves where :meth:`find` says the error."""
        one_cell = self.input_stride or self.stride
        return math.lcm(one_cell, self.stride) if self.is_in_phase(dx, dy) else one_cell

    def find(self, dx: float, dy: float) -> tuple[float | None, str | None]:
        """The error and its cause for a shift of the picture: in phase where that moves the output by whole cells."""
        if not self.is_in_phase(dx, dy) or self.input_stride == self.stride:
            return self.error, self.cause
        if self.in_phase is None or self.cause is None:
            return self.in_phase, None
        return self.in_phase, "none" if self.in_phase < NO_ERROR else "padding"

    def explain(self, cause: str | None) -> str:
        """Why it has the error, after a "because"."""
        kept = self.stride // (self.input_stride or self.stride)
        return {
            "stride": f"its stride keeps one of every {kept} rows and columns, and this shift changes which ones",
            "padding": "it pads the edges of its map, and the padding stays where it is when the content moves",
            "position": "it treats places differently even without padding, as windows of attention do",
        }.get(cause or "", "of what it computes between its parts")


class OwnErrors:
    """Measures the own error of every layer on one picture.

    Let ``L`` be a layer, ``f`` the maps that it reads when the network sees the picture, ``R`` their shift by whole
    cells, where what leaves on one side comes back on the other, and ``A`` the shift of its output by as many pixels
    of the picture. Then, with ``m`` the level of each channel,

        ``own error = |L(R f) - A L(f)| / |A L(f) - m|``,

    Euclidean norms over all channels and cells; of an output that does not wrap around with its input, because it
    loses or gains cells at the border, over those whose source lies inside. Every layer gets the very maps that the
    network makes of the picture, so that errors of the layers before it do not count. A block gets from its parts
    that are measured what they would give if they moved along: only what it computes beside them counts.

    With ``L°`` the layer whose padding wraps around, ``L(R f) - A L(f)`` is the sum of ``L°(R f) - A L°(f)``, which
    is the work of its stride, and the rest, that of its padding. Convolutions and pooling have exactly 0 where they
    have neither, and in phase if their padding wraps around; what works cell by cell always has.

    Gruver et al. (2023) take an error apart into layers, too: by the Lie derivative of each, which is about
    continuous translations, as the layers behind pass it on. Here nothing is passed on, and cells are whole.

    Args:
        module: A network in eval mode. Inside ``with CircularPadding():`` it is its circular twin.
        layers: All of the network (:func:`analysis.network.layers.list_layers`).
        names: Of the layers wanted.
        levels: ``(C,)`` by name; a layer that is not there takes the means of its own output.
        direction: Signs of (dx, dy).

    Attributes:
        distances: In pixels; each takes a forward of two pictures, up to the last layer that it is asked of.
    """

    def __init__(
        self,
        module: nn.Module,
        scene: Scene,
        layers: Sequence[Layer],
        names: Collection[str],
        direction: tuple[int, int],
        levels: Mapping[str, Tensor],
    ):
        self.module, self.direction, self.levels = module, direction, levels
        self.inputs = scene.to_inputs(scene.window[None])
        known = {layer.name: layer for layer in layers}
        picture = {find_size(self.inputs): 1}
        wanted = [layer for layer in layers if layer.name in names and isinstance(layer, MapLayer)]
        self.places = {layer.name: _Place.find(layer, known, picture, names) for layer in wanted}
        self.distances = sorted({distance for place in self.places.values() for distance in place.distances})

    def measure(self, progress: Progress = no_progress) -> tuple[OwnError, ...]:
        """One for each layer wanted, in the order of the network. ``progress`` counts the distances."""
        found: dict[str, dict[int, _Numbers]] = {name: {} for name in self.places}
        for number, distance in enumerate(self.distances, 1):
            run = _Forward(self, distance)
            run.compute()
            for name, numbers in run.found.items():
                found[name][distance] = numbers
            progress(number, len(self.distances))
        return tuple(place.read(found[name]) for name, place in self.places.items())


_Numbers = tuple[float | None, float | None, float | None]
"""The error, what strides do, and what padding adds."""
_NOTHING: _Numbers = (None, None, None)


@dataclass(frozen=True)
class _Place:
    """A layer, and the strides of the maps that it reads by their size; none where they are not known."""

    layer: MapLayer
    strides: dict[Size, int]
    has_parts: bool

    @classmethod
    def find(
        cls, layer: MapLayer, known: Mapping[str, Layer], picture: dict[Size, int], names: Collection[str]
    ) -> "_Place":
        read = [known[name] for name in layer.reads if name != PICTURE and known[name].is_feature_map]
        maps = [each for each in read if isinstance(each, MapLayer)]
        strides = (picture if PICTURE in layer.reads else {}) | {each.size: each.stride for each in maps}
        prefix = f"{layer.name.split('#')[0]}."
        return cls(layer, strides if len(maps) == len(read) else {}, any(name.startswith(prefix) for name in names))

    @cached_property
    def input_stride(self) -> int | None:
        return max(self.strides.values(), default=None)

    @cached_property
    def distances(self) -> tuple[int, ...]:
        """Pixels that make one cell of the input, and one of the output."""
        if self.input_stride is None:
            return ()
        return tuple(dict.fromkeys([self.input_stride, math.lcm(self.input_stride, self.layer.stride)]))

    @cached_property
    def tiles(self) -> bool:
        """Whether the output wraps around if the input does."""
        if not self.strides:
            return False
        size, stride = max(self.strides.items(), key=lambda item: item[1])
        sides = zip(size, self.layer.size, strict=True)
        return all(before * stride == after * self.layer.stride for before, after in sides)

    def read(self, found: Mapping[int, _Numbers]) -> OwnError:
        one_cell, in_phase = (found.get(distance, _NOTHING) for distance in (self.distances * 2 or (0, 0))[:2])
        error, stride_error, padding_error = one_cell
        stride = self.layer.stride
        if error is not None and error < NO_ERROR:
            cause: str | None = "none"
        elif stride_error is None or padding_error is None:
            cause = None
        elif padding_error >= stride_error:
            cause = "padding"
        else:
            cause = "stride" if stride > (self.input_stride or 0) else "position"
        input_stride = self.input_stride if found else None
        return OwnError(self.layer.name, input_stride, stride, error, in_phase[0], stride_error, padding_error, cause)


class _Reached(Exception):
    """Ends a forward at the last layer that is wanted."""


class _Forward:
    """One forward of the picture (row 0) and of what each layer reads, moved by ``distance`` pixels (row 1)."""

    def __init__(self, task: OwnErrors, distance: int):
        self.task, self.distance = task, distance
        self.found: dict[str, _Numbers] = {}
        self.pending = {name for name, place in task.places.items() if distance in place.distances}
        self.number = number_calls()
        self.running: list[tuple[str, bool, tuple | None]] = []

    def compute(self) -> None:
        """Fills ``found``."""
        with ExitStack() as hooks, torch.inference_mode():
            for name in {name.split("#")[0] for name in self.task.places}:
                part = self.task.module.get_submodule(name)
                enter, leave = partial(self.enter, name), self.leave
                hooks.enter_context(part.register_forward_pre_hook(enter, with_kwargs=True))
                hooks.enter_context(part.register_forward_hook(leave))
            hooks.enter_context(suppress(_Reached))
            self.task.module(self.move(self.task.inputs, 1))

    def enter(self, name: str, _part: nn.Module, args: tuple, kwargs: dict) -> tuple | None:
        """Gives a layer its own maps in row 0, and the same moved in row 1."""
        called = self.number(name)
        place = self.task.places.get(called)
        given = None if place is None else self.give(place, (args, kwargs))
        kept = None
        if place is not None and given and not place.has_parts and self.distance == place.input_stride:
            kept = replace_tensors(given, Tensor.clone)  # what works in place changes the others
        self.running.append((called, bool(given), kept))
        return given

    def give(self, place: _Place, arguments: tuple) -> tuple | None:
        """The arguments of a call with their maps moved; None where one has positions that are not known."""
        for tensor in iterate_tensors(arguments):
            size = tuple(tensor.shape[2:])
            stride = place.strides.get(find_size(tensor)) if tensor.ndim == 4 else None
            if math.prod(size) > 1 and (stride is None or self.distance % stride):
                return None

        def move(tensor: Tensor) -> Tensor:
            return self.move(tensor, place.strides[find_size(tensor)]) if math.prod(tensor.shape[2:]) > 1 else tensor

        return replace_tensors(arguments, move)

    def leave(self, part: nn.Module, _args: tuple, output: object) -> Tensor | None:
        """Compares the rows of what a layer has computed, and hands on what it would be if it had moved along."""
        called, is_given, kept = self.running.pop()
        place, moved = self.task.places.get(called) if is_given else None, None
        if place is not None and isinstance(output, Tensor) and find_size(output) == place.layer.size:
            is_whole, is_asked = self.distance % place.layer.stride == 0, called in self.pending
            if is_whole:
                moved = self.move(output, place.layer.stride)
            if is_asked or not is_whole:
                cells = [sign * self.distance / place.layer.stride for sign in self.task.direction]
                pair = MapPair.align(*output, *cells, circular=place.tiles, mean=self.task.levels.get(called))
                if is_asked:
                    self.found[called] = self.compare(pair, cells, place, part, kept)
                if not is_whole:
                    moved = torch.stack([output[0], pair.moved.to(output)])
        self.pending.discard(called)
        if not self.pending:
            raise _Reached
        return moved

    def compare(
        self, pair: MapPair, cells: Sequence[float], place: _Place, part: nn.Module, kept: tuple | None
    ) -> _Numbers:
        """The error of a layer, and its two causes where it is not a block."""
        error = pair.error()
        if kept is None or error is None or error < NO_ERROR:
            return error, None, None
        args, kwargs = kept
        try:
            with CircularPadding():
                twin = find_tensor(part.forward(*args, **kwargs))
        except UserError:  # it has no twin
            return error, None, None
        if twin is None or twin.shape[1:] != pair.original.shape:
            return error, None, None
        original, shifted = twin.to(pair.original)
        stride = shifted - shift_features(original, *cells, circular=place.tiles)[0]
        return error, pair.relative(stride), pair.relative(pair.shifted - pair.moved - stride)

    def move(self, maps: Tensor, stride: int) -> Tensor:
        """Maps ``(2, C, h, w)`` with the first one in both rows, moved in the second by whole cells."""
        dx, dy = (sign * self.distance // stride for sign in self.task.direction)
        return torch.cat([maps[:1], maps[:1].roll((dy, dx), (-2, -1))])


def rank(errors: Collection[OwnError], dx: float, dy: float) -> list[tuple[OwnError, float, str | None]]:
    """The layers that have an own error under a shift of the picture, each with it and its cause, largest first."""
    found = [(own, *own.find(dx, dy)) for own in errors]
    sizes = [(own, error, cause) for own, error, cause in found if error is not None and error >= NO_ERROR]
    return sorted(sizes, key=lambda item: -item[1])
