"""What a network makes of one picture at every shift of a square grid, coarse grids first."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from analysis.errors import Progress, UserError, no_progress
from analysis.network.chunks import run_in_chunks
from analysis.network.predict import TIE, find_ties, measure_margins
from analysis.shift.move import Extended

CHUNK_PIXELS = {"cpu": 4 * 224 * 224}
DEVICE_CHUNK_PIXELS = 128 * 224 * 224
"""Pixels per forward pass. More do not make a CPU faster: the feature maps no longer fit its caches."""
MAX_CHUNK = 512
TOP = 5


@dataclass(frozen=True)
class ShiftMap:
    """Predictions over a grid; element ``[i, j]`` belongs to ``dy = distances[i]``, ``dx = distances[j]``.

    Where ``is_computed`` is False the values are those of the nearest cell of a coarser grid.

    Attributes:
        distances: The shifts in network-input pixels, the same both ways; 0 is in the middle.
        target: The class predicted without a shift.
        top1: ``(n, n)`` int64: the predicted class; the target where it ties with the best.
        probability: ``(n, n)`` float32: of the target.
        margin: ``(n, n)`` float32: logit of the target minus the best other one; below 0 after a flip.
        is_tie: ``(n, n)`` bool: the two best logits are too close to call (``prediction.TIE``).
        is_computed: ``(n, n)`` bool.
        best: ``(n, n, k)`` int64: the most probable classes, ``TOP`` of them where there are as many.
        best_probability: ``(n, n, k)`` float32: theirs.
        is_preview: Whether it was computed in bfloat16: good to look at, not to report.
    """

    distances: tuple[int, ...]
    target: int
    top1: Tensor
    probability: Tensor
    margin: Tensor
    is_tie: Tensor
    is_computed: Tensor
    best: Tensor
    best_probability: Tensor
    is_preview: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether every cell has been computed."""
        return bool(self.is_computed.all())

    @property
    def flipped(self) -> Tensor:
        """``(n, n)`` bool: another class than without a shift, by more than rounding can explain."""
        return self.top1 != self.target

    @property
    def consistency(self) -> float:
        """Shift consistency: how often two different shifts of the grid, drawn at random, give the same class.

        ``sum_c n_c (n_c - 1) / (K (K - 1))`` with ``n_c`` of the ``K`` computed cells predicting class ``c``:
        the U-statistic of "the classes agree". 1 where there is one cell only.
        """
        return measure_agreement(self.top1[self.is_computed].bincount())

    @property
    def share_kept(self) -> float:
        """The share of the computed shifts that keep the class predicted without a shift."""
        return float((self.top1[self.is_computed] == self.target).double().mean())

    def to_json(self) -> dict:
        """The map and its score, with whether it is only a ``preview``; rows are dy, columns dx."""
        return {
            "shifts": list(self.distances),
            "target": self.target,
            "top1": self.top1.tolist(),
            "probability": self.probability.tolist(),
            "margin": self.margin.tolist(),
            "near_tie": self.is_tie.tolist(),
            "consistency": self.consistency,
            "share_kept": self.share_kept,
            "preview": self.is_preview,
        }


def measure_agreement(counts: Tensor) -> float:
    """How often two different votes agree, ``sum_c n_c (n_c - 1) / (K (K - 1))``; 1 if there is one vote only.

    Args:
        counts: Number of votes ``n_c`` for each class; they add up to ``K``.
    """
    counts = counts.double()
    total = float(counts.sum())
    return float((counts * (counts - 1)).sum()) / (total * (total - 1)) if total > 1 else 1.0


def map_shifts(
    network: Callable[[Tensor], Tensor],
    scene: Extended,
    max_shift: int,
    *,
    fast_preview: bool = False,
    progress: Progress = no_progress,
) -> Iterator[ShiftMap]:
    """Predicts at every shift from ``-max_shift`` to ``max_shift`` in both directions.

    The unshifted picture comes first; then grids whose spacing halves until every cell is computed. Nothing is
    prepared twice: every input is a window over the scene, copied into one batch.

    Args:
        network: A classifier in eval mode: ``(N, C, H, W)`` to logits ``(N, K)``.
        scene: The network input ``(C, H, W)`` with its surroundings, on its device.
        fast_preview: Whether to compute in bfloat16 where the device is faster at it. Never for reported numbers.

    Yields:
        The map so far, after every chunk.

    Raises:
        UserError: ``max_shift`` is not positive, or larger than the scene has room for.
    """
    if max_shift < 1:
        raise UserError("The largest shift of a map is 1 pixel or more.")
    for distance in (-max_shift, max_shift):
        scene.window(distance, distance)  # is there room for the corners?
    drawing, cells = _Drawing(max_shift, fast_preview), _list_coarse_to_fine(max_shift)
    predict = partial(_predict, network, scene, fast_preview)
    for part, logits in run_in_chunks(predict, cells, _chunk_size(scene), progress):
        drawing.add(part, logits)
        yield drawing.snapshot()


def to_shift_map(logits: Tensor, max_shift: int) -> ShiftMap:
    """The map that known logits give.

    Args:
        logits: ``(P, P, K)`` of the shifts ``[dy mod P, dx mod P]``: all shifts of a circular network.
        max_shift: Pixels; cells further apart than P repeat.
    """
    drawing = _Drawing(max_shift, is_preview=False)
    cells = _list_coarse_to_fine(max_shift)
    rows, columns = (torch.tensor([cell[axis] for cell in cells]) % len(logits) for axis in (1, 0))
    drawing.add(cells, logits[rows, columns])
    return drawing.snapshot()


class _Drawing:
    """The arrays of a map while they are filled."""

    def __init__(self, max_shift: int, is_preview: bool):
        self.max_shift, self.is_preview, self.target = max_shift, is_preview, -1
        side = 2 * max_shift + 1
        self.top1 = torch.zeros(side, side, dtype=torch.int64)
        self.probability, self.margin = torch.zeros(side, side), torch.zeros(side, side)
        self.is_tie, self.is_computed = (torch.zeros(side, side, dtype=torch.bool) for _ in range(2))
        self.best = torch.zeros(side, side, 0, dtype=torch.int64)
        self.best_probability = torch.zeros(side, side, 0)

    def add(self, cells: Sequence[tuple[int, int]], logits: Tensor) -> None:
        """Enters the logits ``(N, K)`` of these shifts; the first of all is (0, 0)."""
        logits = logits.float().cpu()
        if not logits.isfinite().all():
            raise UserError("The model gives no finite numbers for this picture; its weights are broken.")
        best, top1 = logits.max(dim=1)
        if self.target < 0:
            self.target, known = int(top1[0]), min(TOP, logits.shape[1])
            self.best, self.best_probability = (
                array.new_zeros(*array.shape[:2], known) for array in (self.best, self.best_probability)
            )
        top1[best - logits[:, self.target] <= TIE * logits.norm(dim=1)] = self.target
        probabilities = logits.softmax(dim=1)
        tops = probabilities.topk(self.best.shape[-1])  # (N, k)
        found = (top1, probabilities[:, self.target], measure_margins(logits, self.target), find_ties(logits))
        rows, columns = (torch.tensor([cell[axis] for cell in cells]) + self.max_shift for axis in (1, 0))
        for array, value in zip(self._arrays, (*found, tops.indices, tops.values), strict=True):
            array[rows, columns] = value
        self.is_computed[rows, columns] = True

    def snapshot(self) -> ShiftMap:
        """The map so far, the gaps filled from the coarser grids."""
        rows, columns = self._find_nearest()
        distances = tuple(range(-self.max_shift, self.max_shift + 1))
        top1, probability, margin, is_tie, best, shares = (array[rows, columns] for array in self._arrays)
        arrays = top1, probability, margin, is_tie, self.is_computed.clone(), best, shares
        return ShiftMap(distances, self.target, *arrays, is_preview=self.is_preview)

    @property
    def _arrays(self) -> tuple[Tensor, ...]:
        return self.top1, self.probability, self.margin, self.is_tie, self.best, self.best_probability

    def _find_nearest(self) -> tuple[Tensor, Tensor]:
        """Row and column, each ``(n, n)``, of the computed cell that stands for each cell."""
        distances = torch.arange(-self.max_shift, self.max_shift + 1)
        rows, columns = torch.meshgrid(distances, distances, indexing="ij")
        found = self.is_computed.clone()
        for power in range(1, self.max_shift.bit_length()):
            spacing = 2**power
            reach = self.max_shift - self.max_shift % spacing
            nearest = ((distances + spacing // 2) // spacing * spacing).clamp(-reach, reach)
            coarse_rows, coarse_columns = torch.meshgrid(nearest, nearest, indexing="ij")
            known = self.is_computed[coarse_rows + self.max_shift, coarse_columns + self.max_shift]
            rows = torch.where(found | ~known, rows, coarse_rows)
            columns = torch.where(found | ~known, columns, coarse_columns)
            found |= known
        rows, columns = (torch.where(found, at, 0) for at in (rows, columns))
        return rows + self.max_shift, columns + self.max_shift


def _list_coarse_to_fine(max_shift: int) -> list[tuple[int, int]]:
    """Every shift ``(dx, dy)`` once: (0, 0), then grids of ever closer spacing, each from the middle outwards."""
    cells: dict[tuple[int, int], None] = {}
    for power in reversed(range(max_shift.bit_length())):
        reach = max_shift - max_shift % 2**power
        axis = range(-reach, reach + 1, 2**power)
        grid = [(dx, dy) for dy in axis for dx in axis]
        cells.update(dict.fromkeys(sorted(grid, key=lambda cell: max(map(abs, cell)))))
    return list(cells)


def _chunk_size(scene: Extended) -> int:
    pixels = CHUNK_PIXELS.get(scene.pixels.device.type, DEVICE_CHUNK_PIXELS)
    return min(max(pixels // (scene.height * scene.width), 1), MAX_CHUNK)


def _predict(network: Callable, scene: Extended, fast: bool, cells: Sequence[tuple[int, int]]) -> Tensor:
    """Logits ``(N, K)``."""
    shape = (len(cells), len(scene.pixels), scene.height, scene.width)
    layout = torch.channels_last if scene.pixels.stride(0) == 1 else torch.contiguous_format
    preview = torch.autocast(scene.pixels.device.type, dtype=torch.bfloat16) if fast else nullcontext()
    with torch.inference_mode(), preview:
        batch = torch.empty(shape, dtype=scene.pixels.dtype, device=scene.pixels.device, memory_format=layout)
        for row, (dx, dy) in zip(batch, cells, strict=True):
            row.copy_(scene.window(dx, dy))
        return network(batch)
