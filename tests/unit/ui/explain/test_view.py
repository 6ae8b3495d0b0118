"""What stands beside maps: names, findings, scales, and where each map of a grid is."""

import re
from itertools import product

import pytest
import torch

from analysis.attribution.methods import Attribution
from analysis.network.predict import Prediction
from lab.session import Explanation
from ui.explain.grid import AUTO, CANCELLED, MAX_MAPS, SECOND, Cell, Grid
from ui.explain.view import describe, list_classes, measure_scales, name_grid, show_grid

GAPS = {
    0.0125: "adds up to the difference in score but for 1.2 %.",
    0.0512: "adds up to the difference in score but for 5.1 %, where it stops after 512 steps.",
}


def explain(method: str, values: torch.Tensor, name: str = "cat", **facts) -> Explanation:
    found = Attribution(method, 3, "conv2", values, 0.1, **facts)
    return Explanation(None, torch.rand(1, 9, 9), Prediction(3, name, 0.5), True, found)


def show(sign: str = "signed", values: torch.Tensor | None = None, **facts) -> str:
    torch.manual_seed(0)
    method = "integrated_gradients"
    found = explain(method, torch.rand(1, 9, 9) if values is None else values, **facts)
    grid = Grid("a/cat.png", (method,), (AUTO,), ("net",))
    return show_grid(grid, [Cell((method, AUTO, "net"), found)], sign, 0.5, "inferno")


def fill(grid: Grid, **values: float) -> list[Cell]:
    """A map for each key, all of whose pixels but one row are zero."""
    cells = []
    for key in grid.keys[:MAX_MAPS]:
        map_values = torch.zeros(1, 9, 9)
        map_values[0, 7] = values.get(key[0], 1.0) * (1 + grid.models.index(key[2]))
        cells.append(Cell(key, explain(key[0], map_values)))
    return cells


def find_places(html: str) -> list[tuple[int, int]]:
    return [(int(row), int(column)) for row, column in re.findall(r"grid-area: (\d+) / (\d+)", html)]


@pytest.mark.parametrize("sign", ["signed", "negative"])
@pytest.mark.parametrize("gap", GAPS)
def test_the_gap_stands_beside_the_map(gap, sign):
    assert GAPS[gap] in show(sign, completeness_gap=gap)


def test_cells_that_are_spread_evenly_are_named():
    assert "What the cells of conv2 look at is not known" in show(placement="even")
    plain = show(placement="centres")
    assert "cells of conv2" not in plain and "adds up" not in plain.split('class="note"')[0]


def test_a_finding_says_where_and_how_much():
    values = torch.zeros(1, 9, 9)
    values[0, 7, 1], values[0, 0, 8] = 3.0, -1.0
    found = explain("saliency", values)
    assert describe(found, "positive") == (
        "Half of the evidence for it lies in 1.2 % of the picture, most in the lower left (100 % in that ninth)."
    )
    assert "most in the upper right (100 %" in describe(found, "negative")
    assert "most in the lower left (75 %" in describe(found, "signed")
    assert "spread over all of it" in describe(explain("saliency", 1 + torch.rand(1, 9, 9)), "absolute")
    assert describe(explain("saliency", values.clamp(min=0)), "negative").startswith("No pixel speaks against")


def test_evidence_that_is_not_there_is_said_and_nothing_can_be_saved():
    html = show("negative", torch.rand(1, 9, 9))
    assert "No pixel speaks against this class" in html and "<img src" not in html and "data-save" not in html


def test_the_scale_is_common_to_classes_and_models_of_a_method_only():
    grid = Grid("cat.png", ("saliency", "occlusion"), (AUTO, SECOND), ("small", "large"))
    scales = measure_scales(fill(grid, saliency=1.0, occlusion=7.0), "positive")
    assert scales == {"saliency": 2.0, "occlusion": 14.0}
    html = show_grid(grid, fill(grid, occlusion=7.0), "positive", 0.5, "inferno")
    assert re.findall(r"<span>0</span><span>(\d+)</span>", html) == ["2", "14"]
    assert "compare colours within a method" in html


@pytest.mark.parametrize(
    ("methods", "classes", "models", "rows", "columns"),
    [(3, 2, 1, 2, 3), (2, 3, 1, 2, 3), (1, 1, 3, 1, 3), (2, 1, 5, 4, 3), (6, 1, 1, 2, 3), (2, 2, 2, 4, 2)],
)
def test_the_longest_axis_goes_across(methods, classes, models, rows, columns):
    names = ("saliency", "occlusion", "grad_cam", "smoothgrad", "input_x_gradient", "guided_backprop")
    asked = (AUTO, SECOND, "cat (3)")
    grid = Grid("cat.png", names[:methods], asked[:classes], tuple("abcde"[:models]))
    places = find_places(show_grid(grid, fill(grid), "positive", 0.5, "inferno"))
    assert len(set(places)) == len(places) == methods * classes * models
    assert (max(row for row, _ in places), max(column for _, column in places)) == (rows, columns)


def test_a_map_that_was_taken_away_leaves_its_place_and_can_come_back():
    keys = list(product(("saliency", "occlusion"), (AUTO, SECOND), ("net",)))
    grid = Grid("cat.png", ("saliency", "occlusion"), (AUTO, SECOND), ("net",), frozenset({keys[0]}))
    html = show_grid(grid, fill(grid), "positive", 0.5, "inferno")
    assert find_places(html) == [(2, 1), (1, 2), (2, 2)] and "Show the map taken away" in html
    assert "3 maps: 2 methods, 2 classes, 1 model." in html


def test_more_maps_than_there_is_room_for_are_counted():
    grid = Grid("cat.png", ("saliency", "occlusion", "grad_cam"), (AUTO,), tuple("abcde"))
    html = show_grid(grid, fill(grid), "positive", 0.5, "inferno")
    assert "The first 12 of 15 maps" in html and len(find_places(html)) == 12


def test_what_is_missing_says_why_and_what_was_cancelled_can_be_computed():
    grid = Grid("cat.png", ("saliency", "occlusion"), (AUTO,), ("net",))
    cells = [Cell(grid.keys[0], problem="net <b> has no class"), Cell(grid.keys[1], problem=CANCELLED)]
    html = show_grid(grid, cells, "positive", 0.5, "inferno")
    assert "net &lt;b&gt; has no class" in html and html.count("Compute it") == 1 and "data-save" not in html


def test_files_say_picture_model_and_method():
    grid = Grid("/tmp/x/my cat.png", ("saliency", "occlusion"), (AUTO,), ("net", "run/a@3"))
    assert name_grid(grid) == "my_cat-net+run_a_3-saliency+occlusion"


def test_the_classes_begin_with_what_the_model_takes_it_for():
    assert [value for _, value in list_classes(("a", "b", "c"), [2])] == [AUTO, SECOND, "c (2)", "a (0)", "b (1)"]
