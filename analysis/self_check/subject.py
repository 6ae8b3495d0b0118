"""A model under examination: what its layers look at, and the forwards that several identities share."""

import copy
import itertools
import math
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from analysis.equivariance.align import tiles
from analysis.equivariance.reduced_forwards import REJECTIONS
from analysis.network.hooks import watch_outputs
from analysis.network.layers import Layer, MapLayer, list_layers
from analysis.network.windows import find_size
from analysis.self_check.findings import NotApplicable, refusing, relative_error
from analysis.shift.circular import CircularPadding
from analysis.shift.features import shift_features
from analysis.shift.polyphase import AllShifts, compute_all_shifts
from analysis.shift.valid_region import Axes, find_valid_cells, trace_axes

OUT_OF_PHASE = (1, -3)
"""A shift that is no multiple of any stride above 1."""
SMALLEST_SIDE = 16
"""Pixels; the least that a picture is shrunk to."""
LEAST_RESPONSE = 1e-4
"""Relative difference of the logits of a picture and of its negative."""
HAND_ON = ("Identity", "Dropout", "Dropout2d")
"""Modules whose output, in eval mode, is their input."""
FLATTEN = ("flatten", "view", "reshape")
MAXIMUM = ("adaptive_max_pool2d", "amax", "max", "max_pool2d", "_max_pool2d")
"""Functions with which a head does away with positions."""


@dataclass(frozen=True)
class Observation:
    """What one batch under one padding rule showed.

    Attributes:
        logits: ``(1 + shifts, K)``, of the picture as it is first.
        errors: Per shift, the relative error of each layer: ``|z(T x) - T z(x)| / |T z(x)|``.
    """

    logits: Tensor
    errors: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class Survey:
    """The geometry of a network.

    Attributes:
        axes: Rows and columns of each layer whose window is fixed, by name.
        stride: Total stride: the least shift that is a whole number of cells in every layer.
        head: Name of the function that did away with positions: ``flatten``, ``mean``, ``amax`` …
    """

    axes: dict[str, Axes]
    stride: int
    head: str | None


class Subject:
    """One model and one picture, and everything that is computed from them once.

    Args:
        inputs: ``(1, C, H, W)`` network input.
        canvas: ``(1, C, Hc, Wc)``: a larger view of the same picture, or None.
        layers: Of ``module`` at this input size.
    """

    def __init__(self, module: nn.Module, inputs: Tensor, canvas: Tensor | None, layers: Collection[Layer]):
        self.module, self.inputs, self.canvas, self.layers = module, inputs, canvas, tuple(layers)

    def in_float64(self) -> "Subject":
        """The same model and picture in double precision, on the CPU where the device has none."""
        device = torch.device("cpu") if self.inputs.device.type == "mps" else self.inputs.device
        canvas = None if self.canvas is None else self.canvas.to(device).double()
        return Subject(
            copy.deepcopy(self.module).to(device).double(), self.inputs.to(device).double(), canvas, self.layers
        )

    @cached_property
    def survey(self) -> Survey:
        """Geometry, total stride and head, from one forward of the model as it is."""
        called = [layer for layer in self.layers if layer.type != "Parameter"]
        with _HeadMode() as head:
            axes = trace_axes(self.module, self.inputs, called)
        strides = {axis.stride for pair in axes.values() for axis in pair} | {layer.stride for layer in self.maps}
        return Survey(axes, math.lcm(1, *strides), head.name)

    @property
    def samples_adaptively(self) -> bool:
        """Whether there is adaptive polyphase sampling."""
        return bool(self.samplers)

    @property
    def samplers(self) -> list[nn.Module]:
        """Modules that say so: ``keeps_strongest_phase``, and ``phase_gap(x)`` of how clear their choice is."""
        return [part for part in self.module.modules() if getattr(part, "keeps_strongest_phase", False)]

    @property
    def maps(self) -> tuple[MapLayer, ...]:
        """The layers that have positions and a stride, and do not only hand on the map of another one."""
        maps = (layer for layer in self.layers if isinstance(layer, MapLayer))
        return tuple(layer for layer in maps if not layer.repeats and layer.type not in HAND_ON)

    @cached_property
    def fitted(self) -> "Subject":
        """The same with a picture that has a whole number of cells, two or more, in every layer.

        Resized where necessary. Models that take pictures of one size only stay as they are.
        """
        stride = self.survey.stride
        size = [max(2, round(side / stride)) * stride for side in self.inputs.shape[-2:]]
        return self.at_size(size) or self

    @cached_property
    def small(self) -> "Subject":
        """The same with a picture of two cells each way, or a few more, for costly checks."""
        return self._shrink(2)

    @cached_property
    def smallest(self) -> "Subject":
        """The same with a picture of one cell each way, or a few more, for the costliest check."""
        return self._shrink(1)

    def _shrink(self, cells: int) -> "Subject":
        stride = self.survey.stride
        side = max(cells, math.ceil(SMALLEST_SIDE / stride)) * stride
        smaller = self.at_size((side, side)) if side < min(self.inputs.shape[-2:]) else None
        return smaller or self.fitted

    def at_size(self, size: Sequence[int]) -> "Subject | None":
        """The same with a resized picture, or None where the model or its circular twin does not take that size."""
        if tuple(size) == self.inputs.shape[-2:]:
            return self
        resized = F.interpolate(self.inputs, tuple(size), mode="bilinear", antialias=True)
        try:
            layers = list_layers(self.module, resized)
            with CircularPadding():
                self.module(resized)
        except REJECTIONS:
            return None
        other = Subject(self.module, resized, None, layers)
        other.survey = self.survey  # of the network, not of the picture
        return other

    @cached_property
    def lattice_shift(self) -> tuple[int, int]:
        """Multiples of the total stride or, where that does not divide the picture, of the largest that does."""
        height, width = self.inputs.shape[-2:]
        strides = {1, self.survey.stride, *(layer.stride for layer in self.maps)}
        step = max(s for s in strides if height % s == 0 and width % s == 0 and s < min(height, width))
        return step, step * max(1, height // step // 3)

    @property
    def tiled(self) -> tuple[MapLayer, ...]:
        """The layers before the first whose cells do not tile the picture: only they can wrap around."""
        return tuple(itertools.takewhile(lambda layer: tiles(layer, self.inputs.shape[-2:]), self.maps))

    @property
    def untiled(self) -> str:
        """The first layer whose cells do not tile the picture, in a sentence; empty where all do."""
        layer = next((layer for layer in self.maps if not tiles(layer, self.inputs.shape[-2:])), None)
        if layer is None:
            return ""
        (rows, columns), (height, width) = layer.size, self.inputs.shape[-2:]
        return f"The {rows} x {columns} cells of {layer.stride} px of {layer.name} do not tile {height} x {width} px."

    def require_lattice(self) -> None:
        """Raises ``NotApplicable`` if no shift is a whole number of cells in every layer, or cells do not tile."""
        if self.lattice_shift[0] % self.survey.stride:
            height, width = self.inputs.shape[-2:]
            raise NotApplicable(
                f"The picture of {height} x {width} has no shift by a whole number of the total stride of "
                f"{self.survey.stride}, and the model takes no other size."
            )
        if self.untiled:
            raise NotApplicable(self.untiled)

    @cached_property
    def circular(self) -> Observation:
        """The circular twin on: the picture, on the lattice, out of phase, and the picture again."""
        return self.observe(CircularPadding(), [self.lattice_shift, OUT_OF_PHASE, (0, 0)])

    def require_response(self) -> None:
        """Raises ``NotApplicable`` if the logits are the same for another picture: then they stay at any shift."""
        if not self._responds:
            raise NotApplicable("The logits hardly depend on the picture, so it says nothing whether they change.")

    @cached_property
    def _responds(self) -> bool:
        picture, negative = self.module(torch.cat([self.inputs, -self.inputs]))
        return relative_error(negative, picture) > LEAST_RESPONSE

    @property
    def surroundings(self) -> Tensor:
        """The larger view of the picture; ``NotApplicable`` where there is none."""
        if self.canvas is None:
            raise NotApplicable("There is no picture larger than the network's input to crop from.")
        return self.canvas

    @cached_property
    def crop_shift(self) -> tuple[int, int]:
        """Right and down, the largest stride that the surroundings of the picture have room for."""
        rooms = [self.surroundings.shape[d] - self.inputs.shape[d] for d in (-1, -2)]
        strides = {1} | {layer.stride for layer in self.maps}
        dx, dy = (max((s for s in strides if s <= room), default=0) for room in rooms)
        if not (dx or dy):
            raise NotApplicable("The picture has no surroundings to crop from.")
        return dx, dy

    @cached_property
    def crops(self) -> dict[str, tuple[float, float]]:
        """Errors of the layers between two crops: where they see no padding, and on the whole overlap."""
        (dx, dy), (height, width) = self.crop_shift, self.inputs.shape[-2:]
        crops = torch.cat([self.surroundings[..., y : y + height, x : x + width] for x, y in ((dx, dy), (0, 0))])
        is_real = torch.ones(height, width, dtype=torch.bool)
        names = {layer.name for layer in self.maps}
        errors: dict[str, tuple[float, float]] = {}

        def compare(name: str, output: Tensor) -> None:
            axes = self.survey.axes.get(name)
            if axes is None or dy % axes[0].stride or dx % axes[1].stride:
                return
            valid = find_valid_cells(axes, find_size(output), is_real, dx, dy, circular=False).to(output.device)
            if valid.any():
                moved, overlap = shift_features(output[0], dx / axes[1].stride, dy / axes[0].stride, circular=False)
                inner, whole = (relative_error(output[1] * cells, moved * cells) for cells in (valid, overlap))
                errors[name] = (inner, whole)

        with watch_outputs(self.module, names, compare):
            self.module(crops)
        if not errors:
            raise NotApplicable("Every cell of every layer sees padding: there is no region without it.")
        return errors

    @cached_property
    def tree(self) -> AllShifts:
        """The logits at every circular shift, from one pass."""
        with refusing():
            return compute_all_shifts(self.module, self.inputs)

    def observe(self, padding: AbstractContextManager, shifts: Sequence[tuple[int, int]]) -> Observation:
        """Runs the picture and its circular shifts, in one batch, under a padding rule."""
        errors: tuple[dict[str, float], ...] = tuple({} for _ in shifts)
        maps = {layer.name: layer for layer in self.maps}

        def compare(name: str, output: Tensor) -> None:
            stride = maps[name].stride
            for found, z, (dx, dy) in zip(errors, output[1:], shifts, strict=True):
                found[name] = relative_error(z, shift_features(output[0], dx / stride, dy / stride, circular=True)[0])

        batch = self.shifted([(0, 0), *shifts])
        with watch_outputs(self.module, maps, compare), refusing(), padding:
            logits = self.module(batch)
        return Observation(logits, errors)

    def shifted(self, shifts: Sequence[tuple[int, int]]) -> Tensor:
        """``(len(shifts), C, H, W)``: the picture, rolled."""
        return torch.cat([torch.roll(self.inputs, (dy, dx), (-2, -1)) for dx, dy in shifts])

    def run_twin(self, inputs: Tensor) -> Tensor:
        """The logits ``(N, K)`` of the circular twin."""
        with refusing(), CircularPadding():
            return self.module(inputs)


class _HeadMode(TorchFunctionMode):
    """Notes the name of the last function that made an output without positions of one with them."""

    def __init__(self) -> None:
        super().__init__()
        self.name: str | None = None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        source, output = args[0] if args else None, result[0] if isinstance(result, tuple) and result else result
        if _has_positions(source) and isinstance(output, Tensor) and output.ndim > 1 and not _has_positions(output):
            self.name = func.__name__
        return result


def _has_positions(value) -> bool:
    return isinstance(value, Tensor) and value.ndim > 2 and math.prod(value.shape[2:]) > 1
