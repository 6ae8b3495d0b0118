"""The kernels that people made by hand, before networks learned theirs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.errors import UserError


@dataclass(frozen=True)
class Kernel:
    """A kernel of the notes.

    Attributes:
        cells: Whole numbers, to be divided by ``divisor``.
        about: What it does, in a sentence.
        rule: What is made of a window: the ``sum`` of products, or its ``median``, which no kernel can give.
    """

    title: str
    cells: tuple[tuple[int, ...], ...]
    about: str
    divisor: int = 1
    rule: str = "sum"

    @property
    def weights(self) -> Tensor:
        """``(3, 3)`` float64."""
        return torch.tensor(self.cells, dtype=torch.float64) / self.divisor


_ONES = ((1, 1, 1),) * 3
KERNELS = {
    "identity": Kernel("Identity", ((0, 0, 0), (0, 1, 0), (0, 0, 0)), "Gives the picture back as it was."),
    "shifted_identity": Kernel(
        "Shifted identity",
        ((0, 0, 0), (1, 0, 0), (0, 0, 0)),
        "Moves the picture one cell to the right; flipped, one to the left.",
    ),
    "mean": Kernel("Mean, 1/9", _ONES, "Blurs: each cell becomes the mean of nine.", 9),
    "mean10": Kernel("Weighted mean, 1/10", ((1, 1, 1), (1, 2, 1), (1, 1, 1)), "Blurs; the middle counts twice.", 10),
    "mean16": Kernel(
        "Weighted mean, 1/16", ((1, 2, 1), (2, 4, 2), (1, 2, 1)), "Blurs; what is nearer counts more.", 16
    ),
    "median": Kernel(
        "Median",
        _ONES,
        "Takes the middle one of nine sorted values: removes single wrong cells and keeps edges. It is no sum of "
        "products, so no kernel gives it.",
        rule="median",
    ),
    "sharpen5": Kernel(
        "Sharpen, 5", ((0, -1, 0), (-1, 5, -1), (0, -1, 0)), "Strengthens what differs from four neighbours."
    ),
    "sharpen9": Kernel(
        "Sharpen, 9", ((-1, -1, -1), (-1, 9, -1), (-1, -1, -1)), "Strengthens what differs from eight neighbours."
    ),
    "vertical_edges": Kernel("Vertical edges", ((1, 0, -1),) * 3, "Large where the left is brighter than the right."),
    "horizontal_edges": Kernel(
        "Horizontal edges", ((1, 1, 1), (0, 0, 0), (-1, -1, -1)), "Large where the upper part is brighter."
    ),
    "sobel_x": Kernel(
        "Sobel, across", ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)), "How fast brightness grows to the right, smoothed."
    ),
    "sobel_y": Kernel(
        "Sobel, down", ((-1, -2, -1), (0, 0, 0), (1, 2, 1)), "How fast brightness grows downwards, smoothed."
    ),
    "laplacian": Kernel(
        "Laplacian", ((0, 1, 0), (1, -4, 1), (0, 1, 0)), "Finds edges in all directions: zero where all is even."
    ),
    "emboss": Kernel(
        "Emboss", ((-2, -1, 0), (-1, 1, 1), (0, 1, 2)), "Looks like a relief that is lit from the upper left."
    ),
}
"""Name -> kernel, in the order in which they are shown."""


def find_kernel(name: str) -> Kernel:
    """The kernel of a name. Raises UserError: there is none."""
    if name not in KERNELS:
        raise UserError(f"There is no kernel called {name[:40]}; there are {', '.join(KERNELS)}.")
    return KERNELS[name]
