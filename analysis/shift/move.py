"""Moving pictures, by whole pixels or by fractions of them.

``dx`` moves content to the right and ``dy`` down, in network-input pixels: ``(T x)[i, j] = x[i - dy, j - dx]``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.errors import UserError
from analysis.shift.features import LANCZOS_SIZE, is_inside, lanczos_taps, shift_features


@dataclass(frozen=True)
class Boundary:
    """A rule for the pixels that a shift uncovers."""

    title: str
    explanation: str


BOUNDARIES = {
    "zero": Boundary("Black", "Uncovered pixels are black. New edges appear: part of any change is theirs."),
    "mean": Boundary(
        "Mean colour",
        "Uncovered pixels have the mean colour of the training data, which is zero after normalisation.",
    ),
    "reflect": Boundary("Mirror", "Uncovered pixels mirror the picture at its border."),
    "replicate": Boundary("Stretch the edge", "Uncovered pixels repeat the border pixel."),
    "circular": Boundary(
        "Wrap around", "What leaves on one side comes back on the other: no content is lost, but a seam moves in."
    ),
    "crop": Boundary(
        "Real surroundings", "The window moves over the larger picture, as if the camera turned: real content enters."
    ),
}


@dataclass(frozen=True)
class ShiftedPixels:
    """A moved picture.

    Attributes:
        pixels: ``(C, H, W)``, as the input.
        is_real: ``(H, W)`` bool; False where the boundary rule invented the pixel, or had a part in it.
    """

    pixels: Tensor
    is_real: Tensor


@dataclass(frozen=True)
class Extended:
    """A picture with its surroundings: every shift that they have room for is a window over them.

    Made once, it gives all shifts of a map without moving, or normalising, a pixel twice.

    Attributes:
        pixels: ``(C, H', W')``: the surroundings with the picture inside.
        is_real: ``(H', W')`` bool.
        circular: Whether the surroundings are the picture itself, again and again.
    """

    pixels: Tensor
    is_real: Tensor
    top: int
    left: int
    height: int
    width: int
    circular: bool = False

    def window(self, dx: int, dy: int) -> Tensor:
        """The picture moved by whole pixels, ``(C, height, width)``: a view."""
        return self.pixels[..., *self._find(dx, dy)]

    def mask(self, dx: int, dy: int) -> Tensor:
        """``(height, width)`` bool: which pixels of :meth:`window` are real; a view."""
        return self.is_real[self._find(dx, dy)]

    def shift(self, dx: float, dy: float) -> ShiftedPixels:
        """The picture moved by any distance that the surroundings have room for.

        Fractions of a pixel are interpolated: by Fourier shift where the picture wraps around, else by
        Lanczos-3, whose result counts as real only where all the pixels that it mixes are.

        Raises:
            UserError: Not enough room; says how far the window can go.
        """
        if float(dx).is_integer() and float(dy).is_integer():
            return ShiftedPixels(self.window(int(dx), int(dy)), self.mask(int(dx), int(dy)))
        if self.circular:
            return ShiftedPixels(shift_features(self.window(0, 0), dx, dy, circular=True)[0], self.mask(0, 0))
        rows, row_taps = lanczos_taps(self.top - dy, self.height)
        columns, column_taps = lanczos_taps(self.left - dx, self.width)
        self._check(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1, dx, dy)
        source, real = self.pixels[..., rows, :][..., columns], self.is_real[rows][:, columns]
        moved = row_taps.to(source) @ source @ column_taps.to(source).T  # (C, height, width)
        lost = (row_taps != 0).double() @ (~real).double() @ (column_taps != 0).double().T
        return ShiftedPixels(moved, lost == 0)

    def _find(self, dx: int, dy: int) -> tuple[slice, slice]:
        top, left = self.top - dy, self.left - dx
        self._check(top, left, top + self.height, left + self.width, dx, dy)
        return slice(top, top + self.height), slice(left, left + self.width)

    def _check(self, top: int, left: int, bottom: int, right: int, dx: float, dy: float) -> None:
        height, width = self.pixels.shape[-2:]
        if not (top >= 0 and bottom <= height and left >= 0 and right <= width):
            (x_low, x_high), (y_low, y_high) = self.limits
            raise UserError(
                f"The picture is too small to show its surroundings at ({dx:g}, {dy:g}): here dx can go from "
                f"{x_low} to {x_high} and dy from {y_low} to {y_high}. Choose another boundary or a smaller shift."
            )

    @property
    def limits(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The smallest and largest whole ``dx`` and ``dy`` that there is room for."""
        height, width = self.pixels.shape[-2:]
        return (self.left + self.width - width, self.left), (self.top + self.height - height, self.top)


def check_distance(dx: float, dy: float, side: int, boundary: str) -> tuple[float, float]:
    """Refuses a shift that leaves nothing of a picture; one that wraps around leaves all of it, however far it goes.

    Returns:
        The same shift; without whole turns, where the picture wraps around.

    Raises:
        UserError: The whole picture would be out of sight, or no finite numbers.
    """
    if not (math.isfinite(dx) and math.isfinite(dy)):
        raise UserError(f"dx and dy must be finite numbers, not ({dx:g}, {dy:g}).")
    if boundary == "circular":
        return math.fmod(dx, side), math.fmod(dy, side)
    # Where nothing is painted over, what is seen at the very side is still made of the picture's pixels.
    fits = (abs(dx) < side and abs(dy) < side) if boundary in _FILLED else (abs(dx) <= side and abs(dy) <= side)
    if not fits:
        raise UserError(f"({dx:g}, {dy:g}) moves the whole picture out of sight; it has {side} pixels a side.")
    return dx, dy


def extend(pixels: Tensor, margin: int, boundary: str, fill: Sequence[float] | None = None) -> Extended:
    """Surrounds a picture by ``margin`` pixels on every side, filled by a boundary rule.

    Args:
        pixels: ``(C, H, W)``; zero means black, so pass pixels before normalisation.
        margin: How far windows shall be able to move.
        boundary: ``zero``, ``mean``, ``reflect``, ``replicate`` or ``circular`` (``crop``: :func:`extend_crop`).
        fill: The colour ``(C,)`` of the boundary ``mean``.

    Raises:
        UserError: Unknown boundary rule.
    """
    if boundary not in _SOURCES:
        raise UserError(f"There is no boundary rule called {boundary}; there are {', '.join(BOUNDARIES)}.")
    height, width = pixels.shape[-2:]
    rows, columns = torch.arange(-margin, height + margin), torch.arange(-margin, width + margin)
    inside = is_inside(rows, height)[:, None] & is_inside(columns, width)  # (H', W')
    find_source = _SOURCES[boundary]
    extended = pixels[..., find_source(rows, height), :][..., find_source(columns, width)]
    if boundary in _FILLED:
        color = torch.zeros(()) if boundary == "zero" else torch.tensor(fill).view(-1, 1, 1)
        extended = torch.where(inside.to(pixels.device), extended, color.to(pixels))
    circular = boundary == "circular"
    return Extended(extended, inside | circular, margin, margin, height, width, circular)


def extend_crop(canvas: Tensor, size: int) -> Extended:
    """The central ``size`` x ``size`` window of a larger picture, with the real surroundings it has there.

    The unshifted window is torchvision's ``center_crop``.

    Args:
        canvas: ``(C, H, W)`` with H, W >= ``size``.
        size: Side of the window in pixels.
    """
    top, left = (round((side - size) / 2.0) for side in canvas.shape[-2:])
    is_real = torch.ones(canvas.shape[-2:], dtype=torch.bool)
    return Extended(canvas, is_real, top, left, size, size)


def shift_pixels(
    pixels: Tensor, dx: float, dy: float, boundary: str, fill: Sequence[float] | None = None
) -> ShiftedPixels:
    """Moves a picture, filling what is uncovered by a boundary rule.

    Args:
        pixels: ``(C, H, W)``; zero means black, so pass pixels before normalisation.
        dx: Pixels to the right; a fraction is interpolated (:meth:`Extended.shift`).

    Raises:
        UserError: Unknown boundary rule.
    """
    return extend(pixels, math.ceil(max(abs(dx), abs(dy))) + LANCZOS_SIZE, boundary, fill).shift(dx, dy)


def shift_crop(canvas: Tensor, size: int, dx: float, dy: float) -> ShiftedPixels:
    """Moves a ``size`` x ``size`` window over a larger picture, so that its content moves by (dx, dy).

    Args:
        canvas: ``(C, H, W)`` with H, W >= ``size``.
        size: Side of the window in pixels.

    Raises:
        UserError: The window would leave the picture; says how far it can go.
    """
    return extend_crop(canvas, size).shift(dx, dy)


def _mirror(sources: Tensor, size: int) -> Tensor:
    """Reflection without repeating the border pixel, as often as needed (numpy's and torch's ``reflect``)."""
    period = max(2 * (size - 1), 1)
    sources = sources % period
    return torch.minimum(sources, period - sources) if size > 1 else sources * 0


_FILLED = ("zero", "mean")
"""Rules that paint over what is outside."""
_SOURCES = {
    "zero": lambda sources, size: sources.clamp(0, size - 1),  # painted over afterwards
    "mean": lambda sources, size: sources.clamp(0, size - 1),
    "reflect": _mirror,
    "replicate": lambda sources, size: sources.clamp(0, size - 1),
    "circular": lambda sources, size: sources % size,
}
