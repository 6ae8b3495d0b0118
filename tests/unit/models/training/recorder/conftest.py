"""A data set and a journal to record with."""

import pytest

from models.data.dataset import Dataset
from models.data.datasets import load_dataset
from models.runs.submit import create_run
from models.runs.writer import RunWriter
from models.training.recorder import (
    Journal,
)
from tests.unit.models.training.recorder.drawn import DRAWN


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset("shapes", data_root="", seed=0, shapes=DRAWN)


@pytest.fixture
def make(tmp_path, dataset):
    """``make(is_silent=..., dataset=..., listener=...)``: a journal of the run "a"."""
    run_dir = create_run(tmp_path, "a", {})

    def build(is_silent=False, dataset=dataset, listener=None) -> Journal:
        return Journal(
            RunWriter(run_dir), "small_cnn", dataset, dataset.preprocessing(), listener, is_silent=is_silent
        )

    return build
