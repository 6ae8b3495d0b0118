"""Classifying and shifting with the bundled models: right answers, and clear refusals."""

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from analysis.network.layers import outline
from analysis.shift.move import BOUNDARIES
from lab.session import CHUNK
from lab.shifts import map_picture, measure_picture
from tests.sentences import refused
from tests.unit.lab.session.samples import RECIPES, SAMPLES, every_model, noise, recipe


def probabilities_of(predictions) -> dict[int, float]:
    return {p.index: p.probability for p in predictions}


@every_model
def test_classification_equals_a_recipe_by_hand(lab, model):
    image = lab.open_image(SAMPLES[model])
    found = lab.classify(image, model, top=10)
    net = lab.registry.get(model).build()
    with torch.no_grad():
        expected = net(recipe(image, *RECIPES[model])).double().softmax(-1)[0]
    best = expected.argsort(descending=True)[:10].tolist()
    assert [p.index for p in found.predictions[:3]] == best[:3]
    for prediction in found.predictions:
        assert prediction.probability == pytest.approx(float(expected[prediction.index]), abs=1e-6)
        assert prediction.category == lab.registry.get(model).categories[prediction.index]
    assert found.ms > 0


def test_the_bundled_models_know_their_samples(lab):
    assert lab.classify(lab.open_image("sneaker"), "fashion_cnn").predictions[0].category == "sneaker"
    assert "cat" in lab.classify(lab.open_image("chelsea"), "efficientnet_lite0").predictions[0].category


def test_pixels_are_what_the_network_saw(lab, sneaker):
    found = lab.classify(sneaker, "fashion_cnn")
    mode, *_ = RECIPES["fashion_cnn"]
    np.testing.assert_allclose(found.pixels[0].numpy(), np.asarray(sneaker.convert(mode)) / 255, atol=1e-6)


@every_model
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_no_shift_changes_nothing(lab, model, boundary):
    image = lab.open_image(SAMPLES[model])
    result = lab.shift(image, model, 0, 0, boundary)
    assert torch.equal(result.before_pixels, result.after_pixels)
    assert result.is_real.all()
    assert result.probability_change == pytest.approx(0, abs=1e-6)
    assert result.same_top1
    assert max(layer.relative_error for layer in result.layers) < 1e-6
    assert probabilities_of(result.before) == pytest.approx(
        probabilities_of(lab.classify(image, model).predictions), abs=1e-5
    )


@every_model
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_every_boundary_shows_the_shifted_picture_to_the_network(lab, model, boundary):
    image = lab.open_image("astronaut").resize((280, 240)) if model == "efficientnet_lite0" else noise(1, 40, 28)
    dx, dy = (5, -3) if model == "efficientnet_lite0" else (5, 0)
    result = lab.shift(image, model, dx, dy, boundary, top=1000)
    before, after = result.before_pixels, result.after_pixels
    side = before.shape[-1]
    kept_after = after[:, max(dy, 0) : side + min(dy, 0), dx:]
    kept_before = before[:, max(-dy, 0) : side + min(-dy, 0), : side - dx]
    assert torch.equal(kept_after, kept_before)
    assert not torch.equal(before, after)
    assert bool(result.is_real.all()) == (boundary in ("circular", "crop"))
    with lab.models.use(model) as loaded, torch.no_grad():
        expected = loaded.module(loaded.to_inputs(torch.stack([before, after]))).softmax(-1)
    for row, predictions in zip(expected, (result.before, result.after), strict=True):
        assert probabilities_of(predictions) == pytest.approx(dict(enumerate(row.tolist())), abs=1e-5)
    change = float(expected[1, result.before[0].index] - expected[0, result.before[0].index])
    assert result.probability_change == pytest.approx(change, abs=1e-5)
    assert [layer.name for layer in result.layers] == [layer.name for layer in outline(lab.layers(model))]
    assert all(layer.relative_error > 0 for layer in result.layers)


def test_the_shift_can_show_one_channel_of_one_layer(lab, sneaker):
    result = lab.shift(sneaker, "fashion_cnn", 2, 0, "circular", layer="features.1", channel=3)
    shown = result.comparison
    assert (shown.layer, shown.channel, shown.stride) == ("features.1", 3, 4)
    moved = Image.fromarray(np.roll(np.asarray(sneaker.convert("L")), 2, axis=1))
    expected = lab.extract(moved, "fashion_cnn", "features.1")[3]
    torch.testing.assert_close(shown.of_shifted, expected, rtol=1e-4, atol=1e-5)
    assert lab.shift(sneaker, "fashion_cnn", 2, 0).comparison is None


def test_a_crop_beyond_the_picture_is_refused(lab):
    wide = noise(0, 40, 28)
    lab.shift(wide, "fashion_cnn", 6, 0, "crop")
    for dx, dy in ((7, 0), (-7, 0), (0, 1)):
        with refused("-6 to 6", "0 to 0"):
            lab.shift(wide, "fashion_cnn", dx, dy, "crop")


@pytest.mark.parametrize(("dx", "dy"), [(29, 0), (0, -29), (1000, 1000)])
@pytest.mark.parametrize("boundary", [name for name in BOUNDARIES if name != "circular"])
def test_shifts_out_of_sight_are_refused(lab, sneaker, dx, dy, boundary):
    with refused():
        lab.shift(sneaker, "fashion_cnn", dx, dy, boundary)


@pytest.mark.parametrize("distance", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("boundary", ["zero", "circular", "reflect"])
def test_a_shift_by_no_finite_number_is_said_to_be_that(lab, sneaker, boundary, distance):
    for measure in (lab.shift, partial(measure_picture, lab)):
        with refused():
            measure(sneaker, "fashion_cnn", distance, 0, boundary)


@pytest.mark.parametrize("boundary", ["zero", "mean"])
def test_a_shift_by_the_whole_width_shows_nothing_and_is_refused(lab, sneaker, boundary):
    for dx, dy in ((28, 0), (0, -28), (-28.5, 1)):
        with refused("28"):
            lab.shift(sneaker, "fashion_cnn", dx, dy, boundary)
        with refused("28"):
            measure_picture(lab, sneaker, "fashion_cnn", dx, dy, boundary)
    with refused():
        next(map_picture(lab, sneaker, "fashion_cnn", 28, boundary))


def test_the_longest_shift_leaves_nothing_to_compare(lab, sneaker):
    result = lab.shift(sneaker, "fashion_cnn", 27, 0, "zero")
    assert result.is_real[:, 27].all() and not result.is_real[:, :27].any()
    assert torch.equal(result.after_pixels[:, :, 27], result.before_pixels[:, :, 0])
    assert {layer.relative_error for layer in result.layers} == {None}


@pytest.mark.parametrize(("dx", "dy", "same"), [(29, -30, (1, -2)), (28, 0, (0, 0)), (28e6 + 3.5, 0, (3.5, 0))])
def test_a_picture_that_wraps_around_is_never_out_of_sight(lab, sneaker, dx, dy, same):
    found, expected = (lab.shift(sneaker, "fashion_cnn", *where, "circular") for where in ((dx, dy), same))
    assert torch.equal(found.after_pixels, expected.after_pixels) and (found.dx, found.dy) == (dx, dy)
    assert found.layers == expected.layers and found.after == expected.after
    whole = (round(dx), round(dy))
    if whole == (dx, dy):
        assert torch.equal(found.after_pixels, found.before_pixels.roll((dy, dx), (1, 2)))


def test_unknown_names_are_refused(lab, sneaker):
    with refused("fashion_cnn"):
        lab.classify(sneaker, "fashion_cn")
    with refused("wrap"):
        lab.shift(sneaker, "fashion_cnn", 1, 0, "wrap")
    with refused("features.9"):
        lab.shift(sneaker, "fashion_cnn", 1, 0, layer="features.9")
    with refused("head.pool"):
        lab.extract(sneaker, "fashion_cnn", "head.pool")
    with refused("0 to 9"):
        lab.explain(sneaker, "fashion_cnn", "saliency", target=10)
    with refused("saliency"):
        lab.explain(sneaker, "fashion_cnn", "salience")


def test_files_keep_their_order_with_broken_and_repeated_ones(lab, tmp_path):
    broken, empty, good = tmp_path / "broken.png", tmp_path / "empty.png", tmp_path / "good.png"
    broken.write_bytes(b"no picture")
    empty.write_bytes(b"")
    noise(3).save(good)
    paths = [good, broken, "sneaker", good, tmp_path / "missing.png", empty, "sneaker", "bag", broken]
    results = list(lab.classify_files(paths, "fashion_cnn", top=2))
    assert [result.path for result in results] == [str(path) for path in paths]
    assert [bool(result.problem) for result in results] == [False, True, False, False, True, True, False, False, True]
    for result in results:
        assert len(result.predictions) == (0 if result.problem else 2)
    assert "broken.png" in results[1].problem
    assert "missing.png" in results[4].problem
    for path, result in zip(paths, results, strict=True):
        if not result.problem:
            alone = lab.classify(lab.open_image(path), "fashion_cnn", top=2)
            assert probabilities_of(result.predictions) == pytest.approx(
                probabilities_of(alone.predictions), abs=1e-5
            )


def test_many_files_come_in_chunks_with_progress(lab, tmp_path):
    paths = []
    for seed in range(CHUNK + 3):
        paths.append(tmp_path / f"{seed}.png")
        noise(seed).save(paths[-1])
    calls = []
    results = lab.classify_files(paths, "fashion_cnn", top=1, progress=lambda *done: calls.append(done))
    assert next(results).path == str(paths[0])
    assert calls == []
    assert [result.path for result in results] == [str(path) for path in paths[1:]]
    assert calls == [(CHUNK, CHUNK + 3), (CHUNK + 3, CHUNK + 3)]


def test_no_files_or_only_broken_ones_are_no_error(lab, tmp_path):
    assert list(lab.classify_files([], "fashion_cnn")) == []
    (result,) = lab.classify_files([tmp_path / "missing.png"], "fashion_cnn")
    assert "missing.png" in result.problem


def test_pictures_open_by_path_or_by_sample_name(lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sample = lab.open_image("sneaker")
    assert sample.size == (28, 28)
    noise(0).save(tmp_path / "sneaker", format="PNG")
    assert lab.open_image("sneaker").size == (40, 36)
    with refused("nothing"):
        lab.open_image("nothing")


def test_results_are_json(lab, sneaker):
    shifted = json.loads(json.dumps(lab.shift(sneaker, "fashion_cnn", 4, 0, top=2).to_json()))
    assert list(shifted) == ["before", "after", "same_top1", "probability_change", "layers", "notes"]
    assert shifted["same_top1"] == (shifted["before"][0]["index"] == shifted["after"][0]["index"])
    assert len(shifted["before"]) == len(shifted["after"]) == 2
    assert shifted["layers"][0]["name"] == "features.0"
    explained = json.loads(json.dumps(lab.explain(sneaker, "fashion_cnn", "saliency").to_json()))
    assert list(explained) == [
        "method",
        "target",
        "category",
        "probability",
        "seconds",
        "notes",
        "completeness_gap",
        "placement",
    ]
    assert (explained["method"], explained["category"]) == ("saliency", "sneaker")
