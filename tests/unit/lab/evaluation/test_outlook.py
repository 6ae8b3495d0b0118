"""What is said of an evaluation before it starts."""

from pathlib import Path

import pytest

from analysis.consistency.protocols import PROTOCOLS
from lab.evaluation import outlook
from lab.evaluation.config import EvaluationConfig
from lab.evaluation.outlook import SETS, START_SECONDS, find_known_data, look_ahead, measure_seconds
from lab.session import Lab
from models.data.datasets import DATASETS, load_dataset
from models.data.shapes import ShapesConfig
from models.runs.submit import create_run
from models.training.config import TrainingConfig
from tests.device import DEVICE
from tests.sentences import refused


@pytest.fixture
def lab(tmp_path) -> Lab:
    return Lab(DEVICE, tmp_path, tmp_path / "runs")


@pytest.fixture
def speed(monkeypatch) -> None:
    """Every model takes a hundredth of a second for a picture."""
    monkeypatch.setattr(outlook, "measure_seconds", lambda lab, model: 0.01)


def write_folders(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "a.png").write_bytes(b"")


def plan(lab: Lab, model: str = "fashion_cnn", **settings):
    return look_ahead(lab, EvaluationConfig(models=(model,), **settings))


def test_the_time_is_that_of_every_view_of_every_picture(lab, speed):
    found = plan(lab, limit=200, shifts=8)
    assert (found.pictures, found.views, found.is_limit) == (200, 1 + 8 + 2, False)
    assert found.seconds == pytest.approx(START_SECONDS + 0.01 * 200 * 11)
    assert plan(lab).pictures == 10_000
    assert plan(lab, limit=10**6).pictures == 10_000


def test_protocols_that_may_end_early_say_so(lab, speed):
    for name in PROTOCOLS:
        found = plan(lab, protocol=name, limit=10)
        assert found.views > 1 and found.is_limit == (name == "afc-adv"), name


def test_a_speed_is_measured_once(lab, monkeypatch):
    monkeypatch.setattr(outlook, "_measured", {})
    monkeypatch.setattr(outlook, "MEASURE_SECONDS", 0.01)
    seconds = measure_seconds(lab, "fashion_cnn")
    assert 0 < seconds < 1
    assert measure_seconds(lab, "fashion_cnn") == seconds


@pytest.mark.parametrize("model", ["fashion_cnn", "efficientnet_lite0"])
@pytest.mark.parametrize("data", SETS)
def test_only_data_with_the_classes_of_the_model_are_asked_about(lab, speed, model, data):
    if (model, data) == ("fashion_cnn", "fashion_mnist"):
        assert plan(lab, model, data=data, limit=10).pictures == 10
        return
    with refused(model):
        plan(lab, model, data=data)


def test_weights_that_are_not_here_are_not_fetched_for_an_estimate(lab, speed, tmp_path):
    write_folders(tmp_path / "own", "tench", "goldfish")
    absent = next(spec.name for spec in lab.registry.list_specs() if not spec.is_cached)
    assert plan(lab, absent, data=str(tmp_path / "own")).seconds is None


def test_own_pictures_are_refused_when_no_folder_is_called_after_a_class(lab, speed, tmp_path):
    write_folders(tmp_path / "own", "sneaker", "unknown")
    assert plan(lab, data=str(tmp_path / "own")).pictures == 2
    with refused("2"):
        plan(lab, "efficientnet_lite0", data=str(tmp_path / "own"), twin=True)


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_the_table_of_sets_is_true(name, tmp_path):
    loaded = load_dataset(name, data_root=tmp_path, seed=0)
    assert SETS[name] == (loaded.categories, len(loaded.test))
    assert SETS.keys() == DATASETS.keys()


def test_what_a_model_was_trained_on_is_divided_as_its_training_did(lab):
    shapes = ShapesConfig(num_images=600)
    config = TrainingConfig(dataset="shapes", shapes=shapes, seed=3)
    create_run(lab.runs_root, "a", config.to_dict(), "training")
    data, division = find_known_data(lab, "run/a@500")
    read = EvaluationConfig.from_dict(
        {"models": ["run/a"], "data": data, **EvaluationConfig(("run/a",), **division).to_dict()}
    )
    assert (data, read.split_seed, read.shapes) == ("shapes", 3, shapes)
    assert find_known_data(lab, "fashion_cnn") == ("fashion_mnist", {})
    assert find_known_data(lab, "efficientnet_lite0") is None
    assert find_known_data(lab, "run/gone") is None
