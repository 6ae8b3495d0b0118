"""What the document of an evaluation says."""

import json
import shutil
from dataclasses import replace

import pytest

from lab.evaluation.config import EvaluationConfig
from lab.evaluation.report import find_published
from tests.sentences import refused
from tests.unit.lab.evaluation.insects import value


def test_published_numbers_stand_beside_the_same_evaluation_only():
    config, classes = EvaluationConfig(models=("resnet18",), data="x", protocol="zhang"), list(range(1000))
    found = find_published(config, "resnet18", classes)
    assert (found["accuracy"], found["consistency"]) == (0.6974, 0.8511) and "antialiased" in found["source"]
    assert find_published(config, "resnet18:IMAGENET1K_V1", classes) == found
    assert find_published(config, "resnet50:IMAGENET1K_V1", classes)["consistency"] == 0.8920
    assert find_published(config, "resnet50", classes) is None  # newer weights
    assert find_published(config, "resnet18", classes[:-1]) is None
    assert find_published(config, "resnet18", [*classes[:-1], -1]) is None
    for change in ({"twin": True}, {"max_shift": 4}, {"boundary": "circular"}, {"protocol": "exact"}):
        assert find_published(replace(config, **change), "resnet18", classes) is None


def test_two_models_are_compared_in_pairs(run, modules, folder):
    document = run(models=("toy", "other", "foreign"))
    assert [(pair["a"], pair["b"]) for pair in document["pairs"]] == [
        ("toy", "other"),
        ("toy", "foreign"),
        ("other", "foreign"),
    ]
    first, second = (model["statistics"] for model in document["models"][:2])
    pair = document["pairs"][0]
    assert set(pair) == {"a", "b", "mcnemar_p", *first}
    for name in ("accuracy", "consistency", "kappa", "mac"):
        assert pair[name]["value"] == pytest.approx(first[name]["value"] - second[name]["value"])
        assert pair[name]["low"] <= pair[name]["value"] <= pair[name]["high"]
    assert 0 < pair["mcnemar_p"] <= 1
    assert document["pairs"][1]["mcnemar_p"] is None and document["pairs"][1]["accuracy"]["value"] is None
    assert document["pairs"][1]["consistency"] == {"value": 0.0, "low": 0.0, "high": 0.0}  # the same weights
    assert len({model["weights_sha256"] for model in document["models"]}) == 2


def test_classes_that_a_model_does_not_have(run):
    document = run(models=("foreign",))
    model = document["models"][0]
    assert model["num_labelled"] == 0 and "The model does not know 4 classes of the data" in model["notes"][0]
    assert value(document, "accuracy") is None and value(document, "consistency") == value(run(), "consistency")


def test_broken_pictures_are_left_out_and_named(run, folder, tmp_path):
    copied = tmp_path / "insects"
    shutil.copytree(folder, copied)
    (copied / "bee" / "001.png").write_bytes(b"broken")
    document = run(data=str(copied))
    assert document["models"][0]["num_images"] == 69
    assert len(document["data"]["skipped"]) == 1 and "bee/001.png" in document["data"]["skipped"][0]
    (copied / "bee" / "001.png").unlink()
    assert (
        run(data=str(copied))["models"][0]["statistics"]["consistency"]
        == (document["models"][0]["statistics"]["consistency"])
    )
    for path in copied.rglob("*.png"):
        path.write_bytes(b"broken")
    with refused():
        run(data=str(copied))


def test_the_document_says_how_it_came_about(run):
    document = run(checks=True, limit=10)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert set(document) == {"protocol", "data", "environment", "models", "pairs"}
    assert document["protocol"]["name"] == "exact" and "U-statistic" in document["protocol"]["description"]
    environment = document["environment"]
    assert (environment["dtype"], environment["tf32"], environment["threads"]) == ("float32", False, 1)
    model = document["models"][0]
    assert model["stride"] == 2 and {point["phase"] for point in model["curves"]["phase"]} <= {0, 1}
    assert {identity["identity"] for identity in model["identities"]} >= {"I1", "I2", "I14"}
    assert model["layers"][0]["stride"] == 2
    for layer in model["layers"]:
        assert 2 <= layer["num_images"] <= 10
        error = layer["error"]
        assert error["low"] <= error["value"] <= error["high"]
