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

from analysis.errors import UserError
from models.checkpoints import load_checkpoint, load_run_model, pack_weights
from models.data.dataset import Dataset, Split
from models.data.datasets import load_dataset
from models.data.shapes import ShapesConfig
from models.networks.small_cnn import SmallCNN, SmallCNNConfig
from models.runs.files import read_lines, write_bytes
from models.runs.run import read_run, request_stop
from models.runs.submit import create_run
from models.runs.writer import RunWriter
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
    pick_candidates,
    pick_kept_examples,
    snapshot_steps,
)
from models.training.resume import RESUME_FILE
from models.training.run import load_data, resume, train
from models.training.setup import choose_pictures
from tests.unit.models.training.test_resuming import break_off, tiny

DRAWN = ShapesConfig(num_images=60, clutter=0.0)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset("shapes", data_root="", seed=0, shapes=DRAWN)


@pytest.fixture
def make(tmp_path, dataset):
    """``make(is_silent=..., dataset=..., listener=...)``: a journal of the run "a"."""
    run_dir = create_run(tmp_path, "a", {})

    def build(is_silent=False, dataset=dataset, listener=None) -> Journal:
        return Journal(
            RunWriter(run_dir), "small_cnn", dataset, dataset.preprocessing(), listener, is_silent=is_silent
        )

    return build


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


@settings(max_examples=40, deadline=None, derandomize=True)
@given(total=totals, num_bytes=sizes)
def test_snapshots_are_steps_of_the_training(total, num_bytes):
    steps = snapshot_steps(total, num_bytes)
    assert all(isinstance(step, int) and 0 <= step <= total for step in steps)
    if steps:
        assert {0, total} <= steps


@settings(max_examples=40, deadline=None, derandomize=True)
@given(total=totals, num_bytes=sizes)
def test_snapshots_together_are_bounded(total, num_bytes):
    count = len(snapshot_steps(total, num_bytes))
    assert count <= MAX_SNAPSHOTS and count * num_bytes <= MAX_SNAPSHOT_BYTES


@pytest.mark.parametrize("num_bytes", [MAX_SNAPSHOT_BYTES // count for count in (2, 7, 40)])
def test_snapshots_that_just_fit_stay_within_the_bound(num_bytes):
    steps = snapshot_steps(10_000, num_bytes)
    assert len(steps) <= MAX_SNAPSHOTS and len(steps) * num_bytes <= MAX_SNAPSHOT_BYTES


@settings(max_examples=60, deadline=None, derandomize=True)
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


@settings(max_examples=40, deadline=None, derandomize=True)
@given(num=st.integers(1, 300), room=st.integers(1, 400))
def test_examples_are_different_pictures_within_the_bound(num, room):
    split = Split(torch.zeros(num, 1, 2, 2, dtype=torch.uint8), torch.zeros(num, dtype=torch.int64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "MAX_EXAMPLE_BYTES", 4 * room)
        picked = pick_kept_examples(split).tolist()
    assert len(picked) == len(set(picked)) == min(num, room) and picked == sorted(picked)
    assert picked[0] == 0 and (len(picked) == 1 or picked[-1] == num - 1)
    gaps = [after - before for before, after in pairwise(picked)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_one_example_is_kept_however_large():
    split = Split(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "MAX_EXAMPLE_BYTES", 1)
        assert pick_kept_examples(split).tolist() == [0]


def lines_of(epochs: int, steps_per_epoch: int) -> list[dict]:
    """As a training writes them: lines of steps on the way, then one of layers and one of the epoch."""
    lines = []
    for epoch in range(1, epochs + 1):
        steps = range((epoch - 1) * steps_per_epoch + 1, epoch * steps_per_epoch + 1)
        lines += [{"kind": "step", "epoch": epoch, "step": step} for step in steps]
        lines += [{"kind": kind, "epoch": epoch, "step": epoch * steps_per_epoch} for kind in ("layers", "epoch")]
    return lines


@settings(max_examples=40, deadline=None, derandomize=True)
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
            with pytest.raises(UserError, match="data have changed since this training began"):
                make(dataset=changed, is_silent=is_silent).save_provenance("cpu", 1, "no")
    assert (make().run_dir / "data.json").read_bytes() == first
    environment = json.loads((make().run_dir / "environment.json").read_text())
    assert [environment[name] for name in ("device", "processes", "precision")] == ["cpu", 2, "bf16"]


def test_examples_are_validation_pictures_and_predictions_are_theirs(make, dataset, monkeypatch):
    per_image = dataset.validation.images[0].numel()
    monkeypatch.setattr(recorder, "MAX_EXAMPLE_BYTES", 4 * per_image)
    entry, validation = make(), dataset.validation
    entry.save_examples()
    logits = torch.randn(len(validation), 6)
    entry.save_predictions(logits)
    examples = load_file(entry.run_dir / "examples.safetensors")
    predictions = load_file(entry.run_dir / "predictions.safetensors")
    places = [validation.ids.tolist().index(number) for number in examples["ids"].tolist()]
    assert len(places) == 4 and list(predictions) == ["logits"]
    assert torch.equal(examples["images"], validation.images[places])
    assert torch.equal(examples["labels"], validation.labels[places])
    assert torch.equal(predictions["logits"], logits[places])
    written = (entry.run_dir / "examples.safetensors").stat().st_mtime_ns
    entry.save_examples()  # they do not change
    assert (entry.run_dir / "examples.safetensors").stat().st_mtime_ns == written


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


# The training pictures that a finished network finds hardest


SMALL = {"num_images": 200, "clutter": 0.0, "color": "by_class"}
WATCHED = {"shapes": SMALL, "precision": "float32", "epochs": 2}


def hard_examples(run_dir: Path) -> dict[str, torch.Tensor]:
    return load_file(run_dir / "hard_examples.safetensors")


def measure_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits.double(), labels, reduction="none")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(num=st.integers(1, 200), limit=st.integers(1, 250), most=st.integers(1, 250), room=st.integers(1, 250))
def test_candidates_are_different_pictures_within_all_bounds(num, limit, most, room):
    split = Split(torch.zeros(num, 1, 2, 2, dtype=torch.uint8), torch.zeros(num, dtype=torch.int64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "MAX_CANDIDATES", most)
        patch.setattr(recorder, "MAX_CANDIDATE_VALUES", 4 * room)
        picked = pick_candidates(split, 0, limit).tolist()
        assert picked == pick_candidates(split, 0, limit).tolist()
    assert picked == sorted(set(picked)) and set(picked) <= set(range(num))
    assert len(picked) == min(num, limit, most, room)


def test_another_seed_looks_at_other_candidates():
    split = Split(torch.zeros(100, 1, 2, 2, dtype=torch.uint8), torch.zeros(100, dtype=torch.int64))
    assert pick_candidates(split, 0, 30).tolist() != pick_candidates(split, 1, 30).tolist()


def test_the_hardest_of_the_candidates_are_kept_largest_loss_first(make, dataset, monkeypatch):
    monkeypatch.setattr(recorder, "MAX_HARD_EXAMPLES", 4)
    index = torch.arange(1, 40, 3)
    logits = torch.randn(len(index), 6, generator=torch.Generator().manual_seed(1))
    make(is_silent=True).save_hard_examples(dataset.train, index, logits)
    entry = make()
    assert not (entry.run_dir / "hard_examples.safetensors").exists()
    entry.save_hard_examples(dataset.train, index, logits)
    found = hard_examples(entry.run_dir)
    places = measure_losses(logits, dataset.train.labels[index]).argsort(descending=True)[:4]
    assert torch.equal(found["logits"], logits[places])
    for name in ("images", "labels", "ids"):
        assert torch.equal(found[name], getattr(dataset.train, name)[index[places]])
    assert found["images"].dtype == torch.uint8


@pytest.mark.parametrize(("room", "count"), [(3, 3), (0.5, 1)])
def test_of_wide_pictures_fewer_are_kept(make, dataset, monkeypatch, room, count):
    monkeypatch.setattr(recorder, "MAX_HARD_BYTES", int(room * dataset.train.images[0].numel()))
    entry = make()
    entry.save_hard_examples(dataset.train, torch.arange(30), torch.randn(30, 6))
    assert len(hard_examples(entry.run_dir)["labels"]) == count


@pytest.mark.parametrize("options", [{"augment": True}, {"label_noise": 0.3, "train_limit": 60}, {"patience": 1}])
def test_hard_examples_are_what_the_finished_model_says_of_unchanged_training_pictures(tmp_path, options):
    """With augmentation, dropout and wrong labels: the pictures are as in the data, the labels as trained on."""
    config = tiny(**WATCHED, **options)
    train(config, tmp_path / "a")
    model, _, preprocessing = load_run_model(tmp_path / "a")
    split = choose_pictures(config, load_data(config))
    with torch.no_grad():
        logits = model(preprocessing.normalize(split.images.float() / 255))
    losses, found = measure_losses(logits, split.labels), hard_examples(tmp_path / "a")
    assert len(found["labels"]) == len(split)  # all of so few
    kept = measure_losses(found["logits"], found["labels"])
    torch.testing.assert_close(kept, losses.sort(descending=True).values, rtol=1e-3, atol=1e-4)
    places = [split.ids.tolist().index(number) for number in found["ids"].tolist()]
    torch.testing.assert_close(found["logits"], logits[places], rtol=1e-3, atol=1e-4)
    assert torch.equal(found["images"], split.images[places]) and torch.equal(found["labels"], split.labels[places])


def test_looking_for_hard_examples_changes_neither_weights_nor_random_numbers(tmp_path, monkeypatch):
    keep, seen = loop.Trainer._keep_hard_examples, []

    def note(self):
        modes = [part.training for part in self.module.modules()]
        return [modes, torch.get_rng_state().tolist(), pack_weights(self.module)[1]]

    def watch(self):
        before = note(self)
        keep(self)
        seen.append(before == note(self))

    monkeypatch.setattr(loop.Trainer, "_keep_hard_examples", watch)
    watched = train(tiny(**WATCHED), tmp_path / "a")
    monkeypatch.setattr(loop.Trainer, "_keep_hard_examples", lambda self: None)
    other = train(tiny(**WATCHED), tmp_path / "b")
    assert seen == [True]
    assert (watched.weights_sha256, watched.test_accuracy) == (other.weights_sha256, other.test_accuracy)


def test_a_stop_while_hard_examples_are_looked_for_is_heard_and_the_run_goes_on(tmp_path, monkeypatch):
    expected = train(tiny(**WATCHED), tmp_path / "whole")
    keep = loop.Trainer._keep_hard_examples

    def stop_first(self):
        request_stop(self.prepared.writer.run_dir)
        keep(self)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_keep_hard_examples", stop_first)
        assert train(tiny(**WATCHED), tmp_path / "a").state == "stopped"
    assert not (tmp_path / "a" / "hard_examples.safetensors").exists()
    again = resume(tmp_path / "a")
    assert (again.state, again.weights_sha256) == ("finished", expected.weights_sha256)
    assert (tmp_path / "a" / "hard_examples.safetensors").read_bytes() == (
        tmp_path / "whole" / "hard_examples.safetensors"
    ).read_bytes()


def test_a_stopped_training_keeps_no_hard_examples(tmp_path):
    def stop(metrics: dict) -> None:
        request_stop(tmp_path / "a")

    assert train(tiny(**WATCHED), tmp_path / "a", on_metrics=stop).state == "stopped"
    assert not (tmp_path / "a" / "hard_examples.safetensors").exists()


def test_a_relabelled_hard_example_changes_what_is_learned(tmp_path):
    """Relabelling a validation picture leaves the weights as they were, to the bit."""
    plain = train(tiny(**WATCHED), tmp_path / "plain")
    found = hard_examples(tmp_path / "plain")
    number, label = int(found["ids"][0]), int(found["labels"][0])
    new = (label + 1) % 6
    corrected = train(tiny(**WATCHED, corrections={str(number): new}), tmp_path / "corrected")
    assert corrected.weights_sha256 != plain.weights_sha256
    after = hard_examples(tmp_path / "corrected")
    assert after["labels"][after["ids"] == number].tolist() == [new]
    before, now = (
        json.loads((tmp_path / name / "data.json").read_text())["splits"]["train"]["per_class"]
        for name in ("plain", "corrected")
    )
    assert [b - a for a, b in zip(before, now, strict=True)] == [
        {label: -1, new: 1}.get(index, 0) for index in range(6)
    ]
    shown = load_file(tmp_path / "plain" / "examples.safetensors")
    validation = {str(int(shown["ids"][0])): (int(shown["labels"][0]) + 1) % 6}
    same = train(tiny(**WATCHED, corrections=validation), tmp_path / "same")
    assert same.weights_sha256 == plain.weights_sha256


def test_a_label_that_was_put_right_is_not_made_wrong_again(tmp_path):
    """Label noise draws for all pictures; one that it had made wrong and somebody put right stays right."""
    noisy = tiny(**WATCHED, label_noise=0.5)
    data = load_data(noisy)
    split = choose_pictures(noisy, data)
    place = int((split.labels != data.train.labels).nonzero()[0])
    number, right = int(split.ids[place]), int(data.train.labels[place])
    config = replace(noisy, corrections={str(number): right})
    corrected = choose_pictures(config, load_data(config))
    assert int(corrected.labels[place]) == right
    others = corrected.ids != number
    assert torch.equal(corrected.labels[others], split.labels[others])
