"""Whether a map moves with the picture."""

from dataclasses import dataclass

from torch import Tensor

from analysis.shift.move import shift_pixels
from analysis.trust.maps import correlate, evidence, find_best_shift


@dataclass(frozen=True)
class Motion:
    """The map of a shifted picture beside the shifted map.

    Attributes:
        correlation: Of the two, over the pixels that both have; None where one of them does not vary there.
        still: Of the map of the shifted picture with the map that has *not* been moved, over the same pixels.
        best: The shift of the map that fits best; None where there is no correlation.
    """

    boundary: str
    dx: int
    dy: int
    correlation: float | None
    still: float | None
    best: tuple[int, int] | None

    @property
    def agrees(self) -> bool | None:
        """Whether the shift that fits best is that of the picture, give or take a pixel."""
        if self.best is None:
            return None
        return abs(self.best[0] - self.dx) <= 1 and abs(self.best[1] - self.dy) <= 1


def measure_motion(values: Tensor, moved: Tensor, dx: int, dy: int, boundary: str, is_real: Tensor) -> Motion:
    """Compares the map ``moved`` of the shifted picture with the shifted map.

    Args:
        values: The map ``(C, H, W)`` or ``(1, H, W)`` of the picture.
        moved: The map of the picture moved by ``(dx, dy)`` pixels.
        boundary: What filled the uncovered pixels. With ``circular`` the map wraps around, too; with any other what
            it leaves open has nothing to compare.
        is_real: ``(H, W)`` bool: which pixels of the shifted picture the boundary rule has not invented.
    """
    before, after = evidence(values), evidence(moved)
    carried = shift_pixels(before[None], dx, dy, "circular" if boundary == "circular" else "zero")
    counts = carried.is_real & is_real.cpu()
    correlation = correlate(carried.pixels[0][counts], after[counts])
    best = None if correlation is None else find_best_shift(before, after, counts)
    return Motion(boundary, dx, dy, correlation, correlate(before[counts], after[counts]), best)
