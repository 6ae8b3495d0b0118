"""Where everything in the drawing of a strip stands: boxes in a row, or in a column for narrow screens.

Boxes stand in steps along the *main* axis, each a step after the last box that it reads. What works side by side
stands in lanes *across*. A flow that passes over boxes is an arc beside the first lane, or has a lane to itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from analysis.figures.network_parts import SOURCE, Box, Part, Strip

HEIGHT = 48
"""Of a box; all lengths are in pixels."""
TAIL = 24
"""Width of a minor part at the end of a box; the least that a finger can hit."""
MIN_WIDTH, MAX_WIDTH = 60, 146
HEADER = 30
"""Height of the row that names a frame."""
PADDING = 10
"""Of the text in a box, both sides together."""
DOT = 8
"""Length of what stands for the beginning and the end."""
STACK = 8
"""How far what says that a box has parts stands out above it."""
MARGIN = 6
NAME_PIXELS, NOTE_PIXELS, SIZE_PIXELS = 8.4, 6.6, 6.9
"""Width of a letter, rather too much than too little: of a name, of the line below, of the sizes at the flows."""
LINE = 13
LANE_GAP = 22
MAX_ARCS = 300
MAX_ARC = 70
"""How far the longest arc stands out beside the boxes."""


@dataclass(frozen=True)
class Rectangle:
    """Its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Label:
    """Lines of text, the first one centred at, or beginning at, ``(x, y)``, which is its base line."""

    lines: tuple[str, ...]
    x: float
    y: float


@dataclass
class Layout:
    """A strip's geometry.

    Attributes:
        boxes: For each box its parts with their rectangles; the first one is the box without its tail.
        frames: The rectangle with the frame's name, and the line around its boxes as a path.
        sizes: What the flows carry.
        wires: Path of all flows but arcs.
        arcs: Path of the flows that pass over boxes.
        tips: Path of the arrowheads, and of the dots at the beginning and at the end.
        hidden_arcs: How many arcs are too many to draw.
        width: Of everything.
        height: Of everything.
    """

    boxes: list[list[tuple[Part, Rectangle]]] = field(default_factory=list)
    frames: list[tuple[Part, Rectangle, str]] = field(default_factory=list)
    sizes: list[Label] = field(default_factory=list)
    wires: str = ""
    arcs: str = ""
    tips: str = ""
    hidden_arcs: int = 0
    width: float = 0
    height: float = 0


def lay_out(strip: Strip, *, down: bool, picture: tuple[int, ...] = ()) -> Layout:
    """Places everything in a strip.

    Args:
        strip: What to draw.
        down: Whether it goes from top to bottom rather than from left to right.
        picture: Shape ``(C, H, W)`` of what comes in, where it is known.
    """
    return _Placement(strip, down, picture).layout


def name_box(part: Part) -> str:
    """The name in a box: the end of the module's name, with as much before it as is needed where it is a number."""
    words = part.name.split(".")
    count = 1
    while count < len(words) and words[-count].split("#")[0].isdigit():
        count += 1
    return shorten(".".join(words[-count:]), MAX_WIDTH - PADDING, NAME_PIXELS)


def note_box(part: Part) -> str:
    """The line below: what it is, or what it is made of where all its parts are alike."""
    types = [inner.layer.type for inner in part.parts]
    is_uniform = len(types) > 1 and len(set(types)) == 1
    name = (types[0] if is_uniform else part.layer.type).removesuffix("2d")
    text = f"{len(types)} × {name}" if is_uniform else name
    return shorten(text, MAX_WIDTH - PADDING, NOTE_PIXELS)


def size_lines(shape: tuple[int, ...], *, in_one: bool) -> tuple[str, ...]:
    """``C × H × W`` in one line or two."""
    if in_one or len(shape) < 2:
        return ("×".join(map(str, shape)),)
    return (f"{shape[0]}×", "×".join(map(str, shape[1:])))


def shorten(text: str, width: float, letter: float) -> str:
    """As much of the beginning and the end as fits into a width."""
    most = int(width / letter)
    return text if len(text) <= most else f"{text[: (most - 1) * 2 // 3]}…{text[-(most - 1 - (most - 1) * 2 // 3) :]}"


def _measure(box: Box) -> float:
    """Width of a box with its tail."""
    text = max(len(name_box(box.part)) * NAME_PIXELS, len(note_box(box.part)) * NOTE_PIXELS) + PADDING
    return 2 * round(min(max(text, MIN_WIDTH), MAX_WIDTH) / 2) + TAIL * len(box.tail)


class _Placement:
    def __init__(self, strip: Strip, down: bool, picture: tuple[int, ...]):
        self.strip, self.down, self.layout = strip, down, Layout()
        self.end = len(strip.boxes)
        self.shapes = {SOURCE: picture} | {i: box.output_shape for i, box in enumerate(strip.boxes)}
        self.steps = self._find_steps()
        self.straight = {(source, target) for source, target in strip.flows if self._is_straight(source, target)}
        self.lanes = self._find_lanes()
        self.arcs = sorted(set(strip.flows) - self.straight)
        if len(self.arcs) > MAX_ARCS:
            kept = [(source, target) for source, target in self.arcs if source == SOURCE or target == self.end]
            self.layout.hidden_arcs, self.arcs = len(self.arcs) - len(kept), kept
        sizes = [(_measure(box), HEIGHT) for box in strip.boxes]
        self.along, self.across = (
            {SOURCE: DOT, self.end: DOT} | {number: size[axis] for number, size in enumerate(sizes)}
            for axis in (down, not down)
        )
        depths = 1 + max((self._depth(number) for number in range(len(strip.frames))), default=-1)
        self._measure_main_axis()
        header = depths * (8 if down else HEADER)
        self._measure_lanes(header + (MARGIN if down else STACK), header)
        self._place()

    def _find_steps(self) -> dict[int, int]:
        """How many boxes have to come before each one; the beginning is step 0."""
        steps = {SOURCE: 0}
        for number in range(self.end):
            steps[number] = 1 + max(steps[source] for source in self.strip.list_sources(number))
        return steps | {self.end: 1 + max(steps.values())}

    def _is_straight(self, source: int, target: int) -> bool:
        """Whether a flow goes to the next step, or is all that leaves a box."""
        is_next = self.steps[target] == self.steps[source] + 1
        return is_next or (source != SOURCE and self.strip.list_targets(source) == [target])

    def _find_lanes(self) -> dict[int, int]:
        """The lane of each box, which nothing else needs until its flow has left it."""
        lanes = {SOURCE: 0, self.end: 0}
        taken: set[tuple[int, int]] = set()
        for number in range(self.end):
            targets = [target for target in self.strip.list_targets(number) if (number, target) in self.straight]
            until = max((self.steps[target] for target in targets), default=self.steps[number] + 1)
            steps = range(self.steps[number], max(until, self.steps[number] + 1))
            source = min(self.strip.list_sources(number), key=lambda source: lanes[source])
            wanted = [lanes[source], *range(len(self.strip.boxes) + 1)]
            lanes[number] = next(lane for lane in wanted if not any((lane, step) in taken for step in steps))
            taken |= {(lanes[number], step) for step in steps}
        return lanes

    def _measure_main_axis(self) -> None:
        """Where each step begins along the main axis, and each box in it."""
        self.bend = 24 if len(set(self.lanes.values())) > 1 else 8
        self.main, self.starts, start = {}, {}, float(MARGIN)
        for step in range(self.steps[self.end] + 1):
            here = [number for number, at in self.steps.items() if at == step]
            size = max(self.along[number] for number in here)
            if self.down:  # names of frames stand before the first box
                start += HEADER * sum(frame.first in here for frame in self.strip.frames)
            for number in here:
                self.starts[number] = start
                self.main[number] = start + (size - self.along[number]) / 2
            longest = max(_width(self._lines(number)) for number in here)
            gap = max(LINE + STACK + 8 if self.down else longest + 8, 14)
            start += size + gap + self.bend
        self.length = self.main[self.end] + DOT + MARGIN

    def _measure_lanes(self, first: float, header: float) -> None:
        """Where the middles of the lanes are across; arcs need room beside the first one."""
        room = header + max((self._reach(*arc) for arc in self.arcs), default=0) + MARGIN
        self.middles: list[float] = []
        for lane in range(max(self.lanes.values()) + 1):
            inside = [number for number, at in self.lanes.items() if at == lane]
            half = max(self.across[number] for number in inside) / 2
            if self.down:  # the sizes stand right of the flow
                half = max(half, *(_width(self._lines(number)) + 10 for number in inside))
            self.middles.append(max(first + half, room))
            first = self.middles[-1] + half + LANE_GAP
        self.breadth = first - LANE_GAP + (MARGIN if self.down else LINE)

    def _lines(self, number: int) -> tuple[str, ...]:
        shape = self.shapes.get(number, ())
        return size_lines(shape, in_one=self.down) if shape else ()

    def _depth(self, number: int) -> int:
        """In how many other frames a frame is."""
        frame = self.strip.frames[number]
        return sum(frame.part in other.part.walk() for other in self.strip.frames[:number])

    def _reach(self, source: int, target: int) -> float:
        """How far an arc goes sideways from the lane in which it begins."""
        span, longest = (self.steps[end] - self.steps[start] for start, end in ((source, target), (SOURCE, self.end)))
        side = max(_measure(box) for box in self.strip.boxes) if self.down else HEIGHT + STACK
        return side / 2 + 8 + min(MAX_ARC, 9 * longest) * span / longest

    def _point(self, main: float, cross: float) -> tuple[float, float]:
        return (cross, main) if self.down else (main, cross)

    def _path(self, command: str, *points: tuple[float, float]) -> str:
        return command + " ".join(f"{x:g} {y:g}" for x, y in (self._point(*point) for point in points))

    def _place(self) -> None:
        layout = self.layout
        layout.width, layout.height = self._point(self.length, self.breadth)
        layout.boxes = [list(self._place_box(number, box)) for number, box in enumerate(self.strip.boxes)]
        layout.frames = [self._place_frame(number) for number in range(len(self.strip.frames))]
        ends = (name.x + name.width + MARGIN for _, name, _ in layout.frames)
        layout.width = max(layout.width, *ends) if layout.frames else layout.width
        layout.sizes = [self._place_size(number) for number in range(SOURCE, self.end) if self._lines(number)]
        layout.wires = "".join(self._draw_wire(*flow) for flow in sorted(self.straight))
        layout.arcs = "".join(self._draw_arc(*arc) for arc in self.arcs)
        layout.tips = "".join(self._draw_tip(number) for number in range(self.end + 1))
        layout.tips += self._draw_dot(SOURCE) + self._draw_dot(self.end)

    def _head(self, number: int) -> float:
        """Where the arrow to a box ends: in a strip that goes down it comes upon the stack of a box with parts."""
        is_stack = self.down and number != self.end and bool(self.strip.boxes[number].part.parts)
        return self.main[number] - (STACK if is_stack else 0)

    def _middle(self, number: int) -> float:
        return self.middles[self.lanes[number]]

    def _place_box(self, number: int, box: Box) -> Iterator[tuple[Part, Rectangle]]:
        whole = _measure(box)
        x, y = self._point(self.main[number], self._middle(number))
        x, y = (x - whole / 2, y) if self.down else (x, y - HEIGHT / 2)
        width = whole - TAIL * len(box.tail)
        yield box.part, Rectangle(x, y, width, HEIGHT)
        for index, part in enumerate(box.tail):
            yield part, Rectangle(x + width + TAIL * index, y, TAIL, HEIGHT)

    def _place_frame(self, number: int) -> tuple[Part, Rectangle, str]:
        frame, depth = self.strip.frames[number], self._depth(number)
        inside = range(frame.first, frame.last + 1)
        start = min(self.main[i] for i in inside)
        end = max(self.main[i] + self.along[i] for i in inside)
        widest = max(_measure(self.strip.boxes[i]) for i in inside) + DOT
        width = round(min(len(name_box(frame.part)) * NAME_PIXELS + 16, widest))
        if self.down:
            rows = [i for i, other in enumerate(self.strip.frames) if other.first == frame.first]
            x, top = (
                3 + 8 * depth,
                self.starts[frame.first] - self.bend - STACK - HEADER * (len(rows) - rows.index(number)),
            )
            bottom = top + HEADER - 10
            return frame.part, Rectangle(x, top, width, HEADER - 10), f"M{x:g} {bottom - 6:g}V{end:g}h5"
        top = 1 + depth * HEADER
        line = f"M{start + width:g} {top + (HEADER - 10) / 2:g}H{end:g}v7"
        return frame.part, Rectangle(start, top, width, HEADER - 10), line

    def _place_size(self, number: int) -> Label:
        lines = self._lines(number)
        end = self.main[number] + self.along[number]
        x, y = self._point(end, self._middle(number))
        return (
            Label(lines, x + 7, y + LINE + 1) if self.down else Label(lines, x + 5 + _width(lines) / 2, y + LINE + 2)
        )

    def _draw_wire(self, source: int, target: int) -> str:
        start, end = self.main[source] + self.along[source], self._head(target) - 3
        here, there = self._middle(source), self._middle(target)
        line = self._path("M", (start, here))
        if here != there:
            # The turn is before the whole step, so that it passes no box of another lane.
            straight = self.starts[target] - 3 - (STACK if self.down else 0)
            turn = straight - self.bend + 6
            line += self._path("L", (turn, here))
            line += self._path("C", (turn + 12, here), (straight - 12, there), (straight, there))
        return line + self._path("L", (end, there))

    def _draw_arc(self, source: int, target: int) -> str:
        start, end = self.main[source] + self.along[source] + 3, self._head(target) - 9
        here, there = self._middle(source), self._middle(target)
        top = min(here, there) - self._reach(source, target) / 0.75  # a curve goes three quarters of the way
        return self._path("M", (start, here)) + self._path("C", (start, top), (end, top), (end, there))

    def _draw_tip(self, number: int) -> str:
        main, cross = self._head(number), self._middle(number)
        return self._path("M", (main, cross)) + self._path("L", (main - 7, cross - 4), (main - 7, cross + 4)) + "Z"

    def _draw_dot(self, number: int) -> str:
        main, cross, half = self.main[number], self._middle(number), DOT / 2
        x, y = self._point(main + half, cross)
        return f"M{x - half:g} {y:g}a{half:g} {half:g} 0 1 0 {DOT} 0a{half:g} {half:g} 0 1 0 {-DOT} 0Z"


def _width(lines: tuple[str, ...]) -> int:
    return 2 * round(max(map(len, lines), default=0) * SIZE_PIXELS / 2)
