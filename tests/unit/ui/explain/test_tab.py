"""What the tab makes of what a visitor has chosen, and of a Cancel."""

import gradio as gr
import numpy as np
import pytest

from analysis.errors import Cancelled, no_progress
from lab.jobs import JobManager
from lab.session import Lab
from models.data.samples import get_sample
from tests.device import DEVICE
from tests.sentences import refused
from ui.explain.files import write_maps
from ui.explain.tab import _Explain
from ui.services import Action, Services
from ui.workbench import build_workbench


@pytest.fixture(scope="module")
def explain(tmp_path_factory) -> _Explain:
    root = tmp_path_factory.mktemp("explain")
    services = Services(Lab(DEVICE, data_root=root, runs_root=root), JobManager(root))
    with gr.Blocks():
        made = _Explain(services, build_workbench(services))
        made.tab = made.wire()
    return made


def choose(explain: _Explain, **chosen: object) -> dict:
    """Values of all inputs as they are first, but for those that are named."""
    bench = explain.bench
    values = {part: getattr(part, "value", None) for part in (*bench.inputs, *explain.tab.inputs)}
    values |= {bench.sample: "ankle_boot", bench.model: "fashion_cnn", bench.compare: []}
    return values | {getattr(explain, name): value for name, value in chosen.items()}


def act(explain: _Explain, values: dict, source: object = None, stop: bool = False) -> dict:
    action = Action("one", lambda *args, **kwargs: None, source=source)

    def progress(*args: object, desc: str) -> None:
        if stop and "map" not in desc and desc.startswith("Occlusion"):
            action.end(Cancelled)

    action.progress = progress
    found = explain.show(values, action)
    action.check()
    return found


def test_the_first_look_shows_one_map_and_what_it_is_of(explain):
    found = act(explain, choose(explain))
    assert found[explain.methods] == "grad_cam" and found[explain.grid].keys == [("grad_cam", "auto", "fashion_cnn")]
    assert "Grad-CAM for ankle boot" in found[explain.view] and "value" not in found[explain.target]


@pytest.mark.parametrize("methods", ["", "guess", None, "grad_cam,", ["grad_cam"]])
def test_methods_that_there_are_not_are_refused(explain, methods):
    with refused("saliency"):
        act(explain, choose(explain, methods=methods), explain.methods)


def test_without_a_class_the_predicted_one_is_explained(explain):
    found = act(explain, choose(explain, target=[]), explain.target)
    assert found[explain.target]["value"] == ["auto"]


def test_classes_that_another_model_does_not_have_give_way(explain):
    found = act(explain, choose(explain, target=["tiger cat (282)", "sneaker (7)"]))
    assert found[explain.grid].classes == ("sneaker (7)",) and found[explain.target]["value"] == ["sneaker (7)"]


def test_an_example_chooses_methods_and_sign(explain):
    button = next(button for button, (methods, _) in explain.examples.items() if "," in methods)
    found = act(explain, choose(explain), button)
    assert found[explain.grid].methods == ("grad_cam", "integrated_gradients", "occlusion")
    assert found[explain.sign] == "positive"


def test_what_is_cancelled_before_anything_is_done_leaves_what_was_shown(explain, monkeypatch):
    told = []
    monkeypatch.setattr("ui.explain.tab.inform", told.append)
    shown = act(explain, choose(explain))[explain.grid]
    values = choose(explain, methods="occlusion", grid=shown, settings="occlusion.window:2")
    found = act(explain, values, explain.methods, stop=True)
    assert found[explain.grid] == shown and found[explain.methods] == "grad_cam" and len(told) == 1
    assert found[explain.settings] == "" and "Grad-CAM for ankle boot" in found[explain.view]
    elsewhere = values | {explain.bench.sample: "sneaker"}  # another picture: the old map is none of it
    found = act(explain, elsewhere, stop=True)
    assert found[explain.methods] == "occlusion" and "Compute it" in found[explain.view]


@pytest.mark.parametrize("compare", [[], ["efficientnet_lite0"]])
def test_the_maps_are_written_as_they_are(explain, compare):
    values = choose(explain, methods="saliency") | {explain.bench.compare: compare}
    grid = act(explain, values, explain.methods)[explain.grid]
    path, word = write_maps(explain.services, grid, no_progress)
    picture = explain.lab.open_image(get_sample("ankle_boot").path)
    expected = explain.lab.explain(picture, "fashion_cnn", "saliency").attribution.values.numpy()
    written = np.load(path, allow_pickle=False)
    first = written["saliency-9-fashion_cnn"] if compare else written
    assert np.array_equal(first, expected) and "1 x 28 x 28" in word
    models, ending = ("fashion_cnn+efficientnet_lite0", "npz") if compare else ("fashion_cnn", "npy")
    assert path.name == f"9-ankle_boot-{models}-saliency.{ending}"
