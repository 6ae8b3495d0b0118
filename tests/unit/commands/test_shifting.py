"""Commands that move pictures: shift, shift-map, meter and self-check."""

import pytest
import torch

from analysis.shift.move import BOUNDARIES
from tests.unit.commands.fashion import FASHION, check_predictions


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_shift_measures_every_boundary(run_json, lab, boundary):
    document = run_json("shift", "chelsea", *FASHION, "--dx", 3, "--boundary", boundary)
    assert set(document) == {"before", "after", "same_top1", "probability_change", "layers", "notes"}
    check_predictions(document["before"], 5)
    check_predictions(document["after"], 5)
    assert document["same_top1"] is (document["before"][0]["index"] == document["after"][0]["index"])
    strides = [layer["stride"] for layer in document["layers"]]
    assert strides and strides == sorted(strides)
    for layer in document["layers"]:
        assert set(layer) == {"name", "stride", "relative_error"}
        assert layer["relative_error"] is None or layer["relative_error"] >= 0
    expected = lab.shift(lab.open_image("chelsea"), "fashion_cnn", 3, 0, boundary)
    assert document["probability_change"] == pytest.approx(expected.probability_change, abs=1e-6)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_no_shift_changes_nothing(run_json, boundary):
    document = run_json("shift", "coat", *FASHION, "--dx", 0, "--boundary", boundary)
    assert document["before"] == [pytest.approx(prediction) for prediction in document["after"]]
    assert document["same_top1"] is True and document["probability_change"] == pytest.approx(0, abs=1e-6)
    assert all(layer["relative_error"] == pytest.approx(0, abs=1e-5) for layer in document["layers"])


def test_a_picture_that_wraps_around_can_go_any_distance(run_json):
    def shift(*options):
        return run_json("shift", "bag", *FASHION, "--boundary", "circular", *options)

    once = shift("--dx", 1, "--dy", -2)
    assert shift("--dx", 29, "--dy", -30) == shift("--dx", 28 * 10**7 + 1, "--dy", -2 - 28) == once
    assert shift("--dx", 28, "--dy", 0)["before"] == shift("--dx", 28, "--dy", 0)["after"]
    whole, turn = (
        run_json("meter", "bag", *FASHION, "--boundary", "circular", "--dx", dx)["layers"] for dx in (2, 30)
    )
    assert whole == turn


@pytest.mark.parametrize("twin", [False, True])
def test_shift_maps_have_a_cell_for_every_shift(run_json, lab, twin):
    flags = ["--twin"] if twin else []
    document = run_json("shift-map", "bag", *FASHION, "--max-shift", 3, "--boundary", "circular", *flags)
    assert document["shifts"] == [-3, -2, -1, 0, 1, 2, 3]
    bag = lab.open_image("bag")
    for dy, dx in ((0, 0), (-3, 2), (1, -1)):
        expected = lab.shift(bag, "fashion_cnn", dx, dy, "circular", twin=twin)
        row, column = document["shifts"].index(dy), document["shifts"].index(dx)
        assert document["top1"][row][column] == expected.after[0].index
        change = document["probability"][row][column] - document["probability"][3][3]
        assert change == pytest.approx(expected.probability_change, abs=1e-5)
    labels = [label for row in document["top1"] for label in row]
    pairs = [a == b for i, a in enumerate(labels) for b in labels[:i]]
    assert document["consistency"] == pytest.approx(sum(pairs) / len(pairs))


def test_the_self_check_lists_identities_and_none_fails(run_json):
    checks = run_json("self-check", *FASHION)
    assert {check["identity"] for check in checks} == {f"I{number}" for number in range(1, 22)}
    for check in checks:
        assert {"identity", "error", "tolerance", "passed"} <= set(check)
        assert check["passed"] is not False
    measured = [check for check in checks if check["passed"] and not check["negative_control"]]
    assert len(measured) > 8
    assert all(check["error"] <= check["tolerance"] for check in measured)


def test_the_meter_has_every_layer_and_its_cause(run_json):
    document = run_json("meter", "bag", *FASHION, "--dx", 2, "--boundary", "circular")
    assert (document["dx"], document["boundary"], document["twin"]) == (2, "circular", False)
    assert [layer["name"] for layer in document["layers"]][:2] == ["features.0.conv", "features.0.norm"]
    for layer in document["layers"]:
        assert layer["error"] > 0 and layer["new_content_error"] == 0
        assert layer["cause"] in ("stride", "padding")


def test_the_meter_says_below_the_table_what_it_does_not_measure(run):
    code, out, _ = run("meter", "bag", *FASHION, "--dx", 1)
    assert code == 0
    rows, notes = out.splitlines()[1:12], out.splitlines()[12:]
    assert [row.split()[-1] for row in rows][-1] == "-"
    assert len(notes) == len(set(notes)) and any("not measured" in note for note in notes)


def test_maps_that_cannot_wrap_around_have_no_false_cause(run_json, torch_home):
    """An unpadded stride moves by whole cells as exactly in a picture that wraps around as in a crop."""
    from torchvision import models as zoo

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = zoo.get_model("squeezenet1_1", weights=None).state_dict()
    torch_home.mkdir(parents=True)
    torch.save(state, torch_home / zoo.SqueezeNet1_1_Weights.DEFAULT.url.rsplit("/", 1)[1])
    asked = ("coffee", "--model", "squeezenet1_1", "--dx", 16, "--boundary")
    wrapped, cropped = (
        {layer["name"]: layer for layer in run_json("meter", *asked, boundary)["layers"]}
        for boundary in ("circular", "crop")
    )
    for name in ("features.0", "features.1", "features.2", "features.3.squeeze"):
        for layer in (wrapped[name], cropped[name]):
            assert layer["cause"] == "none"
            assert max(layer["error"], layer["stride_error"], layer["padding_error"]) < 1e-6
    assert {layer["cause"] for layer in wrapped.values()} == {"none", "padding"}
    assert max(layer["stride_error"] for layer in wrapped.values()) < 1e-5
    shown = {layer["name"]: layer for layer in run_json("shift", *asked, "circular")["layers"]}
    assert shown["features.0"]["relative_error"] < 1e-6
    for name in shown.keys() & wrapped.keys():
        assert shown[name]["relative_error"] == pytest.approx(wrapped[name]["error"], rel=1e-4, abs=1e-7)
