"""The chart of a range test holds the numbers it was given."""

import json
import math

import pytest

from analysis.figures.rate import plot_rates

RATES, LOSSES = [1e-6, 1e-4, 1e-2, 1.0], [2.3, 2.2, 1.1, 9.0]


def read(figure) -> dict:
    """The figure as a browser gets it; NaN and infinity are no JSON."""
    return json.loads(figure.to_json(), parse_constant=pytest.fail)


def test_the_curve_is_that_of_the_test():
    figure = read(plot_rates(RATES, LOSSES, 0.01))
    (curve,) = figure["data"]
    assert (curve["x"], curve["y"], curve["mode"]) == (RATES, LOSSES, "lines")
    assert figure["layout"]["xaxis"]["type"] == "log"
    assert figure["layout"]["xaxis"]["title"]["text"] == "learning rate"
    assert figure["layout"]["yaxis"]["title"]["text"] == "smoothed loss"


@pytest.mark.parametrize("suggestion", [1.2e-6, 0.01, 3.7])
def test_line_and_text_are_at_the_suggestion(suggestion):
    layout = read(plot_rates(RATES, LOSSES, suggestion))["layout"]
    (line,), (text,) = layout["shapes"], layout["annotations"]
    assert line["x0"] == line["x1"] == suggestion and (line["y0"], line["y1"]) == (0, 1)
    assert 10 ** text["x"] == pytest.approx(suggestion) and text["text"] == f"{suggestion:g}"
    assert text["x"] == pytest.approx(math.log10(suggestion))


def test_without_a_suggestion_there_is_only_the_curve():
    layout = read(plot_rates(RATES, LOSSES, None))["layout"]
    assert not layout.get("shapes") and not layout.get("annotations")


def test_a_test_that_measured_nothing_is_an_empty_chart():
    (curve,) = read(plot_rates((), (), None))["data"]
    assert curve["x"] == [] and curve["y"] == []
