"""A training is estimated from the pace of a few steps, which is measured once and leaves nothing behind."""

from dataclasses import replace

import pytest
import torch

from lab import training_outlook
from lab.comparisons.claims import PRESETS, configure_preset
from lab.comparisons.config import ArmsConfig
from lab.comparisons.measure import NUM_MOVED
from lab.network_summary import DataKind
from lab.training_outlook import START_SECONDS, estimate_arms, estimate_rates, estimate_training
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
    assert estimate_training(replace(config, device="auto")) > START_SECONDS  # whichever that is here
    pace.clear()
    assert estimate_training(config) > START_SECONDS
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


def test_all_trainings_of_a_comparison_count_and_what_is_measured_of_them(monkeypatch):
    monkeypatch.setattr(training_outlook, "_measure_step", lambda config: 0.01)
    base = {"dataset": "fashion_mnist", "train_limit": 1000, "epochs": 2}
    arms = [{"name": "a", "title": "a"}, {"name": "b", "title": "b", "changes": {"epochs": 4}}]
    seconds = [
        estimate_arms(ArmsConfig.from_dict({"base": base, "arms": arms, "seeds": seeds, "shifts": shifts}))
        for seeds, shifts in ((1, False), (2, False), (1, True))
    ]
    passes = [epochs * 1000 + (epochs * 5000 + 10_000 + 1000) / 3 for epochs in (2, 4)]
    assert seconds[0] == pytest.approx(START_SECONDS + 0.01 * sum(passes))
    assert seconds[1] - START_SECONDS == pytest.approx(2 * (seconds[0] - START_SECONDS))
    assert seconds[2] - seconds[0] == pytest.approx(2 * 0.01 * 49 * NUM_MOVED / 3)
    own = {"base": base | {"dataset": "/somewhere/cats.zip"}, "arms": arms}
    monkeypatch.setattr(training_outlook, "find_kind", lambda *about: DataKind(3, 2, 64))
    assert estimate_arms(ArmsConfig.from_dict(own)) is None


@pytest.mark.parametrize("name", PRESETS)
def test_every_claim_has_an_estimate(monkeypatch, name):
    monkeypatch.setattr(training_outlook, "_measure_step", lambda config: 0.001)
    assert 0 < estimate_arms(configure_preset(name)) < 3600


def test_a_search_for_a_learning_rate_takes_its_hundred_steps(monkeypatch):
    monkeypatch.setattr(training_outlook, "_measure_step", lambda config: 0.01)
    assert estimate_rates(TrainingConfig.from_dict(SHAPES)) == pytest.approx(START_SECONDS + 100 * 8 * 0.01)
