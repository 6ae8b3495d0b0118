"""Convolutions, poolings and stacks as people ask for them: numbers in, numbers out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from analysis.convolution.convolve import MOST, Convolution, Convolved, add_channels, convolve
from analysis.convolution.kernels import find_kernel
from analysis.convolution.layers import Row
from analysis.convolution.numbers import MAX_CELLS, Writer, are_whole, read_numbers, to_whole, write_list
from analysis.convolution.pooling import POOLINGS, PooledShift, Sums, pool_shifted, pool_sum
from analysis.convolution.quiz import KINDS, Question, ask
from analysis.convolution.stack import MAX_SIDE, measure_stack, read_layers, read_shape
from analysis.errors import UserError


def read_input(
    image: Image.Image | None = None, grid: object = None, signal: object = None, side: int | None = None
) -> Tensor:
    """What a kernel is to slide over: exactly one of the three is given.

    Args:
        image: A picture, whose grey values become whole numbers from 0 to 255.
        grid: Nested lists of numbers, or their JSON text; 3 deep is a stack of slices (or a grid with channels).
        signal: A list of numbers, or its JSON text.
        side: Pixels to which the longer side of the picture is reduced; smaller ones stay as they are.

    Returns:
        ``(*sizes)`` or ``(C, *sizes)``, float64.

    Raises:
        UserError: None or several are given, or what is given is not usable.
    """
    if sum(given is not None for given in (image, grid, signal)) != 1:
        raise UserError("Give one thing to convolve: a picture, a grid or a signal.")
    if image is not None:
        return read_grey(image, side)
    if signal is None:
        return read_numbers("grid", grid)
    values = read_numbers("signal", signal)
    if values.ndim != 1:
        raise UserError(f"A signal is one row of numbers such as [1, 2, 3], not {values.ndim} brackets deep.")
    return values


def read_grey(image: Image.Image, side: int | None = None) -> Tensor:
    """The grey values of a picture, ``(H, W)`` float64: whole numbers from 0 to 255.

    Raises:
        UserError: It has too many pixels, or ``side`` is no possible one.
    """
    if side is not None and not 1 <= side <= MAX_SIDE:
        raise UserError(f"side must be a whole number from 1 to {MAX_SIDE}, not {side}.")
    grey = image.convert("L")
    if side is not None:
        grey.thumbnail((side, side), Image.Resampling.BOX)
    if grey.width * grey.height > MAX_CELLS:
        raise UserError(
            f"The picture has {grey.width} x {grey.height} pixels; {MAX_CELLS} are possible. Reduce it with side."
        )
    return torch.from_numpy(np.asarray(grey, dtype=np.float64).copy())


def convolve_numbers(values: Tensor, kernel: object, **settings: Any) -> Convolved:
    """Slides a kernel over numbers.

    Args:
        values: As :func:`read_input` gives them.
        kernel: A key of ``KERNELS``, nested lists of numbers, or their JSON text.
        settings: Those of :class:`analysis.convolution.convolve.Convolution`.

    Raises:
        UserError: The kernel cannot slide over them like that; says the sizes.
    """
    rule = "sum"
    if isinstance(kernel, str) and not kernel.lstrip().startswith("["):
        preset = find_kernel(kernel.strip())
        weights, rule = preset.weights, preset.rule
        if values.ndim != weights.ndim:
            raise UserError(
                f"The kernel {kernel.strip()} is a grid of 3 x 3 and cannot slide over numbers nested {values.ndim} "
                "deep; type a kernel of that depth."
            )
    else:
        weights = read_numbers("kernel", kernel)
    return convolve(Convolution(add_channels(values, weights), rule=rule, **settings), values)


@dataclass(frozen=True, eq=False)
class Pooled:
    """A pooled grid, what a shift of one cell does to it, and how its sum with its mirror image is pooled."""

    shift: PooledShift
    sums: Sums
    code: str

    def to_json(self, write: Writer = write_list) -> dict:
        """A JSON-ready dictionary; ``nonlinearity`` is 0, up to rounding, for what is linear."""
        output = self.shift.before[0]
        return {
            "output": write("output", to_whole(output) if are_whole(output) else output),
            "shape": list(output.shape),
            "change": self.shift.change,
            "mean_change": self.shift.mean_change,
            "nonlinearity": self.sums.difference,
            "code": self.code,
        }


def pool_numbers(values: Tensor, kind: str, window: int = 2, stride: int | None = None) -> Pooled:
    """Pools a grid ``(H, W)``, as :func:`read_input` gives it.

    Args:
        kind: A key of ``POOLINGS``.
        stride: The window's side if not given.

    Raises:
        UserError: It is no grid, or the window does not fit.
    """
    if values.ndim != 2:
        raise UserError(f"What is pooled is a grid, 2 brackets deep, not {values.ndim}.")
    for name, side in (("window", window), ("stride", window if stride is None else stride)):
        if not 1 <= side <= MOST:
            raise UserError(f"{name} must be a whole number from 1 to {MOST}, not {side}.")
    grid = values[None]  # (1, H, W)
    shift, sums = pool_shifted(kind, grid, window, stride), pool_sum(kind, grid, grid.flip(2), window, stride)
    rows, columns = shift.before.shape[1:]
    return Pooled(shift, sums, POOLINGS[kind].write_code(window, stride or window, (rows, columns)))


def measure_layers(shape: str, layers: str) -> tuple[Row, ...]:
    """What each layer of a stack makes, costs and sees; both as text, such as ``3,32,32`` and ``conv(6,5) relu``."""
    return measure_stack(read_layers(layers), read_shape(shape))


def ask_all(seed: int, kinds: Iterable[str] = KINDS) -> tuple[Question, ...]:
    """A question of each kind about a random stack, the same for the same seed."""
    return tuple(ask(seed, kind) for kind in kinds)
