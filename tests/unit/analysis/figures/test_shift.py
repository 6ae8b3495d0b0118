"""Charts of shift maps and layer meters hold the numbers they were given, and outline the right cells."""

import json
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.equivariance.align import LayerError
from analysis.equivariance.meter import LayerMeter, PhaseErrors
from analysis.figures.shift import (
    COLORINGS,
    MAP_COLORS,
    MAX_NAMED,
    Panel,
    plot_meter,
    plot_shift_errors,
    plot_shift_maps,
)
from analysis.figures.style import HEIGHT
from analysis.shift.shift_map import ShiftMap, to_shift_map

LONG = "German short-haired pointer"
CATEGORIES = ("cat", "dog", LONG, "<b>ox</b>")


def make_map(top1, *, target: int = 0, is_tie=None, seed: int = 0) -> ShiftMap:
    """A complete map with these classes and random numbers."""
    top1 = torch.tensor(top1)
    reach = len(top1) // 2
    generator = torch.Generator().manual_seed(seed)
    probability, margin = torch.rand(2, *top1.shape, generator=generator)
    is_tie = torch.zeros_like(top1, dtype=torch.bool) if is_tie is None else torch.tensor(is_tie)
    distances = tuple(range(-reach, reach + 1))
    arrays = top1, probability, 8 * margin - 3, is_tie, torch.ones_like(is_tie)
    return ShiftMap(distances, target, *arrays, best=top1[..., None], best_probability=probability[..., None])


def make_panel(top1, title: str = "net", stride: int | None = None, categories=CATEGORIES, **options) -> Panel:
    return Panel(title, make_map(top1, **options), categories, stride)


def read(figure) -> dict:
    """The figure as a browser gets it; NaN and infinity are no JSON."""
    return json.loads(figure.to_json(), parse_constant=pytest.fail)


def draw(*panels: Panel, color_by: str = "probability", **options) -> dict:
    return read(plot_shift_maps(panels, color_by, **options))


def heatmaps(figure: dict) -> list[dict]:
    return [trace for trace in figure["data"] if trace["type"] == "heatmap"]


SQUARE = [[0, 1, 0], [0, 0, 2], [3, 0, 0]]


# Cells.


@pytest.mark.parametrize("measure", ["probability", "margin"])
def test_cells_hold_the_numbers_with_dy_down_the_rows(measure):
    panel = make_panel(SQUARE)
    figure = draw(panel, color_by=measure)
    (cells,) = heatmaps(figure)
    assert cells["x"] == cells["y"] == [-1, 0, 1]
    assert cells["z"] == getattr(panel.map, measure).tolist()
    assert figure["layout"]["xaxis"]["title"]["text"] == "dx"
    assert figure["layout"]["yaxis"]["title"]["text"] == "dy"
    low, high = figure["layout"]["yaxis"]["range"]
    assert low == -high > 0  # down is positive


def test_hovering_tells_shift_class_probability_and_margin():
    panel = make_panel(SQUARE)
    (cells,) = heatmaps(draw(panel, color_by="margin"))
    assert cells["hovertemplate"].startswith("dx %{x}, dy %{y}<br>%{customdata}")
    for i, j in ((0, 0), (0, 1), (1, 2), (2, 0)):
        name, numbers = cells["customdata"][i][j].split("<br>")
        probability, margin = float(panel.map.probability[i, j]), float(panel.map.margin[i, j])
        assert name == CATEGORIES[SQUARE[i][j]]
        assert numbers == f"cat {100 * probability:.1f}%, margin {margin:+.2f}"


def test_classes_are_numbered_by_how_frequent_they_are():
    top1 = [[2, 2, 2], [2, 2, 1], [1, 1, 0]]
    figure = draw(make_panel(top1), color_by="class")
    (cells,) = heatmaps(figure)
    assert cells["z"] == [[0, 0, 0], [0, 0, 1], [1, 1, 2]]
    axis = figure["layout"]["coloraxis"]
    assert (axis["cmin"], axis["cmax"]) == (-0.5, 2.5)
    assert axis["colorbar"]["tickvals"] == [0, 1, 2]
    assert axis["colorbar"]["ticktext"] == ["German short-hair…", "dog", "cat"]


def test_every_class_has_one_colour_between_its_ticks():
    axis = draw(make_panel(SQUARE), color_by="class")["layout"]["coloraxis"]
    ends = [end for end, _ in axis["colorscale"]]
    assert ends == sorted(ends) and (ends[0], ends[-1]) == (0, 1)
    for number in range(4):
        at = (number - axis["cmin"]) / (axis["cmax"] - axis["cmin"])
        below = [color for end, color in axis["colorscale"] if end <= at][-1]
        above = next(color for end, color in axis["colorscale"] if end >= at)
        assert below == above == MAP_COLORS[number]


def test_rare_classes_share_the_last_colour():
    side = 5
    common = [[number % MAX_NAMED for number in range(row * side, (row + 1) * side)] for row in range(side)]
    common[4][3], common[4][4] = 20, 21  # all others are there at least twice
    names = [f"class {index}" for index in range(30)]
    figure = draw(make_panel(common, categories=names), color_by="class")
    ticks = figure["layout"]["coloraxis"]["colorbar"]["ticktext"]
    assert len(ticks) == MAX_NAMED + 1 == len(MAP_COLORS)
    assert ticks[-1] == "other classes" and set(ticks[:-1]) == set(names[:MAX_NAMED])
    (cells,) = heatmaps(figure)
    assert cells["z"][4][3] == cells["z"][4][4] == MAX_NAMED
    assert Counter(z for row in cells["z"] for z in row)[MAX_NAMED] == 2
    assert "class 21" in cells["customdata"][4][4]


# Several maps.


def test_all_maps_share_one_colour_axis():
    quiet, loud = make_panel(SQUARE, "a"), make_panel(SQUARE, "b", seed=1)
    loud.map.margin[0, 0] = -11.5
    figure = draw(quiet, loud, color_by="margin")
    assert {cells["coloraxis"] for cells in heatmaps(figure)} == {"coloraxis"}
    axis = figure["layout"]["coloraxis"]
    assert (axis["cmin"], axis["cmax"]) == (-11.5, 11.5)
    assert [key for key in figure["layout"] if key.startswith("coloraxis")] == ["coloraxis"]
    axis = draw(quiet, loud)["layout"]["coloraxis"]
    assert (axis["cmin"], axis["cmax"]) == (0, 1)


def test_margins_of_zero_have_a_scale_too():
    panel = make_panel(SQUARE)
    panel.map.margin.zero_()
    axis = draw(panel, color_by="margin")["layout"]["coloraxis"]
    assert (axis["cmin"], axis["cmax"]) == (-1, 1)


def test_a_class_has_the_same_colour_in_maps_of_models_with_other_classes():
    first = make_panel([[0, 0, 0], [0, 0, 1], [0, 0, 1]], "a", categories=("cat", "dog"))
    second = make_panel([[1, 1, 2], [1, 1, 1], [1, 1, 0]], "b", categories=("dog", "cat", "ox"), target=1)
    one, two = (cells["z"] for cells in heatmaps(draw(first, second, color_by="class")))
    assert one == [[0, 0, 0], [0, 0, 1], [0, 0, 1]]
    assert two == [[0, 0, 2], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (2, 1), (3, 1), (4, 2), (7, 3)])
def test_every_map_has_its_place_title_and_square_cells(count, rows):
    figure = draw(*(make_panel(SQUARE, f"model {number}") for number in range(count)))
    assert [text["text"] for text in figure["layout"]["annotations"]] == [f"model {n}" for n in range(count)]
    places = [(cells["xaxis"], cells["yaxis"]) for cells in heatmaps(figure)]
    assert len(set(places)) == count
    domains = set()
    for x, y in places:
        xaxis, yaxis = (figure["layout"][f"{axis[0]}axis{axis[1:]}"] for axis in (x, y))
        assert yaxis["scaleanchor"] == x
        assert yaxis["range"][0] == -yaxis["range"][1] > 0  # down is positive
        domains.add((tuple(xaxis["domain"]), tuple(yaxis["domain"])))
    assert len(domains) == count
    assert len({y for _, y in domains}) == rows
    assert figure["layout"]["height"] > 330 * rows


@pytest.mark.parametrize("color_by", COLORINGS)
def test_half_computed_maps_can_be_drawn(color_by):
    panel = make_panel([[0] * 3] * 3)
    panel.map.is_computed[0] = False
    assert len(heatmaps(draw(panel, color_by=color_by))) == 1


# The outline of flipped cells.


def find_segments(figure: dict) -> list[tuple[float, float, float, float]]:
    """``(x0, y0, x1, y1)`` of all outlines."""
    segments = []
    for trace in figure["data"]:
        if trace.get("mode") == "lines":
            points = list(zip(trace["x"], trace["y"], strict=True))
            for start, end, gap in zip(points[::3], points[1::3], points[2::3], strict=True):
                assert gap == (None, None)
                segments.append((*start, *end))
    return segments


def cross_to_the_right(segments, x: int, y: int) -> int:
    return sum(x0 == x1 > x and min(y0, y1) < y < max(y0, y1) for x0, y0, x1, y1 in segments)


def cross_below(segments, x: int, y: int) -> int:
    return sum(y0 == y1 > y and min(x0, x1) < x < max(x0, x1) for x0, y0, x1, y1 in segments)


def enclosed(segments, distances) -> list[list[bool]]:
    """Which cells lie inside: rays cross an odd number of lines. Both ways have to agree."""
    rows = [[cross_to_the_right(segments, x, y) % 2 == 1 for x in distances] for y in distances]
    assert rows == [[cross_below(segments, x, y) % 2 == 1 for x in distances] for y in distances]
    return rows


masks = st.integers(1, 4).flatmap(
    lambda reach: st.lists(
        st.lists(st.booleans(), min_size=2 * reach + 1, max_size=2 * reach + 1),
        min_size=2 * reach + 1,
        max_size=2 * reach + 1,
    )
)


@settings(max_examples=25)
@given(masks)
def test_outlines_enclose_exactly_the_flipped_cells(mask):
    panel = make_panel([[int(flipped) for flipped in row] for row in mask])
    segments = find_segments(draw(panel))
    assert enclosed(segments, panel.map.distances) == mask
    # Edges of cells, each once: a flipped cell adds four, two neighbours lose the one between them.
    assert all(abs(x1 - x0) + abs(y1 - y0) == 1 for x0, y0, x1, y1 in segments)
    assert all(end % 1 == 0.5 for segment in segments for end in segment)
    assert len(set(segments)) == len(segments)
    cells = {(i, j) for i, row in enumerate(mask) for j, flipped in enumerate(row) if flipped}
    shared = sum(((i + 1, j) in cells) + ((i, j + 1) in cells) for i, j in cells)
    assert len(segments) == 4 * len(cells) - 2 * shared
    # The area by Green's theorem: vertical edges, inside on the left or on the right.
    area = sum(
        x0 * (1 if (cross_to_the_right(segments, x0 - 0.5, (y0 + y1) / 2) % 2) else -1)
        for x0, y0, x1, y1 in segments
        if x0 == x1
    )
    assert area == len(cells)


def test_near_ties_are_not_outlined():
    logits = torch.zeros(3, 3, 2)
    logits[..., 0] = 1
    logits[1, 1, 1] = 1 + 1e-6  # a tie
    logits[1, 2, 1] = 2  # a flip
    shown = to_shift_map(logits, 1)
    panel = Panel("a", shown, ("one", "two"), None)
    segments = find_segments(draw(panel))
    assert enclosed(segments, shown.distances) == shown.flipped.tolist()
    assert int(shown.flipped.sum()) == 1 and int(shown.is_tie.sum()) == 1


def test_each_map_has_its_own_outline():
    still, moving = make_panel([[2] * 3] * 3, "a", target=2), make_panel(SQUARE, "b")
    lines = [trace for trace in draw(still, moving)["data"] if trace.get("mode") == "lines"]
    assert [(line["xaxis"], line["yaxis"], line["hoverinfo"]) for line in lines] == [("x2", "y2", "skip")]


# The lattice and the mark.


@pytest.mark.parametrize(
    ("stride", "expected"),
    [(2, [-4, -2, 0, 2, 4]), (3, [-3, 0, 3]), (5, [-5, 0, 5]), (32, [0]), (1, []), (None, [])],
)
def test_the_lattice_lies_at_multiples_of_the_stride(stride, expected):
    lines = draw(make_panel([[0] * 11] * 11, stride=stride))["layout"].get("shapes", [])
    upright = [line for line in lines if line["x0"] == line["x1"]]
    level = [line for line in lines if line["y0"] == line["y1"]]
    assert sorted(line["x0"] for line in upright) == sorted(line["y0"] for line in level) == expected
    assert len(lines) == 2 * len(expected)
    assert all((line["y0"], line["y1"]) == (-5.5, 5.5) for line in upright)
    assert all((line["x0"], line["x1"]) == (-5.5, 5.5) for line in level)


def test_every_map_has_the_lattice_of_its_own_network():
    panels = [make_panel([[0] * 9] * 9, str(stride), stride=stride) for stride in (2, 4)]
    lines = draw(*panels)["layout"]["shapes"]
    assert Counter(line["xref"] for line in lines) == {"x": 10, "x2": 6}


@pytest.mark.parametrize(
    ("marked", "is_shown"),
    [(None, False), ((1, -1), True), ((0.5, 0), True), ((2, 0), False), ((0, -1.5), False)],
)
def test_the_shift_looked_at_is_marked_where_the_map_has_it(marked, is_shown):
    marks = [
        t for t in draw(make_panel(SQUARE), make_panel(SQUARE), marked=marked)["data"] if t.get("mode") == "markers"
    ]
    assert [(mark["x"], mark["y"]) for mark in marks] == [([marked[0]], [marked[1]])] * 2 if is_shown else not marks
    assert {mark["xaxis"] for mark in marks} == ({"x", "x2"} if is_shown else set())


# The layer meter.


def test_the_meter_compares_the_shift_with_those_in_and_out_of_phase():
    phases = [
        PhaseErrors("conv1", 2, 0.0, 0.25),
        PhaseErrors("layer1", 4, 0.125, None),
        PhaseErrors("layer2", 8, 0.5, 1),
    ]
    layers = [
        LayerMeter("layer2", 8, 31, 49, error=0.75),
        LayerMeter("pool", None, None, None),
        LayerMeter("conv1", 2, 3, 196, error=0.5),
        LayerMeter("layer1", 4, 9, 196),
    ]
    own = {"conv1": (0.5, "stride"), "layer1": (0.25, "padding"), "layer2": (None, None)}
    figure = read(plot_meter(layers, phases, own))
    bars, lines = (
        [trace for trace in figure["data"] if (trace["type"] == "bar") is is_bar] for is_bar in (True, False)
    )
    assert [(bar["name"], bar["y"]) for bar in bars] == [
        ("own error: stride", [0.5, None, None]),
        ("own error: padding", [None, 0.25, None]),
    ]
    curves = {curve["name"]: curve for curve in lines}
    assert {name: curve["y"] for name, curve in curves.items()} == {
        "this shift": [0.5, None, 0.75],
        "1 px (out of phase)": [0.25, None, 1],
        "1 cell (in phase)": [0.0, 0.125, 0.5],
    }
    assert all(curve["x"] == ["conv1", "layer1", "layer2"] for curve in figure["data"])
    assert len({(curve["line"]["color"], curve["line"]["dash"]) for curve in lines}) == 3
    assert figure["layout"]["yaxis"]["rangemode"] == "tozero"
    for curve in figure["data"]:
        assert curve["name"] in curve["hovertemplate"]


def test_layers_of_one_stride_share_a_label_in_their_middle_and_a_line_in_front():
    phases = [PhaseErrors(str(place), stride, 0.0, 0.0) for place, stride in enumerate([1, 2, 2, 2, 2, 4, 4])]
    layout = read(plot_meter([], phases, {}))["layout"]
    axis = layout["xaxis"]
    assert dict(zip(axis["ticktext"], axis["tickvals"], strict=True)) == {"1": 0, "2": 2.5, "4": 5.5}
    assert (axis["tickangle"], [line["x0"] for line in layout["shapes"]]) == (0, [-0.5, 0.5, 4.5])
    assert layout["legend"]["y"] > 1 and layout["legend"]["yanchor"] == "bottom"


def test_a_meter_of_nothing_is_empty_curves():
    assert [list(curve["x"]) for curve in read(plot_meter([], [], {}))["data"]] == [[], [], []]


@pytest.mark.parametrize("look", ["color", "pattern"])
def test_every_cause_has_a_colour_and_a_pattern_that_nothing_else_has(look):
    phases = [PhaseErrors(str(number), 2, 0.1, 0.1) for number in range(5)]
    causes = ["stride", "padding", "position", None, "none"]
    figure = read(plot_meter([], phases, {str(number): (0.5, cause) for number, cause in enumerate(causes)}))
    bars = [trace for trace in figure["data"] if trace["type"] == "bar"]
    looks = [bar["marker"]["color"] if look == "color" else bar["marker"]["pattern"]["shape"] for bar in bars]
    others = {trace["line"]["color"] for trace in figure["data"] if trace["type"] == "scatter"}
    assert len(bars) == len({*looks}) == 4 and not {*looks} & others  # rounding has no cause, and no bar


# Layer errors of one shift.


ERRORS = [LayerError("conv1", 2, 0.25), LayerError("layer1", 4, None), LayerError("layer2", 8, 0.0)]


def test_layer_errors_are_drawn_in_order_without_unknown_ones():
    (curve,) = read(plot_shift_errors(ERRORS))["data"]
    assert curve["x"] == ["conv1", "layer2"]
    assert curve["y"] == [0.25, 0.0]
    assert curve["customdata"] == [2, 8]


def test_layer_errors_start_at_zero_in_a_chart_of_fixed_height():
    layout = read(plot_shift_errors(ERRORS))["layout"]
    assert layout["yaxis"]["rangemode"] == "tozero"
    assert layout["yaxis"]["title"]["text"] == "relative error"
    assert layout["height"] == HEIGHT


@pytest.mark.parametrize("layers", [[], ERRORS[1:2]])
def test_errors_of_nothing_are_an_empty_chart(layers):
    (curve,) = read(plot_shift_errors(layers))["data"]
    assert list(curve["x"]) == list(curve["y"]) == []
