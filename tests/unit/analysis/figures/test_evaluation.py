"""Charts of evaluations hold the numbers of their documents, and nothing a browser cannot read."""

import json

import pytest

from analysis.figures.evaluation import (
    CURVES,
    plot_arm_layers,
    plot_arms,
    plot_consistency,
    plot_depth_errors,
    plot_traces,
)
from analysis.figures.style import LINE_COLORS


def read(figure) -> dict:
    """The figure as a browser gets it; NaN and infinity are no JSON."""
    return json.loads(figure.to_json(), parse_constant=pytest.fail)


def estimate(value, low=None, high=None) -> dict:
    return {"value": value, "low": low, "high": high}


UNKNOWN = estimate(None)


def model_with(name: str, kind: str, *points: tuple[int, dict]) -> dict:
    curves = {key: [] for key in CURVES}
    return {"model": name, "curves": curves | {kind: [{kind: place} | point for place, point in points]}}


# Consistency curves.


@pytest.mark.parametrize("kind", CURVES)
def test_consistency_is_drawn_with_its_intervals(kind):
    points = (1, estimate(0.75, 0.5, 0.875)), (2, UNKNOWN), (4, estimate(0.5, 0.25, 1.0))
    figure = read(plot_consistency([model_with("net", kind, *points)], kind))
    (curve,) = figure["data"]
    assert (curve["name"], curve["x"], curve["y"]) == ("net", [1, 4], [0.75, 0.5])
    bars = curve["error_y"]
    assert (bars["array"], bars["arrayminus"]) == ([0.125, 0.5], [0.25, 0.25])
    assert figure["layout"]["xaxis"]["title"]["text"] == CURVES[kind]
    assert figure["layout"]["yaxis"]["title"]["text"] == "shift consistency"
    assert figure["layout"]["yaxis"]["tickformat"] == ".0%"


def test_points_without_an_interval_have_no_bar():
    points = (1, estimate(0.75)), (2, estimate(0.5, 0.25, 0.75))
    (curve,) = read(plot_consistency([model_with("net", "distance", *points)], "distance"))["data"]
    assert curve["y"] == [0.75, 0.5]
    assert (curve["error_y"]["array"], curve["error_y"]["arrayminus"]) == ([None, 0.25], [None, 0.25])


def test_models_without_points_leave_the_colours_of_the_others():
    some = model_with("c", "phase", (0, estimate(0.5)))
    models = [model_with("a", "phase"), model_with("b", "phase", (0, UNKNOWN)), some]
    (curve,) = read(plot_consistency(models, "phase"))["data"]
    assert (curve["name"], curve["line"]["color"]) == ("c", LINE_COLORS[2])
    assert plot_consistency(models[:2], "phase") is None
    assert plot_consistency([], "distance") is None
    assert plot_consistency([some], "distance") is None


def test_more_models_than_colours_start_again():
    models = [model_with(str(n), "distance", (1, estimate(0.5))) for n in range(len(LINE_COLORS) + 1)]
    colors = [curve["line"]["color"] for curve in read(plot_consistency(models, "distance"))["data"]]
    assert colors == [*LINE_COLORS, LINE_COLORS[0]]
    assert len(set(LINE_COLORS)) == len(LINE_COLORS)


# Layer errors.


def measured(name: str, error: dict | float) -> dict:
    return {"name": name, "stride": 2, "error": error}


def test_layer_errors_are_drawn_down_the_network_with_their_intervals():
    layers = [measured("a", estimate(0.2, 0.1, 0.4)), measured("b", UNKNOWN), measured("c", estimate(0.5))]
    (curve,) = read(plot_depth_errors([{"model": "net", "layers": layers}]))["data"]
    assert (curve["name"], curve["x"], curve["y"]) == ("net", [0, 1], [0.2, 0.5])
    assert curve["text"] == ["a, stride 2", "c, stride 2"]
    assert curve["error_y"]["array"] == [pytest.approx(0.2), None]


@pytest.mark.parametrize(
    "model", [{}, {"layers": []}, {"layers": [measured("a", UNKNOWN)]}, {"layers": [measured("a", 0.5)]}]
)
def test_models_without_layers_have_no_chart_of_them(model):
    assert plot_depth_errors([{"model": "net"} | model]) is None


# The arms of a repair bench.


def arm(title: str, accuracy: dict, consistency: dict, layers=()) -> dict:
    return {"title": title, "accuracy": accuracy, "consistency": consistency, "layers": list(layers)}


def test_arms_are_points_with_intervals_both_ways():
    arms = [
        arm("as is", estimate(0.875, 0.75, 1.0), estimate(0.5, 0.25, 0.625)),
        arm("circular", estimate(0.75, 0.5, 0.875), estimate(1.0)),
    ]
    figure = read(plot_arms(arms))
    first, second = figure["data"]
    assert (first["x"], first["y"], first["name"]) == ([0.875], [0.5], "as is")
    assert (first["error_x"]["array"], first["error_x"]["arrayminus"]) == ([0.125], [0.125])
    assert (first["error_y"]["array"], first["error_y"]["arrayminus"]) == ([0.125], [0.25])
    assert second["error_y"]["array"] == [None] and second["error_x"]["arrayminus"] == [0.25]
    assert figure["layout"]["xaxis"]["title"]["text"] == "accuracy without a shift"
    assert figure["layout"]["yaxis"]["title"]["text"] == "shift consistency"
    assert first["hovertemplate"].startswith("as is<br>accuracy %{x:.2%}<br>consistency %{y:.2%}")


def test_arms_that_were_not_measured_are_left_out():
    arms = [
        arm("a", UNKNOWN, estimate(0.5)),
        arm("b", estimate(0.5), UNKNOWN),
        arm("c", estimate(0.5), estimate(0.25)),
    ]
    (point,) = read(plot_arms(arms))["data"]
    assert (point["name"], point["marker"]["color"]) == ("c", LINE_COLORS[2])
    assert plot_arms(arms[:2]) is None
    assert plot_arms([]) is None


def layer(name: str, stride: int, spread: float | None, error: float | None = None) -> dict:
    return {"name": name, "stride": stride, "phase_spread": spread, "error": error}


def test_layers_of_arms_are_drawn_over_the_depth():
    """Networks of different lengths have one beginning and one end."""
    short = [layer("conv1", 1, 0.25), layer("pool", 2, None), layer("conv2", 2, 0.5), layer("conv3", 4, 0.75, 0.5)]
    arms = [
        arm("a", UNKNOWN, UNKNOWN, short),
        arm("b", UNKNOWN, UNKNOWN, [layer("only", 2, 0.125)]),
        arm("c", UNKNOWN, UNKNOWN, [layer("lost", 2, None)]),
        arm("d", UNKNOWN, UNKNOWN, [layer(f"conv{n}", n, n / 8) for n in range(1, 6)]),
    ]
    curves = read(plot_arm_layers(arms))["data"]
    assert [(curve["name"], curve["x"]) for curve in curves] == [
        ("a", [0, 0.5, 1]),
        ("b", [0]),
        ("d", [0, 0.25, 0.5, 0.75, 1]),
    ]
    assert curves[0]["y"] == [0.25, 0.5, 0.75]
    assert curves[0]["text"] == ["conv1, stride 1", "conv2, stride 2", "conv3, stride 4, error at 1 px 0.5"]
    assert [curve["line"]["color"] for curve in curves] == [LINE_COLORS[0], LINE_COLORS[1], LINE_COLORS[3]]
    assert plot_arm_layers(arms[2:3]) is None
    assert plot_arm_layers([]) is None


def test_the_colours_of_an_arm_are_the_same_in_both_charts():
    arms = [arm(str(n), estimate(0.5), estimate(0.5), [layer("conv", 2, 0.5)]) for n in range(4)]
    points, curves = read(plot_arms(arms))["data"], read(plot_arm_layers(arms))["data"]
    assert [point["marker"]["color"] for point in points] == [curve["line"]["color"] for curve in curves]


# Traces.


def test_traces_are_drawn_step_by_step():
    rows = [
        {"picture": "n01/b.png", "shifts": [[0, 0], [1, 1], [2, 2]], "probabilities": [0.5, 0.25, 0.75]},
        {"picture": "n01/a.png", "shifts": [[0, 0], [1, 1]], "probabilities": [1.0, 0.0]},
    ]
    figure = read(plot_traces(rows, {"n01/a.png": "a", "n01/b.png": "b"}))
    assert [(curve["name"], curve["x"], curve["y"]) for curve in figure["data"]] == [
        ("b", [0, 1, 2], [0.5, 0.25, 0.75]),
        ("a", [0, 1], [1.0, 0.0]),
    ]
    assert figure["layout"]["yaxis"]["range"] == [0, 1]


def test_only_as_many_traces_are_drawn_as_there_are_colours():
    rows = [{"picture": str(n), "shifts": [[0, 0]], "probabilities": [n / 100]} for n in range(len(LINE_COLORS) + 5)]
    curves = read(plot_traces(rows, {row["picture"]: row["picture"] for row in rows}))["data"]
    assert [curve["y"] for curve in curves] == [[n / 100] for n in range(len(LINE_COLORS))]
    assert len({curve["line"]["color"] for curve in curves}) == len(LINE_COLORS)
    assert read(plot_traces([], {}))["data"] == []
