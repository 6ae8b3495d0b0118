"""Questions about stacks, with the worked solution: how large, how many parameters, how far a cell sees."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from analysis.convolution.layers import Layer, Row
from analysis.convolution.presets import PRESETS
from analysis.convolution.sizes import by_sides
from analysis.convolution.stack import measure_stack, read_layers
from analysis.errors import UserError

_UNITS = {"": 1, "k": 1e3, "thousand": 1e3, "m": 1e6, "million": 1e6}


@dataclass(frozen=True)
class Question:
    """A question.

    Attributes:
        kind: A key of ``KINDS``.
        shape: Of the picture, ``(C, H, W)``.
        answer: Height, width and channels of a size (how many, of a vector); else one number.
        tolerance: How far off a single number may be.
        solution: Line by line.
    """

    kind: str
    text: str
    shape: tuple[int, int, int]
    layers: str
    answer: tuple[int, ...]
    solution: str
    tolerance: int = 0

    def is_right(self, given: str) -> bool:
        """Whether an answer such as ``28x28x6``, ``760`` or ``138 million`` is right."""
        if self.kind == "size":
            return tuple(map(int, re.findall(r"\d{1,9}", given))) == self.answer
        found = re.fullmatch(r"([\d,]{1,20}(?:\.\d{1,9})?)\s*(k|thousand|m|million)?(?:\s.*)?", given.strip().lower())
        if found is None or not found[1].strip(","):
            return False
        number = float(found[1].replace(",", "")) * _UNITS[found[2] or ""]
        return abs(number - self.answer[0]) <= self.tolerance

    def to_json(self) -> dict:
        """A JSON-ready dictionary."""
        return asdict(self)


@dataclass(frozen=True)
class Kind:
    """A kind of question.

    Attributes:
        ask: What is asked behind "A picture of … goes through …".
        answer: The numbers, from all rows.
        explain: The line of the solution for a row; "" where there is nothing to say.
    """

    title: str
    ask: str
    answer: Callable[[Sequence[Row]], tuple[int, ...]]
    explain: Callable[[Row], str]


def _order(row: Row) -> tuple[int, ...]:
    """Height, width, channels, as the notes write sizes."""
    return (*row.shape[1:], row.shape[0])


def _explain_size(row: Row) -> str:
    return f"{row.sums['size']}, so {by_sides(_order(row))}" if "size" in row.sums else by_sides(_order(row))


KINDS = {
    "size": Kind(
        "Output size",
        "What size comes out (height x width x channels)?",
        lambda rows: _order(rows[-1]),
        _explain_size,
    ),
    "parameters": Kind(
        "Number of parameters",
        "How many parameters are trained?",
        lambda rows: (sum(row.parameters for row in rows),),
        lambda row: row.sums.get("parameters", ""),
    ),
    "receptive_field": Kind(
        "Receptive field",
        "How many pixels of the picture does a cell at the end see along one side?",
        lambda rows: (rows[-1].receptive_field_input,),
        lambda row: row.sums.get("receptive_field", ""),
    ),
}


def ask(seed: int, kind: str) -> Question:
    """A question about a random stack, the same for the same seed.

    Raises:
        UserError: There is no such kind of question.
    """
    if kind not in KINDS:
        raise UserError(f"There are no questions of the kind {kind[:40]}; there are {', '.join(KINDS)}.")
    chance = random.Random(f"{kind} {seed}")
    while True:
        shape = (chance.choice((1, 3)), *(chance.choice((16, 28, 32, 64)),) * 2)
        text = " ".join(
            _draw_layer(chance) for _ in range(chance.randint(*(2, 4) if kind == "receptive_field" else (1, 2)))
        )
        if kind == "parameters" and chance.random() < 0.3:
            text += f" flatten linear({chance.choice((10, 100))})"
        try:
            question = build_question(kind, shape, text)
        except UserError:  # it does not fit
            continue
        if question.answer != (0,):
            return question


def _draw_layer(chance: random.Random) -> str:
    if chance.random() < 0.3:
        return chance.choice(("pool(2)", "pool(3,2)", "avgpool(2)"))
    kernel, stride = chance.choice((1, 3, 5, 7)), chance.choice((1, 1, 2, 3))
    padding = chance.choice((0, kernel // 2, 1 if kernel > 1 else 0))
    return f"conv({chance.choice((4, 6, 8, 10, 16, 32))},{kernel},{stride},{padding})"


def build_question(
    kind: str, shape: tuple[int, int, int], layers: str, *, name: str = "", tolerance: int = 0
) -> Question:
    """The question of a kind about a stack, which the text describes, or calls by its name.

    Raises:
        UserError: The stack cannot be.
    """
    rows, asked = measure_stack(read_layers(layers), shape), KINDS[kind]
    lines = [f"{row.layer}: {line}" for row in rows if (line := asked.explain(row))]
    answer = asked.answer(rows)
    if kind == "parameters" and len(lines) > 1:
        lines.append(f"{' + '.join(str(row.parameters) for row in rows if row.parameters)} = {answer[0]}")
    picture = by_sides((*shape[1:], shape[0]))
    through = name or ", then ".join(map(_describe, read_layers(layers)))
    text = f"A picture of {picture} (height x width x channels) goes through {through}. {asked.ask}"
    return Question(kind, text, shape, layers, answer, "\n".join(lines), tolerance)


def _describe(layer: Layer) -> str:
    """A layer in words."""
    numbers, title = layer.numbers, layer.title
    if "kernel" not in numbers:
        return f"a {title} layer of {numbers['units']} units" if "units" in numbers else title
    window = f"{numbers['kernel']} x {numbers['kernel']}"
    filters = numbers.get("filters")
    what = f"{filters} filter{'s' * (filters > 1)} of {window}" if filters else f"{title} of {window}"
    stride, padding = numbers["stride"] or numbers["kernel"], numbers["padding"]
    return f"{what} (stride {stride}, padding {padding}{'' if numbers.get('bias', 1) else ', no bias'})"


def list_notes() -> tuple[Question, ...]:
    """The questions of the lecture notes."""
    photo = (3, 32, 32)
    own = (
        build_question("size", photo, "conv(6,5)"),
        build_question("size", photo, "conv(10,5,1,2)"),
        build_question("parameters", photo, "conv(10,5,1,2)"),
        build_question("size", (1, 7, 7), "conv(1,3,2)"),
        build_question("receptive_field", (64, 56, 56), "conv(64,3) conv(64,3) conv(64,3)"),
    )
    vggs = [PRESETS[f"vgg_{name}"] for name in "abcde"]
    sizes = [build_question("parameters", vgg.shape, vgg.text, name=vgg.title, tolerance=700_000) for vgg in vggs]
    return (*own, *sizes)
