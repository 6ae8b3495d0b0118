"""The self-check on networks of which it is known what they obey, and on instruments that are broken on purpose."""

import json
from contextlib import nullcontext
from dataclasses import replace
from functools import cache

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision import models

from analysis.errors import Cancelled, UserError
from analysis.network.layers import list_layers
from analysis.self_check import identities, instruments, twin
from analysis.self_check import phases as identity_phases
from analysis.self_check import subject as identity_subject
from analysis.self_check.findings import Finding
from analysis.self_check.identities import IDENTITIES, IdentityResult, check_identities, exact_arithmetic
from analysis.shift import polyphase_tree
from analysis.shift.circular import CircularPadding
from analysis.shift.features import shift_features
from analysis.shift.move import shift_pixels
from analysis.shift.shift_map import ShiftMap
from models.networks.small_cnn import SmallCNN, SmallCNNConfig

DOUBLE = torch.float64
PICTURES = {"I13", "I13 control", "I14", "I14 control", "I15", "I15 control", "I16", "I16 control", "I20"}
"""Rows that apply to every model."""
PHASES = {"I17", "I17 control", "I18", "I18 control"}
STRIDED = {"I2", "I3 control", "I9 control", "I12", "I12 control"}


def convolve(
    strides=(1, 2, 2), padding: int = 1, bias: bool = True, norm: bool = True, channels: int = 3
) -> list[nn.Module]:
    parts = []
    for stride in strides:
        parts.append(nn.Conv2d(channels, 8, 3, stride=stride, padding=padding, bias=bias))
        parts += [nn.BatchNorm2d(8)] if norm else []
        parts.append(nn.ReLU(inplace=True))
        channels = 8
    return parts


def average(channels: int = 8) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5)]


def maximum() -> list[nn.Module]:
    return [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 5)]


def small_cnn(**config) -> nn.Module:
    return SmallCNN(SmallCNNConfig(num_classes=5, in_channels=3, image_size=32, channels=(8, 8, 8), **config))


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


class Net(nn.Sequential):
    """The last of its parts is the head."""


NETS = {
    "stride 1": (
        lambda: Net(*convolve((1, 1, 1)), *average()),
        {"I1", "I2", "I4", "I12", "I12 control", "I17", "I18"},
    ),
    "strided": (lambda: Net(*convolve(), *average()), STRIDED | PHASES | {"I1", "I4"}),
    "average pooling": (lambda: small_cnn(pooling="average"), STRIDED | PHASES | {"I1", "I4"}),
    "max-pooling": (lambda: small_cnn(pooling="max"), STRIDED | PHASES | {"I1", "I4", "I7", "I7 control"}),
    "global maximum": (lambda: Net(*convolve(), *maximum()), STRIDED | PHASES | {"I1", "I5"}),
    "padded pooling": (
        lambda: Net(*convolve((1,)), nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1), *average()),
        STRIDED | PHASES | {"I1", "I4", "I7", "I7 control", "I8 control"},
    ),
    "scan": (
        lambda: small_cnn(pooling="max", head="scan"),
        STRIDED | PHASES | {"I1", "I5", "I7", "I7 control"},
    ),
    "flatten": (
        lambda: small_cnn(pooling="stride", head="flatten"),
        STRIDED | {"I6 control", "I18", "I18 control"},
    ),
    "adaptive sampling": (
        lambda: small_cnn(pooling="aps", padding_mode="circular"),
        {"I1", "I2", "I3 control", "I4", "I9 control", "I10", "I11 control", "I12", "I12 control", "I17"},
    ),
    "full padding": (
        lambda: Net(*convolve(padding=2, bias=False, norm=False), *maximum()),
        {"I12", "I12 control", "I21", "I21 control"},
    ),
    "no padding": (lambda: Net(*convolve((1, 1, 1), padding=0), *average()), {"I12", "I19"}),
    "padding in front only": (
        lambda: Net(*convolve((1, 2)), *convolve((1,), channels=8, padding=0), nn.MaxPool2d(3, 2), *average()),
        {"I1", "I2", "I3 control", "I9 control", "I12", "I12 control"},
    ),
}


def build(make, dtype=torch.float32) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = make()
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
    return net.to(dtype).eval()


def picture(side: int = 32, dtype=torch.float32, margin: int = 20) -> tuple[Tensor, Tensor]:
    """The network's input, and a larger picture with it in the middle."""
    canvas = torch.randn(1, 3, side + 2 * margin, side + 2 * margin, generator=torch.Generator().manual_seed(1))
    return canvas[..., margin:-margin, margin:-margin].contiguous().to(dtype), canvas.to(dtype)


def run(net: nn.Module, side: int = 32, dtype=torch.float32, **options) -> dict[str, IdentityResult]:
    inputs, canvas = picture(side, dtype)
    results = check_identities(net, inputs, canvas=canvas, layers=list_layers(net, inputs), **options)
    assert [result.identity for result in results] == [identity.name for identity in IDENTITIES]
    return {f"{r.identity} control" if r.is_negative_control else r.identity: r for r in results}


@cache
def checked(name: str, dtype=torch.float32) -> dict[str, IdentityResult]:
    return run(build(NETS[name][0], dtype), 32, dtype)


def select(results: dict[str, IdentityResult], passed: bool | None) -> set[str]:
    return {name for name, result in results.items() if result.passed is passed}


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


# Broken instruments


@pytest.mark.parametrize("name", ["strided", "padded pooling"])
def test_zero_padding_fails_where_the_twin_is_not_one(name, monkeypatch):
    monkeypatch.setattr(identity_subject, "CircularPadding", nullcontext)
    results = run(build(NETS[name][0]))
    assert {"I2", "I4"} <= select(results, False)
    assert results["I2"].error > 0.01
    assert "Structural: the error in float64 is" in results["I2"].note
    assert "is not met" in results["I3 control"].note


def test_an_aligner_that_is_off_by_a_cell_is_found(monkeypatch):
    for module in (identity_subject, twin, instruments):
        broken = lambda maps, dx, dy, circular: shift_features(maps, dx + 1, dy, circular=circular)  # noqa: E731
        monkeypatch.setattr(module, "shift_features", broken)
    assert {"I1", "I2", "I7", "I12", "I16"} <= select(run(build(NETS["max-pooling"][0])), False)


def test_an_aligner_that_rounds_to_whole_cells_is_found(monkeypatch):
    broken = lambda maps, dx, dy, circular: shift_features(maps, round(dx), round(dy), circular=circular)  # noqa: E731
    monkeypatch.setattr(instruments, "shift_features", broken)
    assert select(run(build(NETS["strided"][0])), False) == {"I16"}


def test_swapped_axes_of_the_tree_are_found(monkeypatch):
    class Swapped:
        def __init__(self, module, inputs):
            self.found = identity_phases_tree(module, inputs)
            self.logits = self.found.logits

        def logits_at(self, dx: int, dy: int) -> Tensor:
            return self.found.logits_at(dy, dx)

    identity_phases_tree = identity_subject.compute_all_shifts
    monkeypatch.setattr(identity_subject, "compute_all_shifts", Swapped)
    assert select(run(build(NETS["strided"][0])), False) == {"I18"}


def test_a_tree_that_is_wrong_fails(monkeypatch):
    fold = polyphase_tree._fold
    broken = lambda x, phases, factors: fold(x, phases, factors).roll(int(factors != (1, 1)), 0)  # noqa: E731
    monkeypatch.setattr(polyphase_tree, "_fold", broken)
    results = run(build(NETS["strided"][0]))
    assert select(results, False) == {"I18"}
    assert results["I18"].error > 1e-4
    assert "differ from a plain forward" in results["I18"].note
    assert "Structural" in results["I18"].note


def test_what_the_twin_refuses_says_nothing_and_other_errors_are_not_hidden(monkeypatch):
    class Indices(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.max_pool2d(x, 3, 2, 1, return_indices=True)[0]

    results = run(build(lambda: Net(*convolve((1,)), Indices(), *average())))
    assert not select(results, False)
    assert "no circular twin" in results["I2"].note

    def stumble(*args, **options):
        raise UserError("An instrument is out of order.")

    monkeypatch.setattr(instruments, "shift_pixels", stumble)
    with pytest.raises(UserError, match="out of order"):
        run(build(NETS["strided"][0]))


def test_a_consistency_that_is_not_that_of_the_pairs_is_found(monkeypatch):
    with_itself = property(
        lambda shift_map: float(shift_map.top1.flatten().bincount().double().square().sum()) / 81**2
    )
    monkeypatch.setattr(ShiftMap, "consistency", with_itself)
    assert select(run(build(NETS["strided"][0])), False) == {"I20"}


def test_adaptive_sampling_is_known_by_what_modules_say():
    class PolyphaseSamplingInName(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[..., ::2, ::2]

    results = run(build(lambda: Net(*convolve((1,)), PolyphaseSamplingInName(), *average())))
    assert "no adaptive" in results["I10"].note
    note = checked("adaptive sampling")["I10"].note
    assert "64 shifts over 16 x 16" in note
    assert 0 < float(note.split("won by ")[1].rstrip(".")) < 1


def test_adaptive_sampling_that_breaks_at_some_shifts_only_is_found(monkeypatch):
    net = build(NETS["adaptive sampling"][0])
    sampler = next(part for part in net.modules() if getattr(part, "keeps_strongest_phase", False))

    def spoil(part, args, output):
        if len(output) == 64:
            output[63] *= 1.1

    sampler.register_forward_hook(spoil)
    result = run(net)["I10"]
    assert result.passed is False
    assert "Structural" in result.note


def test_controls_keep_two_cells_in_the_coarsest_layer():
    net = build(NETS["strided"][0])  # of stride 4
    assert "at 10 x 10" in run(net, 8)["I9 control"].note
    assert "at 30 x 30" in checked("strided")["I9 control"].note


def test_shifts_with_a_wrong_sign_are_found(monkeypatch):
    broken = lambda pixels, dx, dy, boundary: shift_pixels(pixels, abs(dx), dy, boundary)  # noqa: E731
    monkeypatch.setattr(instruments, "shift_pixels", broken)
    assert "I14" in select(run(build(NETS["strided"][0])), False)


def test_a_comparison_that_sees_nothing_fails_its_controls(monkeypatch):
    for module in (identity_subject, twin, instruments, identity_phases):
        monkeypatch.setattr(module, "relative_error", lambda found, expected: 0.0)
    monkeypatch.setattr(identity_subject.Subject, "require_response", lambda subject: None)
    results = run(build(NETS["padded pooling"][0]))
    controls = {row for row, result in results.items() if result.is_negative_control and result.passed is not None}
    assert {"I3 control", "I8 control", "I9 control", "I12 control", "I17 control", "I18 control"} <= controls
    assert controls == select(results, False)


def test_rounding_is_told_from_structure(monkeypatch):
    strict = [replace(row, tolerance=1e-12) if row.name == "I4" else row for row in IDENTITIES]
    monkeypatch.setattr(identities, "IDENTITIES", strict)
    net = build(lambda: Net(*convolve(), *average()))
    result = run(net)["I4"]
    assert result.passed is False
    assert "Rounding: the error in float64 is" in result.note


@pytest.mark.parametrize("row", [row for row in IDENTITIES if row.rounding], ids=lambda row: row.name)
@pytest.mark.parametrize(("single", "double", "passed"), [
    (5e-6, 1e-14, True), (2e-5, 1e-14, False), (5e-6, 1e-7, False), (float("nan"), float("nan"), False),
])  # fmt: skip
def test_float64_decides_where_whole_networks_round(row, single, double, passed, monkeypatch):
    check = lambda subject: Finding(double if subject.inputs.dtype == DOUBLE else single, "Compared.")  # noqa: E731
    monkeypatch.setattr(identities, "IDENTITIES", [replace(row, check=check)])
    net, (inputs, _) = build(NETS["strided"][0]), picture()
    (result,) = check_identities(net, inputs, layers=list_layers(net, inputs))
    assert result.passed is passed
    assert result.passed == (result.error <= result.tolerance)
    assert ("Rounding" in result.note) == (double == 1e-14)


def test_tolerances_are_those_of_the_definition():
    positives = {row.name: row.tolerance for row in IDENTITIES if not row.control_of}
    assert {name for name, limit in positives.items() if limit == 0} == {"I5", "I12", "I13", "I14", "I20", "I21"}
    assert {name for name, limit in positives.items() if limit == 1e-6} == {"I1", "I2", "I7", "I15", "I16"}
    assert all(row.tolerance > 0 for row in IDENTITIES if row.control_of and row.name not in ("I13", "I14"))


def test_a_model_that_does_not_run_in_float64_is_reported_all_the_same(monkeypatch):
    class Blur(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.conv2d(x, torch.full((8, 1, 3, 3), 1 / 9), padding=1, groups=8)

    monkeypatch.setattr(identity_subject, "CircularPadding", nullcontext)
    result = run(build(lambda: Net(*convolve(), Blur(), *average())))["I2"]
    assert result.passed is False
    assert "does not run in float64" in result.note


# Sizes, surroundings, bad input


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


@pytest.mark.parametrize(
    ("inputs", "message"),
    [(torch.full((1, 3, 32, 32), 0.3), "flat colour"), (torch.rand(1, 3, 32, 32).half(), "float32 or float64")],
)
def test_pictures_that_show_nothing_are_refused(inputs, message):
    with pytest.raises(UserError, match=message):
        check_identities(build(NETS["strided"][0]), inputs, layers=())


def test_results_are_documents():
    documents = [result.to_json() for result in checked("strided").values()]
    assert json.loads(json.dumps(documents)) == documents
    keys = ["identity", "title", "error", "tolerance", "passed", "negative_control", "note"]
    assert all(list(document) == keys for document in documents)
    assert all(document["note"] and document["title"] for document in documents)
    assert all((document["error"] is None) == (document["passed"] is None) for document in documents)


# Nothing leaks


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


# The algebra of shifts (I14) at random distances

DISTANCE = st.integers(-40, 40)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.tuples(DISTANCE, DISTANCE), st.tuples(DISTANCE, DISTANCE))
def test_circular_shifts_are_a_group(first, second):
    pixels = torch.rand(2, 9, 12, generator=torch.Generator().manual_seed(0))

    def shift(x: Tensor, dx: int, dy: int) -> Tensor:
        return shift_pixels(x, dx, dy, "circular").pixels

    moved = shift(pixels, *first)
    total = (first[0] + second[0], first[1] + second[1])
    assert torch.equal(shift(moved, *second), shift(pixels, *total))
    assert torch.equal(shift(moved, *second), shift(shift(pixels, *second), *first))
    assert torch.equal(shift(moved, -first[0], -first[1]), pixels)
    assert torch.equal(shift(pixels, first[0] + 12, first[1] - 9), moved)
    assert torch.equal(moved.flatten().sort().values, pixels.flatten().sort().values)
    assert torch.equal(moved.flip(-1), shift(pixels.flip(-1), -first[0], first[1]))


@pytest.mark.parametrize("boundary", ["zero", "replicate"])
@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from([(1, 1), (1, -1), (-1, 1), (-1, -1)]))
def test_filled_shifts_compose_in_one_direction_only(boundary, near, far, signs):
    pixels = torch.rand(2, 15, 15, generator=torch.Generator().manual_seed(0)) + 0.1
    (dx, dy), (far_x, far_y) = ((sign * size for sign in signs) for size in (near, far))
    moved = shift_pixels(pixels, dx, dy, boundary).pixels
    there = shift_pixels(moved, far_x, far_y, boundary).pixels
    assert torch.equal(there, shift_pixels(pixels, dx + far_x, dy + far_y, boundary).pixels)
    assert not torch.equal(shift_pixels(moved, -dx, -dy, boundary).pixels, pixels)


def test_the_relative_error_is_the_formula():
    found, expected = torch.rand(4, 7, dtype=DOUBLE), torch.rand(4, 7, dtype=DOUBLE)
    by_hand = max(float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True))
    assert identity_subject.relative_error(found, expected) == pytest.approx(by_hand, rel=1e-12)
    assert identity_subject.relative_error(torch.zeros(3), torch.zeros(3)) == 0
    assert identity_subject.relative_error(torch.ones(3), torch.zeros(3)) == float("inf")


def test_the_twin_with_its_own_pooling_wraps_convolutions_only():
    x = torch.rand(1, 1, 8, 8)
    conv = build(lambda: nn.Conv2d(1, 1, 3, padding=1))
    pool = nn.MaxPool2d(3, 2, padding=1)
    with CircularPadding():
        expected = conv(x)
    with twin.WrapConvolutions():
        assert torch.equal(conv(x), expected)
        assert torch.equal(pool(x), nn.functional.max_pool2d(x, 3, 2, 1))
    assert not torch.equal(conv(x), expected)
