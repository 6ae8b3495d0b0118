"""Traces: the paths of the publications, one forward per window as oracle, and the numbers that sum a trace up."""

import itertools
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from analysis.consistency.design import Settings
from analysis.consistency.traces import PATHS, SUMMARY, diagonal_trace, follow, plan_trace, summarize_traces
from analysis.errors import Cancelled
from analysis.shift.move import Extended, extend_crop
from tests.sentences import refused

SIDE = 12


def settings_for(window: int) -> Settings:
    return Settings(window=window, resize=window, boundary="crop")


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)
        net = nn.Sequential(*layers)
        net[3].weight.data *= 20  # so that the predicted class changes along the way
        return net.eval()


@pytest.fixture(scope="module")
def canvas():
    return torch.rand(3, SIDE + 10, SIDE + 10, generator=torch.Generator().manual_seed(1))


def test_zhangs_path_is_33_diagonal_offsets_from_0_to_32():
    framing, shifts = plan_trace("diag33", settings_for(224))
    assert (framing.resize, framing.source) == (256, 256)
    # A window at offset (k, k) shows content moved by start - k.
    offsets = [(framing.start - dy, framing.start - dx) for dx, dy in shifts]
    assert offsets == [(k, k) for k in range(33)]


def test_azulay_and_weiss_path_is_9_windows_around_the_centre():
    framing, shifts = plan_trace("aw", settings_for(224))
    assert framing.source == 234
    assert [framing.start - dx for dx, _ in shifts] == list(range(9)) and all(dx == dy for dx, dy in shifts)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("window", [28, 32, 64, 224, 299])
def test_paths_fit_every_input_size(name, window):
    framing, shifts = plan_trace(name, settings_for(window))
    square = torch.zeros(1, framing.source, framing.source)
    picture = Extended(square, square[0] == 0, framing.start, framing.start, window, window)
    assert (0, 0) in shifts and len(set(shifts)) == len(shifts) >= 2
    steps = {(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(shifts)}
    assert steps == {(-1, -1)}
    if name == "diag33":
        assert framing.source == window + round(window * 32 / 224) == window + len(shifts) - 1
    for dx, dy in (shifts[0], shifts[-1]):
        assert picture.window(dx, dy).shape == (1, window, window)


def test_trace_is_one_forward_per_window(model, canvas):
    picture = extend_crop(canvas, SIDE)
    shifts = [(5 - k, 5 - k) for k in range(11)]
    trace = diagonal_trace(model, picture, shifts, target=3)
    with torch.no_grad():
        rows = [model(canvas[None, :, k : k + SIDE, k : k + SIDE])[0].softmax(0).tolist() for k in range(11)]
    assert trace.shifts == tuple(shifts) and trace.target == 3
    assert trace.probabilities == pytest.approx([row[3] for row in rows], abs=1e-6)
    assert trace.rivals == pytest.approx([max(row[:3] + row[4:]) for row in rows], abs=1e-6)
    predictions = [max(range(5), key=row.__getitem__) for row in rows]
    assert list(trace.predictions) == predictions and len(set(predictions)) > 1
    pairs = list(zip(range(10), range(1, 11), strict=True))
    changes = [abs(rows[b][predictions[a]] - rows[a][predictions[a]]) for a, b in pairs]
    assert trace.changes == pytest.approx(changes, abs=1e-6)
    assert trace.mean_absolute_change == pytest.approx(sum(changes) / 10, abs=1e-6)
    assert trace.change_rate == sum(predictions[a] != predictions[b] for a, b in pairs) / 10 > 0
    assert trace.hit_rate == predictions.count(3) / 11


def test_without_a_target_the_unshifted_prediction_is_followed(model, canvas):
    picture = extend_crop(canvas, SIDE)
    for shifts in ([(2, 2), (1, 1), (0, 0)], [(2, 2), (1, 1)]):
        trace = diagonal_trace(model, picture, shifts)
        with torch.no_grad():
            assert trace.target == int(model(canvas[None, :, 5 : 5 + SIDE, 5 : 5 + SIDE]).argmax())


@settings(max_examples=25)
@given(st.integers(2, 9), st.integers(2, 6), st.integers(0, 2**31))
def test_formulas_against_numpy(num_windows, num_classes, seed):
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(num_classes), num_windows)
    shifts = [(-k, -k) for k in range(num_windows)]
    trace = follow(torch.from_numpy(probabilities), shifts, 1)
    p = probabilities[:, 1]
    assert trace.total_variation == pytest.approx(np.abs(np.diff(p)).sum())
    assert trace.std == pytest.approx(p.std(), abs=1e-12)
    assert trace.amplitude == pytest.approx(np.ptp(p))
    assert trace.mean_probability == pytest.approx(p.mean())
    assert trace.amplitude <= trace.total_variation + 1e-12
    best = probabilities.argmax(1)
    assert trace.change_rate == pytest.approx((np.diff(best) != 0).mean())
    steps = np.arange(num_windows - 1)
    assert trace.mean_absolute_change == pytest.approx(
        np.abs(probabilities[steps + 1, best[:-1]] - probabilities[steps, best[:-1]]).mean()
    )


def test_a_flat_trace_has_no_variation_and_a_jump_has(canvas):
    flat = follow(torch.tensor([[0.3, 0.7]]).repeat(4, 1), [(k, k) for k in range(4)], 1)
    assert (flat.total_variation, flat.amplitude, flat.std, flat.change_rate) == (0, 0, 0, 0)
    jump = follow(torch.tensor([[0.2, 0.8], [0.8, 0.2], [0.2, 0.8]]), [(0, 0), (1, 1), (2, 2)], 1)
    assert jump.total_variation == pytest.approx(1.2) and jump.amplitude == pytest.approx(0.6)
    assert jump.change_rate == 1 and jump.mean_absolute_change == pytest.approx(0.6)


def test_summary_is_the_mean_over_pictures_and_the_median_amplitude():
    rng = np.random.default_rng(0)
    shifts = [(k, k) for k in range(5)]
    traces = [follow(torch.from_numpy(rng.dirichlet(np.ones(3), 5)), shifts, 0) for _ in range(4)]
    summary = summarize_traces([trace.to_json() for trace in traces])
    assert set(summary) == {*SUMMARY, "median_amplitude"}
    for name in SUMMARY:
        assert summary[name] == pytest.approx(sum(getattr(trace, name) for trace in traces) / 4)
    assert summary["median_amplitude"] == statistics.median(trace.amplitude for trace in traces)


def test_the_model_is_left_as_it_was_and_progress_can_cancel(model, canvas):
    model.train()
    try:
        picture, reports = extend_crop(canvas, SIDE), []
        diagonal_trace(model, picture, [(0, 0), (1, 1)], progress=lambda *numbers: reports.append(numbers))
        assert reports == [(0, 2), (2, 2)]

        def cancel(done, total):
            raise Cancelled

        with pytest.raises(Cancelled):
            diagonal_trace(model, picture, [(0, 0), (1, 1)], progress=cancel)
        assert model.training and all(p.requires_grad and p.grad is None for p in model.parameters())
    finally:
        model.eval()


def test_what_cannot_be_traced_is_said(model, canvas):
    picture = extend_crop(canvas, SIDE)
    with refused():
        diagonal_trace(model, picture, [(0, 0)])
    with refused("5"):
        diagonal_trace(model, picture, [(0, 0), (1, 1)], target=5)
    with refused():
        diagonal_trace(model, picture, [(0, 0), (6, 6)])
    with refused():
        plan_trace("zhang", settings_for(224))
    with refused():
        summarize_traces([])
