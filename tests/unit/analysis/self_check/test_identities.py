"""The self-check on networks of which it is known what they obey, and on instruments that are broken on purpose."""

import json

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from analysis.errors import Cancelled
from analysis.network.layers import list_layers
from analysis.self_check.identities import IDENTITIES, check_identities, exact_arithmetic
from models.networks.small_cnn import SmallCNN, SmallCNNConfig
from tests.sentences import refused
from tests.unit.analysis.self_check.nets import (
    DOUBLE,
    NETS,
    PHASES,
    STRIDED,
    Net,
    average,
    build,
    checked,
    convolve,
    picture,
    run,
    select,
)

PICTURES = {"I13", "I13 control", "I14", "I14 control", "I15", "I15 control", "I16", "I16 control", "I20"}
"""Rows that apply to every model."""


class TinyViT(nn.Module):
    """Patches, an absolute position embedding, one block of attention, a class token."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, stride=8)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.positions = nn.Parameter(torch.randn(1, 17, 16))
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], dim=1)
        return self.head(self.block(tokens + self.positions)[:, 0])


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=["float32", "float64"])
@pytest.mark.parametrize("name", NETS)
def test_networks_obey_what_their_architecture_obeys_and_break_what_it_breaks(name, dtype):
    results = checked(name, dtype)
    assert not select(results, False)
    assert select(results, True) == NETS[name][1] | PICTURES


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no padding", "The 30 x 30 cells of 1 px of 0 do not tile 32 x 32 px."),
        ("full padding", "The 34 x 34 cells of 1 px of 0 do not tile 32 x 32 px."),
        ("padding in front only", "The 14 x 14 cells of 2 px of 6 do not tile 32 x 32 px."),
    ],
)
def test_layers_that_do_not_tile_the_picture_are_no_failure(name, reason):
    results = checked(name)
    pooled = "I5" if name == "full padding" else "I4"
    assert [results[row].passed for row in (pooled, "I17")] == [None, None]
    assert results[pooled].note == reason
    assert reason in results["I2"].note  # of the layers before it
    assert "do not tile" in results["I17"].note


def test_pools_that_do_not_tile_are_left_out_of_their_identity():
    net = build(lambda: Net(*convolve((1,)), nn.MaxPool2d(3, 2), nn.MaxPool2d(2), *average()))
    results = run(net)
    assert results["I7"].passed and "kernel_size=2" in results["I7"].note
    assert results["I7 control"].passed
    net[4] = nn.Identity()
    assert "do not tile" in run(net)["I7"].note
    net[3].ceil_mode = True  # whose overhang wraps around
    assert run(net)["I7"].passed


@pytest.mark.parametrize("name", ["alexnet", "squeezenet1_1"])
def test_healthy_networks_whose_cells_do_not_tile_do_not_fail(name):
    results = run(build(lambda: models.get_model(name, weights=None, num_classes=5)), 96)
    assert not select(results, False)
    assert "cells of" in results["I2"].note


def test_the_networks_here_meet_every_row_of_the_table():
    met = set().union(*(expected for _, expected in NETS.values()), PICTURES)
    assert met == {f"{row.name} control" if row.control_of else row.name for row in IDENTITIES}
    assert {row.name for row in IDENTITIES} == {f"I{number}" for number in range(1, 22)}


@pytest.mark.parametrize("name", ["strided", "padded pooling"])
def test_controls_are_broken_by_far_more_than_rounding(name):
    results = checked(name, DOUBLE)
    for row in select(results, True):
        result = results[row]
        if result.is_negative_control:
            assert result.error > 1e-3
        else:
            assert result.error <= result.tolerance <= 1e-12


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: models.resnet18(weights=None, num_classes=5), {"I7", "I7 control", "I8 control"}),
        (lambda: timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=5), set()),
    ],
    ids=["resnet18", "efficientnet_lite0"],
)
def test_known_architectures_obey(make, expected):
    results = run(build(make), 64)
    assert not select(results, False)
    assert select(results, True) == STRIDED | PHASES | PICTURES | {"I4"} | expected


def test_a_transformer_gets_no_false_pass():
    results = run(build(TinyViT))
    assert {"I4", "I17"} <= select(results, False)
    assert results["I4"].error > 1e-2
    assert "Structural" in results["I4"].note
    assert results["I18"].passed is None
    # What does pass is about its convolution or about the picture.
    assert select(results, True) <= {"I2", "I3 control", "I12", "I19"} | PICTURES


def test_logits_that_do_not_depend_on_the_picture_pass_nothing():
    net = build(NETS["strided"][0])
    nn.init.zeros_(net[-1].weight)
    results = run(net)
    for row in ("I4", "I9 control", "I17", "I18"):
        assert results[row].passed is None
        assert "hardly depend on the picture" in results[row].note


def test_broken_weights_do_not_pass():
    net = build(NETS["strided"][0])
    net[0].weight.data[0, 0, 0, 0] = torch.nan
    results = run(net)
    assert {"I2", "I20"} <= select(results, False)
    assert results["I2"].to_json()["error"] is None
    json.dumps([result.to_json() for result in results.values()], allow_nan=False)


def test_controls_keep_two_cells_in_the_coarsest_layer():
    net = build(NETS["strided"][0])  # of stride 4
    assert "at 10 x 10" in run(net, 8)["I9 control"].note
    assert "at 30 x 30" in checked("strided")["I9 control"].note


def test_pictures_that_the_stride_does_not_divide_are_resized():
    results = run(build(NETS["strided"][0]), 31)
    assert "at 32 x 32" in results["I2"].note
    assert not select(results, False)


def test_models_of_one_size_are_checked_as_far_as_it_goes():
    net = build(lambda: SmallCNN(SmallCNNConfig(5, 3, 28, (8, 8, 8, 8), head="flatten")))
    results = run(net, 28)
    assert results["I2"].passed is True
    assert "Shift (4, 8) at 28 x 28" in results["I2"].note  # the last layer has stride 8
    assert "takes no other size" in results["I6 control"].note


def test_without_surroundings_there_are_no_crops():
    net, (inputs, _) = build(NETS["strided"][0]), picture()
    results = check_identities(net, inputs, layers=list_layers(net, inputs))
    crops = [result for result in results if result.identity == "I12"]
    assert [result.passed for result in crops] == [None, None]
    assert "larger" in crops[0].note


def test_only_the_first_picture_counts():
    net, (inputs, canvas) = build(NETS["strided"][0]), picture()
    layers = list_layers(net, inputs)
    one, two = (
        check_identities(net, batch, canvas=canvas, layers=layers) for batch in (inputs, torch.cat([inputs, -inputs]))
    )
    assert [result.error for result in one] == [result.error for result in two]


@pytest.mark.parametrize("inputs", [torch.full((1, 3, 32, 32), 0.3), torch.rand(1, 3, 32, 32).half()])
def test_pictures_that_show_nothing_are_refused(inputs):
    with refused():
        check_identities(build(NETS["strided"][0]), inputs, layers=())


def test_results_are_documents():
    documents = [result.to_json() for result in checked("strided").values()]
    assert json.loads(json.dumps(documents)) == documents
    keys = ["identity", "title", "error", "tolerance", "passed", "negative_control", "note"]
    assert all(list(document) == keys for document in documents)
    assert all(document["note"] and document["title"] for document in documents)
    assert all((document["error"] is None) == (document["passed"] is None) for document in documents)


def global_state() -> list:
    backends = torch.backends
    parts = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    precisions = [part.fp32_precision for part in parts]
    return [*precisions, backends.cudnn.benchmark, backends.cudnn.deterministic, torch.is_autocast_enabled("cpu")]


@pytest.fixture
def unusual_settings():
    precision, benchmark = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.benchmark = True
    yield
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.benchmark = benchmark


def test_products_are_exact_inside(unusual_settings):
    before = global_state()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with exact_arithmetic(torch.device("cpu")):
            assert global_state() == ["ieee"] * 4 + [False, True, False]
            assert (torch.rand(4, 4) @ torch.rand(4, 4)).dtype == torch.float32
        assert torch.is_autocast_enabled("cpu")
    assert global_state() == before


@pytest.mark.parametrize("stop_at", [1, 5, 20])
def test_settings_and_model_are_as_before_after_cancelling(stop_at, unusual_settings):
    net, (inputs, canvas) = build(NETS["strided"][0]).train(), picture()
    statistics = {name: buffer.clone() for name, buffer in net.named_buffers()}
    before, generator = global_state(), torch.get_rng_state()

    def stop(done: int, total: int) -> None:
        assert total == len(IDENTITIES)
        if done == stop_at:
            raise Cancelled

    with pytest.raises(Cancelled):
        check_identities(net, inputs, canvas=canvas, layers=list_layers(net.eval(), inputs), progress=stop)
    assert global_state() == before
    assert torch.equal(torch.get_rng_state(), generator)
    assert not any(part._forward_hooks for part in net.modules())
    assert all(torch.equal(buffer, statistics[name]) for name, buffer in net.named_buffers())


def test_a_model_in_training_mode_is_checked_in_eval_mode():
    net, (inputs, canvas) = build(NETS["strided"][0]), picture()
    layers = list_layers(net, inputs)
    results = check_identities(net.train(), inputs, canvas=canvas, layers=layers)
    assert not [result for result in results if result.passed is False]
    assert net.training and all(part.training for part in net.modules())


def test_progress_counts_the_identities():
    seen = []
    run(build(NETS["strided"][0]), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, len(IDENTITIES)) for done in range(1, len(IDENTITIES) + 1)]
