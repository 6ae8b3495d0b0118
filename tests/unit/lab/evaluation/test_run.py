"""Evaluations of a small network against plain loops; resumed, stopped, and on two processes."""

import copy
import itertools
import json
import math
import os
import random
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import cli
from analysis.equivariance.meter import LayerMeter
from analysis.errors import Cancelled, UserError
from lab.documents import read_document
from lab.evaluation import run as evaluation
from lab.evaluation.config import EvaluationConfig
from lab.evaluation.distributed import Processes, settled
from lab.evaluation.layer_checks import NUM_PICTURES, _join
from lab.evaluation.layer_checks import _open as _open_some
from lab.evaluation.predict import Chunk, Voter
from lab.evaluation.report import find_published
from lab.evaluation.run import JOB, _choose, evaluate, evaluate_as_run
from lab.jobs import main
from lab.session import Lab
from models import registry
from models.data.labelled import open_evaluation_data
from models.data.preprocessing import Preprocessing
from models.runs.run import create_run, read_run, request_stop
from models.zoo.spec import ModelSpec
from tests.device import DEVICE

ROOT = Path(__file__).parents[4]
SIDE = 14
CLASSES = ("ant", "bee", "cat", "dog")
PREP = Preprocessing(crop_size=SIDE, resize_size=18, mean=(0.3,), std=(0.4,))


def make_module(seed: int) -> nn.Module:
    """Unpooled and strided: its answer depends on the shift."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = nn.Conv2d(1, 6, 3, stride=2, padding=1)
        return nn.Sequential(trunk, nn.ReLU(), nn.Flatten(), nn.Linear(6 * 49, len(CLASSES))).eval()


def make_spec(name: str, module: nn.Module, categories=CLASSES) -> ModelSpec:
    return ModelSpec(name, "test", 1, categories, PREP, lambda: copy.deepcopy(module), "insects")


@pytest.fixture
def modules(monkeypatch):
    """Three models: two of the classes of the pictures, and one of other classes."""
    made = {"toy": make_module(0), "other": make_module(1), "foreign": make_module(0)}
    for name, module in made.items():
        categories = ("one", "two", "three", "four") if name == "foreign" else CLASSES
        spec = make_spec(name, module, categories)
        monkeypatch.setitem(registry.BUNDLED, name, lambda spec=spec: spec)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """70 pictures of 18 x 18 grey pixels: more than two chunks."""
    root, rng = tmp_path_factory.mktemp("data") / "insects", np.random.default_rng(0)
    for number in range(70):
        path = root / CLASSES[number % 4] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.kron(rng.integers(256, size=(6, 6)), np.ones((3, 3)))
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return root


@pytest.fixture
def lab(modules, tmp_path):
    return Lab(device=DEVICE, data_root=tmp_path, runs_root=tmp_path / "runs")


@pytest.fixture
def run(lab, folder, tmp_path):
    """Evaluates "toy" over the folder; without what differs from call to call."""

    def run(progress=lambda done, total: None, **options):
        config = EvaluationConfig(**{"models": ("toy",), "data": str(folder), "threads": 1} | options)
        document = evaluate(lab, config, tmp_path / "work", progress)
        assert document.pop("seconds") > 0
        return document

    return run


def value(document: dict, name: str) -> float | None:
    return document["models"][0]["statistics"][name]["value"]


def squares(folder: Path, side: int, resize: int = 18) -> tuple[torch.Tensor, np.ndarray]:
    """The central squares ``(N, 1, side, side)`` in [0, 1] of all pictures, and their labels."""
    paths = sorted(folder.rglob("*.png"))
    canvases = [replace(PREP, resize_size=resize, crop_size=side).to_pixels(Image.open(path)) for path in paths]
    return torch.stack(canvases), np.array([CLASSES.index(path.parent.name) for path in paths])


@torch.no_grad()
def predict(module: nn.Module, pixels: torch.Tensor) -> np.ndarray:
    """Probabilities ``(N, 4)``."""
    return module(PREP.normalize(pixels)).double().softmax(1).numpy()


def all_shifts(module: nn.Module, folder: Path, boundary: str, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities ``(S, N, 4)`` at all shifts up to ``limit``, one by one, and the labels."""
    steps = itertools.product(range(-limit, limit + 1), repeat=2)
    if boundary == "crop":
        pixels, labels = squares(folder, SIDE + 2 * limit, max(18, SIDE + 2 * limit))
        starts = [(limit - dy, limit - dx) for dx, dy in steps]
        views = [pixels[:, :, top : top + SIDE, left : left + SIDE] for top, left in starts]
    else:
        pixels, labels = squares(folder, SIDE)
        views = [pixels.roll((dy, dx), (2, 3)) for dx, dy in steps]
    return np.stack([predict(module, view) for view in views]), labels


@pytest.mark.parametrize(("boundary", "limit"), [("circular", 1), ("crop", 2), ("crop", 3)])
def test_all_shifts_give_the_exact_expectation(run, modules, folder, boundary, limit):
    probabilities, labels = all_shifts(modules["toy"], folder, boundary, limit)
    votes = probabilities.argmax(2)
    num = len(votes)
    pairs = list(itertools.permutations(range(num), 2))
    document = run(boundary=boundary, max_shift=limit, shifts=2000)
    assert document["models"][0]["shifts"]["ranges"]["all"] is True
    assert value(document, "consistency") == pytest.approx(np.mean([votes[a] == votes[b] for a, b in pairs]))
    images = np.arange(votes.shape[1])
    changes = [np.abs(probabilities[a, images, votes[a]] - probabilities[b, images, votes[a]]) for a, b in pairs]
    assert value(document, "mac") == pytest.approx(np.mean(changes), rel=1e-5)
    assert value(document, "accuracy") == (votes[num // 2] == labels).mean()
    assert value(document, "mean_accuracy") == pytest.approx((votes == labels).mean())
    assert value(document, "worst_case_accuracy") == (votes == labels).all(0).mean()
    neighbours = [num // 2 + step for step in (-1, 1, -(2 * limit + 1), 2 * limit + 1)]
    changed = np.mean([votes[num // 2] != votes[n] for n in neighbours])
    assert value(document, "one_pixel_change_axis") == pytest.approx(changed)
    assert 0.4 < value(document, "consistency") < 0.98  # a network that never changes its mind would prove nothing


def test_zhang_agrees_with_the_exact_expectation(run, modules, folder):
    """4 x 4 offsets of an 18 x 18 picture, of which the fifth is never used; identical pairs count."""
    pixels, _ = squares(folder, 18)
    starts = itertools.product(range(4), repeat=2)
    votes = np.stack([predict(modules["toy"], pixels[:, :, y : y + 14, x : x + 14]) for y, x in starts]).argmax(2)
    shares = np.mean([[votes[a] == votes[b] for a in range(16)] for b in range(16)], axis=(0, 1))  # (N,)
    found = [value(run(protocol="zhang", max_shift=4, per_image=True, seed=s), "consistency") for s in range(8)]
    error = np.sqrt((shares * (1 - shares)).sum()) / len(shares) / np.sqrt(5 * len(found))
    assert abs(np.mean(found) - shares.mean()) < 3 * error
    assert error < 0.02 < shares.std()


def test_zhang_shares_its_pairs_within_batches(run, modules, folder):
    pixels, _ = squares(folder, 18)
    rng, agreed = np.random.RandomState(5), []
    for _, start in itertools.product(range(5), range(0, 70, 8)):
        rows = [rng.randint(4, size=2), rng.randint(4, size=2)]
        batch = pixels[start : start + 8]
        views = [predict(modules["toy"], batch[:, :, y : y + 14, x : x + 14]).argmax(1) for y, x in rows]
        agreed.extend(views[0] == views[1])
    assert value(run(protocol="zhang", max_shift=4, seed=5), "consistency") == pytest.approx(np.mean(agreed))


def chaman_loop(module, batches, limit: int, boundary: str, seed: int) -> list[tuple[int, float, float]]:
    """Size, accuracy and agreement of every batch, in float64: two random moves, shared by a whole batch."""
    rng, found = np.random.RandomState(seed), []
    for inputs, labels in batches:
        answers = [module(inputs).argmax(1)]
        for rows, columns in (rng.randint(-limit, limit, 2).tolist(), rng.randint(-limit, limit, 2).tolist()):
            if boundary == "circular":
                moved = inputs.roll((rows, columns), (2, 3))
            else:  # a window of the picture in a frame of zeros
                top, left = limit + rows, limit + columns
                moved = nn.functional.pad(inputs, (limit,) * 4)[..., top : top + SIDE, left : left + SIDE]
            answers.append(module(moved).argmax(1))
        right, agree = answers[0] == labels, answers[1] == answers[2]
        found.append((len(inputs), right.double().mean().item(), agree.double().mean().item()))
    return found


@pytest.fixture(scope="module")
def two_batches(tmp_path_factory):
    """264 pictures: a batch of 256, and one of 8."""
    root, rng = tmp_path_factory.mktemp("data") / "more", np.random.default_rng(1)
    for number in range(264):
        path = root / CLASSES[number // 66] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(256, size=(18, 18)).astype(np.uint8)).save(path)
    return root


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize(
    ("protocol", "boundary", "limit"),
    [
        ("aps-imagenet", "circular", 32),
        ("aps-cifar", "circular", 3),
        ("aps-cifar", "mean", 3),
        ("aps", "circular", 3),
    ],
)
@torch.no_grad()
def test_the_two_loops_of_chaman_and_dokmanic(run, modules, two_batches, protocol, boundary, limit, seed):
    """Their ImageNet code weights batches by size; that for CIFAR-10 does not, in accuracy neither."""
    pixels, labels = squares(two_batches, SIDE)
    inputs, module = PREP.normalize(pixels.double()), copy.deepcopy(modules["toy"]).double()
    batches = list(zip(inputs.split(256), torch.from_numpy(labels).split(256), strict=True))
    sizes, accuracies, agreements = zip(*chaman_loop(module, batches, limit, boundary, seed), strict=True)
    weights = sizes if protocol == "aps-imagenet" else None
    document = run(data=str(two_batches), protocol=protocol, boundary=boundary, seed=seed)
    assert value(document, "accuracy") == pytest.approx(np.average(accuracies, weights=weights), abs=1e-9)
    assert value(document, "consistency") == pytest.approx(np.average(agreements, weights=weights), abs=1e-9)
    other = None if weights else sizes
    assert value(document, "accuracy") != pytest.approx(np.average(accuracies, weights=other), abs=1e-3)
    assert value(document, "consistency") != pytest.approx(np.average(agreements, weights=other), abs=1e-3)


def test_small_pictures_on_the_mean_colour(run, modules, folder):
    """Azulay and Weiss put them on a canvas that is zero after the normalisation."""
    side = min(int(SIDE / 1.9), SIDE - 10)
    center = int((SIDE - side - 1) / 2)
    paths = sorted(folder.rglob("*.png"))
    changed, change, right = [], [], []
    for path in paths:
        small = replace(PREP, resize_size=side, crop_size=side).to_pixels(Image.open(path))
        traces = []
        for c in range(center - 4, center + 5):
            canvas = torch.zeros(1, 1, SIDE, SIDE)
            canvas[0, :, c : c + side, c : c + side] = PREP.normalize(small)
            with torch.no_grad():
                traces.append(modules["toy"](canvas).double().softmax(1)[0])
        for first, second in itertools.pairwise(traces):
            best = first.argmax()
            changed.append(bool(best != second.argmax()))
            change.append(float((first[best] - second[best]).abs()))
            right.append(int(best) == CLASSES.index(path.parent.name))
    document = run(protocol="aw", boundary="mean", scale=1.9)
    assert value(document, "one_pixel_change_diagonal") == pytest.approx(np.mean(changed))
    assert value(document, "mac") == pytest.approx(np.mean(change), rel=1e-4)
    assert value(document, "mean_accuracy") == pytest.approx(np.mean(right))
    assert 0 < np.mean(changed) < 1


def test_random_parts_of_a_picture_depend_on_the_seed(run):
    first, again, other = (run(protocol="aw", scale=0.4, seed=s)["models"] for s in (0, 0, 1))
    assert first == again != other
    assert first[0]["framing"] | {"window": 14, "source": 24, "start": 4, "area": 0.4} == first[0]["framing"]


@pytest.mark.parametrize(("boundary", "limit"), [("circular", 3), ("crop", 1)])
def test_adversarial_accuracy_counts_images_right_at_every_shift(run, modules, folder, boundary, limit, monkeypatch):
    if boundary == "circular":
        pixels, labels = squares(folder, SIDE)
        views = [pixels.roll(shift, (2, 3)) for shift in itertools.product(range(1, limit), repeat=2)]
    else:
        wide, labels = squares(folder, SIDE + 2 * limit)
        starts = itertools.product(range(1, 2 * limit + 1), repeat=2)
        pixels = wide[:, :, limit : limit + SIDE, limit : limit + SIDE]
        views = [wide[:, :, y : y + SIDE, x : x + SIDE] for y, x in starts]
    right = np.stack([predict(modules["toy"], view).argmax(1) == labels for view in [pixels, *views]])
    asked = []
    forward = Voter._forward
    monkeypatch.setattr(Voter, "_forward", lambda self, windows: asked.extend(windows) or forward(self, windows))
    document = run(protocol="afc-adv", max_shift=limit, boundary=boundary)
    assert value(document, "worst_case_accuracy") == right.all(0).mean() > 0
    assert value(document, "accuracy") == right[0].mean() and value(document, "consistency") is None
    assert len(asked) < right.size / 1.5  # images that are wrong already are not asked again


def test_the_twin_pads_by_wrapping_around(run, modules, monkeypatch):
    twin = copy.deepcopy(modules["toy"])
    twin[0].padding_mode = "circular"
    spec = make_spec("made", twin)
    monkeypatch.setitem(registry.BUNDLED, "made", lambda: spec)
    found = run(twin=True, boundary="circular")["models"][0]["statistics"]
    expected = run(models=("made",), boundary="circular")["models"][0]["statistics"]
    for name, interval in expected.items():
        if interval["value"] is not None:
            assert found[name] == pytest.approx(interval, rel=1e-5, abs=1e-6), name
    assert found != run(boundary="circular")["models"][0]["statistics"]


def capture_votes(monkeypatch) -> list:
    seen = []
    report = evaluation.report
    monkeypatch.setattr(evaluation, "report", lambda results, seed: seen.append(results) or report(results, seed))
    return seen


def test_votes_depend_neither_on_batches_nor_on_the_limit(run, folder, monkeypatch):
    seen = capture_votes(monkeypatch)
    run()
    run(batch_size=5)
    run(limit=23)
    everything, batched, limited = (results[0].chunk.votes for results in seen)
    assert (everything.top1 == batched.top1).all()
    assert np.allclose(everything.margin, batched.margin, atol=1e-5)
    config = EvaluationConfig(models=("toy",), data=str(folder), limit=23)
    with open_evaluation_data(folder, data_root="") as data:
        rows = _choose(data, config)
        fewer = _choose(data, replace(config, limit=7))
    assert len(rows) == 23 and set(fewer) < set(rows) and (np.diff(rows) > 0).all()
    assert (everything.top1[rows] == limited.top1).all()
    assert np.allclose(everything.margin[rows], limited.margin, atol=1e-5)


def test_an_interrupted_evaluation_goes_on_from_its_chunks(run, tmp_path, monkeypatch):
    def stop_after_two(done, total):
        assert total == 3
        if done == 2:
            raise Cancelled

    expected = run()
    assert not (tmp_path / "work").exists()
    with pytest.raises(Cancelled):
        run(stop_after_two)
    files = sorted((tmp_path / "work").rglob("*.npz"))
    assert [path.name for path in files] == ["000000.npz", "000001.npz"]
    files[1].write_bytes(files[1].read_bytes()[:-100])  # as a full disk leaves it
    computed = []
    compute = Voter._compute
    monkeypatch.setattr(Voter, "_compute", lambda self, images: computed.append(images[0]) or compute(self, images))
    heard = []
    assert run(lambda done, total: heard.append((done, total))) == expected
    assert computed == [32, 64] and heard == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert not (tmp_path / "work").exists()


def test_other_settings_and_other_weights_do_not_share_chunks(run, lab, tmp_path, modules, monkeypatch):
    def stop(done, total):
        if done:
            raise Cancelled

    for options in ({}, {"seed": 1}, {"models": ("other",)}, {"boundary": "circular"}, {"threads": 2}):
        with pytest.raises(Cancelled):
            run(stop, **options)
    assert len(list((tmp_path / "work").iterdir())) == 5


def test_pictures_that_changed_are_computed_again(run, folder, tmp_path):
    copied = tmp_path / "insects"
    shutil.copytree(folder, copied)

    def stop(done, total):
        if done:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(stop, data=str(copied), boundary="circular")
    for path in copied.rglob("*.png"):
        Image.new("L", (18, 18), 200).save(path)
    assert value(run(data=str(copied), boundary="circular"), "consistency") == 1


def test_a_second_evaluation_survives_the_end_of_the_first(run, tmp_path):
    expected = run()

    def remove(done, total):
        shutil.rmtree(tmp_path / "work", ignore_errors=True)

    assert run(remove) == expected


def test_the_others_neither_report_nor_remove_chunks(run, lab, folder, tmp_path, monkeypatch):
    second = Processes(rank=1, count=2, gather=lambda items: items)
    monkeypatch.setattr(evaluation, "all_processes", lambda device: nullcontext(second))
    config = EvaluationConfig(models=("toy",), data=str(folder), threads=1)
    assert evaluate(lab, config, tmp_path / "work") == {}
    assert [path.name for path in (tmp_path / "work").rglob("*.npz")] == ["000001.npz"]
    stopped = replace(second, gather=lambda items: [(True, 64), *items])
    monkeypatch.setattr(evaluation, "all_processes", lambda device: nullcontext(stopped))
    with pytest.raises(Cancelled):  # because another one was
        evaluate(lab, config, tmp_path / "work")
    monkeypatch.setenv("RANK", "1")
    assert evaluate_as_run(lab, config, tmp_path / "run") == {}


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


def test_published_numbers_stand_beside_the_same_evaluation_only():
    config, classes = EvaluationConfig(models=("resnet18",), data="x", protocol="zhang"), list(range(1000))
    found = find_published(config, "resnet18", classes)
    assert (found["accuracy"], found["consistency"]) == (0.6974, 0.8511) and "antialiased" in found["source"]
    assert find_published(config, "resnet18:IMAGENET1K_V1", classes) == found
    assert find_published(config, "resnet50:IMAGENET1K_V1", classes)["consistency"] == 0.8920
    assert find_published(config, "resnet50", classes) is None  # newer weights
    assert find_published(config, "resnet18", classes[:-1]) is None
    assert find_published(config, "resnet18", [*classes[:-1], -1]) is None
    for change in ({"twin": True}, {"max_shift": 4}, {"boundary": "circular"}, {"protocol": "exact"}):
        assert find_published(replace(config, **change), "resnet18", classes) is None


def test_chunks_that_hold_something_else_are_not_used(tmp_path):
    path = tmp_path / "chunk.npz"
    np.savez(path, votes=np.array([{"a": 1}], dtype=object))
    assert Chunk.read(path, 3, 4) is None
    assert Chunk.read(tmp_path / "missing.npz", 3, 4) is None


def test_a_place_that_cannot_be_written_is_named(run, tmp_path):
    (tmp_path / "work").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot be stored in .*work"):
        run()


def test_too_little_memory_halves_the_batch(run, modules, monkeypatch):
    expected = run()["models"]
    forward = Voter._forward

    def small_device(self, windows):
        if self.batch_size > 16:
            raise torch.OutOfMemoryError("too little")
        return forward(self, windows)

    monkeypatch.setattr(Voter, "_forward", small_device)
    found = run()["models"]
    assert found[0]["statistics"]["consistency"] == expected[0]["statistics"]["consistency"]
    assert (expected[0]["batch_size"], found[0]["batch_size"]) == (64, 16)
    monkeypatch.setattr(Voter, "_forward", lambda self, windows: small_device(replace(self, batch_size=99), windows))
    with pytest.raises(UserError, match="too little memory"):
        run()


def test_two_models_are_compared_in_pairs(run, modules, folder):
    document = run(models=("toy", "other", "foreign"))
    assert [(pair["a"], pair["b"]) for pair in document["pairs"]] == [
        ("toy", "other"),
        ("toy", "foreign"),
        ("other", "foreign"),
    ]
    first, second = (model["statistics"] for model in document["models"][:2])
    pair = document["pairs"][0]
    assert set(pair) == {"a", "b", "mcnemar_p", *first}
    for name in ("accuracy", "consistency", "kappa", "mac"):
        assert pair[name]["value"] == pytest.approx(first[name]["value"] - second[name]["value"])
        assert pair[name]["low"] <= pair[name]["value"] <= pair[name]["high"]
    assert 0 < pair["mcnemar_p"] <= 1
    assert document["pairs"][1]["mcnemar_p"] is None and document["pairs"][1]["accuracy"]["value"] is None
    assert document["pairs"][1]["consistency"] == {"value": 0.0, "low": 0.0, "high": 0.0}  # the same weights
    assert len({model["weights_sha256"] for model in document["models"]}) == 2


def test_classes_that_a_model_does_not_have(run):
    document = run(models=("foreign",))
    model = document["models"][0]
    assert model["num_labelled"] == 0 and "4 classes of the data are not classes of the model" in model["notes"][0]
    assert value(document, "accuracy") is None and value(document, "consistency") == value(run(), "consistency")


def test_broken_pictures_are_left_out_and_named(run, folder, tmp_path):
    copied = tmp_path / "insects"
    shutil.copytree(folder, copied)
    (copied / "bee" / "001.png").write_bytes(b"broken")
    document = run(data=str(copied))
    assert document["models"][0]["num_images"] == 69
    assert len(document["data"]["skipped"]) == 1 and "bee/001.png" in document["data"]["skipped"][0]
    (copied / "bee" / "001.png").unlink()
    assert (
        run(data=str(copied))["models"][0]["statistics"]["consistency"]
        == (document["models"][0]["statistics"]["consistency"])
    )
    for path in copied.rglob("*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(UserError, match="None of the pictures can be read"):
        run(data=str(copied))


def test_the_document_says_how_it_came_about(run):
    document = run(checks=True, limit=10)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert set(document) == {"protocol", "data", "environment", "models", "pairs"}
    assert document["protocol"]["name"] == "exact" and "U-statistic" in document["protocol"]["description"]
    environment = document["environment"]
    assert (environment["dtype"], environment["tf32"], environment["threads"]) == ("float32", False, 1)
    model = document["models"][0]
    assert model["stride"] == 2 and {point["phase"] for point in model["curves"]["phase"]} <= {0, 1}
    assert {identity["identity"] for identity in model["identities"]} >= {"I1", "I2", "I14"}
    assert model["layers"][0]["stride"] == 2
    for layer in model["layers"]:
        assert 2 <= layer["num_images"] <= 10
        error = layer["error"]
        assert error["low"] <= error["value"] <= error["high"]


def test_the_number_of_threads_is_that_of_the_machine():
    """Whatever torchrun has set: the bits of a convolution depend on it."""
    before = torch.get_num_threads()
    try:
        found = []
        for inherited in (1, 3):
            torch.set_num_threads(inherited)
            with settled(None) as threads:
                found.append((threads, torch.get_num_threads()))
            assert torch.get_num_threads() == inherited
        assert found[0] == found[1] and found[0][0] == found[0][1]
    finally:
        torch.set_num_threads(before)


def test_nothing_leaks(run, monkeypatch):
    def state():
        return (
            torch.get_rng_state().tolist(),
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.conv.fp32_precision,
            torch.is_inference_mode_enabled(),
        )

    before = state()
    run(threads=3)
    run(protocol="aw", scale=0.4)
    assert state() == before
    monkeypatch.setattr(Voter, "_vote", lambda self, images: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(threads=3)
    assert state() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"models": ()}, "at least one model"),
        ({"models": ("toy", "toy")}, "none twice"),
        ({"models": "toy"}, "list of names"),
        ({"data": ""}, "data must be"),
        ({"protocol": "best"}, "exact, zhang, diag33, aw, aps-imagenet, aps-cifar, aps, afc-adv"),
        ({"boundary": "sky"}, "boundary must be one of"),
        ({"protocol": "aps", "boundary": "crop"}, "circular or mean or zero, not crop"),
        ({"protocol": "aps-imagenet", "boundary": "mean"}, "circular, not mean"),
        ({"shifts": 1}, "shifts"),
        ({"max_shift": 0}, "max_shift"),
        ({"limit": 0}, "limit"),
        ({"seed": -1}, "seed"),
        ({"twin": 1}, "twin"),
        ({"threads": 0}, "threads"),
        ({"scale": float("nan")}, "scale"),
        ({"device": "tpu"}, "device"),
        ({"colour": 1}, "no setting 'colour'"),
    ],
)
def test_bad_settings_are_refused_in_words(options, words):
    with pytest.raises(UserError, match=words):
        EvaluationConfig.from_dict({"models": ["toy"]} | options)


def test_config_round_trip_through_json():
    config = EvaluationConfig(models=("a", "b"), protocol="zhang", limit=3)
    assert config.boundary == "crop"
    assert EvaluationConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(UserError, match="models"):
        EvaluationConfig.from_dict({})


def test_a_job_writes_its_run(modules, folder, tmp_path, capsys):
    config = EvaluationConfig(models=("toy",), data=str(folder), threads=1, device=DEVICE)
    run_dir = create_run(tmp_path / "runs", "a", config.to_dict(), "evaluation")
    request_stop(run_dir)
    assert JOB.run(run_dir) is None
    assert read_run(tmp_path / "runs", "a").state == "stopped"
    (run_dir / "stop").unlink()
    assert main([str(run_dir)]) == 0
    run = read_run(tmp_path / "runs", "a")
    assert run.state == "finished" and (run.status["step"], run.status["total_steps"]) == (3, 3)
    document = read_document(run)
    assert document["models"][0]["num_images"] == 70 and run.result["seconds"] == document["seconds"]
    bad = create_run(tmp_path / "runs", "b", config.to_dict() | {"models": ["nobody"]}, "evaluation")
    assert main([str(bad)]) == 1 and "no model called nobody" in capsys.readouterr().err
    assert read_run(tmp_path / "runs", "b").state == "failed"


def test_a_job_stops_within_a_chunk_and_goes_on(modules, folder, tmp_path, monkeypatch):
    config = EvaluationConfig(models=("toy",), data=str(folder), threads=1, device=DEVICE)
    run_dir = create_run(tmp_path / "runs", "a", config.to_dict(), "evaluation")
    computed = []
    compute = Voter._compute

    def compute_and_stop(self, images):
        computed.append(int(images[0]))
        if len(computed) == 1:
            request_stop(run_dir)
        return compute(self, images)

    monkeypatch.setattr(Voter, "_compute", compute_and_stop)
    assert JOB.run(run_dir) is None and computed == [0]
    (run_dir / "stop").unlink()
    assert JOB.run(run_dir)["models"][0]["num_images"] == 70 and computed == [0, 32, 64]


@pytest.fixture
def command(modules, monkeypatch, tmp_path, capfd):
    """Runs cli.py in this process: exit code, stdout, stderr."""
    monkeypatch.setenv("CONVSCOPE_RUNS_ROOT", str(tmp_path / "runs"))
    monkeypatch.setenv("CONVSCOPE_DEVICE", DEVICE)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["cli.py", "evaluate", *map(str, arguments)])
        capfd.readouterr()
        return cli.main(), *capfd.readouterr()

    return command


def test_command_prints_one_document_or_a_table(command, folder, tmp_path):
    common = ("--model", "toy", "--model", "other", "--data", folder, "--threads", 1, "--no-checks")
    code, out, err = command(*common, "--json")
    assert (code, err) == (0, "") and out.count("\n") == 1
    document = json.loads(out)
    assert [model["model"] for model in document["models"]] == ["toy", "other"] and len(document["pairs"]) == 1
    assert not (tmp_path / "runs" / ".evaluations").exists()
    code, out, _ = command(*common, "--name", "first")
    assert code == 0 and "consistency" in out and "toy minus other" in out
    kept = json.loads((tmp_path / "runs" / "first" / "result.json").read_text())
    assert kept["models"] == document["models"]


def test_a_stopped_command_says_so_in_one_line(command, folder, tmp_path, monkeypatch):
    compute = Voter._compute

    def compute_and_stop(self, images):
        request_stop(tmp_path / "runs" / "first")
        return compute(self, images)

    options = ("--model", "toy", "--data", folder, "--threads", 1, "--no-checks", "--json", "--name", "first")
    with monkeypatch.context() as patch:
        patch.setattr(Voter, "_compute", compute_and_stop)
        code, out, err = command(*options)
    assert (code, out) == (2, "") and "first was stopped; the same command goes on" in err and err.count("\n") == 1
    assert command(*options)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "toy", "--data", "nowhere"), "no data set or folder"),
        (("--model", "nobody", "--data", "shapes"), "no model called nobody"),
        (("--model", "toy"), "--data"),
        (("--data", "shapes"), "--model"),
        (("--model", "toy", "--data", "cifar10"), "cifar-10-binary"),
        (("--model", "toy", "--data", "shapes", "--protocol", "best"), "best"),
        (("--model", "toy", "--data", "shapes", "--protocol", "aps", "--boundary", "crop"), "not crop"),
        (("--model", "toy", "--data", "shapes", "--shifts", "1"), "shifts must be"),
        (("--model", "toy", "--data", "shapes", "--protocol", "aw", "--max-shift", "3"), "fixes its shifts"),
    ],
)
def test_command_says_what_to_put_right(command, arguments, words):
    code, out, err = command(*arguments)
    assert code == 2 and out == "" and err.startswith("error: ") and words in err and err.count("\n") == 1


def test_two_processes_give_the_bytes_of_one(tmp_path):
    # Passive: threads that spin while they wait would slow down the other process.
    settings = {"CONVSCOPE_DEVICE": "cpu", "CONVSCOPE_RUNS_ROOT": str(tmp_path), "OMP_WAIT_POLICY": "PASSIVE"}
    environment = os.environ | settings
    for variable in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "OMP_NUM_THREADS"):
        environment.pop(variable, None)
    options = ["--model", "fashion_cnn", "--data", "fashion_mnist", "--limit", "40", "--no-checks", "--json"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launcher, str(ROOT / "cli.py"), "evaluate", *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    two = json.loads(done.stdout)
    config = EvaluationConfig(models=("fashion_cnn",), limit=40)
    one = evaluate(Lab(device="cpu", runs_root=tmp_path), config, tmp_path / "work")
    assert (one["environment"]["processes"], two["environment"]["processes"]) == (1, 2)
    assert json.dumps([one["models"], one["pairs"]]) == json.dumps([two["models"], two["pairs"]])
    assert one["models"][0]["statistics"]["accuracy"]["value"] > 0.8
