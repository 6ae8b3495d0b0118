"""What a lesson can ask for by name: numbers and words that are computed when they are asked for."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ConfigDict, ValidationError, validate_call

from analysis.errors import Progress, UserError, no_progress
from lab.learning.convolution import convolve_numbers, measure_layers, pool_numbers, read_grey, read_input
from lab.results import ShiftResult
from lab.session import Lab
from lab.shifts import map_picture
from models.registry import DEFAULT_MODEL
from models.settings import check_choice, show_value

Value = float | str
MAX_REACH = 8
"""Pixels each way of a map that a question waits for."""
SAMPLE = "chelsea"


def find_class(lab: Lab, sample: str = SAMPLE, model: str = DEFAULT_MODEL) -> str:
    """What a model takes a picture for."""
    return lab.classify(lab.open_image(sample), model).predictions[0].category


def measure_probability(lab: Lab, sample: str = SAMPLE, model: str = DEFAULT_MODEL) -> float:
    """How sure it is of that, in percent."""
    return 100 * lab.classify(lab.open_image(sample), model).predictions[0].probability


def find_shifted_class(
    lab: Lab,
    sample: str = SAMPLE,
    model: str = DEFAULT_MODEL,
    dx: float = 0,
    dy: float = 0,
    boundary: str = "zero",
    padding: str = "trained",
) -> str:
    """What it takes the picture for once that has moved, ``dx`` pixels to the right and ``dy`` down."""
    return _shift(lab, sample, model, (dx, dy), boundary, padding).after[0].category


def is_class_kept(
    lab: Lab,
    sample: str = SAMPLE,
    model: str = DEFAULT_MODEL,
    dx: float = 0,
    dy: float = 0,
    boundary: str = "zero",
    padding: str = "trained",
) -> str:
    """Whether that is what it was before: yes or no."""
    return "yes" if _shift(lab, sample, model, (dx, dy), boundary, padding).same_top1 else "no"


def measure_layer_error(
    lab: Lab,
    layer: str,
    sample: str = SAMPLE,
    model: str = DEFAULT_MODEL,
    dx: float = 0,
    dy: float = 0,
    boundary: str = "zero",
    padding: str = "trained",
) -> float:
    """How far a layer is from moving along with the picture: its relative error, 0 where it does."""
    layers = _shift(lab, sample, model, (dx, dy), boundary, padding).layers
    errors = {each.name: each.relative_error for each in layers if each.relative_error is not None}
    return errors[check_choice("layer", layer, errors)]


def is_error_above(
    lab: Lab,
    layer: str,
    least: float,
    sample: str = SAMPLE,
    model: str = DEFAULT_MODEL,
    dx: float = 0,
    dy: float = 0,
    boundary: str = "zero",
    padding: str = "trained",
) -> str:
    """Whether :func:`measure_layer_error` is more than so much: yes or no."""
    found = measure_layer_error(lab, layer, sample, model, dx, dy, boundary, padding)
    return "yes" if found > least else "no"


def measure_share_kept(
    lab: Lab,
    sample: str = SAMPLE,
    model: str = DEFAULT_MODEL,
    reach: int = 3,
    boundary: str = "zero",
    padding: str = "trained",
    progress: Progress = no_progress,
) -> float:
    """In how many of all shifts up to ``reach`` pixels each way the class stays, in percent."""
    if not 1 <= reach <= MAX_REACH:
        raise UserError(f"reach must be a whole number from 1 to {MAX_REACH}, not {reach}.")
    picture, twin = lab.open_image(sample), _is_twin(padding)
    *_, found = map_picture(lab, picture, model, reach, boundary, twin=twin, progress=progress)
    return 100 * found.map.share_kept


def _shift(
    lab: Lab, sample: str, model: str, distance: tuple[float, float], boundary: str, padding: str
) -> ShiftResult:
    return lab.shift(lab.open_image(sample), model, *distance, boundary, twin=_is_twin(padding))


def _is_twin(padding: str) -> bool:
    return check_choice("padding", padding, ("trained", "circular")) == "circular"


def find_stride(lab: Lab, model: str = DEFAULT_MODEL) -> float:
    """Pixels from one cell of the deepest feature map to the next."""
    return max((layer.stride for layer in lab.layers(model) if layer.stride), default=0)


def find_cell(
    lab: Lab, grid: str, kernel: str, row: int, column: int, stride: int = 1, padding: int = 0, flip: bool = False
) -> float:
    """A number of the output of a convolution; rows and columns count from 0."""
    output = convolve_numbers(read_input(grid=grid), kernel, stride=stride, padding=padding, flip=flip).output
    rows, columns = output.shape[-2:]
    if output.ndim != 2 or not (0 <= row < rows and 0 <= column < columns):
        raise UserError(f"The output has rows 0 to {rows - 1} and columns 0 to {columns - 1}.")
    return float(output[row, column])


def measure_side(lab: Lab, input: str, layers: str) -> float:
    """Rows of what a stack of layers makes, or its numbers if that is a vector."""
    shape = measure_layers(input, layers)[-1].shape
    return shape[-2] if len(shape) == 3 else shape[0]


def count_parameters(lab: Lab, input: str, layers: str) -> float:
    """All trained numbers of a stack of layers."""
    return sum(row.parameters for row in measure_layers(input, layers))


def measure_window(lab: Lab, input: str, layers: str) -> float:
    """Side of what a number behind a stack of layers sees of the input."""
    return measure_layers(input, layers)[-1].receptive_field_input


def measure_pooled_change(lab: Lab, kind: str, sample: str = SAMPLE, side: int = 32, window: int = 2) -> float:
    """How much of a pooled picture changes when it moves by a pixel, in percent."""
    return 100 * pool_numbers(read_grey(lab.open_image(sample), side), kind, window).shift.change


def find_steadiest_pooling(lab: Lab, kinds: str, sample: str = SAMPLE, side: int = 32, window: int = 2) -> str:
    """Of several ways to pool, the one of which least changes when the picture moves by a pixel."""
    return min(kinds.split(","), key=lambda kind: measure_pooled_change(lab, kind, sample, side, window))


MEASURES: dict[str, Callable[..., Value]] = {
    "class": find_class,
    "probability": measure_probability,
    "shifted_class": find_shifted_class,
    "class_kept": is_class_kept,
    "share_kept": measure_share_kept,
    "layer_error": measure_layer_error,
    "is_error_above": is_error_above,
    "stride": find_stride,
    "cell": find_cell,
    "side": measure_side,
    "parameters": count_parameters,
    "window": measure_window,
    "pooled_change": measure_pooled_change,
    "steadiest_pooling": find_steadiest_pooling,
}
"""Name -> function of the lab and of arguments by name, which have the names of a link where they mean the same."""
_checked = validate_call(config=ConfigDict(arbitrary_types_allowed=True))
_CHECKED: dict[str, Callable[..., Value]] = {name: _checked(function) for name, function in MEASURES.items()}


def list_arguments(name: str) -> list[str]:
    """What a lesson can give a measure."""
    return [each for each in inspect.signature(MEASURES[name]).parameters if each not in ("lab", "progress")]


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
    taken = list_arguments(check_choice("measure", name, MEASURES))
    if unknown := [each for each in arguments if each not in taken]:
        takes = ", ".join(taken)
        raise UserError(f"The measure {name} takes {takes}, not {show_value(unknown[0])}.")
    given = {each: value for each, value in shown.items() if each in taken} | dict(arguments)
    if "progress" in inspect.signature(MEASURES[name]).parameters:
        given["progress"] = progress
    try:
        return _CHECKED[name](lab, **given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(f"The measure {name}: {first['loc'][-1]}: {first['msg']}.") from None
