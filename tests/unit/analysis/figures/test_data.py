"""The chart of a data set's balance holds the counts it was given."""

import json

import pytest

from analysis.errors import UserError
from analysis.figures.data import MAX_NAMED, plot_class_balance

COUNTS = {"train": (5, 0, 7), "validation": (1, 2, 3), "test": (4, 4, 4)}


def read(figure) -> dict:
    """The figure as a browser gets it; NaN and infinity are no JSON."""
    return json.loads(figure.to_json(), parse_constant=pytest.fail)


def test_every_split_is_a_bar_on_top_of_the_others():
    figure = read(plot_class_balance(("ant", "bee", "ant"), COUNTS))
    assert {bar["name"]: tuple(bar["y"]) for bar in figure["data"]} == COUNTS
    assert all(bar["x"] == [0, 1, 2] and bar["customdata"] == ["ant", "bee", "ant"] for bar in figure["data"])
    assert figure["layout"]["barmode"] == "stack" and figure["layout"]["yaxis"]["rangemode"] == "tozero"
    assert figure["layout"]["xaxis"]["ticktext"] == ["ant", "bee", "ant"]


def test_hostile_names_are_short_plain_text():
    """Names of classes are folders of a zip that anybody may have made."""
    names = ("<a href='//evil'>x</a>", "%{y}", "x" * 5000)
    figure = read(plot_class_balance(names, COUNTS))
    shown = ["&lt;a href='//evil'&gt;x&lt;/a&gt;", "% {y}", "x" * 39 + "…"]
    assert figure["layout"]["xaxis"]["ticktext"] == shown
    assert all(bar["customdata"] == shown for bar in figure["data"])


def test_many_classes_are_not_named_under_the_axis():
    names = [str(i) for i in range(MAX_NAMED + 1)]
    figure = read(plot_class_balance(names, {"train": [1] * len(names)}))
    assert figure["layout"]["xaxis"]["showticklabels"] is False and len(figure["data"]) == 1


def test_a_chart_of_nothing_is_empty():
    assert read(plot_class_balance((), {"train": ()}))["data"][0]["y"] == []
    assert read(plot_class_balance(("ant",), {})).get("data", []) == []


def test_counts_of_other_classes_are_refused():
    with pytest.raises(UserError, match="3 classes, but 2 counts for test"):
        plot_class_balance(("a", "b", "c"), COUNTS | {"test": (1, 2)})
