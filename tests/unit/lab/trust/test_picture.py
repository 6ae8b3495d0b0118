"""The trust table of a picture: every number, its progress, and what cannot be measured."""

import math

import pytest
import torch
from PIL import Image

from analysis.errors import Cancelled
from analysis.trust.table import METRICS
from lab.facts import Facts
from lab.session import Lab
from lab.trust.config import TrustSettings
from lab.trust.picture import measure_trust
from tests.sentences import check_sentence, refused

QUICK = TrustSettings(steps=4, samples=8, nearby=1, stages=2)


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    return Lab(device="cpu", runs_root=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def sneaker(lab) -> Image.Image:
    return lab.open_image("sneaker")


def test_every_method_gets_every_number_within_its_range(lab, sneaker):
    seen, told = [], []
    names = ["saliency", "integrated_gradients", "grad_cam"]
    state = torch.get_rng_state()

    table = measure_trust(
        lab, sneaker, "fashion_cnn", names, None, QUICK, lambda *done: seen.append(done), tell=told.append
    )

    assert [row["method"] for row in table.rows] == names and table.target.category == "sneaker"
    for row in table.rows:
        for name, metric in METRICS.items():
            if name == "completeness_gap" and row["method"] != "integrated_gradients":
                assert row[name] is None
                continue
            assert math.isfinite(row[name]), name
            assert metric.low is None or row[name] >= metric.low
            assert metric.high is None or row[name] <= metric.high
        assert [move["dx"] for move in row["moves"]] == [1, 2, 4]  # 8 is more than a quarter of 28 pixels
        assert row["reason"] is None
        assert len(row["stages"]) == 2 and len(row["curves"]["deletion"]) == 5
        assert row["curves"]["deletion"][0] == pytest.approx(table.target.probability, abs=1e-5)
    assert table.agreement["saliency"]["saliency"] == pytest.approx(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert told == [table.estimate] and table.estimate > 0
    assert seen[-1][0] == seen[-1][1] and [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_the_same_seed_gives_the_same_numbers_and_each_boundary_rule_its_own(lab, sneaker):
    settings = TrustSettings(boundaries=("zero", "circular"), steps=4, samples=8, nearby=1, stages=2)
    one, again = (measure_trust(lab, sneaker, "fashion_cnn", ["saliency"], 3, settings).rows[0] for _ in range(2))
    one["seconds"] = again["seconds"] = 0
    assert one == again
    both = one["moves_by_boundary"]
    assert both["zero"] != both["circular"]
    assert one["moves_with_picture"] == pytest.approx(sum(both.values()) / 2)


def test_a_method_that_cannot_work_has_a_reason_and_the_others_their_numbers(lab, sneaker, monkeypatch):
    monkeypatch.setattr(Facts, "find_obstacles", lambda *_: {"guided_backprop": "It has no ReLU."})
    refused_one, row = measure_trust(lab, sneaker, "fashion_cnn", ["guided_backprop", "saliency"], None, QUICK).rows
    assert refused_one["reason"] == "It has no ReLU."
    assert {refused_one[name] for name in METRICS} == {None}
    assert row["reason"] is None and row["deletion"] > 0


def test_what_cannot_be_asked_is_refused_before_anything_is_measured(lab, sneaker):
    for names, said in ((["saliencies"], "saliency"), (["saliency", "saliency"], "twice"), ([], "one")):
        with refused(said):
            measure_trust(lab, sneaker, "fashion_cnn", names)
    with refused("crop"):
        measure_trust(lab, sneaker, "fashion_cnn", ["saliency"], settings=TrustSettings(boundaries=("cropped",)))
    with refused("positive"):
        measure_trust(lab, sneaker, "fashion_cnn", ["saliency"], settings=TrustSettings(order="signed"))
    with refused("0"):  # 28 pixels of 28 have no surroundings
        measure_trust(lab, sneaker, "fashion_cnn", ["saliency"], settings=TrustSettings(boundaries=("crop",)))


def test_work_can_be_stopped_anywhere(lab, sneaker):
    calls = 0

    def count(*_: int) -> None:
        nonlocal calls
        calls += 1

    measure_trust(lab, sneaker, "fashion_cnn", ["smoothgrad"], 0, QUICK, count)
    for limit in (1, calls // 2, calls):
        left = limit

        def stop(*_: int) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Cancelled

        with pytest.raises(Cancelled):
            measure_trust(lab, sneaker, "fashion_cnn", ["smoothgrad"], 0, QUICK, stop)


def test_the_reason_of_a_flat_map_is_said(lab, monkeypatch, sneaker):
    from lab.trust import picture

    found = picture.attribute

    def flatten(*arguments, **more):
        result = found(*arguments, **more)
        result.values.zero_()
        return result

    monkeypatch.setattr(picture, "attribute", flatten)
    (row,) = measure_trust(lab, sneaker, "fashion_cnn", ["saliency"], 0, QUICK).rows
    check_sentence(row["reason"])
    assert row["deletion"] is None and row["seconds"] > 0
