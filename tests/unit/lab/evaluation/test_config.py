"""What an evaluation may be told."""

import json

import pytest

from lab.evaluation.config import EvaluationConfig
from tests.sentences import refused


@pytest.mark.parametrize(
    "options",
    [
        {"models": ()},
        {"models": ("toy", "toy")},
        {"models": "toy"},
        {"data": ""},
        {"protocol": "best"},
        {"boundary": "sky"},
        {"protocol": "aps", "boundary": "crop"},
        {"protocol": "aps-imagenet", "boundary": "mean"},
        {"shifts": 1},
        {"max_shift": 0},
        {"limit": 0},
        {"seed": -1},
        {"twin": 1},
        {"threads": 0},
        {"scale": float("nan")},
        {"device": "tpu"},
        {"colour": 1},
    ],
    ids=str,
)
def test_bad_settings_are_refused_in_words(options):
    with refused():
        EvaluationConfig.from_dict({"models": ["toy"]} | options)


def test_config_round_trip_through_json():
    config = EvaluationConfig(models=("a", "b"), protocol="zhang", limit=3)
    assert config.boundary == "crop"
    assert EvaluationConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with refused("models"):
        EvaluationConfig.from_dict({})
