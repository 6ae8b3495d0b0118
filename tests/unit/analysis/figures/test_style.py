"""Charts hold the numbers they were given, and nothing a browser cannot read."""

import json

import pytest

from analysis.equivariance.align import LayerError
from analysis.figures.style import HEIGHT, plot_layer_errors

ERRORS = [LayerError("conv1", 2, 0.25), LayerError("layer1", 4, None), LayerError("layer2", 8, 0.0)]


def read(figure) -> dict:
    """The figure as a browser gets it; NaN and infinity are no JSON."""
    return json.loads(figure.to_json(), parse_constant=pytest.fail)


def test_layer_errors_are_drawn_in_order_without_unknown_ones():
    (curve,) = read(plot_layer_errors(ERRORS))["data"]
    assert curve["x"] == ["conv1", "layer2"]
    assert curve["y"] == [0.25, 0.0]
    assert curve["customdata"] == [2, 8]


def test_layer_errors_start_at_zero_in_a_chart_of_fixed_height():
    layout = read(plot_layer_errors(ERRORS))["layout"]
    assert layout["yaxis"]["rangemode"] == "tozero"
    assert layout["yaxis"]["title"]["text"] == "relative error"
    assert layout["height"] == HEIGHT


@pytest.mark.parametrize("layers", [[], ERRORS[1:2]])
def test_a_chart_of_nothing_is_empty(layers):
    (curve,) = read(plot_layer_errors(layers))["data"]
    assert list(curve["x"]) == list(curve["y"]) == []
