"""What a repair bench can begin with."""

import pytest

from analysis.errors import UserError
from lab.comparisons.repair_config import find_data, list_cures
from models.networks.repairs import ARMS
from models.runs.submit import create_run
from tests.sentences import refused


def test_cures_are_those_of_the_model_and_its_network(tmp_path, make_run):
    make_run(tmp_path)
    for model in ("fashion_cnn", "run/tiny"):
        arms = {arm.name: arm for arm in list_cures(model, tmp_path)}
        assert set(arms) == set(ARMS) and not arms["as_is"].obstacle and arms["as_is"].config is not None
    with pytest.raises(UserError):
        list_cures("run/none", tmp_path)


def test_pictures_are_those_that_the_model_was_trained_on(tmp_path):
    create_run(tmp_path, "drawn", {"dataset": "shapes"})
    assert find_data("fashion_cnn", tmp_path) == "fashion_mnist"
    assert find_data("run/drawn", tmp_path) == find_data("run/drawn@8", tmp_path) == "shapes"
    create_run(tmp_path, "silent", {})
    for model in ("resnet18", "run/silent", "run/x"):
        with refused():
            find_data(model, tmp_path)
