"""Charts of classes hold their numbers, can be clicked, and are bounded in size."""

import json

import pytest
import torch

from analysis.confusion import measure_confusion
from analysis.figures.classes import (
    MAX_SHOWN,
    MAX_WITH_COUNTS,
    plot_class_balance,
    plot_class_scores,
    plot_confusion,
    plot_confusion_difference,
)
from tests.sentences import refused

SPLITS = {"train": (5, 0, 7), "validation": (1, 2, 3), "test": (4, 4, 4)}
COUNTS = torch.tensor([[3, 1, 0], [0, 0, 0], [2, 0, 6]])
NAMES = ("ant", "bee", "cat")


def read(figure) -> dict:
    """The figure as a browser gets it; NaN and infinity are no JSON."""
    return json.loads(figure.to_json(), parse_constant=pytest.fail)


def test_colours_are_shares_of_the_true_class_and_texts_are_counts():
    figure = read(plot_confusion(COUNTS, NAMES))
    (map_,) = figure["data"]
    assert map_["z"] == [[0.75, 0.25, 0.0], [None, None, None], [0.25, 0.0, 0.75]]
    assert map_["text"] == [["3", "1", ""], ["", "", ""], ["2", "", "6"]]
    assert map_["x"] == map_["y"] == list(NAMES)
    assert (map_["zmin"], map_["zmax"]) == (0, 1)
    assert figure["layout"]["yaxis"]["autorange"] == "reversed"
    assert figure["layout"]["yaxis"]["title"]["text"] == "true class"


def test_every_cell_says_which_one_it_is():
    (map_,) = read(plot_confusion(COUNTS, NAMES))["data"]
    assert map_["hovertemplate"].startswith("true %{y}, predicted %{x}: %{customdata[2]} %{customdata[3]}")
    for true, row in enumerate(map_["customdata"]):
        for predicted, cell in enumerate(row):
            assert cell[:3] == [true, predicted, COUNTS[true, predicted]]
    assert map_["customdata"][0][1][3] == "picture" and map_["customdata"][0][0][3] == "pictures"


@pytest.mark.parametrize("num_classes", [2, MAX_WITH_COUNTS, MAX_WITH_COUNTS + 1, MAX_SHOWN, MAX_SHOWN + 1, 1000])
def test_matrices_of_any_size_stay_light(num_classes):
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(0, 3, (num_classes, num_classes), generator=generator) + 50 * torch.eye(num_classes).long()
    counts[1, 0] = 10**6
    document = plot_confusion(counts, [f"class {n}" for n in range(num_classes)]).to_json()
    figure = json.loads(document, parse_constant=pytest.fail)
    (map_,) = figure["data"]
    shown = min(num_classes, MAX_SHOWN)
    assert len(map_["x"]) == len(map_["z"]) == shown
    assert (map_.get("text") is not None) == (num_classes <= MAX_WITH_COUNTS)
    assert [row[0][0] for row in map_["customdata"]][:2] == [0, 1], "the most confused pair is shown"
    title = figure["layout"].get("title", {}).get("text")
    assert title == (f"The {shown} most confused of {num_classes} classes" if num_classes > MAX_SHOWN else None)
    assert len(document) < 250_000
    assert figure["layout"]["height"] <= 900


def test_shares_of_the_classes_shown_are_of_all_their_pictures():
    counts = torch.zeros(100, 100, dtype=torch.int64)
    counts[torch.arange(100), torch.arange(100)] = 6
    counts[0, 99] = 2
    (map_,) = read(plot_confusion(counts, [str(n) for n in range(100)]))["data"]
    assert map_["z"][0][0] == 0.75 and map_["z"][0][-1] == 0.25


def test_a_difference_is_centred_at_zero():
    difference = torch.tensor([[2, -2, 0], [0, 0, 0], [-5, 0, 5]])
    (map_,) = read(plot_confusion_difference(difference, NAMES))["data"]
    assert (map_["zmin"], map_["zmax"], map_["zmid"]) == (-5, 5, 0)
    assert map_["z"] == difference.tolist()
    assert map_["text"][0] == ["+2", "-2", ""]
    assert map_["colorscale"][1] == [0.5, "rgb(247, 247, 247)"]


def test_the_classes_that_changed_most_are_called_so():
    difference = torch.zeros(MAX_SHOWN + 1, MAX_SHOWN + 1, dtype=torch.int64)
    difference[3, 4] = -2
    figure = read(plot_confusion_difference(difference, [f"c{n}" for n in range(MAX_SHOWN + 1)]))
    assert figure["layout"]["title"]["text"] == f"The {MAX_SHOWN} most changed of {MAX_SHOWN + 1} classes"


def test_no_difference_at_all_is_white():
    (map_,) = read(plot_confusion_difference(torch.zeros(3, 3, dtype=torch.int64), NAMES))["data"]
    assert (map_["zmin"], map_["zmax"]) == (-1, 1)


def test_equal_and_hostile_names_stay_apart():
    (map_,) = read(plot_confusion(COUNTS, ("x" * 60, "x" * 60, "<b>1</b>")))["data"]
    assert len(set(map_["x"])) == 3 and map_["x"][1].endswith(" (2)")
    assert map_["x"][2] == "&lt;b&gt;1&lt;/b&gt;"


def test_numbers_as_names_are_names():
    layout = read(plot_confusion(COUNTS, ("0", "10", "5")))["layout"]
    assert layout["xaxis"]["type"] == layout["yaxis"]["type"] == "category"


def confusion(labels, predicted, num_classes):
    logits = torch.eye(num_classes)[torch.tensor(predicted)]
    return measure_confusion(logits, torch.tensor(labels), [f"c{n}" for n in range(num_classes)])


def test_classes_are_bars_with_intervals():
    scores = confusion([0, 0, 1, 1], [0, 1, 1, 1], 4).score_classes()
    (bars,) = read(plot_class_scores(scores))["data"]
    assert (bars["x"], bars["y"]) == (["c0", "c1"], [0.5, 1.0])
    assert [y + up for y, up in zip(bars["y"], bars["error_y"]["array"], strict=True)] == pytest.approx(
        [score.recall.high for score in scores[:2]]
    )
    assert [row[:2] for row in bars["customdata"]] == [[0, 2], [1, 2]]
    assert bars["customdata"][1][2] == "66.7% of the 3 pictures predicted as it are"


def test_a_class_that_is_never_predicted_says_so():
    (bars,) = read(plot_class_scores(confusion([0, 1], [1, 1], 2).score_classes()))["data"]
    assert bars["customdata"][0][2] == "never predicted"


def test_of_many_classes_the_worst_are_shown():
    labels = list(range(100))
    predicted = [0 if n == 42 else n for n in labels]
    figure = read(plot_class_scores(confusion(labels, predicted, 100).score_classes()))
    (bars,) = figure["data"]
    assert len(bars["x"]) == MAX_SHOWN and bars["y"][bars["x"].index("c42")] == 0
    assert figure["layout"]["title"]["text"] == f"The {MAX_SHOWN} worst of 100 classes"


# The balance of a data set.


def test_every_split_is_a_bar_on_top_of_the_others():
    figure = read(plot_class_balance(("ant", "bee", "ant"), SPLITS))
    assert {bar["name"]: tuple(bar["y"]) for bar in figure["data"]} == SPLITS
    assert all(bar["x"] == [0, 1, 2] and bar["customdata"] == ["ant", "bee", "ant"] for bar in figure["data"])
    assert figure["layout"]["barmode"] == "stack" and figure["layout"]["yaxis"]["rangemode"] == "tozero"
    assert figure["layout"]["xaxis"]["ticktext"] == ["ant", "bee", "ant"]


def test_hostile_names_of_a_balance_are_short_plain_text():
    """Names of classes are folders of a zip that anybody may have made."""
    names = ("<a href='//evil'>x</a>", "%{y}", "x" * 5000)
    figure = read(plot_class_balance(names, SPLITS))
    shown = ["&lt;a href='//evil'&gt;x&lt;/a&gt;", "% {y}", "x" * 39 + "…"]
    assert figure["layout"]["xaxis"]["ticktext"] == shown
    assert all(bar["customdata"] == shown for bar in figure["data"])


def test_many_classes_are_not_named_under_the_axis():
    names = [str(i) for i in range(MAX_SHOWN + 1)]
    figure = read(plot_class_balance(names, {"train": [1] * len(names)}))
    assert figure["layout"]["xaxis"]["showticklabels"] is False and len(figure["data"]) == 1


def test_the_balance_of_nothing_is_empty():
    assert read(plot_class_balance((), {"train": ()}))["data"][0]["y"] == []
    assert read(plot_class_balance(("ant",), {})).get("data", []) == []


def test_counts_of_other_classes_are_refused():
    with refused("3", "2"):
        plot_class_balance(("a", "b", "c"), SPLITS | {"test": (1, 2)})
