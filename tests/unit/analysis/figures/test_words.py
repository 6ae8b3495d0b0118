"""What a chart shows, in words."""

import pytest
from plotly.graph_objects import Figure

from analysis.figures.style import build_figure, draw_line
from analysis.figures.words import MAX_TRACES, describe_figure


def test_a_curve_has_its_ends_and_its_extremes():
    figure = build_figure("error", "layer")
    draw_line(figure, ["first", "second", "third", "fourth"], [0.5, None, 0.125, 0.75], "red", "", name="this & that")
    draw_line(figure, [1, 2], [float("nan"), None], "red", "", name="none")
    assert describe_figure(figure) == (
        "error against layer; this & that: from 0.5 at first, to 0.75 at fourth, lowest 0.125 at third, "
        "highest 0.75 at fourth; none: nothing."
    )


def test_shares_are_in_percent_on_both_axes():
    figure = build_figure("consistency", "accuracy")
    figure.update_xaxes(tickformat=".1%").update_yaxes(tickformat=".1%")
    figure.add_scatter(x=[0.875], y=[0.5], name="a &lt;b&gt;")
    assert describe_figure(figure) == "consistency against accuracy; a <b>: 50 % at 87.5 %."


def test_bars_have_no_ends():
    figure = build_figure("pictures", "class")
    figure.add_bar(x=["cat", "dog", "cow"], y=[3, 12, 1])
    assert describe_figure(figure) == "pictures against class; lowest 1 at cow, highest 12 at dog."


def test_a_map_has_its_lowest_and_highest_cell_by_the_names_of_the_axes():
    figure = build_figure("dy", "dx")
    bar = {"title": {"text": "probability"}, "tickformat": ".0%"}
    figure.add_heatmap(x=[-1, 0, 1], y=[-1, 0], z=[[0.5, None, 0.25], [0.75, 1.0, 0.5]], colorbar=bar)
    figure.add_scatter(x=[0], y=[0], hoverinfo="skip")
    assert describe_figure(figure) == (
        "dy against dx; probability in 2 rows and 3 columns, lowest 25 % at dy -1, dx 1, highest 100 % at dy 0, dx 0."
    )


def test_a_map_of_classes_has_the_share_of_each():
    figure = Figure()
    ticks = {"tickvals": [0, 1, 2], "ticktext": ["cat", "dog", "cow"], "title": {"text": "class"}}
    figure.update_layout(coloraxis={"colorbar": ticks})
    figure.add_heatmap(z=[[0, 1], [1, 1]], coloraxis="coloraxis")
    assert describe_figure(figure) == "class in 2 rows and 2 columns, dog 75 %, cat 25 %."


@pytest.mark.parametrize(("number", "rest"), [(MAX_TRACES, "."), (MAX_TRACES + 2, "; and 2 more.")])
def test_of_many_curves_the_first_are_told(number, rest):
    figure = Figure()
    for index in range(number):
        figure.add_scatter(x=[0, 1], y=[index, index], name=str(index))
    words = describe_figure(figure)
    assert words.endswith(rest) and words.count("from") == MAX_TRACES
