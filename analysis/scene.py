"""A picture that can be moved in several ways, with what a network needs to look at it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from analysis.shift import LANCZOS_SIZE, ShiftedPixels, extend, shift_crop, shift_pixels


@dataclass(frozen=True)
class Scene:
    """The window of a larger picture that a network sees.

    Attributes:
        canvas: ``(C, H, W)`` pixels in [0, 1] before normalisation, at least ``size`` both ways.
        size: Side of the central window in pixels.
        boundary: What fills the pixels that a shift uncovers, a key of ``analysis.shift.BOUNDARIES``.
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
            AnalysisError: The rule is ``crop`` and the window would leave the canvas.
        """
        if self.boundary == "crop":
            return shift_crop(self.canvas, self.size, dx, dy)
        return shift_pixels(self.window, dx, dy, self.boundary, self.fill)

    def shift_real(self, dx: float, dy: float) -> Tensor:
        """``(C, size, size)``: content moved by (dx, dy) pixels, with no pixel invented.

        What enters comes from the canvas, which wraps around, so that no shift is too large for it; or from
        the other side of the window itself where that is the scene's rule.
        """
        if self.boundary == "circular":
            return self.shift(dx, dy).pixels
        margin = math.ceil(max(abs(dx), abs(dy))) + LANCZOS_SIZE
        # Fractions of a pixel are interpolated as the other rules do it, which do not wrap around.
        surroundings = replace(extend(self.canvas, margin, "circular"), circular=False)
        return shift_crop(surroundings.shift(dx, dy).pixels, self.size, 0, 0).pixels
