"""A window that slides along one axis: how many places it has, which cells it leaves out, and the sum in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.convolution.numbers import MAX_CELLS
from analysis.errors import UserError

MAX_PADDED = 4 * MAX_CELLS
MAX_PRODUCTS = 2**27
"""Numbers that all windows together look at; PyTorch copies those of one filter, 8 bytes each."""
AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
"""Number of axes -> what each is called."""


@dataclass(frozen=True)
class Slide:
    """A window of ``kernel`` cells, ``dilation`` apart, that moves along ``size`` cells in steps of ``stride``.

    Formulas: Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016.

    Attributes:
        padding: Cells added at both ends.
        transposed: Whether every cell is spread over the window instead, which undoes the change of size.
    """

    size: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    transposed: bool = False

    @property
    def span(self) -> int:
        """Cells from the first to the last one that a window looks at."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def padded(self) -> int:
        """Cells with the padding."""
        return self.size + 2 * self.padding

    @property
    def output(self) -> int:
        """Places of the window; below 1 where it fits nowhere."""
        if self.transposed:
            return (self.size - 1) * self.stride - 2 * self.padding + self.span
        return (self.padded - self.span) // self.stride + 1

    @property
    def remainder(self) -> int:
        """Cells at the far end, padding included, that the last window does not reach: what the floor takes away."""
        return 0 if self.transposed else (self.padded - self.span) % self.stride

    @property
    def formula(self) -> str:
        """The sum that gives ``output``, in numbers: ``floor((7 + 2*0 - 3) / 2) + 1 = floor(4 / 2) + 1 = 3``."""
        wide = f"{self.dilation}*({self.kernel} - 1)"
        if self.transposed:
            span = str(self.kernel) if self.dilation == 1 else f"{wide} + 1"
            return f"({self.size} - 1)*{self.stride} - 2*{self.padding} + {span} = {self.output}"
        span = str(self.kernel) if self.dilation == 1 else f"{wide} - 1"
        whole, free = f"{self.size} + 2*{self.padding} - {span}", self.padded - self.span
        return f"floor(({whole}) / {self.stride}) + 1 = floor({free} / {self.stride}) + 1 = {self.output}"


def check_slides(slides: Sequence[Slide], what: str = "A kernel") -> None:
    """Raises UserError, with the sizes, where a window fits nowhere; there is one slide for each axis."""
    if all(slide.output >= 1 for slide in slides):
        return
    sides, spans, padded = (by_sides([getattr(s, name) for s in slides]) for name in ("size", "span", "padded"))
    tight = next(slide for slide in slides if slide.output < 1)
    if tight.transposed:
        raise UserError(
            f"{tight.padding} cells of padding take more away than there is: {tight.formula} cells; use less padding."
        )
    wide = f"{what} of {by_sides([slide.kernel for slide in slides])}"
    wide += f", which dilation spreads over {spans}," if tight.dilation > 1 else ""
    needed = -(-(tight.span - tight.size) // 2)
    or_padding = f", or a padding of {needed} at least" if what == "A kernel" else ""
    with_padding = f" with padding {tight.padding}, which makes {padded}" if tight.padding else ""
    raise UserError(f"{wide} does not fit into {sides}{with_padding}; use a smaller one{or_padding}.")


def check_work(slides: Sequence[Slide], channels: int, filters: int, groups: int) -> None:
    """Raises UserError where windows that fit, one slide for each axis, would make too many numbers of an input."""
    cells = filters * math.prod(slide.output for slide in slides)
    if cells > MAX_CELLS:
        raise UserError(f"{cells:,} numbers would come out; {MAX_CELLS:,} are possible.")
    padded = channels * math.prod(slide.padded for slide in slides)
    if padded > MAX_PADDED:
        raise UserError(f"The input has {padded:,} numbers with its padding; {MAX_PADDED:,} are possible.")
    places = math.prod(slide.size if slide.transposed else slide.output for slide in slides)
    seen = filters * places * (channels // groups) * math.prod(slide.kernel for slide in slides)
    if seen > MAX_PRODUCTS:
        wide = by_sides([slide.kernel for slide in slides])
        raise UserError(
            f"Windows of {wide} at so many places look at {seen:,} numbers; {MAX_PRODUCTS:,} are possible. Use a "
            "smaller window or input."
        )


def by_sides(sides: Sequence[int]) -> str:
    """Sizes as they are written in sentences: ``6 x 6``; one alone is ``6``."""
    return " x ".join(map(str, sides))


def put_formulas(slides: Sequence[Slide]) -> str:
    """The formulas of all axes in one line; a single one where they are the same."""
    formulas = [slide.formula for slide in slides]
    if len(set(formulas)) == 1:
        return formulas[0]
    return "; ".join(f"{axis}: {text}" for axis, text in zip(AXES[len(slides)], formulas, strict=True))
