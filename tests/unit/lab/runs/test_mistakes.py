"""Choosing, explaining and correcting what a run got wrong, against plain recomputation."""

import copy
import os
from dataclasses import replace

import pytest
import torch
from captum import attr as captum
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from analysis.attribution.obstacles import default_layer
from analysis.errors import Cancelled
from lab.runs.mistakes import (
    LINEAR,
    PARTS,
    Correction,
    contrast_picture,
    correct,
    find_uncorrected,
    find_version,
    has_errors,
    is_upload,
    latest_corrections,
    open_errors,
    plan_corrected_run,
)
from lab.session import Lab
from models.runs.files import write_json
from models.runs.run import Run, read_run
from models.runs.submit import create_run
from models.training.config import TrainingConfig
from models.training.foreign_runs import find_dataset
from tests.device import DEVICE
from tests.sentences import refused

COUNT, HARD = 30, 12


@pytest.fixture
def run(tmp_path, make_run) -> Run:
    """A finished run with examples, predictions, hard and test examples."""
    root = tmp_path / "runs"
    model = make_run(root)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (COUNT, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (COUNT,), generator=generator)
    path = root / "tiny"
    save_file({"images": images, "labels": labels, "ids": torch.arange(COUNT) * 7}, path / "examples.safetensors")
    with torch.no_grad():
        save_file({"logits": model(images.float() / 255)}, path / "predictions.safetensors")
        hard = {"images": images[:HARD].flip(3), "labels": labels[:HARD], "ids": 1000 + torch.arange(HARD)}
        save_file(hard | {"logits": model(hard["images"].float() / 255)}, path / "hard_examples.safetensors")
        test = {"images": images.flip(2), "labels": labels, "ids": 2000 + torch.arange(COUNT)}
        save_file(test | {"logits": model(test["images"].float() / 255)}, path / "test_examples.safetensors")
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
    with refused():
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


class Difference(nn.Module):
    """The logit of one class minus that of another, as a network with one output."""

    def __init__(self, module: nn.Module, first: int, second: int):
        super().__init__()
        self.module, self.first, self.second = module, first, second

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.module(x)
        return logits[:, [self.first]] - logits[:, [self.second]]


def smooth(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    sigma = 0.15 * (x.max() - x.min())
    noise = torch.cat([torch.randn(x.shape, generator=generator) for _ in range(32)])
    return captum.Saliency(net).attribute((x + sigma * noise).requires_grad_(), 0, abs=False).mean(0, keepdim=True)


def average_channels(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    layer = net.module.get_submodule(default_layer(net.module, x))
    small = captum.LayerGradCam(net, layer).attribute(x, 0)
    return functional.interpolate(small, x.shape[-2:], mode="bilinear", align_corners=False)


CAPTUM = {
    "saliency": lambda net, x: captum.Saliency(net).attribute(x.requires_grad_(), 0, abs=False),
    "input_x_gradient": lambda net, x: captum.InputXGradient(net).attribute(x.requires_grad_(), 0),
    "integrated_gradients": lambda net, x: captum.IntegratedGradients(net).attribute(x, None, 0, n_steps=32),
    "smoothgrad": smooth,
    "occlusion": lambda net, x: captum.Occlusion(net).attribute(x, (1, 1, 1), (1, 1, 1), 0, 0),
    "grad_cam": average_channels,
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("method", LINEAR)
def test_the_difference_of_the_maps_is_what_captum_says_of_the_difference_of_the_logits(run, method, part):
    lab, view = Lab(DEVICE, runs_root=run.path.parent), open_errors(run, part)
    found = view.confusion
    wrong = int((found.labels != found.predicted).nonzero()[0])
    maps = contrast_picture(lab, run, view, wrong, method)
    assert (maps.predicted, maps.other) == (int(found.predicted[wrong]), int(found.labels[wrong]))
    with lab.use("run/tiny") as (loaded, _):
        net = Difference(copy.deepcopy(loaded.module).cpu(), maps.predicted, maps.other).eval()
        inputs = loaded.to_inputs(view.examples.images[[wrong]].float() / 255).cpu()
        expected = CAPTUM[method](net, inputs)[0].detach()
    torch.testing.assert_close(maps.difference, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert maps.scale > 0
    assert [" adds up to the difference in score " in remark for remark in maps.remarks] == [
        method == "integrated_gradients"
    ] * 2


@pytest.mark.parametrize("part", PARTS)
def test_a_recognised_picture_is_compared_with_the_second_best_class(run, part):
    lab, view = Lab(DEVICE, runs_root=run.path.parent), open_errors(run, part)
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
            Lab(DEVICE, runs_root=run.path.parent), run, open_errors(run), 0, "occlusion", progress=cancel
        )


def test_the_last_correction_of_a_picture_counts(run):
    view = open_errors(run)
    label = int(view.examples.labels[4])
    others = [other for other in range(3) if other != label]
    names = view.confusion.categories
    trail = correct(view, correct(view, correct(view, (), 4, others[0]), 4, None), 4, others[1])
    trail = correct(view, trail, 6, None)
    assert [entry.number for entry in trail] == [28, 28, 28, 42]
    left_out = Correction(42, None, "validation", names[view.examples.labels[6]], "left out")
    assert latest_corrections(trail) == [
        Correction(28, others[1], "validation", names[label], names[others[1]]),
        left_out,
    ]


def test_corrections_of_all_parts_are_collected_together(run):
    """A network that mistakes a picture it was trained on is where a wrong label may have been learned."""
    trail = ()
    for place, part in enumerate(PARTS):
        trail = correct(open_errors(run, part), trail, place, None)
    numbers = [(0, "validation"), (2001, "test"), (1002, "training")]
    assert [(entry.number, entry.part) for entry in trail] == numbers


def test_the_hard_training_pictures_are_those_of_the_file(run):
    view, kept = open_errors(run, "training"), load_file(run.path / "hard_examples.safetensors")
    assert len(view.examples) == HARD and torch.equal(view.examples.images, kept["images"])
    losses = functional.cross_entropy(kept["logits"].double(), kept["labels"], reduction="none")
    assert view.select(None, None) == losses.argsort(descending=True).tolist()
    assert f"training picture {kept['ids'][2]}" in view.describe(2)
    assert open_errors(run, "training") is view and open_errors(run) is not view


def test_a_run_without_hard_training_pictures_still_has_errors_to_show(run):
    (run.path / "hard_examples.safetensors").unlink()
    assert has_errors(run) and not has_errors(run, "training")
    assert len(open_errors(run).examples) == COUNT
    with refused("hard_examples"):
        open_errors(run, "training")


def test_corrections_that_change_nothing_or_cannot_be_are_refused(run):
    view = open_errors(run)
    with refused():
        correct(view, (), 0, int(view.examples.labels[0]))
    with refused():
        correct(view, correct(view, (), 0, None), 0, None)
    with refused("3"):
        correct(view, (), 0, 3)


def relabel(number: int, label: int | None) -> Correction:
    return Correction(number, label, "training", "circle", "other")


def make_training(root, name: str, **settings) -> Run:
    config = TrainingConfig(dataset="shapes", **settings)
    create_run(root, name, config.to_dict())
    return read_run(root, name)


def test_a_corrected_run_has_the_settings_and_corrections_of_the_first_and_a_free_name(tmp_path):
    lab = Lab(device=DEVICE, runs_root=tmp_path)
    first = make_training(tmp_path, "shapes-1", epochs=3, seed=9, corrections={5: 1, 8: None})
    config, name = plan_corrected_run(lab, first, [relabel(5, 2), relabel(6, None)])
    assert name == "shapes-1-corrected-1"
    assert config.corrections == {"5": 2, "6": None, "8": None}
    assert replace(config, corrections={}) == TrainingConfig(dataset="shapes", epochs=3, seed=9)
    second = make_training(tmp_path, name, epochs=3, seed=9, corrections=config.corrections)
    assert plan_corrected_run(lab, second, [relabel(5, 0)])[1] == "shapes-1-corrected-2"


def test_a_name_with_a_dot_in_it_stays_whole(tmp_path):
    lab, run = Lab(device=DEVICE, runs_root=tmp_path), make_training(tmp_path, "v1.5-shapes")
    assert plan_corrected_run(lab, run, [relabel(5, 2)])[1] == "v1.5-shapes-corrected-1"


def test_without_corrections_there_is_nothing_to_train(tmp_path):
    lab = Lab(device=DEVICE, runs_root=tmp_path)
    with refused():
        plan_corrected_run(lab, make_training(tmp_path, "a"), ())


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


def test_an_opened_capsule_is_trained_again_only_as_this_machine_says(run, tmp_path):
    """Its settings may name any folder of this machine, which the pictures of the new run would show."""
    lab = Lab(device=DEVICE, data_root=tmp_path / "here", runs_root=run.path.parent)
    write_json(run.path / "status.json", run.status | {"capsule": "tiny"})
    for dataset in (str(tmp_path), "photos.zip", "/etc"):
        write_json(run.path / "config.json", TrainingConfig(dataset=dataset).to_dict())
        opened = read_run(run.path.parent, "tiny")
        with refused():
            plan_corrected_run(lab, opened, [relabel(5, 2)])
        with refused():
            find_dataset(opened)
    asked = {"data_root": str(tmp_path / "theirs"), "trackers": ("tensorboard",), "compile": True, "device": "cuda"}
    write_json(run.path / "config.json", TrainingConfig(dataset="shapes", seed=4, **asked).to_dict())
    config, name = plan_corrected_run(lab, read_run(run.path.parent, "tiny"), [relabel(5, 2)])
    given = {"data_root": str(lab.data_root), "device": lab.models.device.type, "corrections": {"5": 2}}
    assert config == TrainingConfig(dataset="shapes", seed=4, **given) and name == "tiny-corrected-1"
