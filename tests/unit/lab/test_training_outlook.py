"""A training is estimated from the pace of a few steps, which is measured once and leaves nothing behind."""

import pytest
import torch

from lab import training_outlook
from lab.training_outlook import START_SECONDS, estimate_training
from models.training.config import TrainingConfig


@pytest.fixture
def pace(monkeypatch):
    monkeypatch.setattr(training_outlook, "_measured", {})
    monkeypatch.setattr(training_outlook, "MEASURE_SECONDS", 0.0)
    monkeypatch.setattr(training_outlook, "LEAST_STEPS", 2)
    return training_outlook._measured


SHAPES = {"dataset": "shapes", "device": "cpu", "batch_size": 8, "model": {"channels": [4, 4]}}


def test_the_pace_is_measured_once_and_the_random_state_is_as_before(pace):
    before = torch.random.get_rng_state()
    config = TrainingConfig.from_dict(SHAPES)
    seconds = estimate_training(config)
    assert seconds > START_SECONDS and len(pace) == 1
    assert estimate_training(config) == seconds
    assert torch.equal(torch.random.get_rng_state(), before)
    estimate_training(TrainingConfig.from_dict(SHAPES | {"model": {"channels": [4, 8]}}))
    assert len(pace) == 2


@pytest.mark.parametrize("dataset", ["shapes", "fashion_mnist"])
def test_every_picture_of_every_epoch_counts(monkeypatch, dataset):
    monkeypatch.setattr(training_outlook, "_measure_step", lambda config: 0.01)
    once, twice = (
        estimate_training(TrainingConfig.from_dict({"dataset": dataset, "epochs": epochs})) for epochs in (1, 2)
    )
    train, validation = {"shapes": (5600, 1200), "fashion_mnist": (55_000, 5_000)}[dataset]
    assert twice - once == pytest.approx(0.01 * (train + validation / 3))
