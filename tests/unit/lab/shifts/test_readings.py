"""Layer meters and self-checks of the lab, against single shifts and plain forwards."""

import json

import numpy as np
import pytest
from PIL import Image

from analysis.errors import Cancelled
from analysis.shift.move import BOUNDARIES
from lab.shifts import (
    check_model,
    measure_picture,
)
from tests.sentences import refused
from tests.unit.lab.shifts.own_models import MODEL, elsewhere

TOO_WIDE = {"roomy": {f"features.2.{part}" for part in ("conv", "norm", "relu")}}
TOO_WIDE[MODEL] = {"features.1.pool", *TOO_WIDE["roomy"]}


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("twin", [False, True], ids=["as_trained", "twin"])
def test_a_meter_reading_is_json_whatever_the_rules(lab, boot, boundary, twin):
    model = "roomy" if boundary == "crop" else MODEL
    reading = measure_picture(lab, boot, model, 1, -2, boundary, twin=twin)
    document = json.loads(json.dumps(reading.to_json(), allow_nan=False))
    rules = {"model": model, "dx": 1, "dy": -2, "boundary": boundary, "twin": twin}
    assert document | rules == document
    names = [layer.name for layer in lab.layers(model) if layer.is_feature_map and not layer.repeats]
    assert [layer["name"] for layer in document["layers"]] == [phase["name"] for phase in document["phases"]] == names
    for layer in document["layers"]:
        # Part of a cell mixes six of seven a side, whose windows together are wider than the picture.
        is_unknown = boundary != "circular" and layer["name"] in TOO_WIDE[model]
        assert (layer["cause"] is None) == is_unknown
        assert layer["cause"] in (None, "stride", "padding", "new content", "none")
    assert [phase["stride"] for phase in document["phases"]] == [1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4]
    own = {layer["name"]: layer for layer in document["own"]}
    assert list(own) == names
    assert {layer["cause"] for layer in own.values()} == {"none", "stride"} | ({"padding"} - {"padding" * twin})
    for name, layer in own.items():
        is_pool, is_conv = name.endswith("pool"), name.endswith("conv")
        assert (layer["error"] > 0.05) == (is_pool or (is_conv and not twin))
        assert (layer["in_phase"] > 0.05) == (is_conv and not twin) == (layer["cause"] == "padding")
        assert layer["stride"] == layer["input_stride"] * (2 if is_pool else 1)


def test_the_meter_separates_stride_from_padding(lab, boot):
    """By whole cells, wrapping around, the twin is exact; the network as trained is not."""
    twin = measure_picture(lab, boot, MODEL, 4, -8, "circular", twin=True)
    trained = measure_picture(lab, boot, MODEL, 4, -8, "circular")
    assert max(layer.error for layer in twin.layers) < 1e-5
    assert {layer.cause for layer in twin.layers} == {"none"}
    assert max(phase.in_phase for phase in twin.phases) < 1e-5
    assert min(phase.out_of_phase for phase in twin.phases if phase.stride > 1) > 0.01
    assert min(layer.error for layer in trained.layers) > 0.01
    assert {layer.cause for layer in trained.layers} == {"padding"}
    assert (trained.is_twin, twin.is_twin) == (False, True)


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (4, -4)])
@pytest.mark.parametrize("boundary", [boundary for boundary in BOUNDARIES if boundary != "crop"])
@pytest.mark.parametrize("twin", [False, True], ids=["as_trained", "twin"])
def test_a_layer_has_one_error_wherever_it_is_shown(lab, boot, boundary, twin, dx, dy):
    """Under the maps, in the chart of every layer, and in the meter, with its curves in and out of phase."""
    reading = measure_picture(lab, boot, MODEL, dx, dy, boundary, twin=twin)
    errors = {layer.name: layer.error for layer in reading.layers}
    # A block hands on the map of its last part, under which the meter lists it.
    names = {"features.0": "features.0.pool", "features.1": "features.1.pool", "features.2": "features.2.relu"}
    for block, name in names.items():
        result = lab.shift(boot, MODEL, dx, dy, boundary, twin=twin, layer=name)
        shown = {layer.name: layer.relative_error for layer in result.layers}
        assert shown[block] == result.comparison.relative_error == pytest.approx(errors[name], rel=1e-5, abs=1e-9)
    curves = {phase.name: phase for phase in reading.phases}
    for name in names.values():
        if (dx, dy) == (1, 0):
            assert curves[name].out_of_phase == pytest.approx(errors[name], rel=1e-5, abs=1e-9)


def test_a_smooth_photograph_is_not_said_to_have_an_edge(lab):
    """Brighter on the right: a seam in a picture that wrapped around made strides look eighteen times as bad."""
    y, x = np.mgrid[:300, :400]
    ramp = np.stack([40 + 170 * x / 400, 60 + 150 * x / 400, 90 + 130 * x / 400], -1)
    ramp += 6 * np.sin(2 * np.pi * (x / 61 + y / 83))[..., None]
    reading = measure_picture(lab, Image.fromarray(ramp.astype(np.uint8)), "efficientnet_lite0", 1, 0, "crop")
    stem, *_ = reading.layers
    assert (stem.name, stem.cause) == ("conv_stem", "stride")
    assert stem.error == pytest.approx(0.0059, abs=1e-4)
    assert stem.stride_error == pytest.approx(stem.error, rel=0.03)
    assert 1e-4 < stem.padding_error < 0.3 * stem.error
    measured = [layer for layer in reading.layers if layer.cause is not None]
    assert len(measured) > 50
    for layer in measured:
        assert layer.new_content_error == 0 < 1e-4 < layer.padding_error
        assert layer.stride_error < 1.15 * layer.error
        largest = max(layer.stride_error, layer.padding_error)
        is_explained = "one alone does more" in layer.note or "more error than the others" in layer.note
        assert largest <= 1.001 * layer.error or is_explained
    for layer in reading.layers:
        if layer not in measured:
            assert (layer.stride_error, layer.padding_error) == (None, None)
            assert "what strides and padding do is not measured" in layer.note
            assert layer.receptive_field > 256


def test_a_reading_at_fractions_and_without_a_shift(lab, boot):
    for dx, dy in ((0.5, -0.25), (0, 0)):
        reading = measure_picture(lab, boot, MODEL, dx, dy, "circular")
        json.dumps(reading.to_json(), allow_nan=False)
        errors = [layer.error for layer in reading.layers]
        assert max(errors) < 1e-6 if (dx, dy) == (0, 0) else min(errors) > 1e-3


def test_a_flat_picture_still_gives_a_reading(lab):
    json.dumps(measure_picture(lab, Image.new("L", (28, 28), 9), MODEL, 1, 0).to_json(), allow_nan=False)


def test_a_reading_reports_and_can_be_cancelled(lab, boot):
    heard = []
    measure_picture(lab, boot, MODEL, 1, 0, progress=lambda *step: heard.append(step))
    assert heard == sorted(set(heard))
    assert heard[-1][0] == heard[-1][1]

    def cancel(done, total):
        raise Cancelled

    with lab.models.use(MODEL) as loaded:
        hooks = [len(part._forward_hooks) for part in loaded.module.modules()]
    with pytest.raises(Cancelled):
        measure_picture(lab, boot, MODEL, 1, 0, twin=True, progress=cancel)
    assert elsewhere(lab.classify, boot, MODEL).predictions
    with lab.models.use(MODEL) as loaded:
        assert [len(part._forward_hooks) for part in loaded.module.modules()] == hooks


def test_a_reading_that_the_boundary_cannot_give_is_refused(lab, boot):
    with refused("0 to 0"):
        measure_picture(lab, boot, MODEL, 1, 0, "crop")
    with refused("wrap"):
        measure_picture(lab, boot, MODEL, 1, 0, "wrap")


@pytest.mark.parametrize("sample", ["sneaker", "ankle_boot"])
def test_the_bundled_model_passes_its_self_check(lab, sample):
    results = check_model(lab, MODEL, lab.open_image(sample))
    assert [r for r in results if r.passed is False] == []
    passed = {r.identity for r in results if r.passed and not r.is_negative_control}
    assert passed >= {"I1", "I2", "I4", "I13", "I14", "I15", "I16", "I17", "I18", "I20"}
    assert {r.identity for r in results if r.passed and r.is_negative_control} >= {
        "I3",
        "I7",
        "I9",
        "I13",
        "I14",
        "I17",
    }
    for result in results:
        if result.passed and not result.is_negative_control:
            assert result.error <= result.tolerance
        if result.passed is None:
            assert result.note


def test_identities_of_crops_need_surroundings(lab, boot):
    """They do apply where the picture is larger than what the network sees, but not to padded convolutions."""
    reasons = [r.note for r in check_model(lab, MODEL, boot) if r.identity == "I12" and r.passed is None]
    assert reasons == ["The picture has no surroundings to crop from.", "I12 does not apply."]
    with_room = check_model(lab, "roomy", boot)
    assert [r for r in with_room if r.passed is False] == []
    assert all(r.passed for r in with_room if r.identity == "I12")


def test_the_self_check_can_be_cancelled_and_refuses_flat_pictures(lab, boot):
    def cancel(done, total):
        if done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        check_model(lab, MODEL, boot, progress=cancel)
    with refused():
        check_model(lab, MODEL, Image.new("L", (28, 28), 90))
    assert elsewhere(lab.classify, boot, MODEL).predictions


@pytest.mark.parametrize(("dx", "dy"), [(29, 0), (0, -1000)])
def test_readings_out_of_sight_are_refused(lab, boot, dx, dy):
    with refused():
        measure_picture(lab, boot, MODEL, dx, dy)
