"""One convolution with everything that can be chosen about it, over a signal, a grid or a stack of slices."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from analysis.convolution.numbers import Writer, are_whole, to_whole, write_list
from analysis.convolution.sizes import Slide, by_sides, check_slides, check_work, put_formulas
from analysis.errors import UserError

Sides = int | tuple[int, ...]
"""One number for all axes, or one for each."""
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
RULES = ("sum", "median")
MOST = 64
"""The largest stride, padding and dilation."""
_FORWARD = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@dataclass(frozen=True, eq=False)
class Convolution:
    """The settings of a convolution over one, two or three axes.

    Deep learning's convolution is cross-correlation: the kernel is laid on as it is. ``flip`` turns it round first,
    in all axes, as true convolution does.

    Attributes:
        kernel: ``(filters, channels / groups, *sides)``; ``(channels, filters / groups, *sides)`` if transposed.
        bias: ``(filters,)``.
        rule: ``median`` takes, channel by channel, the median of each window of the kernel's size.

    Raises:
        UserError: A setting that cannot be, with its numbers.
    """

    kernel: Tensor
    stride: Sides = 1
    padding: Sides = 0
    padding_mode: str = "zeros"
    dilation: Sides = 1
    groups: int = 1
    bias: Tensor | None = None
    transposed: bool = False
    flip: bool = False
    rule: str = "sum"

    def __post_init__(self) -> None:
        if self.kernel.ndim not in (3, 4, 5):
            raise UserError(f"A kernel slides over 1, 2 or 3 axes, not over {self.kernel.ndim - 2}.")
        for name, low in (("stride", 1), ("padding", 0), ("dilation", 1)):
            self._check_sides(name, low)
        for name, choices in (("padding_mode", PADDING_MODES), ("rule", RULES)):
            if getattr(self, name) not in choices:
                raise UserError(f"{name} must be one of {', '.join(choices)}, not {str(getattr(self, name))[:40]}.")
        first = self.kernel.shape[0]
        if isinstance(self.groups, bool) or not isinstance(self.groups, int) or self.groups < 1:
            raise UserError(f"groups must be a whole number above 0, not {self.groups!r}.")
        if first % self.groups:
            what = "input channels" if self.transposed else "filters"
            raise UserError(f"{first} {what} cannot be shared out evenly among {self.groups} groups.")
        if self.bias is not None and self.bias.shape != (self.filters,):
            raise UserError(f"There must be one bias for each of {self.filters} filters, not {self.bias.numel()}.")
        if self.transposed and (self.padding_mode != "zeros" or self.rule != "sum"):
            raise UserError("A transposed convolution can only sum, and be padded with zeros.")

    def _check_sides(self, name: str, low: int) -> None:
        value = getattr(self, name)
        sides = value if isinstance(value, tuple) else (value,)
        if len(sides) not in (1, self.axes):
            raise UserError(f"{name} has {len(sides)} numbers for {self.axes} axes.")
        for side in sides:
            if isinstance(side, bool) or not isinstance(side, int) or not low <= side <= MOST:
                raise UserError(f"{name} must be a whole number from {low} to {MOST}, not {side!r}.")

    @property
    def axes(self) -> int:
        """1 for signals, 2 for grids, 3 for stacks of slices."""
        return self.kernel.ndim - 2

    @property
    def channels(self) -> int:
        """Of the input."""
        return self.kernel.shape[0] if self.transposed else self.kernel.shape[1] * self.groups

    @property
    def filters(self) -> int:
        """Channels of the output."""
        return self.kernel.shape[1] * self.groups if self.transposed else self.kernel.shape[0]

    @property
    def weight(self) -> Tensor:
        """The kernel as it is laid on."""
        return self.kernel.flip(list(range(2, self.kernel.ndim))) if self.flip else self.kernel

    @property
    def code(self) -> str:
        """The line of ``torch.nn`` that does the same."""
        if self.rule == "median":
            return "# no layer of torch.nn takes a median: scipy.ndimage.median_filter does"
        name = f"nn.Conv{'Transpose' if self.transposed else ''}{self.axes}d"
        sides = _spread(self.kernel.shape[2:], self.axes)
        chosen = {
            "stride": (_unite(_spread(self.stride, self.axes)), 1),
            "padding": (_unite(_spread(self.padding, self.axes)), 0),
            "dilation": (_unite(_spread(self.dilation, self.axes)), 1),
            "groups": (self.groups, 1),
            "bias": (self.bias is not None, True),
            "padding_mode": (self.padding_mode, "zeros"),
        }
        words = [f"kernel_size={_unite(sides)}", *(f"{k}={v!r}" for k, (v, usual) in chosen.items() if v != usual)]
        line = f"{name}({self.channels}, {self.filters}, {', '.join(words)})".replace("'", '"')
        return f"{line}  # true convolution: its weight is the flipped kernel" if self.flip else line

    def slide_over(self, shape: Sequence[int]) -> tuple[Slide, ...]:
        """How the kernel slides over an input ``(C, *sizes)``: one slide for each axis.

        Raises:
            UserError: It does not fit, or the input has other channels.
        """
        if shape[0] != self.channels:
            raise UserError(_describe_channels(self, shape[0]))
        stride, padding, dilation = (
            _spread(value, self.axes) for value in (self.stride, self.padding, self.dilation)
        )
        along = zip(shape[1:], self.kernel.shape[2:], stride, padding, dilation, strict=True)
        slides = tuple(Slide(size, side, s, p, d, self.transposed) for size, side, s, p, d in along)
        for slide in slides:
            most = {"reflect": slide.size - 1, "circular": slide.size}.get(self.padding_mode, slide.padding)
            if slide.padding > most:
                raise UserError(
                    f"With padding_mode {self.padding_mode}, {slide.size} cells can be padded by {most} at most, not "
                    f"by {slide.padding}; zeros and replicate have no such limit."
                )
        check_slides(slides)
        check_work(slides, self.channels, self.filters, self.groups)
        return slides


@dataclass(frozen=True, eq=False)
class Convolved:
    """What a convolution makes of an input.

    Attributes:
        output: ``(filters, *sizes)`` float64; ``(*sizes)`` where one filter met an input without channels.
        unseen: ``(*sizes of the input)``: the cells that no window looks at, because the stride (or the dilation)
            steps over them or the last window ends before them.
        formula: Of the size, with its numbers.
        is_whole: Whether input, kernel and bias are whole numbers, and so is the output, exactly.
    """

    output: Tensor
    slides: tuple[Slide, ...]
    unseen: Tensor
    code: str
    is_whole: bool

    @property
    def formula(self) -> str:
        """The sum that gives the size of the output."""
        return put_formulas(self.slides)

    def to_json(self, write: Writer = write_list) -> dict:
        """``dropped`` lists the positions of the ``unseen`` cells."""
        return {
            "output": write("output", to_whole(self.output) if self.is_whole else self.output),
            "shape": list(self.output.shape),
            "formula": self.formula,
            "dropped": write("dropped", self.unseen.nonzero()),
            "code": self.code,
        }


def convolve(settings: Convolution, values: Tensor) -> Convolved:
    """Slides the kernel over ``values (C, *sizes)``, or ``(*sizes)`` of one channel.

    Raises:
        UserError: The kernel does not fit.
    """
    inputs = _add_channel(settings, values)  # (C, *sizes)
    slides = settings.slide_over(inputs.shape)
    axes, bias = settings.axes, None if settings.bias is None else settings.bias.double()
    stride, padding, dilation = (
        _spread(value, axes) for value in (settings.stride, settings.padding, settings.dilation)
    )
    weight = settings.weight.double()
    if settings.transposed:
        output = _TRANSPOSED[axes](inputs[None], weight, bias, stride, padding, 0, settings.groups, dilation)[0]
    elif settings.rule == "median":
        output = find_windows(_pad(settings, inputs), slides).flatten(-axes).median(-1).values
    else:
        output = _FORWARD[axes](_pad(settings, inputs)[None], weight, bias, stride, 0, dilation, settings.groups)[0]
    if values.ndim == axes and output.shape[0] == 1:
        output = output[0]
    is_whole = are_whole(inputs, weight, bias)
    return Convolved(output, slides, _find_unseen(settings, slides), settings.code, is_whole)


@dataclass(frozen=True, eq=False)
class Cell:
    """How one cell of the output came about.

    Attributes:
        corner: Where the window begins, in cells of the input; negative in the padding.
        patch: What it looks at, ``(channels / groups, *sides)``.
        weights: What that is multiplied by, of the same shape.
    """

    corner: tuple[int, ...]
    patch: Tensor
    weights: Tensor
    bias: float

    @property
    def products(self) -> Tensor:
        """Cell by cell."""
        return self.patch * self.weights

    @property
    def value(self) -> float:
        """Their sum and the bias."""
        return self.products.sum().item() + self.bias


def look_at(settings: Convolution, values: Tensor, position: Sequence[int], filter: int = 0) -> Cell:
    """The patch, the weights and the sum behind one cell of the output of a convolution that is not transposed.

    Args:
        position: Of the cell, in the output.
        filter: Which filter made it.

    Raises:
        UserError: There is no such cell.
    """
    inputs = _add_channel(settings, values)
    slides = settings.slide_over(inputs.shape)
    sizes = [slide.output for slide in slides]
    if len(position) != len(sizes) or not all(0 <= at < size for at, size in zip(position, sizes, strict=True)):
        raise UserError(f"There is no cell at {tuple(position)}: the output has {by_sides(sizes)} cells.")
    if settings.transposed or not 0 <= filter < settings.filters:
        raise UserError(
            f"There are {settings.filters} filters, and one cell of a transposed convolution has no patch."
        )
    deep = settings.kernel.shape[1]
    group = filter // (settings.filters // settings.groups)
    windows = find_windows(_pad(settings, inputs), slides)  # (C, *output sizes, *sides)
    patch = windows[group * deep : (group + 1) * deep]
    for at in position:
        patch = patch[:, at]
    corner = tuple(at * slide.stride - slide.padding for at, slide in zip(position, slides, strict=True))
    bias = 0.0 if settings.bias is None else settings.bias[filter].item()
    return Cell(corner, patch, settings.weight[filter].double(), bias)


def find_windows(padded: Tensor, slides: Sequence[Slide]) -> Tensor:
    """All windows over a padded input ``(C, *sizes)``: ``(C, *output sizes, *sides)``, a view."""
    for axis, slide in enumerate(slides, start=1):
        padded = padded.unfold(axis, slide.span, slide.stride)[..., :: slide.dilation]
    return padded


def add_channels(values: Tensor, kernel: Tensor) -> Tensor:
    """The kernel as :class:`Convolution` takes it.

    Args:
        values: A grid of one channel, or ``(C, *sizes)``.
        kernel: For a grid, of as many dimensions as it, which is one filter; or ``(filters, channels, *sides)``.

    Raises:
        UserError: It has another number of dimensions.
    """
    if values.ndim == kernel.ndim <= 3:
        return kernel[None, None]
    if kernel.ndim == values.ndim + 1 and kernel.ndim >= 3:
        return kernel
    raise UserError(
        f"A kernel nested {kernel.ndim} deep cannot slide over numbers nested {values.ndim} deep: both need the same "
        "depth (1 for a signal, 2 for a grid, 3 for a stack of slices), or the kernel one more, for its filters."
    )


def _add_channel(settings: Convolution, values: Tensor) -> Tensor:
    inputs = values.double()
    return inputs[None] if values.ndim == settings.axes else inputs


def _pad(settings: Convolution, inputs: Tensor) -> Tensor:
    """``(C, *sizes)`` with cells around it."""
    ends = [end for side in reversed(_spread(settings.padding, settings.axes)) for end in (side, side)]
    mode = "constant" if settings.padding_mode == "zeros" else settings.padding_mode
    return F.pad(inputs[None], ends, mode)[0]


def _find_unseen(settings: Convolution, slides: Sequence[Slide]) -> Tensor:
    seen = torch.ones((), dtype=torch.bool)
    for slide in slides:
        along = torch.ones(slide.size, dtype=torch.bool)
        if not settings.transposed:
            line = Convolution(
                torch.ones(1, 1, slide.kernel), padding=slide.padding, padding_mode=settings.padding_mode
            )
            numbers = torch.arange(1, slide.size + 1, dtype=torch.float64)[None]  # 0 is padding
            padded = _pad(line, numbers)[0]
            is_seen = torch.zeros(len(padded), dtype=torch.bool)
            for at in range(0, slide.span, slide.dilation):
                is_seen[at : at + (slide.output - 1) * slide.stride + 1 : slide.stride] = True
            along = torch.isin(numbers[0], padded[is_seen])
        seen = seen[..., None] & along
    return ~seen


def _spread(value: Sides | Sequence[int], axes: int) -> tuple[int, ...]:
    sides = (value,) if isinstance(value, int) else tuple(value)
    return sides * axes if len(sides) == 1 else sides


def _unite(sides: tuple[int, ...]) -> Sides:
    return sides[0] if len(set(sides)) == 1 else sides


def _describe_channels(settings: Convolution, found: int) -> str:
    if found % settings.groups:
        return f"{found} input channels cannot be shared out evenly among {settings.groups} groups."
    deep = settings.kernel.shape[1]
    if settings.groups == 1 or settings.transposed:
        return f"The kernel is for {settings.channels} input channels; the input has {found}."
    return (
        f"The kernel is for {deep} channels in each of {settings.groups} groups, so for {settings.channels} in all; "
        f"the input has {found}."
    )
