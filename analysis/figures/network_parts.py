"""A network as its drawing shows it: parts within parts, in strips of boxes, and what flows between them.

A *strip* has the parts of one module side by side, or those of the whole network. A part that has parts itself is one
box in its strip, and another strip inside. Normalisations, activations and the like stand at the end of the box whose
output they change.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from analysis.grammar import count
from analysis.network.flow import PICTURE
from analysis.network.layers import Layer

KINDS: dict[str, tuple[str, ...]] = {
    "attention": ("attention", "attn"),
    "conv": ("conv",),
    "pool": ("pool",),
    "linear": ("linear",),
    "norm": ("norm",),
    "activation": ("relu", "elu", "silu", "sigmoid", "swish", "tanh", "mish", "softmax", "softplus", "glu"),
    "shape": ("flatten", "identity", "drop", "depth", "permute", "reshape", "shuffle"),
}
"""Kind of a layer -> what names of its class hold, in lower case; the first kind counts that fits."""
MINOR = ("norm", "activation", "shape")
"""Kinds that stand at the end of the box before them."""
ENOUGH = 6
"""Boxes that an overview should have: with fewer, its largest part is shown as its parts."""
SOURCE = -1
"""Stands, among the numbers of boxes, for what comes into a strip."""


@dataclass(frozen=True, eq=False)
class Part:
    """A call of a module, with the calls inside it, in the order in which they ended."""

    layer: Layer
    parts: tuple["Part", ...]

    @property
    def name(self) -> str:
        """The call's name."""
        return self.layer.name

    @property
    def outer(self) -> str:
        """The name of the module around it."""
        return self.name.rpartition(".")[0]

    def walk(self) -> Iterator["Part"]:
        """The part itself and all within it."""
        yield self
        for part in self.parts:
            yield from part.walk()

    @cached_property
    def size(self) -> int:
        """How many parts it is, with itself."""
        return 1 + sum(part.size for part in self.parts)

    @cached_property
    def kind(self) -> str:
        """A key of ``KINDS``, "other", or "block" for what has several parts that do more than to change a value."""
        own = find_kind(self.layer.type)
        if not self.parts or own == "attention":
            return own
        kinds = [part.kind for part in self.parts]
        major = [kind for kind in kinds if kind not in MINOR]
        if not major:
            return own if own in MINOR else kinds[0]
        return major[0] if len(major) == 1 else "block"

    @property
    def is_minor(self) -> bool:
        """Whether it can stand at the end of another box."""
        return self.kind in MINOR

    @property
    def can_dissolve(self) -> bool:
        """Whether its parts can stand in its place: all that leaves it comes from one of them."""
        inside = f"{self.name.split('#')[0]}."
        made_from = self.layer.made_from
        return bool(self.parts) and len(made_from) == 1 and made_from[0].startswith(inside)


@dataclass(frozen=True)
class Box:
    """A part, with the minor ones that follow it and nothing else."""

    part: Part
    tail: tuple[Part, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """All of it."""
        return (self.part, *self.tail)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of what leaves it."""
        return self.parts[-1].layer.output_shape


@dataclass(frozen=True)
class Frame:
    """A part that is shown as its parts: the boxes from ``first`` to ``last``."""

    part: Part
    first: int
    last: int


@dataclass(frozen=True)
class Strip:
    """What is drawn side by side.

    Attributes:
        inside: Whose parts they are; None for the network's.
        boxes: In the order of the calls.
        frames: Around some of them, the outermost first.
        flows: Pairs of numbers of boxes; ``SOURCE`` is what comes in, the number of boxes what goes out.
    """

    inside: Part | None
    boxes: tuple[Box, ...]
    frames: tuple[Frame, ...]
    flows: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        """Of the part that it is the inside of; empty for the network."""
        return self.inside.name if self.inside else ""

    def list_parts(self) -> Iterator[Part]:
        """Everything that can be chosen in it."""
        yield from (frame.part for frame in self.frames)
        yield from (part for box in self.boxes for part in box.parts)

    def list_sources(self, box: int) -> list[int]:
        """What flows into a box."""
        return [source for source, target in self.flows if target == box]

    def list_targets(self, box: int) -> list[int]:
        """Where a box's output flows."""
        return [target for source, target in self.flows if source == box]


def find_kind(type_name: str) -> str:
    """The kind of a module by the name of its class."""
    name = type_name.lower()
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), "other")


def build_parts(layers: Sequence[Layer]) -> tuple[Part, ...]:
    """The outermost calls of a forward, with all others inside them.

    Args:
        layers: Of :func:`analysis.network.layers.list_layers`; what is never called is left out.
    """
    waiting: list[Part] = []
    for layer in layers:
        if layer.output_shape and layer.type != "Parameter":
            # Calls inside another one end before it does.
            inside = f"{layer.name.split('#')[0]}."
            parts = tuple(part for part in waiting if part.name.startswith(inside))
            waiting = [part for part in waiting if not part.name.startswith(inside)]
            waiting.append(Part(layer, parts))
    return tuple(waiting)


def list_strips(layers: Sequence[Layer]) -> Iterator[Strip]:
    """The strip of the whole network, then that of each part which has parts, outer ones first."""
    parts = build_parts(layers)
    if parts:
        yield from _list_strips(None, parts)


def _list_strips(inside: Part | None, parts: Sequence[Part]) -> Iterator[Strip]:
    strip = _build_strip(inside, parts)
    yield strip
    for box in strip.boxes:
        for part in box.parts:
            if part.parts:
                yield from _list_strips(part, part.parts)


def _build_strip(inside: Part | None, parts: Sequence[Part]) -> Strip:
    shown, dissolved = _dissolve(parts, ENOUGH if inside is None else 2)
    around = {part.name: [frame for frame in dissolved if part in frame.walk()] for part in shown}
    boxes: list[Box] = []
    for part in shown:
        if boxes and part.is_minor and _follows(part, boxes[-1], around):
            boxes[-1] = Box(boxes[-1].part, (*boxes[-1].tail, part))
        else:
            boxes.append(Box(part))
    numbers = {name: number for number, box in enumerate(boxes) for part in box.parts for name in _names(part)}
    frames = []
    for frame in dissolved:
        within = [number for number, box in enumerate(boxes) if frame in around[box.part.name]]
        frames.append(Frame(frame, within[0], within[-1]))
    for frame in reversed(dissolved):  # where the network names one of them, the box is meant that it ends with
        numbers[frame.name] = numbers.get(frame.layer.made_from[0], SOURCE)
    return Strip(inside, tuple(boxes), tuple(frames), tuple(_find_flows(inside, boxes, numbers)))


def _dissolve(parts: Sequence[Part], enough: int) -> tuple[list[Part], list[Part]]:
    """What to show so that there are ``enough`` boxes, if that can be, and which parts were replaced by theirs.

    Those that stand beside the largest one and are like it are treated like it.
    """
    shown, dissolved = list(parts), []
    while sum(not part.is_minor for part in shown) < enough:
        can = [part for part in shown if part.can_dissolve and not part.is_minor]
        if not can:
            break
        largest = max(can, key=lambda part: part.size)
        for part in can:
            if part is largest or (part.layer.type, part.outer) == (largest.layer.type, largest.outer):
                at = shown.index(part)
                shown[at : at + 1] = part.parts
                dissolved.append(part)
    return shown, dissolved


def _follows(part: Part, box: Box, around: dict[str, list[Part]]) -> bool:
    """Whether a part works on the output of a box and nothing else, and stands in the same frames."""
    last = box.parts[-1].layer
    outputs = (last.name, *last.made_from) if last.repeats and len(last.made_from) == 1 else (last.name,)
    reads = part.layer.reads
    return len(reads) == 1 and reads[0] in outputs and around[part.name] == around[box.part.name]


def _names(part: Part) -> Iterator[str]:
    return (inner.name for inner in part.walk())


def _find_flows(inside: Part | None, boxes: Sequence[Box], numbers: dict[str, int]) -> Iterator[tuple[int, int]]:
    """The flows between boxes, into the strip and out of it, each once."""
    used = set()
    for number, box in enumerate(boxes):
        # Where it is not known what a call reads, it is taken to go on with what was there before.
        reads = box.part.layer.reads
        sources = {numbers.get(name, SOURCE) for name in reads} if reads else {number - 1}
        sources = {source for source in sources if source < number} or {number - 1}
        used |= sources
        yield from ((source, number) for source in sorted(sources))
    end = len(boxes)
    if inside is None or not inside.layer.made_from:
        leaving = {number for number in range(end) if number not in used} or {end - 1}
    else:
        leaving = {numbers.get(name, SOURCE) for name in inside.layer.made_from}
    yield from ((source, end) for source in sorted(leaving))


def describe_sees(layer: Layer) -> str:
    """What a cell of a layer's map sees, in words; nothing for other outputs."""
    if not layer.is_feature_map:
        return ""
    if layer.sees_all:
        sees = "Each cell sees the whole picture"
    elif layer.receptive_field is None:
        sees = "What a cell sees is not fixed"
    else:
        sees = f"Each cell sees {layer.receptive_field} × {layer.receptive_field} px"
    return f"{sees}, one cell per {layer.stride} px" if layer.stride else sees


def describe_part(part: Part) -> str:
    """Name, type, size of the output, and what a cell sees, in plain words."""
    layer = part.layer
    shape = " × ".join(map(str, layer.output_shape))
    sentences = [f"{layer.name}: {layer.type}, gives {shape}", describe_sees(layer) or "It has no feature map"]
    if layer.num_params:
        sentences.append(count(layer.num_params, "weight"))
    if len(layer.reads) > 1:
        named = ["the picture" if name == PICTURE else name for name in layer.reads[-3:]]
        more = [f"{len(layer.reads) - 3} more"] if len(layer.reads) > 3 else []
        *first, last = [*named, *more]
        sentences.append(f"It brings together {', '.join(first)} and {last}")
    return ". ".join(sentences) + "."
