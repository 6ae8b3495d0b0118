"""The votes of a small network against plain loops, by every protocol."""

import copy
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lab.evaluation.predict import Chunk, Voter
from models import registry
from tests.sentences import refused
from tests.unit.lab.evaluation.insects import CLASSES, PREP, SIDE, make_spec, value


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


def test_chunks_that_hold_something_else_are_not_used(tmp_path):
    path = tmp_path / "chunk.npz"
    np.savez(path, votes=np.array([{"a": 1}], dtype=object))
    assert Chunk.read(path, 3, 4) is None
    assert Chunk.read(tmp_path / "missing.npz", 3, 4) is None


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
    with refused():
        run()
