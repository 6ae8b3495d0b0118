"""One moment of a training, against plain forwards and gradients of the same network."""

import os
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from analysis.figures.drawing import draw_filters
from lab.lru import RecentResults
from lab.runs import snapshots
from lab.runs.examples import list_snapshots
from lab.runs.mistakes import find_version
from lab.runs.snapshot_view import (
    MAX_FILTERS,
    draw_filters_on,
    list_map_layers,
    measure_scales,
    open_examples,
    pick_examples,
    view_snapshot,
)
from lab.runs.snapshots import evaluate_snapshot
from lab.session import Lab
from models.checkpoints import load_checkpoint, pack_weights
from models.runs.run import Run, read_run
from tests.device import DEVICE
from tests.sentences import refused

COUNT = 30


@pytest.fixture
def run(tmp_path, make_run, monkeypatch) -> Run:
    """A run with examples and two snapshots of different networks."""
    monkeypatch.setattr(snapshots, "_RESULTS", RecentResults(snapshots.MAX_KEPT_BYTES))
    root = tmp_path / "runs"
    folder = root / "tiny" / "snapshots"
    for step in (0, 40):
        model = make_run(root, seed=step)
        folder.mkdir(exist_ok=True)
        (folder / f"{step:07d}.safetensors").write_bytes(pack_weights(model)[0])
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (COUNT, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (COUNT,), generator=generator)
    path = root / "tiny" / "examples.safetensors"
    save_file({"images": images, "labels": labels, "ids": torch.arange(COUNT)}, path)
    return read_run(root, "tiny")


@pytest.fixture
def lab(run) -> Lab:
    return Lab(DEVICE, runs_root=run.path.parent)


def load(run: Run, step: int) -> nn.Module:
    module, _, _ = load_checkpoint(run.path / "model.json", run.path / "snapshots" / f"{step:07d}.safetensors")
    return module.eval()


@pytest.mark.parametrize("step", [0, 40])
def test_a_view_shows_what_the_network_of_that_step_computes(lab, run, step):
    examples, module = open_examples(run), load(run, step)
    layer = list_map_layers(lab, run, step)[0]
    view = view_snapshot(lab, run, step, 4, layer, examples=examples)
    inputs = (examples.images[4:5].float() / 255).requires_grad_()
    logits, label = module(inputs), int(examples.labels[4])
    logits[0, label].backward()
    probabilities = logits[0].detach().softmax(0)
    assert view.predictions[0].index == int(logits.argmax())
    assert view.target.index == label
    assert view.target.probability == pytest.approx(float(probabilities[label]), abs=1e-6)
    torch.testing.assert_close(view.saliency.abs(), inputs.grad[0].abs(), rtol=1e-4, atol=1e-6)
    convolution = next(part for part in module.modules() if isinstance(part, nn.Conv2d))
    torch.testing.assert_close(view.filters, convolution.weight.detach())
    with torch.no_grad():
        torch.testing.assert_close(view.maps, convolution(inputs)[0], rtol=1e-4, atol=1e-6)
    assert (view.num_filters, view.num_maps) == (len(convolution.weight),) * 2


def test_a_view_is_kept_until_its_snapshot_changes(lab, run):
    first = view_snapshot(lab, run, 40, 0)
    assert view_snapshot(lab, run, 40, 0) is first
    assert view_snapshot(lab, run, 40, 1) is not first
    path = run.path / "snapshots" / "0000040.safetensors"
    path.write_bytes((run.path / "snapshots" / "0000000.safetensors").read_bytes())
    os.utime(path, ns=(1, 1))
    torch.testing.assert_close(view_snapshot(lab, run, 40, 0).saliency, view_snapshot(lab, run, 0, 0).saliency)


@pytest.mark.parametrize(
    ("step", "index", "layer", "missing"),
    [(1, 0, None, 1), (0, COUNT, None, COUNT), (0, -1, None, -1), (0, 0, "nowhere", "nowhere")],
)
def test_what_does_not_exist_is_said(lab, run, step, index, layer, missing):
    with refused(missing):
        view_snapshot(lab, run, step, index, layer)


def test_a_run_without_pictures_says_so(lab, run):
    (run.path / "examples.safetensors").unlink()
    with refused():
        open_examples(run)


def test_a_link_to_nowhere_is_a_link_and_no_missing_file(run):
    path = run.path / "examples.safetensors"
    path.unlink()
    path.symlink_to("/nowhere")
    assert find_version(run)[0] is not None
    with refused():
        open_examples(run)


def test_examples_are_read_once(run):
    assert open_examples(run) is open_examples(run)


def test_each_map_is_listed_under_one_name(lab, run):
    layers = list_map_layers(lab, run, 0)
    assert len(layers) == len(set(layers)) > 3
    assert set(layers) <= {layer.name for layer in lab.layers("run/tiny@0")}


def test_a_part_of_the_examples_is_enough_to_test_on(lab, run):
    few, every = evaluate_snapshot(lab, run, 40, limit=10), evaluate_snapshot(lab, run, 40)
    places = torch.linspace(0, COUNT - 1, 10).round().long()
    assert (len(few), len(every)) == (10, COUNT)
    assert few.predicted.tolist() == every.predicted[places].tolist()
    assert few.labels.tolist() == every.labels[places].tolist()
    assert list_snapshots(run) == [0, 40]


@pytest.mark.parametrize(
    ("module", "shape", "count"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), (3, 1, 8, 8), 3),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 500), nn.Linear(500, 3)), (MAX_FILTERS, 1, 8, 8), 500),
        (nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)), None, 0),
        (nn.Sequential(nn.AdaptiveAvgPool2d((1, 3)), nn.Flatten()), None, 0),
    ],
)
def test_a_linear_layer_has_templates_as_large_as_the_picture(lab, run, module, shape, count, monkeypatch):
    spec = lab.registry.get("run/tiny@0")
    monkeypatch.setattr(lab.registry, "get", lambda name: replace(spec, build=lambda: module, version=5))
    view = view_snapshot(lab, run, 0, 0)
    assert (view.filters if shape is None else tuple(view.filters.shape)) == shape and view.num_filters == count
    if shape is not None:
        assert torch.equal(view.filters.cpu().flatten(1), module[1].weight[:MAX_FILTERS].cpu())


@given(labels=st.lists(st.integers(0, 6), max_size=60), count=st.integers(1, 20))
@settings(max_examples=40)
def test_examples_show_as_many_classes_as_possible(labels, count):
    chosen = pick_examples(torch.tensor(labels, dtype=torch.long), count)
    assert len(chosen) == len(set(chosen)) == min(count, len(labels))
    assert len({labels[index] for index in chosen}) == min(count, len(set(labels)))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_filters_on_their_own_scale_are_drawn_as_always(channels):
    filters = torch.randn(5, channels, 3, 3, generator=torch.Generator().manual_seed(channels))
    limit = float((filters if channels == 3 else filters.mean(1)).abs().max())
    for mine, usual in zip(draw_filters_on(filters, limit), draw_filters(filters), strict=True):
        assert (mine == usual).all()


def test_on_a_given_scale_a_filter_looks_the_same_beside_any_other():
    weak, strong = torch.full((1, 1, 3, 3), 0.1), torch.full((1, 1, 3, 3), 5.0)
    alone = draw_filters_on(weak, 1.0)
    together = draw_filters_on(torch.cat([weak, strong]), 1.0)
    assert len(alone) == 1
    assert (alone[0] == together[0]).all()
    assert (together[1] == 255).all()
    assert alone[0].max() == round(1.1 * 127.5)


def test_scales_are_the_largest_magnitudes(lab, run):
    view = view_snapshot(lab, run, 40, 0, list_map_layers(lab, run, 40)[0])
    scales = measure_scales(view)
    assert scales.filters == pytest.approx(float(view.filters.mean(1).abs().max()))
    assert scales.maps == pytest.approx(float(view.maps.abs().max()))
    assert scales.is_signed == bool((view.maps < 0).any())
    nothing = measure_scales(view_snapshot(lab, run, 40, 0))
    assert (nothing.maps, nothing.is_signed) == (0, False)
