"""What a unit of a feature map sees: by geometry, by its gradient over pictures, and by covering pixels."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.errors import Progress, UserError, no_progress
from analysis.network.chunks import run_in_chunks
from analysis.network.hooks import preserved, watch_outputs
from analysis.network.layers import MapLayer
from analysis.network.windows import Size

LEAST = 1 - 0.9545
"""Share of the largest influence from which on a pixel counts as seen: Luo et al., "Understanding the Effective
Receptive Field in Deep Convolutional Neural Networks", 2016, section 4.1."""
CHUNK = 16
"""Pictures per forward pass."""


@dataclass(frozen=True)
class Window:
    """Input pixels from ``top`` to ``bottom`` and ``left`` to ``right``, the last ones included.

    What is beyond the picture is padding.

    Infinite ends mean the whole picture, NaN that the window is not fixed (attention).
    """

    top: float
    left: float
    bottom: float
    right: float

    @property
    def side(self) -> int | None:
        """The longer one, in pixels; None where it is not finite."""
        longest = max(self.bottom - self.top, self.right - self.left) + 1
        return int(longest) if math.isfinite(longest) else None

    @property
    def centre(self) -> tuple[float, float] | None:
        """Row and column of its middle; None where it is not finite."""
        middle = (self.top + self.bottom) / 2, (self.left + self.right) / 2
        return middle if all(map(math.isfinite, middle)) else None

    def clip(self, size: Size) -> tuple[int, int, int, int]:
        """First row, first column, and the ends behind the last ones, of the part inside a picture."""
        (height, width), lows, highs = size, (self.top, self.left), (self.bottom, self.right)
        starts = [int(max(low, 0)) if math.isfinite(low) else 0 for low in lows]
        ends = [
            int(min(high + 1, side)) if math.isfinite(high) else side
            for high, side in zip(highs, (height, width), strict=True)
        ]
        return starts[0], starts[1], ends[0], ends[1]


def find_window(layer: MapLayer, cell: Size) -> Window:
    """What the unit at a row and a column of a layer can see at all, by its kernels, strides and paddings.

    Raises:
        UserError: The layer has no such cell.
    """
    rows, columns = layer.size
    if not (0 <= cell[0] < rows and 0 <= cell[1] < columns):
        raise UserError(
            f"{layer.name} has {rows} x {columns} cells; there is none at row {cell[0]}, column {cell[1]}."
        )
    if layer.axes is None:
        return Window(*(math.nan,) * 4)
    (down, across), (row, column) = layer.axes, cell
    return Window(
        row * down.stride + down.low,
        column * across.stride + across.low,
        row * down.stride + down.high,
        column * across.stride + across.high,
    )


def measure_influence(
    module: nn.Module,
    inputs: Tensor,
    name: str,
    cell: Size,
    channel: int | None = None,
    *,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Tensor:
    """How strongly each pixel moves a unit: the root mean square, over pictures, of its gradient.

    Args:
        inputs: ``(N, C, H, W)``.
        name: The layer, with ``#2`` for its second call.
        cell: Row and column in its map.
        channel: Which channel of it. None stands for all: each picture gets random signs for them, whose squared
            gradient has the sum over the channels as its mean (Hutchinson, 1990).
        seed: Of the signs.

    Returns:
        ``(H, W)`` float32 on the CPU: summed over the colours as squares.
    """
    generator = torch.Generator().manual_seed(seed)
    squares = torch.zeros(inputs.shape[-2:])

    def differentiate(part: Sequence[int]) -> Tensor:
        pixels = inputs[part[0] : part[-1] + 1].detach().clone().requires_grad_()
        with torch.enable_grad():
            units = read_units(module, pixels, name, cell)  # (n, channels)
            if channel is None:
                signs = 2 * torch.randint(2, units.shape, generator=generator) - 1
                chosen = units * signs.to(units)
            else:
                chosen = units[:, check_channel(name, channel, units.shape[1])]
            (gradient,) = torch.autograd.grad(chosen.sum(), pixels)
        return gradient.float().square().sum((0, 1)).cpu()  # (H, W)

    with preserved(module):
        for _, found in run_in_chunks(differentiate, range(len(inputs)), CHUNK, progress):
            squares += found
    return (squares / len(inputs)).sqrt()


def measure_covered(
    module: nn.Module,
    inputs: Tensor,
    name: str,
    cell: Size,
    window: Window,
    side: int,
    channel: int | None = None,
    *,
    progress: Progress = no_progress,
) -> Tensor:
    """How far a unit moves when a square of pixels is covered with the picture's mean colour.

    Args:
        inputs: ``(1, C, H, W)``.
        window: Only squares that touch it are covered: the others are taken to change nothing.
        side: Of a square, in pixels.
        channel: As for :func:`measure_influence`; None takes the root of the summed squares over all.

    Returns:
        ``(ceil(H / side), ceil(W / side))`` float32 on the CPU.
    """
    _, _, height, width = inputs.shape
    top, left, bottom, right = window.clip((height, width))
    squares = [
        (row, column)
        for row in range(top // side, -(-bottom // side))
        for column in range(left // side, -(-right // side))
    ]
    mean = inputs.mean((2, 3), keepdim=True)[0]  # (C, 1, 1)
    moved = torch.zeros(-(-height // side), -(-width // side))

    def cover(part: Sequence[Size]) -> Tensor:
        covered = inputs.repeat(len(part), 1, 1, 1)
        for picture, (row, column) in zip(covered, part, strict=True):
            picture[:, row * side : (row + 1) * side, column * side : (column + 1) * side] = mean
        return choose(read_units(module, covered, name, cell))

    def choose(units: Tensor) -> Tensor:
        return units if channel is None else units[:, check_channel(name, channel, units.shape[1]), None]

    with preserved(module), torch.inference_mode():
        whole = choose(read_units(module, inputs, name, cell))
        for part, found in run_in_chunks(cover, squares, CHUNK, progress):
            for (row, column), change in zip(part, (found - whole).float().norm(dim=1).tolist(), strict=True):
                moved[row, column] = change
    return moved


def measure_side(influence: Tensor) -> float:
    """The side in pixels of a square with as many pixels as have more than ``LEAST`` of the largest influence."""
    peak = influence.max()
    return math.sqrt(int((influence > LEAST * peak).sum())) if peak > 0 else 0.0


def read_units(module: nn.Module, inputs: Tensor, name: str, cell: Size) -> Tensor:
    """What all channels say at one cell of a layer, ``(N, channels)``, before anything changes it in place."""
    kept: list[Tensor] = []

    def keep(_name: str, output: Tensor) -> None:
        kept.append(output[:, :, cell[0], cell[1]].clone())
        raise _Reached

    with watch_outputs(module, [name], keep), suppress(_Reached):
        module(inputs)
    return kept[0]


class _Reached(Exception):
    """What comes behind the layer need not be computed."""


def check_channel(name: str, channel: int, channels: int) -> int:
    """The channel. Raises UserError: there is no such one."""
    if not 0 <= channel < channels:
        raise UserError(f"{name} has the channels 0 to {channels - 1}, not {channel}.")
    return channel
