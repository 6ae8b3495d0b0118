"""Charts hold the numbers they were given, and nothing a browser cannot read."""

import json

import pytest

from analysis.equivariance import LayerError
from analysis.figures import HEIGHT, plot_layer_errors, plot_training

ERRORS = [LayerError("conv1", 2, 0.25), LayerError("layer1", 4, None), LayerError("layer2", 8, 0.0)]
RECORDS = [
    {"kind": "step", "step": 10, "train_loss": 2.5, "train_accuracy": 0.1},
    {"kind": "step", "step": 20, "train_loss": 2.0, "train_accuracy": 0.25},
    {"kind": "epoch", "step": 20, "train_loss": 1.9, "val_loss": 2.2, "val_accuracy": 0.2},
    {"kind": "step", "step": 30, "train_loss": None, "train_accuracy": 0.5},
    {"kind": "epoch", "step": 40, "val_loss": 1.5, "val_accuracy": 0.75},
]


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


@pytest.mark.parametrize(
    ("measure", "train", "val"),
    [
        ("loss", [(1.0, 2.5), (2.0, 2.0), (2.0, 1.9)], [(2.0, 2.2), (4.0, 1.5)]),
        ("accuracy", [(1.0, 0.1), (2.0, 0.25), (3.0, 0.5)], [(2.0, 0.2), (4.0, 0.75)]),
    ],
)
def test_training_is_drawn_over_epochs(measure, train, val):
    figure = read(plot_training(RECORDS, measure, steps_per_epoch=10))
    found = {curve["name"]: list(zip(curve["x"], curve["y"], strict=True)) for curve in figure["data"]}
    assert found == {"training": train, "validation": val}
    assert figure["layout"]["yaxis"]["title"]["text"] == measure


def test_accuracy_is_in_percent_and_loss_is_not():
    formats = [read(plot_training(RECORDS, m, 10))["layout"]["yaxis"].get("tickformat") for m in ("accuracy", "loss")]
    assert formats == [".0%", None]


def test_training_without_records_is_two_empty_curves():
    curves = read(plot_training([], "loss", 10))["data"]
    assert [list(curve["x"]) for curve in curves] == [[], []]


def test_half_an_epoch_is_half_way():
    (train, _) = read(plot_training(RECORDS[:1], "loss", 20))["data"]
    assert train["x"] == [0.5]
