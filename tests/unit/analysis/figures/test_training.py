"""Curves of a training hold the numbers of its records, stay small, and survive whatever a file holds."""

import json
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analysis.figures.curves import MAX_POINTS, Curve, decimate, smooth_epochs
from analysis.figures.style import HEIGHT, LINE_COLORS, shorten
from analysis.figures.training import (
    LAYER_MEASURES,
    MAX_LAYERS,
    RUN_MEASURES,
    plot_accuracy,
    plot_layers,
    plot_learning_rate,
    plot_loss,
    plot_rates,
    plot_runs,
    plot_seed_bands,
    plot_throughput,
)

CURVES = (plot_loss, plot_accuracy, plot_learning_rate, plot_throughput)


def read(figure) -> dict:
    """The figure as a browser gets it; NaN and infinity are no JSON."""
    return json.loads(figure.to_json(), parse_constant=pytest.fail)


def step(number: int, **values) -> dict:
    return {"kind": "step", "step": number} | values


def epoch(number: int, **values) -> dict:
    return {"kind": "epoch", "step": number} | values


def layers(number: int, **parts: dict) -> dict:
    return {"kind": "layers", "step": number, "layers": [{"name": name} | part for name, part in parts.items()]}


RECORDS = [
    step(5, train_loss=2.0, train_accuracy=0.25, learning_rate=0.1, samples_per_second=1000),
    step(10, train_loss=1.0, train_accuracy=0.5, learning_rate=0.2, samples_per_second=2000),
    epoch(10, train_loss=1.5, train_accuracy=0.375, val_loss=1.75, val_accuracy=0.25, learning_rate=0.2),
    epoch(20, train_loss=0.5, train_accuracy=0.875, val_loss=1.25, val_accuracy=0.625),
]


def points(figure) -> dict[str, list[tuple]]:
    return {curve["name"]: list(zip(curve["x"], curve["y"], strict=True)) for curve in read(figure)["data"]}


# Curves of one run.


def test_the_loss_of_both_parts_is_drawn_over_epochs():
    assert points(plot_loss(RECORDS, 10)) == {
        "training": [(0.5, 2.0), (1.0, 1.0), (1.0, 1.5), (2.0, 0.5)],
        "validation": [(1.0, 1.75), (2.0, 1.25)],
    }


def test_the_gap_is_training_minus_validation_after_each_epoch():
    figure = plot_accuracy(RECORDS, 10)
    assert points(figure) == {
        "training": [(0.5, 0.25), (1.0, 0.5), (1.0, 0.375), (2.0, 0.875)],
        "validation": [(1.0, 0.25), (2.0, 0.625)],
        "gap": [(1.0, 0.125), (2.0, 0.25)],
    }
    assert [curve.get("fill") for curve in read(figure)["data"]] == [None, None, "tozeroy"]
    assert read(figure)["layout"]["yaxis"]["tickformat"] == ".0%"


def test_learning_rate_and_throughput():
    assert points(plot_learning_rate(RECORDS, 10)) == {"learning rate": [(0.5, 0.1), (1.0, 0.2), (1.0, 0.2)]}
    assert points(plot_throughput(RECORDS, 10)) == {"pictures a second": [(0.5, 1000), (1.0, 2000)]}


@pytest.mark.parametrize("plot", CURVES)
def test_a_run_without_records_has_an_empty_chart(plot):
    assert read(plot([], 10))["data"] == []


# Few points, and none that matters lost.


@settings(max_examples=40)
@given(st.lists(st.floats(-1e9, 1e9), max_size=400), st.integers(4, 60))
def test_fewer_points_keep_the_ends_and_the_extremes_in_order(values, limit):
    curve = Curve([float(n) for n in range(len(values))], values)
    found = decimate(curve, limit)
    assert len(found.x) == len(found.y) <= max(limit, 0)
    pairs = list(zip(*curve, strict=True))
    assert found.x == sorted(set(found.x))
    assert all(pair in pairs for pair in zip(*found, strict=True))
    if values:
        assert (min(found.y), max(found.y)) == (min(values), max(values))
        assert (found.x[0], found.x[-1]) == (0.0, float(len(values) - 1))
    if len(values) <= limit:
        assert found == curve


def test_a_long_training_stays_light_and_keeps_its_spike():
    records = [step(n, train_loss=1 + math.sin(n) / 10) for n in range(50_000)]
    records[31_234]["train_loss"] = 99.0
    document = plot_loss(records, 100).to_json()
    (curve,) = json.loads(document)["data"]
    assert len(curve["x"]) <= MAX_POINTS
    assert max(curve["y"]) == 99.0 and curve["x"][curve["y"].index(99.0)] == 312.34
    assert len(document) < 60_000


# Layers.


def test_norms_are_drawn_by_layer_on_a_scale_that_has_no_zero():
    records = [
        layers(10, conv={"weight_norm": 2.0, "gradient_norm": 0.0}, relu={"weight_norm": None, "dead": 1}),
        layers(20, conv={"weight_norm": 3.0, "gradient_norm": 0.5}),
    ]
    figure = plot_layers(records, "weight_norm")
    assert points(figure) == {"conv": [(10, 2.0), (20, 3.0)]}
    assert read(figure)["layout"]["yaxis"]["type"] == "log"
    assert points(plot_layers(records, "gradient_norm")) == {"conv": [(20, 0.5)]}


def test_dead_channels_are_shares_of_all():
    records = [layers(10, a={"dead": 0, "channels": 8}, b={"dead": 2, "channels": 8}, c={"dead": 1, "channels": 0})]
    assert points(plot_layers(records, "dead")) == {"a": [(10, 0)], "b": [(10, 0.25)]}
    assert plot_layers(records, "saturated") is None


def test_of_many_layers_norms_are_spread_and_the_worst_shares_shown():
    many = {f"l{n}": {"weight_norm": 1.0, "dead": n == 7, "channels": 4} for n in range(40)}
    for part in many.values():
        part["dead"] = int(part["dead"])
    norms = plot_layers([layers(1, **many)], "weight_norm")
    names = list(points(norms))
    assert len(names) == MAX_LAYERS and names[0] == "l0" and names[-1] == "l39"
    assert read(norms)["layout"]["xaxis"]["title"]["text"] == f"step ({MAX_LAYERS} of 40 layers)"
    assert points(plot_layers([layers(1, **many)], "dead"))["l7"] == [(1, 0.25)]


# Several runs.


@pytest.mark.parametrize("measure", RUN_MEASURES)
def test_runs_are_laid_over_each_other_by_step(measure):
    runs = [("a", [epoch(10, **{measure: 0.5}), step(15, **{measure: 9.0})]), ("b", []), ("c", RECORDS)]
    figure = plot_runs(runs, measure)
    assert points(figure)["a"] == [(10, 0.5)]
    assert [x for x, _ in points(figure)["c"]] == [10, 20]
    assert [curve["line"]["color"] for curve in read(figure)["data"]] == [LINE_COLORS[0], LINE_COLORS[2]]
    assert plot_runs([("b", [])], measure) is None


def test_seeds_are_a_band_around_their_mean():
    seeds = [[epoch(10, val_accuracy=v), epoch(20, val_accuracy=w)] for v, w in ((0.5, 0.75), (0.25, 1.0))]
    seeds[0].append(epoch(30, val_accuracy=0.9))  # which the other seed has not reached
    low, high, mean = read(plot_seed_bands([("with norm", seeds)], "val_accuracy"))["data"]
    assert (low["x"], low["y"], high["y"], mean["y"]) == ([10, 20], [0.25, 0.75], [0.5, 1.0], [0.375, 0.875])
    assert high["fill"] == "tonexty" and mean["name"] == "with norm (2 seeds)"
    assert mean["customdata"] == [[0.25, 0.5], [0.75, 1.0]]


def test_one_seed_is_a_line_and_an_arm_without_points_is_left_out():
    arms = [("none", [[], RECORDS]), ("no seeds", []), ("one", [RECORDS])]
    (line,) = read(plot_seed_bands(arms, "val_loss"))["data"]
    assert (line["name"], line["y"], line["line"]["color"]) == ("one (1 seed)", [1.75, 1.25], LINE_COLORS[2])
    assert plot_seed_bands(arms[:2], "val_loss") is None


# Whatever a file holds.

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
KEYS = ("step", "layers", "name", "dead", "channels", "weight_norm", "learning_rate", "samples_per_second")
HOSTILE = st.dictionaries(st.sampled_from((*KEYS, *RUN_MEASURES)), ANYTHING, max_size=8)


@settings(max_examples=40)
@example([("step", {"step": 2**64, "learning_rate": -(2**63) - 1}, [])])
@given(st.lists(st.tuples(st.sampled_from(["step", "epoch", "layers", 3]), HOSTILE, st.lists(HOSTILE, max_size=2))))
def test_hostile_records_give_charts_that_a_browser_can_read(drawn):
    records = [values | {"kind": kind} for kind, values, _ in drawn]
    records += [values | {"kind": "layers", "step": n, "layers": parts} for n, (_, values, parts) in enumerate(drawn)]
    for plot in CURVES:
        read(plot(records, 1))
    for figure in (
        *(plot_layers(records, measure) for measure in LAYER_MEASURES),
        plot_runs([("a", records), ("b", records)], "val_loss"),
        plot_seed_bands([("a", [records, records])], "val_accuracy"),
    ):
        if figure is not None:
            read(figure)


def test_names_are_short_and_no_markup():
    assert shorten("<b>&%{x}") == "&lt;b&gt;&amp;% {x}"
    assert len(shorten("x" * 500)) == 40
    (line,) = read(plot_runs([("<a href='x'>" + "y" * 99, RECORDS)], "val_loss"))["data"]
    assert line["name"].startswith("&lt;a href") and "<a" not in line["hovertemplate"]


def test_the_names_of_layers_stand_above_their_lines():
    """Also where they are too many for one line, and without taking the chart's height."""
    for count in (1, 9):
        layers = [{"name": f"features.{number}.conv", "weight_norm": 1.0} for number in range(count)]
        layout = plot_layers([{"kind": "layers", "step": 1, "layers": layers}], "weight_norm").layout
        assert layout.legend.y == 1 and layout.legend.yanchor == "bottom"
        assert layout.margin.t >= 20 * count / 2 and layout.height - layout.margin.t == HEIGHT - 28


# The range test of learning rates.


RATES, LOSSES = [1e-6, 1e-4, 1e-2, 1.0], [2.3, 2.2, 1.1, 9.0]


def test_the_curve_is_that_of_the_range_test():
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


def test_a_range_test_that_measured_nothing_is_an_empty_chart():
    (curve,) = read(plot_rates((), (), None))["data"]
    assert curve["x"] == [] and curve["y"] == []


def test_the_training_curve_does_not_jump_where_an_epoch_begins():
    """Losses of 4, 2 and 1 in the halves of two epochs of ten steps: the recorded means begin anew at step 10."""
    losses = [4.0] * 10 + [2.0] * 5 + [1.0] * 5
    records = []
    for step in range(1, 21):
        epoch = (step - 1) // 10 + 1
        since = losses[10 * (epoch - 1) : step]
        records.append({"kind": "step", "epoch": epoch, "step": step, "train_loss": sum(since) / len(since)})
    records.append(records[-1] | {"kind": "epoch"})
    odd = [{"kind": "step", "epoch": "1", "step": 3, "train_loss": 9.0}, {"kind": 3}, {"epoch": 9, "step": 1}]
    smoothed = smooth_epochs([*records, *odd], "train_loss", 10)
    found = [record["train_loss"] for record in smoothed[:21]]
    wanted = [sum(losses[max(0, step - 10) : step]) / min(step, 10) for step in [*range(1, 21), 20]]
    assert found == pytest.approx(wanted) and smoothed[21:] == odd
    assert records[10]["train_loss"] == 2.0 and found[10] == pytest.approx(3.8)
    ends = smooth_epochs(records[12:], "train_loss", 10)  # of a long file only the end is kept
    assert ends[0]["train_loss"] == records[12]["train_loss"] and ends[-1]["train_loss"] == pytest.approx(1.5)
