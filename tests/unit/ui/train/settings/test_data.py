"""What the data panel shows and stands for."""

import json
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from lab.data_overview import IS_QUICK, describe_data, is_quick
from lab.jobs import JobManager
from lab.session import Lab
from models.data.datasets import DATASETS
from models.data.shapes import ShapesConfig
from models.training.config import TrainingConfig
from tests.device import DEVICE
from tests.own_pictures import noise
from tests.sentences import refused
from ui.services import Services
from ui.train.settings.data import build_data_panel
from ui.train.settings.data_preview import GAP, describe_overview, draw_classes, draw_grid
from ui.train.settings.data_values import find_subject
from ui.widgets.own_data import OWN


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    return Services(Lab(DEVICE, root / "data", root / "runs"), JobManager(root / "runs"))


@pytest.fixture(scope="module")
def built(services):
    with gr.Blocks() as blocks:
        return blocks, build_data_panel(services)


@pytest.fixture
def panel(built):
    return built[1]


@pytest.fixture
def values(panel):
    return {key: component.value for key, component in panel.fields.items()}


@pytest.fixture
def folder(services):
    """A folder in the data root with two classes, a broken file, and a copy in every split."""
    root = services.lab.data_root / "skies"
    rng = np.random.default_rng(0)
    for category in ("<sun>", "sea"):
        (root / category).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8))
        for number in range(8):
            picture.save(root / category / f"{number}.png")
    (root / "sea" / "broken.png").write_bytes(b"no")
    return root


def test_defaults_are_those_of_a_training(panel, values):
    config = TrainingConfig(**panel.read(values))
    assert config == TrainingConfig()
    assert not panel.is_upload(values)


def test_values_become_the_arguments_of_a_training(panel, values):
    chosen = {"dataset": "shapes", "position": "left", "occlusion": 0.5, "num_images": 2000.0, "image_size": 64}
    chosen |= {"train_limit": 500.0, "label_noise": 1}
    config = TrainingConfig(**panel.read(values | chosen))
    assert config.shapes == ShapesConfig(num_images=2000, position="left", occlusion=0.5)
    assert (config.image_size, config.train_limit, config.label_noise) == (64, 500, 1)


def test_sizes_that_do_not_fit_are_refused_in_words(panel, values):
    with refused("0.9"):
        panel.read(values | {"dataset": "shapes", "min_size": 0.9})
    panel.read(values | {"min_size": 0.9})  # nothing is drawn


KEY = "0" * 32


def write_boxes(*numbers: list[int]) -> str:
    boxes = [{"name": f"class {place}", "pictures": each} for place, each in enumerate(numbers, start=1)]
    return json.dumps({"key": KEY, "boxes": boxes})


def test_own_pictures_are_found_where_the_source_says(panel, values, services, folder, tmp_path):
    own = values | {"dataset": OWN}
    with refused():
        panel.read(own)
    assert panel.read(own | {"folder": "skies"})["dataset"] == str(folder.resolve())
    assert not panel.is_upload(own | {"folder": "skies"})
    assert panel.is_upload(own | {"zip": "a.zip"}) and panel.read(own | {"zip": "a.zip"})["dataset"] == "a.zip"
    files = [noise(number, "JPEG") for number in range(10)]
    services.boxes.keep("ann", KEY, dict(enumerate(files)), range(10))
    boxes = own | {"own_source": "boxes", "zip": "a.zip", "boxes": write_boxes([*range(5)], [*range(5, 10)])}
    assert panel.is_upload(boxes) and panel.read(boxes)["dataset"].endswith(".zip") != "a.zip"
    overview = describe_data(panel.read(boxes)["dataset"], data_root=tmp_path, seed=0)
    assert overview.categories == ("class 1", "class 2")


def test_the_network_is_told_of_the_data_without_opening_them(panel, values, folder):
    own = values | {"dataset": OWN}
    assert panel.find_kind(values).num_classes == 10 and panel.find_kind(values).in_channels == 1
    assert "No pictures are chosen" in panel.find_kind(own).note
    assert panel.find_kind(own | {"folder": "skies", "image_size": 96}).image_size == 96
    boxes = own | {"own_source": "boxes", "boxes": write_boxes([0], [], [1], [2, 3])}
    assert panel.find_kind(boxes).num_classes == 3


def test_a_look_is_about_what_it_shows_and_nothing_else(values):
    subject = find_subject(values)
    assert find_subject(values | {"clutter": 1, "label_noise": 1, "train_limit": 5, "zip": "a.zip"}) == subject
    for change in ({"dataset": "digits"}, {"image_size": 64}, {"seed": 1}):
        assert find_subject(values | change) != subject
    shapes, own = values | {"dataset": "shapes"}, values | {"dataset": OWN}
    assert find_subject(shapes | {"clutter": 1}) != find_subject(shapes)
    assert find_subject(own | {"zip": "a.zip"}) != find_subject(own)
    boxes = own | {"own_source": "boxes", "boxes": write_boxes([0, 1])}
    assert hash(find_subject(boxes)) != hash(find_subject(boxes | {"boxes": write_boxes([0])}))


def test_only_what_is_here_is_shown_unasked(tmp_path):
    assert set(IS_QUICK) == set(DATASETS)
    assert is_quick("shapes", tmp_path) and is_quick("digits", tmp_path)
    assert not is_quick("cifar10", tmp_path) and not is_quick(OWN, tmp_path)
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "test_batch").touch()
    assert is_quick("cifar10", tmp_path)


def test_three_pictures_of_three_classes_stand_for_the_data(panel, values):
    shapes = values | {"dataset": "shapes"}
    pictures = panel.find_pictures(shapes)
    assert pictures.shape == (3, 3, 32, 32) and pictures.dtype == torch.uint8
    assert torch.equal(panel.find_pictures(shapes), pictures)
    for change in ({"color": "fixed"}, {"seed": 1}):
        assert not torch.equal(panel.find_pictures(shapes | change), pictures)
    assert panel.find_pictures(values | {"dataset": OWN}) is None


def test_what_is_shown_is_what_the_seed_trains_on(built, values, folder):
    """It was always what the seed 0 divides or draws, with its warning of copies in several splits."""
    blocks, panel = built
    (look,) = [entry.fn for entry in blocks.fns.values() if entry.name == "look_now"]
    own = values | {"dataset": OWN, "folder": "skies"}
    ann, silent = SimpleNamespace(session_hash="ann"), lambda *_, **__: None
    for seed in (0, 3):
        chosen = dict.fromkeys(panel.look.inputs) | {panel.fields[key]: own[key] for key in own}
        updates = look(chosen | {panel.fields["seed"]: seed}, ann, silent)
        text, _, classes, subject = (updates[part] for part in panel.look.outputs)
        overview = describe_data(folder, data_root=folder.parent, seed=seed)
        assert text == describe_overview(overview, "Your pictures") and classes == draw_classes(overview)
        assert subject == find_subject(own | {"seed": seed})
    assert panel.fields["seed"] in panel.looked_at


def test_an_overview_says_what_to_beware_of(folder, tmp_path):
    overview = describe_data(folder, data_root=tmp_path, seed=0)
    text = describe_overview(overview, "Your pictures")
    assert "Your pictures: 2 classes, 12 pictures for training, 2 for validation, 2 for the test" in text
    assert "broken.png" in text and "1 file was left out" in text and "almost like one in another split" in text
    classes = draw_classes(overview)
    assert classes.count("<img") == 2 and "&lt;sun&gt;" in classes and "<sun>" not in classes


def test_pictures_are_enlarged_in_whole_pixels_side_by_side():
    pictures = torch.arange(2 * 3 * 4, dtype=torch.uint8).view(2, 1, 3, 4)
    grid = draw_grid([list(pictures), list(pictures.flip(0))], min_side=8)
    assert grid.shape == (2 * 6 + GAP, 2 * 8 + GAP, 3)
    assert (grid[:6, :8] == pictures[0, 0].numpy().repeat(2, 0).repeat(2, 1)[..., None]).all()
    assert (grid[-6:, -8:, 1] == grid[:6, :8, 1]).all()
    large = torch.zeros(1, 3, 20, 20, dtype=torch.uint8)
    assert draw_grid([list(large)], min_side=8).shape == (20, 20, 3)
