"""The polyphase tree: a forward pass that carries all circular shifts of one picture in its batch.

A layer with stride ``s`` keeps one of ``s * s`` interleaved sub-lattices of cells, and a shift of the picture by
less than ``s`` pixels selects another one. Computing the layer at stride 1 and folding all sub-lattices (phases)
into the batch gives its output for every such shift; the next strided layer splits each of them again.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.weak import WeakTensorKeyDictionary

from analysis.errors import UserError
from analysis.network.windows import Size, pair
from analysis.shift.circular import CircularPadding, Sweep, read_sweeps, run_wrapped


class PolyphaseTree(CircularPadding):
    """Inside the block, a forward of one picture returns a batch: all of its circular shifts, or a part of them.

    A map with cumulative stride ``S = image size / map size`` holds ``S / start`` phases each way in its batch;
    entry ``j`` is the map of the picture moved by ``-j * start`` pixels, rows before columns. So the batch order
    follows from the stride alone, and branches that reach it by different steps agree. Layers up to the stride
    ``start`` run as they are: ``start`` passes each way over pictures moved by ``-1`` pixel more complete the set.

    Args:
        start: Pixels between two shifts of this part, down and to the right; 1 takes all of them.

    Attributes:
        stride: Largest cumulative stride so far, which is the period of what has been pooled.
        is_expanded: Whether a layer that is tied to its positions was met. From there on the batch holds the
            shifts by whole cells, too, so that any operation is exact.
        levels: Cumulative strides met.
        num_bytes: Per level, the largest tensor computed there.
        kernel_bytes: The largest kernel that was transformed.
    """

    def __init__(self, image_size: Size, start: Size = (1, 1)):
        super().__init__()
        self.image_size, self.start = image_size, start
        self.stride: Size = (1, 1)
        self.is_expanded = False
        self.levels: set[Size] = {(1, 1)}
        self.num_bytes: dict[Size, int] = {}
        self.kernel_bytes = 0
        self._origins = WeakTensorKeyDictionary()  # padded map -> the map itself, rows and columns before it

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        rule = None if self.is_expanded else _RULES.get(name)
        result = rule(self, func, args, kwargs) if rule else super().__torch_function__(func, types, args, kwargs)
        if isinstance(result, Tensor):
            size = result.numel() * result.element_size()
            self.num_bytes[self.stride] = max(size, self.num_bytes.get(self.stride, 0))
        return result

    def find_stride(self, x: Tensor) -> Size:
        """The cumulative stride of a map ``(N, C, h, w)``, which is the number of its phases.

        Raises:
            UserError: It does not divide the picture evenly, or its batch does not hold its phases.
        """
        if self.is_expanded:
            return self.image_size
        (height, width), (h, w) = self.image_size, x.shape[-2:]
        if height % h or width % w:
            raise UserError(f"A layer of {h} x {w} cells does not divide the {height} x {width} picture evenly.")
        stride = (height // h, width // w)
        if len(x) != math.prod(self.count_phases(stride)):
            raise UserError(f"It cannot be followed how the layer of {h} x {w} cells arranges its positions.")
        return stride

    def count_phases(self, stride: Size) -> Size:
        """Phases each way in the batch of a map with this cumulative stride."""
        rows, columns = (max(s // first, 1) for s, first in zip(stride, self.start, strict=True))
        return rows, columns

    def is_map(self, x: Tensor) -> bool:
        """Whether a tensor is a map ``(N, C, h, w)`` of more than one position with its N phases in the batch."""
        if self.is_expanded or x.ndim != 4 or x.shape[-2:].numel() <= 1:
            return False
        (height, width), (h, w) = self.image_size, x.shape[-2:]
        return height % h == width % w == 0 and len(x) == math.prod(self.count_phases((height // h, width // w)))

    def pad(self, func, call: dict) -> Tensor:
        """Pads, and remembers the map inside, whose windows a convolution without padding will sweep over."""
        x, widths = call["input"], [*call["pad"], 0, 0, 0, 0]
        padded = super().pad(func, call)
        if x.ndim == 4 and padded.shape[:2] == x.shape[:2] and x not in self._origins:
            self._origins[padded] = (x, widths[2], widths[0])
        return padded

    def slide(self, func, call: dict) -> Tensor:
        """Runs a windowed operation at the part of its stride before ``start``, and folds the rest."""
        x, top, left = self._origins.get(call["input"], (call["input"], 0, 0))
        h, w = x.shape[-2:]
        sweeps = read_sweeps(call)
        pools_all = "weight" not in call and all(sweep.count == 1 and sweep.span == sweep.size for sweep in sweeps)
        if self.is_expanded or x.ndim != 4 or h == w == 1 or (pools_all and x is call["input"]):
            return super().slide(func, call)
        if any(size != sweep.count * sweep.stride for size, sweep in zip((h, w), sweeps, strict=True)):
            raise UserError(
                "All shifts need every layer to divide its input by its stride, but one with stride "
                f"{sweeps[0].stride} makes {sweeps[0].count} x {sweeps[1].count} cells of {h} x {w}; choose another "
                "picture size."
            )
        before = self.find_stride(x)

        def densify(size: int, sweep: Sweep, done: int, start: int, margin: int) -> Sweep:
            step = min(max(start // done, 1), sweep.stride)
            return replace(sweep, size=size, before=sweep.before + margin, stride=step, count=size // step)

        rows, columns = map(densify, (h, w), sweeps, before, self.start, (top, left))
        call = call | {"input": x}
        if _is_small(call, (rows, columns)):
            result = _convolve_small(call, (rows, columns))
            self.kernel_bytes = max(self.kernel_bytes, call["weight"].numel() * x.element_size())
        else:
            result = run_wrapped(func, call, (rows, columns))
        steps = sweeps[0].stride, sweeps[1].stride
        self._reach((before[0] * steps[0], before[1] * steps[1]))
        return _fold(result, self.count_phases(before), (steps[0] // rows.stride, steps[1] // columns.stride))

    def expand(self, x: Tensor) -> Tensor:
        """Adds the shifts by whole cells to the batch, in front of an operation that is tied to its positions.

        ``(N, C, h, w)`` with N phases to ``(rolls * N, C, h, w)``: a roll for each cell where a part may begin.
        """
        stride = self.find_stride(x)
        phases, (h, w) = self.count_phases(stride), x.shape[-2:]
        step = [max(start // s, 1) for start, s in zip(self.start, stride, strict=True)]
        rows, columns = (
            (torch.arange(0, size, by)[:, None] + torch.arange(size)).flatten().to(x.device) % size
            for size, by in zip((h, w), step, strict=True)
        )
        rolled = x.index_select(-2, rows).index_select(-1, columns)  # (N, C, rolls * h, rolls * w)
        rolled = rolled.view(*phases, x.shape[1], h // step[0], h, w // step[1], w)
        self._reach(self.image_size)
        self.is_expanded = True
        return rolled.permute(3, 0, 5, 1, 2, 4, 6).reshape(-1, x.shape[1], h, w)  # (rolls * N, C, h, w)

    def _reach(self, stride: Size) -> None:
        self.levels.add(stride)
        self.stride = max(self.stride[0], stride[0]), max(self.stride[1], stride[1])


def _fold(x: Tensor, phases: Size, factors: Size) -> Tensor:
    """Moves ``factors`` interleaved phases each way from the positions of ``x`` to its batch."""
    if factors == (1, 1):
        return x
    (sy, sx), (_, channels, h, w) = factors, x.shape
    split = x.view(*phases, channels, h // sy, sy, w // sx, sx)  # (py, px, C, h', sy, w', sx), N = py * px
    if x.is_contiguous(memory_format=torch.channels_last):
        return split.permute(4, 0, 6, 1, 3, 5, 2).reshape(-1, h // sy, w // sx, channels).permute(0, 3, 1, 2)
    return split.permute(4, 0, 6, 1, 2, 3, 5).reshape(
        -1, channels, h // sy, w // sx
    )  # (sy * py * sx * px, C, h', w')


def _is_small(call: dict, sweeps: tuple[Sweep, Sweep]) -> bool:
    """Whether an operation is a convolution that wraps around on a map of at most 2 x 2 cells."""
    is_dense = all(sweep.size <= 2 and sweep.stride == 1 for sweep in sweeps)
    return is_dense and "weight" in call and call.get("groups", 1) == 1 and call["weight"][0, 0].numel() > 1


def _convolve_small(call: dict, sweeps: tuple[Sweep, Sweep]) -> Tensor:
    """Convolves on a map of at most 2 x 2 cells, where Fourier's waves have the values 1 and -1 only.

    Wave by wave the convolution is one matrix product: a ninth of the work of a 3 x 3 kernel. Deep layers of small
    pictures are like this, and hold most of the phases.
    """
    x, weight, bias = call["input"], call["weight"], call.get("bias")
    waves = [torch.tensor([[1, 1], [1, -1]], dtype=x.dtype, device=x.device)[: s.size, : s.size] for s in sweeps]
    taps = []
    for wave, size, dilation, sweep in zip(
        waves, weight.shape[-2:], pair(call.get("dilation", 1)), sweeps, strict=True
    ):
        cells = (torch.arange(size, device=x.device) * dilation - sweep.before) % sweep.size
        taps.append(wave[:, cells])
    # Waves down and across (a, b): maps (a, b, N, C) times kernels (a, b, C, K).
    spectrum = torch.einsum("ah,bw,nchw->abnc", *waves, x) @ torch.einsum("ai,bj,kcij->abck", *taps, weight)
    result = torch.einsum("ah,bw,abnk->nkhw", *waves, spectrum) / (sweeps[0].size * sweeps[1].size)
    return result if bias is None else result + bias[:, None, None]


# Rules: (tree, function, arguments) -> result, for what must not run as it is on a map with folded phases.


def _pool_adaptively(tree: PolyphaseTree, func, args, kwargs):
    x, target = (*args, *kwargs.values())[:2]
    size = tuple(goal or side for goal, side in zip(pair(target), x.shape[-2:], strict=True))
    if not tree.is_map(x) or size == (1, 1):
        return func(*args, **kwargs)
    if any(side % goal for side, goal in zip(x.shape[-2:], size, strict=True)):
        return func(tree.expand(x), size)  # windows of different sizes
    kernel = tuple(side // goal for side, goal in zip(x.shape[-2:], size, strict=True))
    return tree.slide(_POOLS[func.__name__], {"input": x, "kernel_size": kernel})


def _reshape(tree: PolyphaseTree, func, args, kwargs):
    x, result = args[0], func(*args, **kwargs)
    if not tree.is_map(x) or result.shape[-2:] == x.shape[-2:]:
        return result
    if result.ndim == 2 and len(result) == len(x):
        return tree.expand(x).flatten(1)
    raise UserError("All shifts cannot be followed through a network that regroups positions: tokens, or phases.")


def _refuse(tree: PolyphaseTree, func, args, kwargs):
    raise UserError(f"All shifts cannot be followed through {func.__name__}, which mixes positions.")


_POOLS = {"adaptive_avg_pool2d": F.avg_pool2d, "adaptive_max_pool2d": F.max_pool2d}
_RULES = {
    **dict.fromkeys(_POOLS, _pool_adaptively),
    **dict.fromkeys(("flatten", "view", "reshape"), _reshape),
    **dict.fromkeys(("scaled_dot_product_attention", "multi_head_attention_forward"), _refuse),
    **dict.fromkeys(("interpolate", "grid_sample", "conv_transpose2d", "pixel_shuffle", "pixel_unshuffle"), _refuse),
    **dict.fromkeys(("roll", "flip", "cumsum", "unfold", "fold"), _refuse),
    **dict.fromkeys(("fft_fft", "fft_fft2", "fft_fftn", "fft_rfft", "fft_rfft2", "fft_rfftn"), _refuse),
}
