"""What the augmentation panel stands for."""

import gradio as gr
import pytest

from lab.jobs import JobManager
from lab.session import Lab
from models.data.augment.augment import TRANSFORMS, AugmentConfig
from models.data.datasets import DATASETS
from models.training.config import TrainingConfig
from tests.device import DEVICE
from ui.services import Services
from ui.train.settings.augmentation import build_augment_panel, describe_strengths, read_augment, suited_strengths
from ui.train.settings.data import build_data_panel
from ui.widgets.own_data import OWN


@pytest.fixture(scope="module")
def panel(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    services = Services(Lab(DEVICE, root / "data", root / "runs"), JobManager(root / "runs"))
    with gr.Blocks():
        return build_augment_panel(services, build_data_panel(services))


@pytest.fixture
def values(panel):
    return {key: component.value for key, component in panel.fields.items()}


def test_there_is_a_slider_for_every_transform(panel):
    assert list(panel.fields) == ["augment", *(f"augment.{name}" for name in TRANSFORMS)]


def test_the_mode_decides_what_counts(values):
    strong = values | {"augment.noise": 0.5, "augment.flip": 1}
    assert read_augment(values) == read_augment(strong) == {"augment": False}
    assert read_augment(strong | {"augment": "suited"}) == {"augment": True}
    assert read_augment(strong | {"augment": "own"}) == {"augment": AugmentConfig(noise=0.5, flip=1)}
    assert read_augment(values | {"augment": "own"}) == {"augment": False}
    assert TrainingConfig(**read_augment(strong | {"augment": "own"})).augment.noise == 0.5


@pytest.mark.parametrize("dataset", [*DATASETS, OWN])
def test_what_suits_a_data_set_is_something(dataset):
    config = suited_strengths(dataset)
    assert config and (dataset != "shapes" or not config.flip)


def test_every_strength_is_put_into_words():
    notes = describe_strengths(AugmentConfig(translate=1.0), 28)
    assert len(notes) == len(TRANSFORMS) and sum("Off." in note for note in notes) == len(notes) - 1
    translate = notes[list(TRANSFORMS).index("translate")]
    assert "pixels in each direction" in translate and TRANSFORMS["translate"].explanation in translate


def test_the_mode_moves_the_sliders(tmp_path):
    services = Services(Lab(DEVICE, tmp_path / "data", tmp_path / "runs"), JobManager(tmp_path / "runs"))
    with gr.Blocks():
        data = build_data_panel(services)
        panel = build_augment_panel(services, data)
    fields = panel.fields | data.fields
    values = {field: field.value for field in fields.values()} | {fields["augment.noise"]: 0.5}
    wanted = suited_strengths("fashion_mnist").to_dict()
    moved = panel.fit(values | {fields["augment"]: "suited"})
    assert {name: moved.get(fields[f"augment.{name}"], 0) for name in TRANSFORMS} == wanted
    assert panel.fit(values | {fields["augment"]: "own"}) == {}
    assert panel.fit(values) == {fields["augment.noise"]: 0}
