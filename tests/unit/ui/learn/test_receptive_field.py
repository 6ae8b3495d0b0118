"""What the bench says of a unit is what the lab measures."""

import json

import gradio as gr
import pytest
import torch

from lab.jobs import JobManager
from lab.learning.receptive_field import list_map_layers, measure_field
from lab.session import Lab
from models.checkpoints import pack_weights
from models.networks.small_cnn import SmallCNN, SmallCNNConfig
from models.runs.files import write_bytes
from tests.device import DEVICE
from tests.sentences import refused
from ui.learn.receptive_field import _Field
from ui.services import Action, Services
from ui.workbench import build_workbench


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> _Field:
    root = tmp_path_factory.mktemp("field")
    services = Services(Lab(DEVICE, data_root=root, runs_root=root), JobManager(root))
    with gr.Blocks():
        made = _Field(services, build_workbench(services))
        made.made = made.wire()
    return made


def act(bench: _Field, source: object = None, model: str = "fashion_cnn", **chosen: object) -> dict:
    """What is shown of a garment, by component."""
    values = {part: part.value for part in bench.made.inputs}
    values |= {bench.bench.sample: "bag", bench.bench.image: None, bench.bench.model: model}
    values |= {getattr(bench, name): value for name, value in chosen.items()}
    return bench.show(values, Action("one", lambda *args, **kwargs: None, source=source))


def test_a_unit_is_asked_and_covered(bench):
    layer = list_map_layers(bench.lab, "fashion_cnn")[3]
    shown = act(bench, bench.cover, layer=layer.name, unit="2,5", pictures=7)
    scene = json.loads(shown[bench.stage])
    image = bench.lab.open_image("bag")
    field = measure_field(bench.lab, image, "fashion_cnn", layer.name, (2, 5), num_pictures=7)
    assert shown[bench.unit] == "2,5" and shown[bench.layer]["value"] == layer.name
    assert (scene["effective"], scene["theoretical"]) == (field.effective, layer.receptive_field)
    assert scene["axes"] == [[axis.stride, axis.low, axis.high] for axis in layer.axes]
    assert [panel["title"] for panel in scene["panels"]] == ["It is moved", "It misses when covered"]
    assert "before" not in scene


@pytest.mark.parametrize("unit", ["", "99,0", "2", None, "-1,0"])
def test_the_middle_is_asked_where_no_unit_is_said(bench, unit):
    scene = json.loads(act(bench, unit=unit)[bench.stage])
    assert scene["unit"] == [side // 2 for side in scene["map"]]


def test_another_model_begins_with_a_frame_inside_the_picture(bench):
    shown = act(bench, layer="no_such_layer")
    scene = json.loads(shown[bench.stage])
    assert shown[bench.layer]["value"] == scene["layer"] and 2 < scene["theoretical"] <= 0.6 * 28
    assert {name for _, name in shown[bench.layer]["choices"]} == {
        layer.name for layer in list_map_layers(bench.lab, "fashion_cnn")
    }


def test_a_run_is_shown_before_and_after_its_training(bench, make_run):
    root = bench.lab.runs_root
    make_run(root)
    torch.manual_seed(5)
    first = SmallCNN(SmallCNNConfig(num_classes=3, image_size=8, channels=(4, 6))).eval()
    (root / "tiny" / "snapshots").mkdir()
    write_bytes(root / "tiny" / "snapshots" / "0000000.safetensors", pack_weights(first)[0])
    scene = json.loads(act(bench, model="run/tiny")[bench.stage])
    assert scene["panels"][0]["caption"].endswith("at step 0")
    image = bench.lab.open_image("bag")
    fields = [
        measure_field(bench.lab, image, name, scene["layer"], tuple(scene["unit"]))
        for name in ("run/tiny@0", "run/tiny")
    ]
    assert [scene["before"], scene["effective"]] == [field.effective for field in fields]
    assert not torch.equal(fields[0].influence, fields[1].influence)
    assert "before" not in json.loads(act(bench, model="run/tiny@0")[bench.stage])


def test_a_link_names_a_unit(bench):
    read = bench.made.linked["unit"][1]
    assert read("3,12") == "3,12"
    with pytest.raises(ValueError):
        read("3;12")


def test_a_picture_is_needed(bench):
    with refused():
        values = {part: part.value for part in bench.made.inputs}
        values |= {bench.bench.sample: "", bench.bench.image: None, bench.bench.model: "fashion_cnn"}
        bench.show(values, Action("one", lambda *args, **kwargs: None))
