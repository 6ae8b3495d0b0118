"""Choosing, explaining and correcting what a run got wrong, against plain recomputation."""

import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from analysis.errors import AnalysisError, Cancelled
from lab import Lab
from lab.run_errors import (
    contrast_picture,
    correct,
    describe_corrections,
    find_uncorrected,
    find_version,
    has_errors,
    is_upload,
    open_errors,
    plan_corrected_run,
)
from models.errors import ModelsError
from models.runs import Run, create_run, read_run
from models.training_config import TrainingConfig

COUNT = 30


@pytest.fixture
def run(tmp_path, make_run) -> Run:
    """A finished run with examples and predictions."""
    root = tmp_path / "runs"
    model = make_run(root)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (COUNT, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (COUNT,), generator=generator)
    path = root / "tiny"
    save_file({"images": images, "labels": labels, "ids": torch.arange(COUNT) * 7}, path / "examples.safetensors")
    with torch.no_grad():
        save_file({"logits": model(images.float() / 255)}, path / "predictions.safetensors")
    return read_run(root, "tiny")


@pytest.mark.parametrize("true", [None, 0, 2])
@pytest.mark.parametrize("predicted", [None, 0, 1, 2])
def test_pictures_of_two_classes_come_largest_loss_first(run, true, predicted):
    view = open_errors(run)
    found = view.confusion
    wanted = [
        index
        for index in range(COUNT)
        if true in (None, int(found.labels[index])) and predicted in (None, int(found.predicted[index]))
    ]
    chosen = view.select(true, predicted)
    assert sorted(chosen) == wanted
    losses = found.losses[chosen].tolist()
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("classes", [(3, None), (None, -1), (0, 3)])
def test_classes_that_do_not_exist_are_refused(run, classes):
    with pytest.raises(AnalysisError, match="no class"):
        open_errors(run).select(*classes)


def test_what_was_opened_is_kept_until_a_file_changes(run):
    first, version = open_errors(run), find_version(run)
    assert open_errors(run) is first
    path = run.path / "predictions.safetensors"
    save_file({"logits": torch.eye(3)[first.examples.labels] * 5}, path)
    os.utime(path, ns=(1, 1))
    assert find_version(run) != version
    assert open_errors(run).confusion.num_correct == COUNT


def test_a_run_without_predictions_has_no_errors_to_show(run):
    assert has_errors(run)
    (run.path / "predictions.safetensors").unlink()
    assert not has_errors(run)
    assert find_version(run)[1] is None


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "occlusion", "grad_cam"])
def test_the_map_of_the_difference_is_the_difference_of_the_maps(run, method):
    lab, view = Lab("cpu", runs_root=run.path.parent), open_errors(run)
    found = view.confusion
    wrong = int((found.labels != found.predicted).nonzero()[0])
    maps = contrast_picture(lab, run, view, wrong, method)
    assert (maps.predicted, maps.other) == (int(found.predicted[wrong]), int(found.labels[wrong]))
    expected = maps.for_predicted - maps.for_other
    torch.testing.assert_close(maps.difference, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert maps.scale > 0


def test_a_recognised_picture_is_compared_with_the_second_best_class(run):
    lab, view = Lab("cpu", runs_root=run.path.parent), open_errors(run)
    found = view.confusion
    right = int((found.labels == found.predicted).nonzero()[0])
    maps = contrast_picture(lab, run, view, right, "saliency")
    with lab.use("run/tiny") as (loaded, _), torch.no_grad():
        order = loaded.module(loaded.to_inputs(view.examples.images[right][None].float() / 255))[0].argsort()
    assert [maps.other, maps.predicted] == order[-2:].tolist()


def test_explaining_can_be_cancelled(run):
    def cancel(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        contrast_picture(
            Lab("cpu", runs_root=run.path.parent), run, open_errors(run), 0, "occlusion", progress=cancel
        )


def test_the_last_correction_of_a_picture_counts(run):
    view = open_errors(run)
    label = int(view.examples.labels[4])
    others = [other for other in range(3) if other != label]
    names = view.confusion.categories
    trail = correct(view, correct(view, correct(view, (), 4, others[0]), 4, None), 4, others[1])
    trail = correct(view, trail, 6, None)
    assert [entry[0] for entry in trail] == [28, 28, 28, 42]
    rows = {number: (before, after) for number, before, after in describe_corrections(view, trail)}
    assert rows == {
        28: (names[label], names[others[1]]),
        42: (names[view.examples.labels[6]], "left out"),
    }


def test_corrections_that_change_nothing_or_cannot_be_are_refused(run):
    view = open_errors(run)
    with pytest.raises(AnalysisError, match="already"):
        correct(view, (), 0, int(view.examples.labels[0]))
    with pytest.raises(AnalysisError, match="is left out already"):
        correct(view, correct(view, (), 0, None), 0, None)
    with pytest.raises(AnalysisError, match="no class 3"):
        correct(view, (), 0, 3)


def make_training(root, name: str, **settings) -> Run:
    config = TrainingConfig(dataset="shapes", **settings)
    create_run(root, name, config.to_dict())
    return read_run(root, name)


def test_a_corrected_run_has_the_settings_and_corrections_of_the_first_and_a_free_name(tmp_path):
    first = make_training(tmp_path, "shapes-1", epochs=3, seed=9, corrections={5: 1, 8: None})
    config, name = plan_corrected_run(first, [(5, 2), (6, None)], tmp_path)
    assert name == "shapes-1-corrected-1"
    assert config.corrections == {"5": 2, "6": None, "8": None}
    assert replace(config, corrections={}) == TrainingConfig(dataset="shapes", epochs=3, seed=9)
    second = make_training(tmp_path, name, epochs=3, seed=9, corrections=config.corrections)
    assert plan_corrected_run(second, [(5, 0)], tmp_path)[1] == "shapes-1-corrected-2"


def test_a_name_with_a_dot_in_it_stays_whole(tmp_path):
    run = make_training(tmp_path, "v1.5-shapes")
    assert plan_corrected_run(run, [(5, 2)], tmp_path)[1] == "v1.5-shapes-corrected-1"


def test_without_corrections_there_is_nothing_to_train(tmp_path):
    with pytest.raises(ModelsError, match="no correction yet"):
        plan_corrected_run(make_training(tmp_path, "a"), (), tmp_path)


def test_the_run_to_compare_with_has_the_same_settings_and_fewer_corrections(tmp_path):
    base = make_training(tmp_path, "base", seed=1, data_root="data")
    other = make_training(tmp_path, "other", seed=2)
    one = make_training(tmp_path, "one", seed=1, corrections={5: 1}, data_root=str(tmp_path))
    wrong = make_training(tmp_path, "wrong", seed=1, corrections={5: 2})
    two = make_training(tmp_path, "two", seed=1, corrections={5: 1, 6: None})
    everyone = [two, wrong, one, other, base]
    assert find_uncorrected(two, everyone) == one
    assert find_uncorrected(one, everyone) == base
    assert find_uncorrected(base, everyone) is None


def test_only_pictures_inside_the_run_are_copied_along(tmp_path):
    run = make_training(tmp_path, "a")
    inside = {**run.config, "dataset": str(run.path / "upload" / "cats.zip")}
    assert is_upload(replace(run, config=inside))
    for dataset in ("shapes", "/data/cats", None, 5):
        assert not is_upload(replace(run, config={**run.config, "dataset": dataset}))
