"""Nothing in the drawing of a network stands upon anything else."""

from collections.abc import Iterator
from itertools import combinations

import pytest
import torch
from torch import nn

from analysis.figures.network_layout import (
    LINE,
    MAX_ARCS,
    SIZE_PIXELS,
    Layout,
    lay_out,
    name_box,
    note_box,
    shorten,
)
from analysis.figures.network_parts import build_parts, list_strips
from analysis.network.layers import list_layers
from tests.unit.analysis.figures.networks import CASES, trace

Extent = tuple[float, float, float, float]


def list_extents(layout: Layout, down: bool) -> Iterator[Extent]:
    """Left, top, right and bottom of every box, name of a frame, and size."""
    named = [rectangle for box in layout.boxes for _, rectangle in box] + [place for _, place, _ in layout.frames]
    yield from ((place.x, place.y, place.x + place.width, place.y + place.height) for place in named)
    for label in layout.sizes:
        width = max(map(len, label.lines)) * SIZE_PIXELS
        left = label.x if down else label.x - width / 2
        yield left, label.y - LINE + 2, left + width, label.y + 3 + LINE * (len(label.lines) - 1)


def overlap(one: Extent, other: Extent) -> bool:
    nothing = 0.01
    return all(one[axis] < other[axis + 2] - nothing and other[axis] < one[axis + 2] - nothing for axis in (0, 1))


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("family", CASES)
def test_nothing_overlaps_and_nothing_is_cut_off(family, down):
    for strip in list_strips(trace(family)):
        layout = lay_out(strip, down=down, picture=(3, 64, 64))
        extents = list(list_extents(layout, down))
        assert len(extents) > len(strip.boxes)
        assert not [pair for pair in combinations(extents, 2) if overlap(*pair)]
        for left, top, right, bottom in extents:
            assert left >= 0 and top >= 0 and right <= layout.width and bottom <= layout.height


def test_what_overlaps_is_found():
    assert overlap((0, 0, 10, 10), (9, 9, 20, 20)) and not overlap((0, 0, 10, 10), (10, 0, 20, 10))


def test_branches_have_lanes_and_a_chain_has_one():
    strips = {strip.name: strip for strip in list_strips(trace("googlenet"))}
    rows = {box[0][1].y for box in lay_out(strips["inception3a"], down=False).boxes}
    assert len(rows) == 4
    assert len({box[0][1].y for box in lay_out(strips[""], down=False).boxes}) == 1
    ends = [(box[0][1].x, box[-1][1].x + box[-1][1].width) for box in lay_out(strips[""], down=True).boxes]
    assert len({round(left + right) for left, right in ends}) == 1


def test_the_first_arrow_says_the_size_of_the_picture():
    strip = next(list_strips(trace("resnet18")))
    across, down = (lay_out(strip, down=is_down, picture=(3, 64, 48)).sizes for is_down in (False, True))
    assert (across[0].lines, down[0].lines) == (("3×", "64×48"), ("3×64×48",))
    assert (across[-1].lines, down[-1].lines) == (("1000",), ("1000",))
    assert len(lay_out(strip, down=False).sizes) == len(across) - 1


class Dense(nn.Module):
    """Every part reads all parts before it."""

    def __init__(self, count: int):
        super().__init__()
        self.parts = nn.ModuleList(nn.Conv2d(1, 1, 1) for _ in range(count))

    def forward(self, x):
        for part in self.parts:
            x = x + part(x)
        return x


def test_of_too_many_arcs_it_is_said_how_many_are_missing():
    layers = list_layers(Dense(40).eval(), torch.zeros(1, 1, 4, 4))
    (strip,) = list_strips(layers)
    layout = lay_out(strip, down=False)
    assert layout.arcs.count("M") + layout.hidden_arcs > MAX_ARCS >= layout.arcs.count("M") > 0


def test_long_names_are_shortened_in_the_middle():
    assert shorten("abcdefghij", 60, 6) == "abcdefghij"
    assert shorten("abcdefghijk", 60, 6) == "abcdef…ijk"
    (part,) = build_parts(list_layers(nn.Sequential(nn.Conv2d(1, 1, 1)), torch.zeros(1, 1, 4, 4)))
    assert (name_box(part), note_box(part)) == ("0", "Conv")
