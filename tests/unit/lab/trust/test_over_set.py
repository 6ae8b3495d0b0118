"""A trust table over many pictures: means and intervals, and going on after a stop."""

import json

import numpy as np
import pytest

from lab.documents import read_document
from lab.trust.config import DEFAULT_METHODS, TrustConfig
from lab.trust.over_set import JOB, average_agreement, summarize_rows
from models.runs.run import read_run
from models.runs.submit import create_run
from tests.device import DEVICE
from tests.sentences import refused


@pytest.fixture(scope="module")
def done(tmp_path_factory, request):
    """A run that was stopped after two pictures, and then went on."""
    root = tmp_path_factory.mktemp("runs")
    methods = ("saliency", "input_x_gradient")
    config = TrustConfig(
        model="fashion_cnn", data="digits", methods=methods, limit=4, device=DEVICE, data_root=str(root)
    )
    path, heard = create_run(root, "a", config.to_dict(), "trust"), []

    def stop_early(number, total, seconds):
        heard.append((number, total))
        if len(heard) == 2:
            (path / "stop").touch()

    assert JOB.run(path, stop_early) is None
    first = (path / "measurements.jsonl").read_text()
    assert read_run(root, "a").state == "stopped"
    (path / "stop").unlink(missing_ok=True)
    document = JOB.start(config, path, stop_early)
    return root, document, first


def test_a_run_goes_on_from_its_pictures(done):
    root, document, first = done
    kept = (root / "a" / "measurements.jsonl").read_text()
    assert kept.startswith(first) and len(first.splitlines()) == 2 and len(kept.splitlines()) == 4
    assert len({json.loads(line)["picture"] for line in kept.splitlines()}) == 4
    assert read_run(root, "a").state == "finished"
    assert read_document(read_run(root, "a")) == document
    assert document["data"]["num_images"] == 4 and document["data"]["skipped"] == []


def test_means_are_those_of_the_pictures_within_their_intervals(done):
    root, document, _ = done
    lines = [json.loads(line) for line in (root / "a" / "measurements.jsonl").read_text().splitlines()]
    for number, row in enumerate(document["rows"]):
        assert row["pictures"] == 4 and row["reason"] is None
        for name in ("deletion", "moves_with_picture", "sanity"):
            values = [line["rows"][number][name] for line in lines]
            assert row[name]["value"] == pytest.approx(np.mean(values))
            assert min(values) <= row[name]["low"] <= row[name]["value"] <= row[name]["high"] <= max(values)
        assert row["completeness_gap"] == {"value": None, "low": None, "high": None}
    assert document["agreement"]["saliency"]["saliency"] == pytest.approx(1)


def test_the_interval_of_many_is_that_of_the_normal_distribution():
    rng = np.random.default_rng(0)
    measured = [{"rows": [{"method": "a", "reason": None, "deletion": x}]} for x in rng.normal(5, 2, 400)]
    (row,) = summarize_rows(measured, ["a"], 0)
    half = (row["deletion"]["high"] - row["deletion"]["low"]) / 2
    assert half == pytest.approx(1.96 * 2 / 20, rel=0.12)
    assert summarize_rows(measured, ["a"], 0) == [row]


def test_what_is_missing_has_no_number():
    broken = {"method": "a", "reason": "It has no ReLU.", "deletion": None}
    (row,) = summarize_rows([{"rows": [broken]}], ["a"], 0)
    assert row["reason"] == "It has no ReLU." and row["deletion"]["value"] is None and row["pictures"] == 0
    one = {"method": "a", "reason": None, "deletion": 0.5}
    (row,) = summarize_rows([{"rows": [one]}, {"rows": [broken]}], ["a"], 0)
    assert row["deletion"] == {"value": 0.5, "low": None, "high": None} and row["pictures"] == 1
    agreement = average_agreement([{"agreement": {"a": {"a": 1.0}}}, {"agreement": {}}], ["a", "b"])
    assert agreement == {"a": {"a": 1.0, "b": None}, "b": {"a": None, "b": None}}


def test_pictures_that_cannot_be_read_are_named(tmp_path):
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.effect_noise((30, 30), 90).save(tmp_path / "data" / name / "good.png")
    whole = (tmp_path / "data" / "cat" / "good.png").read_bytes()
    (tmp_path / "data" / "cat" / "bad.png").write_bytes(whole[: len(whole) // 2])
    config = TrustConfig(
        model="fashion_cnn",
        data=str(tmp_path / "data"),
        methods=("saliency",),
        device=DEVICE,
        data_root=str(tmp_path),
    )
    document = JOB.start(config, tmp_path / "runs" / "a")
    assert document["data"]["num_images"] == 2 and "bad.png" in document["data"]["skipped"][0]


def test_settings_are_checked():
    assert TrustConfig().methods == DEFAULT_METHODS
    assert TrustConfig.from_dict(json.loads(json.dumps(TrustConfig(boundaries=("zero", "crop")).to_dict())))
    with refused("saliency"):
        TrustConfig(methods=("tarot",))
    with refused("twice"):
        TrustConfig(methods=("saliency", "saliency"))
    with refused("1"):
        TrustConfig(limit=0)
