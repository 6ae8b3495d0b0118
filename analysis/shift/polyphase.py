"""Every circular shift of a picture at once: logits and feature maps of a network that wraps around."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from analysis.errors import Progress, UserError, is_out_of_memory, no_progress
from analysis.network.hooks import watch_outputs
from analysis.network.layers import is_feature_map
from analysis.network.windows import Size, find_size
from analysis.shift.circular import CircularPadding
from analysis.shift.polyphase_tree import PolyphaseTree

TOLERANCE = 1e-4
"""Largest relative error of the logits against plain forwards of shifted pictures."""

_NUM_CHECKS = 3
_LIVE_TENSORS = 4
"""Tensors as large as the largest that exist at once: a layer's input, the same with its margins, the dense
output and its folded copy."""
_LIVE_KERNELS = 3
"""The same for the largest transformed kernel: its permuted copies and its spectrum."""


class NotExact(UserError):
    """What was computed for all shifts at once is not what plain forwards give: not a refusal, but a wrong result.

    Attributes:
        error: Relative error ``|a - b| / |b|``.
    """

    def __init__(self, message: str, error: float):
        super().__init__(message)
        self.error = error


@dataclass(frozen=True)
class AllShifts:
    """What a network computes for every circular shift of one picture.

    Attributes:
        period: The logits repeat every so many pixels, down and to the right: the total stride of a network that
            pools over all positions, the side of the picture for one that flattens them.
        logits: ``(period, period, K)``; entry ``[dy % period, dx % period]`` belongs to the picture moved by
            ``dx, dy`` pixels. The sides differ where strides or a flattened picture are not square; ``period``
            is then their least common multiple.
        max_error: Largest relative error ``|a - b| / |b|`` of the logits ``a`` against plain forwards ``b``.
        num_parts: Forwards that the tree was divided into.
        phases: Per requested layer ``(sy, sx, C, h, w)``: entry ``[a, b]`` is the map of the picture moved by
            ``-b, -a`` pixels.
    """

    period: int
    logits: Tensor
    max_error: float
    num_parts: int
    phases: dict[str, Tensor] = field(repr=False)
    image_size: tuple[int, int]

    def logits_at(self, dx: int, dy: int) -> Tensor:
        """The logits ``(K,)`` of the picture moved by ``dx, dy`` pixels."""
        rows, columns = self.logits.shape[:2]
        return self.logits[dy % rows, dx % columns]

    def feature(self, name: str, dx: int, dy: int) -> Tensor:
        """The map ``(C, h, w)`` of the layer ``name`` for the picture moved by ``dx, dy`` pixels.

        Raises:
            UserError: The layer was not requested.
        """
        if name not in self.phases:
            raise UserError(f"The maps of {name} were not kept; name the layer when computing all shifts.")
        phases = self.phases[name]
        strides = phases.shape[:2]
        row, column = -dy % strides[0], -dx % strides[1]
        if tuple(strides) == self.image_size:
            return phases[row, column]
        return phases[row, column].roll(((dy + row) // strides[0], (dx + column) // strides[1]), (-2, -1))


def compute_all_shifts(
    module: nn.Module,
    inputs: Tensor,
    *,
    layers: Collection[str] = (),
    max_bytes: int = 2**30,
    progress: Progress = no_progress,
) -> AllShifts:
    """Logits and feature maps of a network's circular twin for every circular shift of one picture.

    Logits and maps are compared with plain forwards of a few shifted pictures before they are returned.

    Args:
        inputs: ``(1, C, H, W)``.
        layers: Names of layers whose maps to keep, with ``#2`` for a second call.
        max_bytes: Memory for the tensors of one forward and for what is kept. Where the whole tree needs more,
            it is divided into several forwards of shifted pictures, each with fewer phases.

    Raises:
        UserError: A layer's size is not divisible by its stride, the network mixes positions in a way that
            the tree cannot follow (attention, tokens, resizing), a layer gives no feature map, or one part of
            the tree needs more than ``max_bytes``.
        NotExact: The result differs from plain forwards.
    """
    if inputs.ndim != 4 or len(inputs) != 1:
        raise UserError("All shifts are computed for one picture at a time.")
    with torch.inference_mode():
        survey = _survey(module, inputs, layers)
        for start in survey.choose_starts(max_bytes):
            try:
                return _compute(module, inputs, layers, start, progress)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):  # else the estimate was too low for this device: divide further
                    raise UserError(
                        "This network rearranges positions in a way that cannot be followed through all shifts."
                    ) from error
    needed = math.ceil(survey.count_bytes(survey.list_starts()[-1]) / 2**20)
    raise UserError(f"All shifts of this picture need at least {needed} MiB; keep fewer layers or allow more.")


@dataclass(frozen=True)
class _Survey:
    """What one plain forward tells about the tree: its levels and the memory of each."""

    levels: tuple[Size, ...]
    num_bytes: dict[Size, int]
    kernel_bytes: int
    kept_bytes: int

    def list_starts(self) -> list[Size]:
        """Where a part may begin, the fewest parts first: at a level nested with every other one."""
        return [start for start in self.levels if all(_are_nested(start, level) for level in self.levels)]

    def count_bytes(self, start: Size) -> int:
        """Estimated memory of one part and of everything kept."""
        growth = {
            level: math.prod(max(s // first, 1) for s, first in zip(level, start, strict=True))
            for level in self.num_bytes
        }
        largest = max(size * growth[level] for level, size in self.num_bytes.items())
        return self.kept_bytes + _LIVE_TENSORS * largest + _LIVE_KERNELS * self.kernel_bytes

    def choose_starts(self, max_bytes: int) -> list[Size]:
        """Those of :meth:`list_starts` whose parts fit."""
        return [start for start in self.list_starts() if self.count_bytes(start) <= max_bytes]


def _are_nested(first: Size, second: Size) -> bool:
    return all(a % b == 0 or b % a == 0 for a, b in zip(first, second, strict=True))


def _survey(module: nn.Module, inputs: Tensor, layers: Collection[str]) -> _Survey:
    """Runs the network once, with no phases at all."""
    image_size = find_size(inputs)
    tree = PolyphaseTree(image_size, start=image_size)
    kept: dict[str, int] = {}

    def weigh(name: str, output: Tensor) -> None:
        if is_feature_map(output.shape, image_size):
            kept[name] = output.numel() * output.element_size() * math.prod(tree.find_stride(output))

    modules = dict(module.named_modules())
    if missing := sorted({name.split("#")[0] for name in layers} - modules.keys()):
        raise UserError(f"There is no layer called {missing[0]} in this model.")
    with watch_outputs(module, layers, weigh), tree:
        logits = module(inputs)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1:
        raise UserError("All shifts are computed for classifiers, which return logits (N, K).")
    if missing := sorted(set(layers) - kept.keys()):
        raise UserError(f"The layer {missing[0]} gives no feature map for this input.")
    kept_bytes = sum(kept.values()) + logits.numel() * logits.element_size() * math.prod(tree.stride)
    picture_bytes = inputs.numel() * inputs.element_size()
    num_bytes = tree.num_bytes | {(1, 1): max(picture_bytes, tree.num_bytes.get((1, 1), 0))}
    return _Survey(tuple(sorted(tree.levels, key=math.prod)), num_bytes, tree.kernel_bytes, kept_bytes)


def _compute(
    module: nn.Module, inputs: Tensor, layers: Collection[str], start: Size, progress: Progress
) -> AllShifts:
    """Runs the tree in parts that begin at the stride ``start``, and verifies the result."""
    image_size = find_size(inputs)
    num_parts = math.prod(start)
    phases: dict[str, Tensor] = {}
    for part in range(num_parts):
        row, column = divmod(part, start[1])
        tree = PolyphaseTree(image_size, start)

        def keep(name: str, values: Tensor, stride: Size, row=row, column=column) -> None:
            """Sorts the phases of this part between those of the others."""
            steps = tuple(min(first, s) for first, s in zip(start, stride, strict=True))
            if row >= steps[0] or column >= steps[1]:
                return  # these phases came with an earlier part
            if name not in phases:
                phases[name] = torch.empty((*stride, *values.shape[1:]), dtype=values.dtype)
            counts = [s // step for s, step in zip(stride, steps, strict=True)]
            phases[name][row :: steps[0], column :: steps[1]] = values.cpu().reshape(*counts, *values.shape[1:])

        def keep_layer(name: str, output: Tensor, keep=keep, tree=tree) -> None:
            keep(name, output, tree.find_stride(output))

        moved = inputs.roll((-row, -column), (-2, -1))
        with watch_outputs(module, layers, keep_layer), tree:
            logits = module(moved)
        keep("", logits, tree.stride)
        progress(part + 1, num_parts + _NUM_CHECKS)

    by_phase = phases.pop("")
    rows, columns = (-torch.arange(period) % period for period in by_phase.shape[:2])
    result = AllShifts(
        period=math.lcm(*by_phase.shape[:2]),
        logits=by_phase[rows][:, columns],
        max_error=math.nan,
        num_parts=num_parts,
        phases=phases,
        image_size=image_size,
    )
    return replace(result, max_error=_verify(module, inputs, result, progress))


def _verify(module: nn.Module, inputs: Tensor, result: AllShifts, progress: Progress) -> float:
    """Compares logits and maps of a few shifts with plain forwards; returns the largest error of the logits."""
    max_error = 0.0
    generator = torch.Generator().manual_seed(0)
    for check in range(_NUM_CHECKS):
        dy, dx = (int(torch.randint(1, side, (), generator=generator)) for side in result.image_size)

        def compare(name: str, output: Tensor, dx=dx, dy=dy) -> None:
            _measure_error(f"the maps of {name}", result.feature(name, dx, dy), output[0])

        moved = inputs.roll((dy, dx), (-2, -1))
        with watch_outputs(module, result.phases, compare), CircularPadding():
            logits = module(moved)[0]
        max_error = max(max_error, _measure_error("the logits", result.logits_at(dx, dy), logits))
        progress(result.num_parts + check + 1, result.num_parts + _NUM_CHECKS)
    return max_error


def _measure_error(name: str, found: Tensor, expected: Tensor) -> float:
    expected = expected.cpu()
    error = float((found - expected).norm() / expected.norm().clamp(min=torch.finfo(expected.dtype).tiny))
    if not error <= TOLERANCE:  # also if it is not a number
        raise NotExact(
            f"All shifts cannot be followed through this network: {name} for a shifted picture differ "
            f"from a plain forward by {error:.1e} of their size.",
            error,
        )
    return error
