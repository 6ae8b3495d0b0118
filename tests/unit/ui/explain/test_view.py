"""What stands beside maps: names, findings, scales, and where each map of a grid is."""

import base64
import html
import json
import re
from itertools import product

import numpy as np
import pytest
import torch

from analysis.attribution.methods import Attribution
from analysis.network.predict import Prediction
from lab.session import Explanation
from ui.explain.grid import AUTO, CANCELLED, MAX_MAPS, SECOND, Cell, Grid
from ui.explain.packed import SIDE, SMALL_SIDE
from ui.explain.sentences import SIGNS, describe
from ui.explain.view import list_classes, name_grid, show_grid

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
    return show_grid(grid, [Cell((method, AUTO, "net"), found)], sign)


def read_packed(shown: str) -> dict:
    """What the browser draws from."""
    return json.loads(html.unescape(re.search(r'data-packed="([^"]+)"', shown)[1]))


def read_map(packed: dict) -> np.ndarray:
    steps = np.frombuffer(base64.b64decode(packed["values"]), "<i2").reshape(packed["size"])
    return steps * packed["peak"] / (2**15 - 1)


def fill(grid: Grid, **values: float) -> list[Cell]:
    """A map for each key, all of whose pixels but one row are zero."""
    cells = []
    for key in grid.keys[:MAX_MAPS]:
        map_values = torch.zeros(1, 9, 9)
        map_values[0, 7] = values.get(key[0], 1.0) * (1 + grid.models.index(key[2]))
        cells.append(Cell(key, explain(key[0], map_values)))
    return cells


def find_places(shown: str) -> list[tuple[int, int]]:
    return [(int(row), int(column)) for row, column in re.findall(r"grid-area: (\d+) / (\d+)", shown)]


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
        "Half of the evidence for it lies in 1.2 % of the picture, most in the lower left (100 % in that ninth).",
        True,
    )
    assert "most in the upper right (100 %" in describe(found, "negative")[0]
    assert "most in the lower left (75 %" in describe(found, "signed")[0]
    assert "spread over all of it" in describe(explain("saliency", 1 + torch.rand(1, 9, 9)), "absolute")[0]
    said, is_there = describe(explain("saliency", values.clamp(min=0)), "negative")
    assert said.startswith("No pixel speaks against") and not is_there


def test_the_browser_gets_the_signed_sum_and_what_is_said_of_each_sign():
    values = torch.randn(3, 9, 7, generator=torch.Generator().manual_seed(0))
    (packed,) = read_packed(show("negative", values))["maps"]
    np.testing.assert_allclose(read_map(packed), values.sum(0), atol=packed["peak"] / 2**15)
    assert packed["says"].keys() == packed["fits"].keys() == set(SIGNS) and all(packed["fits"].values())
    (packed,) = read_packed(show("negative", torch.zeros(3, 9, 9)))["maps"]
    assert packed["peak"] == 0 and not read_map(packed).any() and not any(packed["fits"].values())


def test_maps_that_are_larger_than_their_place_are_means():
    values = torch.rand(1, 2 * SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    (packed,) = read_packed(show(values=values))["maps"]
    assert packed["size"] == [SIDE, SIDE // 2]
    expected = values.unflatten(1, (SIDE, 2)).unflatten(3, (SIDE // 2, 2)).mean((0, 2, 4))
    np.testing.assert_allclose(read_map(packed), expected, atol=1e-4)
    grid = Grid("cat.png", ("saliency", "occlusion"), (AUTO,), ("net",))
    cells = [Cell(key, explain(key[0], values)) for key in grid.keys]
    sizes = [packed["size"] for packed in read_packed(show_grid(grid, cells, "signed"))["maps"]]
    assert sizes == [[SMALL_SIDE, SMALL_SIDE // 2]] * 2


def test_evidence_that_is_not_there_is_said():
    assert "No pixel speaks against this class" in show("negative", torch.rand(1, 9, 9))


def test_a_picture_is_sent_once_for_a_model_and_each_method_has_a_scale():
    grid = Grid("cat.png", ("saliency", "occlusion"), (AUTO, SECOND), ("small", "large"))
    shown = show_grid(grid, fill(grid, saliency=1.0, occlusion=7.0), "positive")
    packed = read_packed(shown)
    assert list(packed["pictures"]) == ["small", "large"] and len(packed["maps"]) == 8
    assert re.findall(r'data-scale="(\w+)"', shown) == ["saliency", "occlusion"]
    assert "compare colours within a method" in shown


@pytest.mark.parametrize(
    ("methods", "classes", "models", "rows", "columns"),
    [(3, 2, 1, 2, 3), (2, 3, 1, 2, 3), (1, 1, 3, 1, 3), (2, 1, 5, 4, 3), (6, 1, 1, 2, 3), (2, 2, 2, 4, 2)],
)
def test_the_longest_axis_goes_across(methods, classes, models, rows, columns):
    names = ("saliency", "occlusion", "grad_cam", "smoothgrad", "input_x_gradient", "guided_backprop")
    asked = (AUTO, SECOND, "cat (3)")
    grid = Grid("cat.png", names[:methods], asked[:classes], tuple("abcde"[:models]))
    places = find_places(show_grid(grid, fill(grid), "positive"))
    assert len(set(places)) == len(places) == methods * classes * models
    assert (max(row for row, _ in places), max(column for _, column in places)) == (rows, columns)


def test_a_map_that_was_taken_away_leaves_its_place_and_can_come_back():
    keys = list(product(("saliency", "occlusion"), (AUTO, SECOND), ("net",)))
    grid = Grid("cat.png", ("saliency", "occlusion"), (AUTO, SECOND), ("net",), frozenset({keys[0]}))
    shown = show_grid(grid, fill(grid), "positive")
    assert find_places(shown) == [(2, 1), (1, 2), (2, 2)] and "Show the map taken away" in shown
    assert "3 maps: 2 methods, 2 classes, 1 model." in shown


def test_more_maps_than_there_is_room_for_are_counted():
    grid = Grid("cat.png", ("saliency", "occlusion", "grad_cam"), (AUTO,), tuple("abcde"))
    shown = show_grid(grid, fill(grid), "positive")
    assert "The first 12 of 15 maps" in shown and len(find_places(shown)) == 12


def test_what_is_missing_says_why_and_what_was_cancelled_can_be_computed():
    grid = Grid("cat.png", ("saliency", "occlusion"), (AUTO,), ("net",))
    cells = [Cell(grid.keys[0], problem="net <b> has no class"), Cell(grid.keys[1], problem=CANCELLED)]
    shown = show_grid(grid, cells, "positive")
    assert "net &lt;b&gt; has no class" in shown and shown.count("Compute it") == 1 and "data-as" not in shown


def test_files_say_picture_model_and_method():
    grid = Grid("/tmp/x/my cat.png", ("saliency", "occlusion"), (AUTO,), ("net", "run/a@3"))
    assert name_grid(grid) == "my_cat-net+run_a_3-saliency+occlusion"


def test_the_classes_begin_with_what_the_model_takes_it_for():
    assert [value for _, value in list_classes(("a", "b", "c"), [2])] == [AUTO, SECOND, "c (2)", "a (0)", "b (1)"]
