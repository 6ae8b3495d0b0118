"""What a lesson can ask for by name: numbers and words that are computed when they are asked for."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from analysis.errors import Progress, UserError, no_progress
from lab.learning.claims import check_claim
from lab.learning.convolution import convolve_numbers, measure_layers, pool_numbers, read_grey, read_input
from lab.results import ShiftResult
from lab.session import Lab
from lab.shifts import map_picture
from models.data.samples import get_sample
from models.registry import DEFAULT_MODEL
from models.settings import check_choice, show_value

Value = float | str


class Nothing(BaseModel):
    """Arguments of a measure; those of a name that links have, too, mean the same."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Model(Nothing):
    """A model as it is."""

    model: str = DEFAULT_MODEL


class Sample(Nothing):
    """A sample: whatever a browser names, no other file is opened."""

    sample: str = "chelsea"

    def open(self, lab: Lab) -> Image.Image:
        """The sample. Raises UserError: there is none of that name."""
        return lab.open_image(get_sample(self.sample).path)


class Picture(Model, Sample):
    """A model that looks at a sample."""


class Borders(Picture):
    """What fills what a shift uncovers, and whether the network itself pads as it was trained."""

    boundary: str = "zero"
    padding: Literal["trained", "circular"] = "trained"


class Moved(Borders):
    """The sample ``dx`` pixels further right and ``dy`` further down."""

    dx: float = 0
    dy: float = 0

    def shift(self, lab: Lab) -> ShiftResult:
        """What the model makes of it before and after."""
        is_twin = self.padding == "circular"
        return lab.shift(self.open(lab), self.model, self.dx, self.dy, self.boundary, twin=is_twin)


class Around(Borders):
    """All shifts up to ``reach`` pixels each way."""

    reach: Annotated[int, Field(ge=1, le=8)] = 3


class LayerMoved(Moved):
    """A layer of the model that looks at it."""

    layer: str

    def measure(self, lab: Lab) -> float:
        """How far the layer is from moving along with the picture: its relative error, 0 where it does."""
        layers = self.shift(lab).layers
        errors = {each.name: each.relative_error for each in layers if each.relative_error is not None}
        return errors[check_choice("layer", self.layer, errors)]


class LayerAbove(LayerMoved):
    """The same, and what its error is compared with."""

    least: float


class Cell(Nothing):
    """A place in the output of a convolution; rows and columns count from 0."""

    grid: str
    kernel: str
    row: int
    column: int
    stride: int = 1
    padding: int = 0
    flip: bool = False


class Stack(Nothing):
    """Layers in a row, and the picture that they begin with."""

    input: str
    layers: str


class Claimed(Nothing):
    """A claim of the lecture."""

    claim: str


class Pooled(Sample):
    """A way to pool the sample, reduced to ``side`` cells; several in ``kinds``, with commas."""

    kinds: str
    side: int = 32
    window: int = 2

    def measure(self, lab: Lab) -> dict[str, float]:
        """Of each way, how much of what is pooled changes when the picture moves by a cell, in percent."""
        grey = read_grey(self.open(lab), self.side)
        return {kind: 100 * pool_numbers(grey, kind, self.window).shift.change for kind in self.kinds.split(",")}


def _find_cell(lab: Lab, of: Cell, progress: Progress) -> float:
    settings = {"stride": of.stride, "padding": of.padding, "flip": of.flip}
    output = convolve_numbers(read_input(grid=of.grid), of.kernel, **settings).output
    rows, columns = output.shape[-2:]
    if output.ndim != 2 or not (0 <= of.row < rows and 0 <= of.column < columns):
        raise UserError(f"The output has rows 0 to {rows - 1} and columns 0 to {columns - 1}.")
    return float(output[of.row, of.column])


def _measure_share_kept(lab: Lab, of: Around, progress: Progress) -> float:
    picture, is_twin = of.open(lab), of.padding == "circular"
    *_, found = map_picture(lab, picture, of.model, of.reach, of.boundary, twin=is_twin, progress=progress)
    return 100 * found.map.share_kept


def _measure_side(lab: Lab, of: Stack, progress: Progress) -> float:
    shape = measure_layers(of.input, of.layers)[-1].shape
    return shape[-2] if len(shape) == 3 else shape[0]


def _first(lab: Lab, of: Picture) -> Any:
    return lab.classify(of.open(lab), of.model).predictions[0]


def _say(is_so: bool) -> str:
    return "yes" if is_so else "no"


MEASURES: dict[str, tuple[type[Nothing], Callable[[Lab, Any, Progress], Value]]] = {
    "class": (Picture, lambda lab, of, _: _first(lab, of).category),
    "probability": (Picture, lambda lab, of, _: 100 * _first(lab, of).probability),
    "shifted_class": (Moved, lambda lab, of, _: of.shift(lab).after[0].category),
    "class_kept": (Moved, lambda lab, of, _: _say(of.shift(lab).same_top1)),
    "share_kept": (Around, _measure_share_kept),
    "layer_error": (LayerMoved, lambda lab, of, _: of.measure(lab)),
    "is_error_above": (LayerAbove, lambda lab, of, _: _say(of.measure(lab) > of.least)),
    "stride": (Model, lambda lab, of, _: max((each.stride or 0 for each in lab.layers(of.model)), default=0)),
    "cell": (Cell, _find_cell),
    "side": (Stack, _measure_side),
    "parameters": (Stack, lambda lab, of, _: sum(row.parameters for row in measure_layers(of.input, of.layers))),
    "window": (Stack, lambda lab, of, _: measure_layers(of.input, of.layers)[-1].receptive_field_input),
    "pooled_change": (Pooled, lambda lab, of, _: min(of.measure(lab).values())),
    "steadiest_pooling": (Pooled, lambda lab, of, _: min((found := of.measure(lab)), key=found.__getitem__)),
    "claim": (Claimed, lambda lab, of, progress: check_claim(lab, of.claim, progress).found.verdict),
}
"""Name -> arguments, and what is computed of them. Shares and probabilities are in percent, questions have yes or no;
the side of an output is in rows, or in numbers if it is a vector, the window in pixels of the input, and the stride
in pixels from one cell of the deepest map to the next. Of a claim it is whether it holds, fails or is open."""


def list_arguments(name: str) -> list[str]:
    """What a lesson can give a measure."""
    return list(MEASURES[name][0].model_fields)


def measure(
    lab: Lab,
    name: str,
    arguments: Mapping[str, Any],
    shown: Mapping[str, Any] = MappingProxyType({}),
    progress: Progress = no_progress,
) -> Value:
    """Computes it now.

    Args:
        lab: Where models and pictures are.
        name: A key of ``MEASURES``.
        arguments: By name.
        shown: What is on the screen, by the names of a link; for what ``arguments`` leave open.

    Raises:
        UserError: No such measure or argument, or a value that is not possible.
    """
    kind, compute = MEASURES[check_choice("measure", name, MEASURES)]
    if unknown := [each for each in arguments if each not in kind.model_fields]:
        takes = ", ".join(kind.model_fields)
        raise UserError(f"The measure {name} takes {takes}, not {show_value(unknown[0])}.")
    given = {each: value for each, value in shown.items() if each in kind.model_fields} | dict(arguments)
    try:
        of = kind.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(f"The measure {name}: {first['loc'][-1]}: {first['msg']}.") from None
    return compute(lab, of, progress)
