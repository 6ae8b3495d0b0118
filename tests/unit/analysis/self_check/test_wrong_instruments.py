"""Instruments that are wrong on purpose are found by their identities; rounding is told from structure."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from analysis.errors import UserError
from analysis.network.layers import list_layers
from analysis.self_check import identities, instruments, twin
from analysis.self_check import phases as identity_phases
from analysis.self_check import subject as identity_subject
from analysis.self_check.findings import Finding
from analysis.self_check.identities import IDENTITIES, check_identities
from analysis.shift import polyphase_tree
from analysis.shift.circular import CircularPadding
from analysis.shift.features import shift_features
from analysis.shift.move import shift_pixels
from analysis.shift.shift_map import ShiftMap
from tests.unit.analysis.self_check.nets import (
    DOUBLE,
    NETS,
    Net,
    average,
    build,
    checked,
    convolve,
    picture,
    run,
    select,
)


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


DISTANCE = st.integers(-40, 40)


@settings(max_examples=40)
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
@settings(max_examples=20)
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
