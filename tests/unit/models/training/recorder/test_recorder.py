"""What a training leaves behind while it goes on: bounded, complete, and only from the process that writes."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from models.checkpoints import load_checkpoint
from models.networks.small_cnn import SmallCNN, SmallCNNConfig
from models.runs.files import read_lines, write_bytes
from models.runs.run import read_run
from models.training import loop, recorder
from models.training.recorder import (
    BEST,
    EPOCH_SECONDS,
    MAX_SNAPSHOT_BYTES,
    MAX_SNAPSHOTS,
    RESUME_SECONDS,
    Journal,
    forget_way,
    load_best,
    snapshot_steps,
)
from models.training.resume import RESUME_FILE
from models.training.run import resume, train
from tests.sentences import refused
from tests.unit.models.training.test_resuming import break_off, tiny


def network(seed: int = 0) -> SmallCNN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SmallCNN(SmallCNNConfig(num_classes=6, in_channels=3, image_size=32, channels=(4, 6)))


def optimizer_of(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


def files(run_dir: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}


totals, sizes = st.integers(1, 10**6), st.integers(1, 2**28)


@settings(max_examples=40)
@given(total=totals, num_bytes=sizes)
def test_snapshots_are_steps_of_the_training(total, num_bytes):
    steps = snapshot_steps(total, num_bytes)
    assert all(isinstance(step, int) and 0 <= step <= total for step in steps)
    if steps:
        assert {0, total} <= steps


@settings(max_examples=40)
@given(total=totals, num_bytes=sizes)
def test_snapshots_together_are_bounded(total, num_bytes):
    count = len(snapshot_steps(total, num_bytes))
    assert count <= MAX_SNAPSHOTS and count * num_bytes <= MAX_SNAPSHOT_BYTES


@pytest.mark.parametrize("num_bytes", [MAX_SNAPSHOT_BYTES // count for count in (2, 7, 40)])
def test_snapshots_that_just_fit_stay_within_the_bound(num_bytes):
    steps = snapshot_steps(10_000, num_bytes)
    assert len(steps) <= MAX_SNAPSHOTS and len(steps) * num_bytes <= MAX_SNAPSHOT_BYTES


@settings(max_examples=60)
@given(total=st.integers(1, 10**5), num_bytes=sizes, every=st.integers(1, 10**5) | st.just(10**9))
def test_snapshots_every_so_many_steps_are_multiples_within_the_bounds(total, num_bytes, every):
    steps = sorted(snapshot_steps(total, num_bytes, every))
    room = min(MAX_SNAPSHOTS, MAX_SNAPSHOT_BYTES // num_bytes)
    assert len(steps) <= room
    if room < 2:
        assert steps == []
        return
    assert steps[0] == 0 and steps[-1] == total and all(step % every == 0 for step in steps[:-1])
    wanted = [*range(0, total, every), total]
    if len(wanted) <= room:
        assert steps == wanted
    else:  # the next smaller distance would have been too small
        distance = steps[1]
        assert len(range(0, total, distance - every)) + 1 > room
        assert all(after - before == distance for before, after in pairwise(steps[:-1]))


def test_snapshots_are_dense_at_first_and_even_afterwards():
    steps = sorted(snapshot_steps(3000, 1000))
    assert steps[:5] == [0, 1, 2, 4, 8]
    late = [step for step in steps if step > 600]
    gaps = {after - before for before, after in pairwise(late)}
    assert len(steps) >= 30 and max(gaps) - min(gaps) <= 1 and max(gaps) <= 150


def test_a_short_training_keeps_every_step_and_a_large_network_none():
    assert snapshot_steps(5, 1000) == frozenset(range(6))
    assert snapshot_steps(100, MAX_SNAPSHOT_BYTES + 1) == frozenset()


def lines_of(epochs: int, steps_per_epoch: int) -> list[dict]:
    """As a training writes them: lines of steps on the way, then one of layers and one of the epoch."""
    lines = []
    for epoch in range(1, epochs + 1):
        steps = range((epoch - 1) * steps_per_epoch + 1, epoch * steps_per_epoch + 1)
        lines += [{"kind": "step", "epoch": epoch, "step": step} for step in steps]
        lines += [{"kind": kind, "epoch": epoch, "step": epoch * steps_per_epoch} for kind in ("layers", "epoch")]
    return lines


@settings(max_examples=40)
@given(epochs=st.integers(1, 4), steps_per_epoch=st.integers(1, 5), data=st.data())
def test_what_will_be_done_again_is_taken_back(tmp_path_factory, epochs, steps_per_epoch, data):
    step = data.draw(st.integers(0, epochs * steps_per_epoch))
    run_dir = tmp_path_factory.mktemp("run")
    lines = lines_of(epochs, steps_per_epoch)
    write_bytes(run_dir / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    entry = Journal.__new__(Journal)
    entry.is_silent, entry.writer = False, type("Writer", (), {"run_dir": run_dir})
    done = step // steps_per_epoch
    entry.go_on(step, done)
    kept = read_lines(run_dir / "metrics.jsonl")
    repeated = step + 1  # the first step of what is done again
    assert not [line for line in kept if line["step"] >= repeated]
    assert [line for line in kept if line["step"] < step] == [line for line in lines if line["step"] < step]
    ends = [line["epoch"] for line in kept if line["kind"] == "epoch"]
    assert ends == [line["epoch"] for line in kept if line["kind"] == "layers"] == list(range(1, done + 1))


def test_half_a_line_that_a_crash_left_is_taken_back_too(make):
    entry = make()
    path = entry.run_dir / "metrics.jsonl"
    path.write_bytes(b'{"kind": "step", "epoch": 1, "step": 2}\n{"kind": "st')
    entry.go_on(5, 0)
    assert path.read_bytes() == b'{"kind": "step", "epoch": 1, "step": 2}\n'
    path.unlink()
    entry.go_on(5, 0)
    assert read_lines(path) == []


def test_lines_are_not_repeated_where_a_training_died_before_its_first_resume_point(tmp_path, monkeypatch):
    """It starts anew, so everything it had reported will be reported again."""
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.0)  # a line for every step
    monkeypatch.setattr(recorder, "RESUME_SECONDS", 1e9)
    break_off(monkeypatch, tiny(epochs=1), tmp_path / "a", 5)
    assert not (tmp_path / "a" / RESUME_FILE).exists()
    assert len(read_run(tmp_path, "a").metrics) == 5
    resume(tmp_path / "a")
    steps = [line["step"] for line in read_run(tmp_path, "a").metrics if line["kind"] == "step"]
    assert steps == list(range(1, 8))


def test_a_silent_journal_writes_nothing(make, dataset):
    heard = []
    entry = make(is_silent=True, listener=heard.append)
    path = entry.run_dir / "metrics.jsonl"
    path.write_bytes(b'{"kind": "step", "step": 9}\n')
    for name in (RESUME_FILE, BEST):
        (entry.run_dir / name).write_bytes(b"of another process")
    before, net = files(entry.run_dir), network()
    entry.report({"kind": "step", "step": 1}, {"step": 1})
    entry.go_on(1, 0)
    sha256 = entry.save_model(net)
    entry.save_best(net)
    entry.save_snapshot(net, 0)
    entry.save_provenance("cpu", 1, "no")
    entry.save_examples()
    entry.save_predictions(torch.zeros(len(dataset.validation), 6))
    entry.save_resume_point(net, optimizer_of(net), {"loss": torch.zeros(())}, {"step": 1})
    assert files(entry.run_dir) == before and heard == []
    # Every process can say what the weights are.
    assert sha256 == make().save_model(net)


def test_reports_reach_the_file_the_status_and_the_listener(make):
    heard = []
    entry = make(listener=heard.append)
    for step in (1, 2):
        entry.report({"kind": "step", "step": step, "epoch": 1}, {"step": step})
    assert (
        heard
        == read_lines(entry.run_dir / "metrics.jsonl")
        == [{"kind": "step", "step": step, "epoch": 1} for step in (1, 2)]
    )
    assert json.loads((entry.run_dir / "status.json").read_text())["step"] == 2


def test_models_snapshots_and_the_best_come_back_to_the_bit(make):
    entry, nets = make(), [network(seed) for seed in range(3)]
    entry.save_snapshot(nets[0], 12)
    entry.save_best(nets[1])
    entry.save_model(nets[2])
    description = entry.run_dir / "model.json"
    kept, categories, preprocessing = load_checkpoint(
        description, entry.run_dir / "snapshots" / "0000012.safetensors"
    )
    assert same_weights(kept, nets[0])
    assert categories == entry.dataset.categories and preprocessing == entry.dataset.preprocessing()
    assert same_weights(load_checkpoint(description, entry.run_dir / "weights.safetensors")[0], nets[2])
    load_best(entry.run_dir, nets[2])
    assert same_weights(nets[2], nets[1])


def test_a_snapshot_alone_is_enough_to_build_the_network(make):
    entry = make()
    entry.save_snapshot(network(4), 0)
    found = load_checkpoint(entry.run_dir / "model.json", entry.run_dir / "snapshots" / "0000000.safetensors")[0]
    assert same_weights(found, network(4))


def test_only_what_an_unfinished_training_needs_is_forgotten(make):
    entry, net = make(), network()
    entry.save_best(net)
    entry.save_model(net)
    entry.save_snapshot(net, 1)
    entry.save_resume_point(net, optimizer_of(net), {}, {"step": 1})
    before = set(files(entry.run_dir))
    forget_way(entry.run_dir)
    forget_way(entry.run_dir)
    assert before - set(files(entry.run_dir)) == {RESUME_FILE, BEST}


def test_other_data_are_refused(make, dataset):
    make().save_provenance("cpu", 1, "no")
    first = (make().run_dir / "data.json").read_bytes()
    make().save_provenance("cpu", 2, "bf16")
    assert (make().run_dir / "data.json").read_bytes() == first
    images = dataset.test.images.clone()
    images[3, 1, 5, 5] ^= 1  # one bit of one pixel
    labels = dataset.train.labels.clone()
    labels[0] = (labels[0] + 1) % 6
    for changed in (
        replace(dataset, test=replace(dataset.test, images=images)),
        replace(dataset, train=replace(dataset.train, labels=labels)),
        replace(dataset, validation=dataset.validation.take(torch.arange(5))),
    ):
        for is_silent in (False, True):
            with refused():
                make(dataset=changed, is_silent=is_silent).save_provenance("cpu", 1, "no")
    assert (make().run_dir / "data.json").read_bytes() == first
    environment = json.loads((make().run_dir / "environment.json").read_text())
    assert [environment[name] for name in ("device", "processes", "precision")] == ["cpu", 2, "bf16"]


def test_when_things_are_due(make, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(recorder.time, "monotonic", lambda: now[0])
    entry, silent = make(), make(is_silent=True)
    assert entry.epochs.is_due()  # the first epoch is always kept
    with entry.epochs.saving():
        pass
    now[0] += EPOCH_SECONDS - 0.01
    assert not entry.epochs.is_due()
    now[0] += 0.02
    assert entry.epochs.is_due()

    net = network()
    now[0] = 1000.0 + RESUME_SECONDS - 0.01
    assert not entry.resume_points.is_due() and not silent.resume_points.is_due()
    now[0] += 0.02
    for each in (entry, silent):
        assert each.resume_points.is_due()
        each.save_resume_point(net, optimizer_of(net), {}, {"step": 1})
        assert not each.resume_points.is_due()
    now[0] += RESUME_SECONDS
    assert entry.resume_points.is_due()


def test_a_state_that_takes_long_to_write_is_written_rarely(make, monkeypatch):
    """The time between two is counted from the end of the first, and is many times what that took."""
    now = [1000.0]
    monkeypatch.setattr(recorder.time, "monotonic", lambda: now[0])

    def write_slowly(*_):
        now[0] += 3.0

    monkeypatch.setattr(recorder, "save_resume_point", write_slowly)
    entry, net = make(), network()
    now[0] += RESUME_SECONDS
    entry.save_resume_point(net, optimizer_of(net), {}, {"step": 1})
    now[0] += 3.0 * recorder.LONGER - 0.1
    assert not entry.resume_points.is_due()
    now[0] += 0.2
    assert entry.resume_points.is_due()


def test_short_epochs_are_reported_but_not_all_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "EPOCH_SECONDS", 1e9)
    kept = []
    save = Journal.save_predictions
    monkeypatch.setattr(Journal, "save_predictions", lambda self, logits: (kept.append(1), save(self, logits)))
    train(tiny(epochs=4), tmp_path / "a")
    assert [line["epoch"] for line in read_run(tmp_path, "a").metrics if line["kind"] == "epoch"] == [1, 2, 3, 4]
    assert len(kept) == 2  # the first and the last
    found = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"weights.safetensors", "model.json", "predictions.safetensors", "examples.safetensors"} <= found
    assert {"data.json", "environment.json", "snapshots", "metrics.jsonl"} <= found
    assert not found & {RESUME_FILE, BEST}
    snapshots = [path.name for path in sorted((tmp_path / "a" / "snapshots").iterdir())]
    assert snapshots[0] == "0000000.safetensors" and snapshots[-1] == "0000028.safetensors"
    last = load_file(tmp_path / "a" / "snapshots" / snapshots[-1])
    weights = load_file(tmp_path / "a" / "weights.safetensors")
    assert all(torch.equal(last[name], tensor) for name, tensor in weights.items())
