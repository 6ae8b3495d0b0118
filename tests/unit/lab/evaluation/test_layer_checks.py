"""Layer errors over several pictures, against numbers worked out by hand."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from analysis.equivariance.meter import LayerMeter
from lab.evaluation.layer_checks import NUM_PICTURES, _join
from lab.evaluation.layer_checks import _open as _open_some
from models.data.labelled import open_evaluation_data


def test_layers_are_measured_although_the_first_picture_is_flat(run, folder, tmp_path):
    copied = tmp_path / "insects"
    shutil.copytree(folder, copied)
    Image.new("L", (18, 18), 90).save(copied / "ant" / "000.png")
    model = run(data=str(copied), checks=True)["models"][0]
    assert model["identities"] == [] and "flat colour" in model["check_notes"][0] and model["layers"]


def test_checks_take_pictures_of_all_classes(folder):
    with open_evaluation_data(folder, data_root="") as data:
        seen = []
        asked = replace(data, picture=lambda row: seen.append(int(data.labels[row])) or data.picture(row))
        assert len(list(_open_some(asked, list(range(70))))) == NUM_PICTURES == len(seen)
        assert set(seen) == {0, 1, 2, 3}


def meter(scale: float | None, **numbers: float | None) -> LayerMeter:
    return LayerMeter("conv", 4, 9, 49, scale=scale, **numbers)


def test_layer_errors_are_ratios_of_sums_over_the_pictures():
    meters = [
        meter(2.0, error=0.5, unaligned=1.0, cosine=0.8, padding_error=None),
        meter(1.0, error=0.1, unaligned=0.4, cosine=0.2, padding_error=0.3),
        meter(None, error=None, unaligned=None, cosine=None, padding_error=None),  # a constant map
    ]
    layer = _join(meters, 0)
    error = math.sqrt((0.5**2 * 4 + 0.1**2 * 1) / 5)
    unaligned = math.sqrt((1.0 * 4 + 0.4**2) / 5)
    assert layer["num_images"] == 2
    assert layer["error"]["value"] == pytest.approx(error, abs=1e-8)
    assert layer["skill"]["value"] == pytest.approx(1 - error / unaligned, abs=1e-8)
    assert layer["cosine"]["value"] == pytest.approx((0.8 * 4 + 0.2) / 5, abs=1e-8)
    assert layer["padding_error"]["value"] == pytest.approx(0.3, abs=1e-8)
    assert layer["stride_error"] == {"value": None, "low": None, "high": None}
    assert (layer["error"]["low"], layer["error"]["high"]) == (pytest.approx(0.1), pytest.approx(0.5))


def test_intervals_of_layer_errors_cover_what_they_estimate():
    rng = np.random.default_rng(0)
    squares = rng.exponential(0.04, size=(40, 200))  # expectation 0.04: an error of 0.2
    inside = 0
    for row in squares:
        found = _join([meter(1.0, error=math.sqrt(value)) for value in row], 0)["error"]
        inside += found["low"] <= 0.2 <= found["high"]
    assert 33 <= inside <= 40  # 95 % of 40 is 38; below 33 has a probability of 1e-3


def test_one_picture_has_no_interval_and_still_layers_no_skill():
    only = _join([meter(1.0, error=0.0, unaligned=0.0)], 0)
    assert only["error"] == {"value": 0.0, "low": None, "high": None} and only["skill"]["value"] is None
