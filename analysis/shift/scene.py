"""A picture that can be moved in several ways, with what a network needs to look at it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from analysis.shift.features import LANCZOS_SIZE
from analysis.shift.move import ShiftedPixels, extend, extend_crop, shift_crop, shift_pixels
from analysis.shift.valid_region import Extent

EVERYWHERE: Extent = ((-math.inf, math.inf), (-math.inf, math.inf))


@dataclass(frozen=True)
class Scene:
    """The window of a larger picture that a network sees.

    Attributes:
        canvas: ``(C, H, W)`` pixels in [0, 1] before normalisation, at least ``size`` both ways.
        size: Side of the central window in pixels.
        boundary: What fills the pixels that a shift uncovers, a key of ``analysis.shift.move.BOUNDARIES``.
        to_inputs: Network input ``(N, C, size, size)`` on its device from pixels of the same shape.
        fill: The colour ``(C,)`` of the boundary ``mean``.
    """

    canvas: Tensor
    size: int
    boundary: str
    to_inputs: Callable[[Tensor], Tensor]
    fill: Sequence[float] | None = None

    @property
    def window(self) -> Tensor:
        """``(C, size, size)``: what the network sees when nothing moves."""
        return shift_crop(self.canvas, self.size, 0, 0).pixels

    def shift(self, dx: float, dy: float) -> ShiftedPixels:
        """Content moved by (dx, dy) pixels; what is uncovered is filled by the scene's own rule.

        Raises:
            UserError: The rule is ``crop`` and the window would leave the canvas.
        """
        if self.boundary == "crop":
            return shift_crop(self.canvas, self.size, dx, dy)
        return shift_pixels(self.window, dx, dy, self.boundary, self.fill)

    def shift_real(self, dx: float, dy: float, margin: int = 0) -> Tensor:
        """``(C, side, side)``: content moved by (dx, dy) pixels, with the surroundings that the picture has.

        What enters comes from the canvas, and where that ends from its mirror image, which begins without an edge;
        or from the other side of the window itself where that is the scene's rule.

        Args:
            margin: Pixels of the surroundings on every side of the window: ``side = size + 2 * margin``.
        """
        if self.boundary == "circular":
            return extend(self.shift(dx, dy).pixels, margin, "circular").pixels
        room = margin + math.ceil(max(abs(dx), abs(dy))) + LANCZOS_SIZE
        window, around = extend_crop(self.canvas, self.size), extend(self.canvas, room, "reflect")
        side, offset = self.size + 2 * margin, room - margin
        top, left = window.top + offset, window.left + offset
        return replace(around, top=top, left=left, height=side, width=side).shift(dx, dy).pixels

    def find_real(self, dx: float, dy: float) -> Extent:
        """The pixels of :meth:`shift_real` that are the picture's own, counted from the corner of the window."""
        if self.boundary == "circular":
            return EVERYWHERE
        window = extend_crop(self.canvas, self.size)
        height, width = self.canvas.shape[-2:]
        return _move(-window.top, height, dy), _move(-window.left, width, dx)


def _move(first: int, number: int, distance: float) -> tuple[int, int]:
    """First and last of ``number`` pixels after a shift; those that mix others lose what they mix at the ends."""
    lost = 0 if float(distance).is_integer() else LANCZOS_SIZE
    low = first + math.ceil(distance) + max(lost - 1, 0)
    return low, first + number - 1 + math.floor(distance) - max(lost - 1, 0)
