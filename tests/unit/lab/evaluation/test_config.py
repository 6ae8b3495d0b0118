"""What an evaluation may be told."""

import json

import pytest

from analysis.errors import UserError
from lab.evaluation.config import EvaluationConfig


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"models": ()}, "at least one model"),
        ({"models": ("toy", "toy")}, "none twice"),
        ({"models": "toy"}, "list of names"),
        ({"data": ""}, "data must be"),
        ({"protocol": "best"}, "exact, zhang, diag33, aw, aps-imagenet, aps-cifar, aps, afc-adv"),
        ({"boundary": "sky"}, "boundary must be one of"),
        ({"protocol": "aps", "boundary": "crop"}, "circular or mean or zero, not crop"),
        ({"protocol": "aps-imagenet", "boundary": "mean"}, "circular, not mean"),
        ({"shifts": 1}, "shifts"),
        ({"max_shift": 0}, "max_shift"),
        ({"limit": 0}, "limit"),
        ({"seed": -1}, "seed"),
        ({"twin": 1}, "twin"),
        ({"threads": 0}, "threads"),
        ({"scale": float("nan")}, "scale"),
        ({"device": "tpu"}, "device"),
        ({"colour": 1}, "no setting 'colour'"),
    ],
)
def test_bad_settings_are_refused_in_words(options, words):
    with pytest.raises(UserError, match=words):
        EvaluationConfig.from_dict({"models": ["toy"]} | options)


def test_config_round_trip_through_json():
    config = EvaluationConfig(models=("a", "b"), protocol="zhang", limit=3)
    assert config.boundary == "crop"
    assert EvaluationConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(UserError, match="models"):
        EvaluationConfig.from_dict({})
