"""The commands of the lecture: what they print is what PyTorch computes."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from analysis.convolution.presets import PRESETS
from models.data.samples import get_sample
from tests.sentences import check_sentence

EDGE = "[[10,10,10,0,0,0],[10,10,10,0,0,0],[10,10,10,0,0,0],[10,10,10,0,0,0],[10,10,10,0,0,0],[10,10,10,0,0,0]]"
VERTICAL = "[[1,0,-1],[1,0,-1],[1,0,-1]]"


def test_convolve_keeps_its_contract(run_json):
    document = run_json("convolve", "--grid", EDGE, "--kernel", VERTICAL, "--stride", 1, "--padding", 0)
    assert list(document) == ["output", "shape", "formula", "dropped", "code"]
    assert document["output"] == [[0, 30, 30, 0]] * 4 and document["shape"] == [4, 4] and document["dropped"] == []
    assert {type(number) for row in document["output"] for number in row} == {int}
    assert document == run_json("convolve", "--grid", EDGE, "--kernel", "vertical_edges")
    flipped = run_json("convolve", "--grid", EDGE, "--kernel", VERTICAL, "--flip")
    assert flipped["output"] == [[0, -30, -30, 0]] * 4


def test_a_signal_and_a_stack_of_slices(run_json):
    document = run_json("convolve", "--signal", "[1,2,3,4,5,6]", "--kernel", "[1,0,-1]", "--stride", 2)
    assert document["output"] == [-2, -2] and document["dropped"] == [[5]]
    assert document["code"] == "nn.Conv1d(1, 1, kernel_size=3, stride=2, bias=False)"
    cube = np.arange(27).reshape(3, 3, 3).tolist()
    document = run_json("convolve", "--grid", json.dumps(cube), "--kernel", json.dumps(np.ones((2, 2, 2)).tolist()))
    assert document["shape"] == [2, 2, 2] and document["output"][0][0][0] == sum((0, 1, 3, 4, 9, 10, 12, 13))
    channels = run_json(
        "convolve", "--grid", json.dumps(cube), "--kernel", json.dumps(np.ones((4, 3, 2, 2)).tolist())
    )
    assert channels["shape"] == [4, 2, 2]


@pytest.mark.parametrize(
    "settings",
    [
        {"stride": 2, "padding": 1, "padding-mode": "reflect"},
        {"dilation": 2, "padding": 2, "padding-mode": "circular"},
        {"padding": 3, "padding-mode": "replicate", "stride": 3},
        {"padding": 2},
    ],
    ids=str,
)
def test_a_picture_is_its_grey_values(run_json, settings):
    options = [part for name, value in settings.items() for part in (f"--{name}", value)]
    document = run_json("convolve", "bag", "--kernel", "sobel_x", *options)
    grey = torch.tensor(np.asarray(Image.open(get_sample("bag").path).convert("L"))).double()[None, None]
    mode, padding = settings.get("padding-mode", "constant"), (settings["padding"],) * 4
    kernel = torch.tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]).double()[None, None]
    around = {name: settings[name] for name in ("stride", "dilation") if name in settings}
    expected = F.conv2d(F.pad(grey, padding, mode), kernel, **around)[0, 0]
    assert document["output"] == expected.long().tolist() and document["shape"] == list(expected.shape)


def test_a_large_picture_can_be_reduced(run_json, run):
    assert max(run_json("convolve", "chelsea", "--side", 32, "--padding", 1)["shape"]) == 32
    code, out, _ = run("convolve", "chelsea", "--side", 32)
    assert code == 0 and "nn.Conv2d" in out
    code, out, _ = run("convolve", "--signal", "[1,2,3,4]", "--kernel", "[1,1,1]", "--stride", 2)
    assert code == 0 and "floor((4 + 2*0 - 3) / 2) + 1" in out and "1 cells" in out


def test_stack_keeps_its_contract(run_json, run):
    text = "conv(6,5) relu pool(2) conv(16,5) flatten linear(10)"
    rows = run_json("stack", "--input", "3,32,32", "--layers", text)
    keys = "layer shape parameters macs receptive_field_previous receptive_field_input"
    assert all(list(row) == keys.split() for row in rows)
    assert [row["layer"] for row in rows] == text.split()
    assert [row["shape"] for row in rows] == [[6, 28, 28], [6, 28, 28], [6, 14, 14], [16, 10, 10], [1600], [10]]
    assert [row["parameters"] for row in rows] == [456, 0, 0, 16 * 151, 0, 16010]
    assert [row["receptive_field_previous"] for row in rows] == [5, 1, 2, 5, 1, 1600]
    assert [row["receptive_field_input"] for row in rows] == [5, 5, 6, 14, 14, 32]
    lenet = run_json("stack", "--preset", "lenet5")
    assert sum(row["parameters"] for row in lenet) == 61_706 and len(lenet) == len(PRESETS["lenet5"].layers)
    code, out, _ = run("stack", "--preset", "vgg_d")
    assert code == 0 and "138,357,544" in out


def test_pool_and_quiz(run_json, run):
    document = run_json("pool", "--grid", "[[1,2,3,4],[5,6,7,8]]", "--kind", "max")
    assert list(document) == ["output", "shape", "change", "mean_change", "nonlinearity", "code"]
    assert document["output"] == [[6, 8]] and document["shape"] == [1, 2] and document["nonlinearity"] == 1  # 14 - 13
    strided = run_json("pool", "bag", "--kind", "strided")
    average = run_json("pool", "bag", "--kind", "average")
    assert strided["change"] > average["change"] > 0 and average["mean_change"] < 1e-12 > average["nonlinearity"]
    code, out, _ = run("pool", "bag", "--kind", "l2", "--window", 3, "--stride", 2)
    assert code == 0 and "nn.LPPool2d(2, 3, stride=2)" in out
    assert [each["kind"] for each in run_json("quiz", "--seed", 4)] == ["size", "parameters", "receptive_field"]
    assert run_json("quiz", "--seed", 4, "--kind", "size") == run_json("quiz", "--seed", 4)[:1]
    (asked,) = run_json("quiz", "--seed", 4, "--kind", "size")
    for given, is_right in (("x".join(map(str, asked["answer"])), True), ("1x1x1", False)):
        assert run_json("quiz", "--seed", 4, "--kind", "size", "--answer", given) == [asked | {"right": is_right}]
    code, out, _ = run("quiz", "--notes")
    assert code == 0 and "28 x 28 x 6" in out and "= 760" in out


def test_loss_keeps_its_contract(run_json, run):
    scores = "[[3.2,5.1,-1.7],[1.3,4.9,2.0],[2.2,2.5,-3.1]]"
    svm = run_json("loss", "--scores", scores, "--labels", "[0,1,2]", "--kind", "svm")
    assert list(svm) == ["losses", "probabilities", "gradient"] and svm["losses"] == pytest.approx([2.9, 0, 12.9])
    assert svm["gradient"] == [[-1, 1, 0], [0, 0, 0], [1, 1, -2]]
    softmax = run_json("loss", "--scores", scores, "--labels", "[0,1,2]", "--kind", "softmax")
    assert [round(p, 2) for p in softmax["probabilities"][0]] == [0.13, 0.87, 0.0]
    kl = run_json("loss", "--scores", scores, "--labels", "[0,1,2]", "--kind", "kl")
    assert kl["losses"] == pytest.approx(softmax["losses"])
    code, out, _ = run("loss", "--scores", scores, "--labels", "[0,1,2]")
    assert code == 0 and "24.53" in out and "164" in out and "0.1827" in out


def test_claim_keeps_its_contract(run_json, run):
    listed = run_json("claim")
    assert len(listed) >= 50
    assert {*listed[0]} == {*["name", "title", "section", "claim", "guess", "seconds", "see", "preset", "command"]}
    document = run_json("claim", "ten_filters")
    assert list(document) == ["name", "claim", "verdict", "facts", "number", "note", "run", "control"]
    assert document["verdict"] == "holds" and document["facts"][1]["found"] == "760"
    code, out, _ = run("claim", "vertical_edge")
    assert code == 0 and "claimed 0 30 30 0, found 0 30 30 0: agrees" in out and "it does not hold" in out
    code, out, _ = run("claim", "bn_faster")
    assert code == 0 and "python cli.py arms --preset bn_faster" in out
    code, out, _ = run("claim")
    assert code == 0 and all(each["name"] in out for each in listed)
    code, _, error = run("claim", "nothing_like_it", "--all")
    assert code == 2
    check_sentence(error, "--all")


def test_receptive_field_keeps_its_contract(run_json, run):
    layers = run_json("layers", "--model", "fashion_cnn")
    first = next(row for row in layers if row["type"] == "Conv2d")
    asked = ("receptive-field", "--model", "fashion_cnn", "--layer", first["name"], "--image", "bag")
    document = run_json(*asked)
    assert list(document) == ["theoretical", "effective", "centre", "stride"]
    assert document["theoretical"] == first["receptive_field"] and document["stride"] == first["stride"]
    assert 0 < document["effective"] <= document["theoretical"]
    assert run_json(*asked, "--row", 3, "--column", 5)["centre"] == [3 * first["stride"], 5 * first["stride"]]
    code, out, _ = run(*asked)
    assert code == 0 and f"{first['receptive_field']} pixels a side" in out


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["convolve"], []),
        (["convolve", "bag", "--grid", "[[1]]"], []),
        (["convolve", "--grid", "[[1,2],[3,4]]", "--kernel", "[[1,1,1],[1,1,1],[1,1,1]]"], ["3 x 3", "2 x 2"]),
        (["convolve", "--grid", "[[1,2],[3,4]]", "--kernel", "[1,1]"], [1, 2]),
        (["convolve", "--signal", "[1,2,3]", "--kernel", "mean"], ["3 x 3", 1]),
        (["convolve", "--signal", "[[1,2,3]]", "--kernel", "[1]"], [2]),
        (["convolve", "--grid", "[[1,2],[3,4]]", "--kernel", "no_such"], ["no_such", "mean"]),
        (["convolve", "--grid", "[[1,2],[3,4]]", "--kernel", "[[1]]", "--stride", "0"], ["stride", 0]),
        (["convolve", "bag", "--side", "0"], [0]),
        (["stack", "--input", "3,32,32"], []),
        (["pool", "--grid", "[[1,2],[3,4]]", "--window", "3"], ["3 x 3", "2 x 2"]),
        (["pool", "--grid", "[[1,2],[3,4]]", "--stride", "0"], [0]),
        (["quiz", "--answer", "3"], []),
        (["loss", "--scores", "[[1,2]]", "--labels", "[2]", "--kind", "svm"], [1, 2]),
        (["loss", "--scores", "[[1,2]", "--labels", "[1]"], ["scores"]),
        (["receptive-field", "--model", "fashion_cnn", "--image", "bag", "--layer", "conv9"], ["conv9"]),
        (["receptive-field", "--model", "fashion_cnn", "--image", "bag", "--row", "99"], [99]),
        (["stack", "--input", "3,8,8", "--layers", "conv(6,9)"], ["9 x 9", "8 x 8"]),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_line(run, arguments, facts):
    code, out, err = run(*arguments, "--json")
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
    check_sentence(err, *facts)
