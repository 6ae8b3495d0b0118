"""What the network panel shows and stands for."""

import json

import gradio as gr
import pytest

from lab.jobs import JobManager
from lab.network_summary import DataKind, summarize_network
from lab.session import Lab
from models.networks.options import list_options
from models.networks.table import ARCHITECTURES
from models.training.config import TrainingConfig
from tests.device import DEVICE
from tests.sentences import refused
from ui.services import Services
from ui.train.settings.augmentation import build_augment_panel
from ui.train.settings.data import build_data_panel
from ui.train.settings.network import (
    build_network_panel,
    describe_network,
    list_backbone_choices,
    read_network,
    read_stack,
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    services = Services(Lab(DEVICE, root / "data", root / "runs"), JobManager(root / "runs"))
    with gr.Blocks() as blocks:
        data = build_data_panel(services)
        return blocks, (data, build_augment_panel(services, data), build_network_panel(services, data))


@pytest.fixture
def panels(built):
    return built[1]


@pytest.fixture
def values(panels):
    return {key: component.value for key, component in panels[-1].fields.items()}


def test_no_two_fields_of_the_three_panels_share_a_key(panels):
    keys = [key for panel in panels for key in panel.fields]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_option_has_a_control_whose_value_is_the_default(name, values):
    config_class = ARCHITECTURES[name][0]
    options = list_options(config_class)
    chosen = read_network(values | {"architecture": name})
    assert chosen == {"architecture": name, "model": {key: option.default for key, option in options.items()}}
    assert TrainingConfig(**chosen, image_size=64).architecture == name


@pytest.mark.parametrize(
    ("input_shape", "dataset", "side"), [((1, 32, 32), "fashion_mnist", 32), ((3, 227, 227), "shapes", 224)]
)
def test_a_stack_from_learn_comes_with_data_that_fit(values, input_shape, dataset, side):
    settings = read_stack(json.dumps({"input": input_shape, "layers": "conv(8,11,4) relu gap"}))
    assert settings["dataset"] == dataset and settings["image_size"] == side
    assert read_network(values | settings) == {"architecture": "stack", "model": {"layers": "conv(8,11,4) relu gap"}}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"input": 3, "layers": ""}', '{"input": ["x", 1, 1]}'])
def test_what_is_no_stack_is_refused(text):
    with refused():
        read_stack(text)


def test_values_are_read_as_the_options_want_them(values):
    changed = values | {"small_cnn.channels": "8, 16,", "small_cnn.kernel_size": 5.0, "small_cnn.dropout": 0}
    model = read_network(changed)["model"]
    assert model["channels"] == (8, 16) and model["kernel_size"] == 5 and isinstance(model["kernel_size"], int)
    assert read_network(values | {"architecture": "vgg", "small_cnn.channels": "none"})["architecture"] == "vgg"


@pytest.mark.parametrize(
    ("key", "value", "facts"),
    [
        ("channels", "16, many", ["1", "8"]),
        ("channels", "", []),
        ("channels", None, []),
        ("kernel_size", 4, []),
        ("kernel_size", None, []),
        ("head", "nose", ["nose"]),
        ("dropout", 2, ["0", "0.95"]),
    ],
)
def test_values_that_are_not_possible_are_refused(key, value, facts, values):
    with refused(key, *facts):
        read_network(values | {f"small_cnn.{key}": value})


def test_options_without_an_effect_are_hidden(panels):
    fields = panels[-1].fields
    assert not fields["small_cnn.blur_size"].visible and not fields["transfer.frozen_share"].visible
    assert fields["small_cnn.pooling"].visible


def test_the_table_has_every_layer_and_the_sums():
    kind = DataKind(1, 10, 28, "Assumed <something>.")
    summary = summarize_network("small_cnn", {}, kind)
    html = describe_network(summary, kind)
    assert html.count("<tr>") == len(summary.rows) + 2
    assert f"{summary.num_params:,}" in html and "16 × 28 × 28" in html and "grey picture of 28 × 28" in html
    assert "Assumed &lt;something&gt;." in html


def test_a_pretrained_network_is_summed_up_at_its_own_size_unless_another_is_chosen(built):
    _, (data, _, network) = built
    fields = network.fields | data.fields
    values = {name: field.value for name, field in fields.items()} | {"architecture": "transfer"}
    values |= {"dataset": "shapes", "transfer.backbone": "mobilenet_v3_small"}

    def show(**changed) -> str:
        chosen = {fields[key]: value for key, value in (values | changed).items()}
        return network.look.show(chosen, None)[network.look.outputs[0]]

    assert "colour picture of 224 × 224 pixels in 6 classes" in show()
    assert "picture of 64 × 64" in show(image_size=64)
    assert "picture of 32 × 32" in show(architecture="small_cnn")
    refused = show(**{"transfer.backbone": "<b>"})
    assert "&lt;b&gt;" in refused and "<b>" not in refused


def test_backbones_on_this_machine_come_first():
    assert "choices" not in list_backbone_choices("vgg", "efficientnet_lite0")
    update = list_backbone_choices("transfer", "mobilenet_v3_small")
    labels = [label for label, _ in update["choices"]]
    assert update["choices"][0] == ("efficientnet_lite0 (on this machine)", "efficientnet_lite0")
    here = ["on this machine" in label for label in labels]
    assert here == sorted(here, reverse=True) and len(labels) > 50 and update["value"] == "mobilenet_v3_small"
