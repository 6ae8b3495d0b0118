"""Looking into runs, against plain forwards of the same network; runs' files may be anything."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn import metrics
from torch import nn

from analysis.confusion import measure_confusion
from analysis.errors import Cancelled, UserError
from analysis.figures.training import plot_layers
from analysis.network.health import measure_health
from analysis.shift.move import shift_pixels
from lab.lru import RecentResults
from lab.runs import snapshots
from lab.runs.examples import list_snapshots, read_examples, read_predictions
from lab.runs.mistakes import open_errors
from lab.runs.snapshots import evaluate_snapshot, snapshot_consistency, snapshot_health, snapshot_model
from lab.session import Lab
from models.checkpoints import load_checkpoint, pack_weights
from models.runs.run import Run, read_run
from tests.device import DEVICE
from tests.sentences import refused

COUNT, NAMES = 30, ("ant", "bee", "cat")


@pytest.fixture
def run(tmp_path, make_run, monkeypatch) -> Run:
    """A finished run with examples, predictions and three snapshots of different networks."""
    monkeypatch.setattr(snapshots, "_RESULTS", RecentResults(snapshots.MAX_KEPT_BYTES))
    root = tmp_path / "runs"
    folder = root / "tiny" / "snapshots"
    for number, step in enumerate((40, 7, 12_345_678)):
        model = make_run(root, seed=number + 1)
        folder.mkdir(exist_ok=True)
        (folder / f"{step:07d}.safetensors").write_bytes(pack_weights(model)[0])
    model = make_run(root, seed=0)
    path = root / "tiny"
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (COUNT, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (COUNT,), generator=generator)
    save_file({"images": images, "labels": labels, "ids": torch.arange(COUNT) * 7}, path / "examples.safetensors")
    with torch.no_grad():
        save_file({"logits": model(images.float() / 255)}, path / "predictions.safetensors")
    return read_run(root, "tiny")


@pytest.fixture
def lab(run, monkeypatch) -> Lab:
    """A lab whose registry knows ``run/NAME@STEP``, counted in ``lab.registry.builds``."""
    lab = Lab(device=DEVICE, runs_root=run.path.parent)
    find = lab.registry.get
    lab.registry.builds = []

    def get(name: str):
        base, at, step = name.partition("@")
        path = run.path / (f"snapshots/{int(step):07d}.safetensors" if at else "weights.safetensors")
        if not path.is_file():
            raise UserError(f"There is no snapshot {step}.")

        def build():
            lab.registry.builds.append(name)
            return load_checkpoint(run.path / "model.json", path)[0]

        return replace(find(base), name=name, build=build, version=path.stat().st_mtime_ns)

    monkeypatch.setattr(lab.registry, "get", get)
    return lab


def forward(run: Run, step: int | None, images: torch.Tensor) -> torch.Tensor:
    path = run.path / ("weights.safetensors" if step is None else f"snapshots/{step:07d}.safetensors")
    with torch.no_grad():
        return load_checkpoint(run.path / "model.json", path)[0](images.float() / 255)


# Errors from files alone.


def test_errors_are_read_without_any_network(run):
    view = open_errors(run)
    examples, logits = read_examples(run), read_predictions(run)
    assert examples.categories == view.confusion.categories == NAMES
    expected = metrics.confusion_matrix(examples.labels, logits.argmax(1), labels=range(3))
    np.testing.assert_array_equal(view.confusion.counts, expected)
    index = view.confusion.top_losses(1)[0]
    np.testing.assert_array_equal(view.draw(index, size=8)[..., 1], examples.images[index, 0])
    assert view.draw(index, size=80).shape == (80, 80, 3)
    true, guess = NAMES[examples.labels[index]], NAMES[logits[index].argmax()]
    assert view.describe(index).startswith(f"true {true}, predicted {guess} (")
    assert view.describe(index).endswith(f"picture {index * 7}")


def test_examples_are_a_copy_that_survives_the_file(run):
    examples = read_examples(run)
    first = examples.images.clone()
    (run.path / "examples.safetensors").unlink()
    assert torch.equal(examples.images, first)


GOOD = {
    "images": torch.zeros(4, 1, 8, 8, dtype=torch.uint8),
    "labels": torch.tensor([0, 1, 2, 0]),
    "ids": torch.arange(4),
}


@pytest.mark.parametrize(
    "changes",
    [
        {"images": torch.zeros(4, 1, 8, 8)},
        {"images": torch.zeros(4, 8, 8, dtype=torch.uint8)},
        {"images": torch.zeros(4, 3, 8, 8, dtype=torch.uint8)},
        {"images": torch.zeros(4, 1, 9, 9, dtype=torch.uint8)},
        {"images": torch.zeros(3, 1, 8, 8, dtype=torch.uint8)},
        {name: part[:0] for name, part in GOOD.items()},
        {"labels": torch.tensor([0, 1, 3, 0])},
        {"labels": torch.tensor([0, -1, 2, 0])},
        {"labels": torch.zeros(4, dtype=torch.int32)},
        {"labels": torch.zeros(4, 1, dtype=torch.int64)},
        {"ids": torch.zeros(4, dtype=torch.int64)},
        {"extra": torch.zeros(1)},
        {"ids": None},
    ],
)
def test_examples_that_do_not_fit_are_refused(run, changes):
    tensors = {name: part for name, part in (GOOD | changes).items() if part is not None}
    save_file(tensors, run.path / "examples.safetensors")
    with refused():
        read_examples(run)


@pytest.mark.parametrize(
    "logits",
    [
        torch.zeros(COUNT - 1, 3),
        torch.zeros(COUNT, 4),
        torch.zeros(COUNT, 3, dtype=torch.float64),
        torch.full((COUNT, 3), float("nan")),
        torch.full((COUNT, 3), float("inf")),
    ],
)
def test_predictions_that_do_not_fit_are_refused(run, logits):
    save_file({"logits": logits}, run.path / "predictions.safetensors")
    with refused():
        open_errors(run)


def lie_about_sizes(data: bytes) -> bytes:
    """The same header, but for a million times as many pictures."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["images"]["shape"][0] *= 10**6
    new = json.dumps(header).encode()
    return len(new).to_bytes(8, "little") + new + data[8 + size :]


@pytest.mark.parametrize("name", ["examples", "predictions"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: b"PK\x03\x04" + data,
        lambda data: bytes(64),
        lambda data: lie_about_sizes(data) if b"images" in data else data[:20],
    ],
)
def test_damaged_files_are_refused(run, name, damage):
    path = run.path / f"{name}.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with refused():
        open_errors(run)


@pytest.mark.parametrize("name", ["examples", "predictions"])
def test_missing_and_strange_files_are_refused_without_waiting(run, name):
    path = run.path / f"{name}.safetensors"
    path.unlink()
    with refused(name):
        open_errors(run)
    os.mkfifo(path)
    with refused():
        open_errors(run)
    path.unlink()
    path.mkdir()
    with refused():
        open_errors(run)


def test_a_huge_file_is_not_even_opened(run):
    with (run.path / "examples.safetensors").open("r+b") as file:
        file.truncate(2**30)  # sparse
    with refused("256 MB"):
        read_examples(run)


def test_a_damaged_description_of_the_model_is_refused(run):
    (run.path / "model.json").write_text("[]")
    with refused("model.json"):
        open_errors(run)


# Snapshots.


def test_snapshots_are_listed_in_order_without_strangers(run):
    folder = run.path / "snapshots"
    for name in ("7.safetensors", "x.safetensors", "00000007.safetensors", "0000099.txt", ".0000003.safetensors.9"):
        (folder / name).write_bytes(b"")
    (folder / "0000050.safetensors").mkdir()
    (folder / "0000051.safetensors").symlink_to("/etc/passwd")
    (folder / "٠٠٠٠٠٥٢.safetensors").write_bytes(b"")
    assert list_snapshots(run) == [7, 40, 12_345_678]
    assert snapshot_model(run, 7) == "run/tiny@7" and snapshot_model(run, None) == "run/tiny"


def test_a_run_without_snapshots_has_none(run, tmp_path):
    assert list_snapshots(replace(run, path=tmp_path / "nothing")) == []
    (tmp_path / "snapshots").write_text("no folder")
    assert list_snapshots(replace(run, path=tmp_path)) == []


@pytest.mark.parametrize("step", [None, 7, 40])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_a_snapshot_is_evaluated_like_plain_forwards(lab, run, step, chunk, monkeypatch):
    monkeypatch.setattr(snapshots, "CHUNK_PIXELS", chunk * 64)
    seen = []
    found = evaluate_snapshot(lab, run, step, progress=lambda done, total: seen.append((done, total)))
    examples = read_examples(run)
    expected = measure_confusion(forward(run, step, examples.images), examples.labels, NAMES)
    assert torch.equal(found.counts, expected.counts)
    torch.testing.assert_close(found.losses, expected.losses, rtol=1e-4, atol=1e-6)
    assert seen == [(done, COUNT) for done in (*range(0, COUNT, chunk), COUNT)]


def test_the_latest_weights_agree_with_the_predictions_that_the_run_kept(lab, run):
    found, kept = evaluate_snapshot(lab, run, None), open_errors(run).confusion
    assert torch.equal(found.counts, kept.counts)
    assert not found.difference(kept).any()


def test_results_are_kept_until_a_file_changes(lab, run):
    first = evaluate_snapshot(lab, run, 7)
    assert evaluate_snapshot(lab, run, 7) is first
    assert evaluate_snapshot(lab, run, 40) is not first
    path = run.path / "snapshots" / "0000007.safetensors"
    path.write_bytes((run.path / "weights.safetensors").read_bytes())
    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns + 10**9))
    assert torch.equal(evaluate_snapshot(lab, run, 7).losses, evaluate_snapshot(lab, run, None).losses)
    again = evaluate_snapshot(lab, run, 7)
    os.utime(run.path / "examples.safetensors", ns=(time.time_ns(), time.time_ns() + 10**9))
    assert evaluate_snapshot(lab, run, 7) is not again


def test_a_cancelled_evaluation_keeps_nothing_and_can_be_repeated(lab, run, monkeypatch):
    monkeypatch.setattr(snapshots, "CHUNK_PIXELS", 10 * 64)

    def cancel(done, total):
        if done >= 10:
            raise Cancelled

    with pytest.raises(Cancelled):
        evaluate_snapshot(lab, run, 7, progress=cancel)
    assert len(snapshots._RESULTS) == 0
    assert len(evaluate_snapshot(lab, run, 7)) == COUNT


def test_too_little_memory_halves_the_chunk(lab, run, monkeypatch):
    real, tried = nn.Module.__call__, []

    def scarce(self, inputs, *args, **kwargs):
        if type(self).__name__ == "SmallCNN" and tried[-1:] != [4]:
            tried.append(len(inputs))
            if len(inputs) > 4:
                raise torch.OutOfMemoryError
        return real(self, inputs, *args, **kwargs)

    monkeypatch.setattr(snapshots, "CHUNK_PIXELS", 16 * 64)
    with lab.use("run/tiny@7"):
        pass
    monkeypatch.setattr(nn.Module, "__call__", scarce)
    found = evaluate_snapshot(lab, run, 7)
    assert tried == [16, 8, 4]
    assert len(found) == COUNT


def test_a_step_that_was_not_kept_is_refused(lab, run):
    with refused("8"):
        evaluate_snapshot(lab, run, 8)


def test_a_run_that_kept_no_pictures_says_so(lab, run):
    (run.path / "examples.safetensors").unlink()
    for action in (evaluate_snapshot, snapshot_consistency):
        with refused("tiny"):
            action(lab, run, 7)


def test_broken_weights_give_a_sentence(lab, run):
    path = run.path / "snapshots" / "0000007.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with refused():
        evaluate_snapshot(lab, run, 7)


@pytest.mark.parametrize("boundary", ["zero", "circular"])
def test_consistency_is_the_share_of_agreeing_pairs_counted(lab, run, boundary):
    found = snapshot_consistency(lab, run, 40, num_pictures=3, max_shift=2, boundary=boundary)
    images = read_examples(run).images
    expected = []
    for index in (0, 14, 29):
        pixels = images[index].float() / 255
        votes = [
            int(forward(run, 40, shift_pixels(pixels, dx, dy, boundary).pixels[None] * 255).argmax())
            for dx in range(-2, 3)
            for dy in range(-2, 3)
        ]
        agreeing = sum(votes[i] == votes[j] for i in range(25) for j in range(25) if i != j)
        expected.append(agreeing / (25 * 24))
    assert found.pictures == pytest.approx(tuple(expected))
    assert found.value == pytest.approx(sum(expected) / 3)
    assert (found.max_shift, found.boundary) == (2, boundary)
    assert snapshot_consistency(lab, run, 40, num_pictures=3, max_shift=2, boundary=boundary) is found


def test_consistency_reports_and_refuses(lab, run):
    seen = []
    snapshot_consistency(lab, run, None, num_pictures=2, progress=lambda *at: seen.append(at))
    assert seen == [(0, 2), (1, 2), (2, 2)]
    assert len(snapshot_consistency(lab, run, None, num_pictures=99).pictures) == COUNT
    for bad in ({"num_pictures": 0}, {"max_shift": 0}, {"max_shift": 5}):
        with refused("1 to 4"):
            snapshot_consistency(lab, run, None, **bad)
    with refused("boundary"):
        snapshot_consistency(lab, run, None, boundary="crop")


def test_health_is_that_of_the_network_on_its_examples(lab, run):
    network = load_checkpoint(run.path / "model.json", run.path / "snapshots" / "0000040.safetensors")[0]
    expected = measure_health(network, read_examples(run).images.float() / 255)
    assert snapshot_health(lab, run, 40) == tuple(expected)
    assert snapshot_health(lab, run, 40) is snapshot_health(lab, run, 40)
    records = [{"kind": "layers", "step": 40, "layers": [layer.to_json() for layer in expected]}]
    lines = {line.name: list(line.y) for line in plot_layers(records, "dead").data}
    assert lines == {layer.name: [layer.dead / layer.channels] for layer in expected} != {}


def test_health_of_large_pictures_takes_fewer_of_them(lab, run, monkeypatch):
    """All go through the network at once: 256 of 512 x 512 pixels would need gigabytes."""
    seen = []
    monkeypatch.setattr(snapshots, "measure_health", lambda module, inputs: seen.append(len(inputs)) or [])
    for step, values in ((7, 6 * 64 - 1), (40, 3)):
        monkeypatch.setattr(snapshots, "HEALTH_VALUES", values)
        snapshot_health(lab, run, step)
    assert seen == [5, 1]


def test_recent_results_stay_within_their_bytes():
    results = RecentResults(100)
    for number in range(5):
        results.keep((number,), number, 40)
    assert [results.get((number,)) for number in range(5)] == [None, None, None, 3, 4]
    results.get((3,))
    results.keep((9,), 9, 40)
    assert (results.get((3,)), results.get((4,))) == (3, None)
    results.keep((3,), "large", 101)
    assert results.get((3,)) is None and len(results) == 1


def test_recent_results_in_several_threads():
    results = RecentResults(100)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: (results.keep((i % 4,), i, 40), results.get((i % 3,))), range(200)))
    assert len(results) == 2 == sum(results.get((number,)) is not None for number in range(4))
