"""The pictures that a training keeps: validation pictures, and those of the training with the largest losses."""

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

from models.checkpoints import load_run_model, pack_weights
from models.data.dataset import Split
from models.runs.run import request_stop
from models.training import loop, recorder
from models.training.recorder import (
    pick_candidates,
    pick_kept_examples,
)
from models.training.run import load_data, resume, train
from models.training.setup import choose_pictures
from tests.unit.models.training.test_resuming import tiny


@settings(max_examples=40)
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


SMALL = {"num_images": 200, "clutter": 0.0, "color": "by_class"}
WATCHED = {"shapes": SMALL, "precision": "float32", "epochs": 2}


def hard_examples(run_dir: Path) -> dict[str, torch.Tensor]:
    return load_file(run_dir / "hard_examples.safetensors")


def measure_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits.double(), labels, reduction="none")


@settings(max_examples=40)
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
    tested, data = load_file(tmp_path / "a" / "test_examples.safetensors"), load_data(config).test
    with torch.no_grad():
        answers = model(preprocessing.normalize(data.images.float() / 255))
    torch.testing.assert_close(tested["logits"], answers, rtol=1e-3, atol=1e-4)
    assert all(torch.equal(tested[name], getattr(data, name)) for name in ("images", "labels", "ids"))
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
