"""Layers in a row, written as ``conv(6,5) pool(2) relu flatten linear(10)``: their shapes and costs, and the network.

A layer is a name with its numbers in brackets, in the order of ``KINDS`` or by name: ``conv(64,3,padding=1,bias=0)``.
``residual(...)`` goes round the layers in its brackets.
"""

import difflib
import math
import re
from collections.abc import Sequence

from torch import nn

from analysis.convolution.layers import KINDS, LIMITS, Layer, Row, build_all, measure_all, start
from analysis.errors import UserError

MAX_LAYERS = 400
MAX_LETTERS = 20_000
MAX_SIDE = 4096
MAX_NUMBERS = 10**12
_NAME = re.compile(r"[\s,;]*([A-Za-z_]\w*)\s*")


def read_shape(text: str) -> tuple[int, int, int]:
    """``3,32,32`` (or ``3x32x32``) as channels, height and width. Raises UserError: it is none, or too large."""
    found = re.fullmatch(r"\s*(\d{1,5})\s*[,x]\s*(\d{1,5})\s*[,x]\s*(\d{1,5})\s*", text)
    channels, height, width = map(int, found.groups()) if found else (0, 0, 0)
    if not 1 <= min(channels, height, width) <= max(channels, height, width) <= MAX_SIDE:
        raise UserError(
            f"The input is channels,height,width such as 3,32,32, each from 1 to {MAX_SIDE}, not {text[:40]}."
        )
    return channels, height, width


def read_layers(text: str) -> tuple[Layer, ...]:
    """The layers that are written in ``text``.

    Raises:
        UserError: An unknown layer, a missing, unknown or impossible number, or none or too many layers.
    """
    if len(text) > MAX_LETTERS:
        raise UserError(f"The stack is written in {len(text)} letters; {MAX_LETTERS} are possible.")
    layers = _read(text, is_inside=False)
    number = sum(1 + len(layer.inside) for layer in layers)
    if not 1 <= number <= MAX_LAYERS:
        raise UserError(f"A stack has 1 to {MAX_LAYERS} layers such as conv(6,5) pool(2) relu, not {number}.")
    return layers


def measure_stack(layers: Sequence[Layer], shape: tuple[int, int, int]) -> tuple[Row, ...]:
    """What each layer makes, costs and sees, for a picture ``(C, H, W)``; residual blocks show what is inside.

    Raises:
        UserError: A layer cannot follow the one before it; says the sizes.
    """
    rows = measure_all(tuple(layers), start(shape))
    largest = max(rows, key=lambda row: max(math.prod(row.shape), row.parameters))
    if max(math.prod(largest.shape), largest.parameters) > MAX_NUMBERS:
        raise UserError(
            f"{largest.layer} would have {largest.parameters} parameters, more than any computer can hold."
        )
    return tuple(rows)


def build(layers: Sequence[Layer], shape: tuple[int, int, int]) -> nn.Sequential:
    """The network itself, from ``(N, C, H, W)`` on; inside ``torch.device("meta")`` it takes no memory.

    Raises:
        UserError: As :func:`measure_stack`.
    """
    return build_all(tuple(layers), start(shape))


def _read(text: str, *, is_inside: bool) -> tuple[Layer, ...]:
    layers, at = [], 0
    while rest := text[at:].strip(" \t\r\n,;"):
        found = _NAME.match(text, at)
        if found is None:
            raise UserError(f"A layer is written as conv(6,5) or relu; {rest[:40]} is none.")
        name, at = found[1].lower(), found.end()
        inside, at = _read_brackets(text, at)
        layers.append(_read_layer(name, inside, is_inside=is_inside))
    return tuple(layers)


def _read_brackets(text: str, at: int) -> tuple[str | None, int]:
    """What is in the brackets that begin at ``at``, None if none do, and where the text goes on."""
    if text[at : at + 1] != "(":
        return None, at
    depth = 0
    for place in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return text[at + 1 : place], place + 1
    raise UserError(f"A bracket is opened at {text[at - 10 if at > 10 else 0 : at + 20]} and never closed.")


def _read_layer(name: str, inside: str | None, *, is_inside: bool) -> Layer:
    if name not in KINDS:
        near = difflib.get_close_matches(name, KINDS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(KINDS)}."
        raise UserError(f"There is no layer called {name[:40]}. {hint}")
    if name == "residual":
        if is_inside or not (inside or "").strip():
            problem = "cannot hold another one" if is_inside else "needs layers in its brackets"
            raise UserError(f"A residual block {problem}: residual(conv(64,3,1,1) norm relu conv(64,3,1,1) norm).")
        return Layer(f"residual({(inside or '').strip()})", name, inside=_read(inside or "", is_inside=True))
    given = [part.strip() for part in inside.split(",")] if (inside or "").strip() and inside else []
    text = f"{name}({','.join(given)})" if given else name
    return Layer(text, name, _read_numbers(text, name, given))


def _read_numbers(text: str, name: str, given: list[str]) -> dict[str, int]:
    defaults = KINDS[name].numbers
    numbers: dict[str, int] = {}
    for place, part in enumerate(given):
        word, is_named, value = part.rpartition("=")
        key = word.strip() if is_named else [*defaults, ""][min(place, len(defaults))]
        if key not in defaults or key in numbers:
            takes = ", ".join(defaults) or "no numbers"
            raise UserError(f"{text} has {part[:40]} too much: {name} takes {takes}.")
        low, high = LIMITS.get(key, (0 if defaults[key] == 0 else 1, 1024))
        if not re.fullmatch(r"\s*\d{1,7}\s*", value) or not low <= int(value) <= high:
            raise UserError(f"{text}: {key} must be a whole number from {low} to {high}, not {value.strip()[:40]}.")
        numbers[key] = int(value)
    for key, default in defaults.items():
        if key not in numbers:
            if default is None:
                raise UserError(f"{text} does not say its {key}: it is {name}({', '.join(defaults)}).")
            numbers[key] = default
    return numbers
