"""Trainings that go on for as long as a test needs, and waiting for them."""

from models.training.config import TrainingConfig
from tests.device import DEVICE


def long_config(**options) -> TrainingConfig:
    """A training that goes on until it is ended."""
    return TrainingConfig(
        dataset="shapes",
        shapes={"num_images": 200},
        model={"channels": [4, 4]},
        batch_size=20,
        device=DEVICE,
        **{"epochs": 1000, **options},
    )


def evaluation_of(data, **options) -> dict:
    """The config.json of an evaluation."""
    fixed = {"models": ["fashion_cnn"], "data": str(data), "device": DEVICE, "threads": 1}
    return fixed | {"boundary": "circular", "shifts": 32} | options
