"""The lab with its bundled models: right answers, clear refusals, and nothing left behind on a model."""

import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from analysis.attribution.methods import METHODS
from analysis.errors import UserError
from analysis.network.layers import outline
from analysis.shift.move import BOUNDARIES
from lab import session
from lab.session import CHUNK, Lab
from lab.shifts import map_picture, measure_picture
from models.data.preprocessing import Preprocessing
from models.registry import BUNDLED
from models.zoo.spec import ModelSpec
from tests.device import DEVICE

MODELS = ["fashion_cnn", "efficientnet_lite0"]
SAMPLES = {"fashion_cnn": "sneaker", "efficientnet_lite0": "chelsea"}
every_model = pytest.mark.parametrize("model", MODELS)


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    root = tmp_path_factory.mktemp("lab")
    return Lab(device=DEVICE, data_root=root / "data", runs_root=root / "runs")


@pytest.fixture
def fresh(tmp_path) -> Lab:
    return Lab(device=DEVICE, data_root=tmp_path / "data", runs_root=tmp_path / "runs")


@pytest.fixture
def sneaker(lab) -> Image.Image:
    return lab.open_image("sneaker")


def noise(seed: int, width: int = 40, height: int = 36) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def probabilities_of(predictions) -> dict[int, float]:
    return {p.index: p.probability for p in predictions}


def recipe(image: Image.Image, mode: str, resize: int, crop: int, resample, mean: float, std: float) -> Tensor:
    """Network input by Pillow and numpy: shorter side, centre, scale."""
    image = image.convert(mode)
    short = min(image.size)
    image = image.resize(tuple(int(resize * side / short) for side in image.size), resample)
    left, top = ((side - crop) // 2 for side in image.size)
    image = image.crop((left, top, left + crop, top + crop))
    levels = np.atleast_3d(np.asarray(image, dtype=np.float64)).transpose(2, 0, 1) / 255
    return torch.from_numpy((levels - mean) / std).float()[None]


RECIPES = {
    "fashion_cnn": ("L", 28, 28, Image.Resampling.BILINEAR, 0.285826, 0.352879),
    "efficientnet_lite0": ("RGB", 256, 224, Image.Resampling.BICUBIC, 127 / 255, 128 / 255),
}


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
        with pytest.raises(UserError, match="dx can go from -6 to 6 and dy from 0 to 0"):
            lab.shift(wide, "fashion_cnn", dx, dy, "crop")


@pytest.mark.parametrize(("dx", "dy"), [(29, 0), (0, -29), (1000, 1000)])
@pytest.mark.parametrize("boundary", [name for name in BOUNDARIES if name != "circular"])
def test_shifts_out_of_sight_are_refused(lab, sneaker, dx, dy, boundary):
    with pytest.raises(UserError, match="out of sight"):
        lab.shift(sneaker, "fashion_cnn", dx, dy, boundary)


@pytest.mark.parametrize("distance", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("boundary", ["zero", "circular", "reflect"])
def test_a_shift_by_no_finite_number_is_said_to_be_that(lab, sneaker, boundary, distance):
    for measure in (lab.shift, partial(measure_picture, lab)):
        with pytest.raises(UserError, match="must be finite numbers"):
            measure(sneaker, "fashion_cnn", distance, 0, boundary)


@pytest.mark.parametrize("boundary", ["zero", "mean"])
def test_a_shift_by_the_whole_width_shows_nothing_and_is_refused(lab, sneaker, boundary):
    for dx, dy in ((28, 0), (0, -28), (-28.5, 1)):
        with pytest.raises(UserError, match="out of sight; it has 28 pixels"):
            lab.shift(sneaker, "fashion_cnn", dx, dy, boundary)
        with pytest.raises(UserError, match="out of sight; it has 28 pixels"):
            measure_picture(lab, sneaker, "fashion_cnn", dx, dy, boundary)
    with pytest.raises(UserError, match="out of sight"):
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
    with pytest.raises(UserError, match="Did you mean fashion_cnn"):
        lab.classify(sneaker, "fashion_cn")
    with pytest.raises(UserError, match="no boundary rule called wrap"):
        lab.shift(sneaker, "fashion_cnn", 1, 0, "wrap")
    with pytest.raises(UserError, match=r"no layer called features.9; try features"):
        lab.shift(sneaker, "fashion_cnn", 1, 0, layer="features.9")
    with pytest.raises(UserError, match=r"head\.pool gives no feature map"):
        lab.extract(sneaker, "fashion_cnn", "head.pool")
    with pytest.raises(UserError, match="knows the classes 0 to 9"):
        lab.explain(sneaker, "fashion_cnn", "saliency", target=10)
    with pytest.raises(UserError, match="saliency"):
        lab.explain(sneaker, "fashion_cnn", "salience")


# Nothing leaks.

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
CALLS = {
    "classify": lambda lab, image: lab.classify(image, "fashion_cnn"),
    "classify_files": lambda lab, image: list(lab.classify_files(["sneaker", "bag"], "fashion_cnn")),
    "shift": lambda lab, image: lab.shift(image, "fashion_cnn", 1, 2, "circular", layer="features.1"),
    "extract": lambda lab, image: lab.extract(image, "fashion_cnn", "features.0"),
    "first_filters": lambda lab, image: lab.first_filters("fashion_cnn"),
    "layers": lambda lab, image: lab.layers("fashion_cnn"),
    "obstacles": lambda lab, image: lab.obstacles("fashion_cnn"),
    "default_layer": lambda lab, image: lab.default_layer("fashion_cnn"),
}
CALLS |= {method: lambda lab, image, m=method: lab.explain(image, "fashion_cnn", m) for method in METHODS}
WITHOUT_FORWARD = ("first_filters", "layers")


def describe(module: nn.Module) -> list:
    """What may not change; tensors by identity."""
    return [
        [(part.training, [len(getattr(part, hooks)) for hooks in HOOKS]) for part in module.modules()],
        [(id(p), p.requires_grad, id(p.grad), p._version) for p in module.parameters()],
        [(name, id(buffer), buffer._version) for name, buffer in module.named_buffers()],
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
    ]


class Trap(Exception):
    """What the armed model raises."""


@pytest.fixture
def trapped(fresh):
    """A lab whose model has a gradient and a frozen parameter, and fails in its last layer when armed."""
    with fresh.models.use("fashion_cnn") as loaded:
        module = loaded.module
    first, second = list(module.parameters())[:2]
    first.grad = torch.ones_like(first)
    second.requires_grad_(False)
    armed = []

    def spring(*_):
        if armed:
            raise Trap

    module.head[-1].register_forward_pre_hook(spring)
    return fresh, module, armed


@pytest.mark.parametrize("name", CALLS)
def test_nothing_leaks_after_success(trapped, sneaker, name):
    lab, module, _ = trapped
    before = describe(module)
    CALLS[name](lab, sneaker)
    CALLS[name](lab, sneaker)
    assert describe(module) == before


@pytest.mark.parametrize("is_warm", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_nothing_leaks_after_a_failure(trapped, sneaker, name, is_warm):
    lab, module, armed = trapped
    if is_warm:
        lab.layers("fashion_cnn")
    before = describe(module)
    armed.append(True)
    if is_warm and name in WITHOUT_FORWARD:
        CALLS[name](lab, sneaker)
    else:
        with pytest.raises(Trap):
            CALLS[name](lab, sneaker)
    assert describe(module) == before
    armed.clear()
    CALLS[name](lab, sneaker)  # the lab still works, also for other threads
    with ThreadPoolExecutor(1) as pool:
        pool.submit(CALLS["classify"], lab, sneaker).result(timeout=20)


# Explanations.


@every_model
def test_an_explanation_belongs_to_the_predicted_class(lab, model):
    image = lab.open_image(SAMPLES[model])
    found = lab.explain(image, model, "grad_cam")
    best = lab.classify(image, model).predictions[0]
    assert found.is_top1
    assert (found.target.index, found.target.category) == (best.index, best.category)
    assert found.target.probability == pytest.approx(best.probability, abs=1e-5)
    assert torch.equal(found.pixels, lab.classify(image, model).pixels)


def test_an_explanation_of_another_class_says_so(lab, sneaker):
    found = lab.explain(sneaker, "fashion_cnn", "saliency", target=3)
    assert not found.is_top1
    assert (found.target.index, found.target.category) == (3, "dress")
    assert found.target.probability < 0.5


def test_saliency_is_the_gradient_of_the_logit(lab, sneaker):
    found = lab.explain(sneaker, "fashion_cnn", "saliency", target=7)
    net = lab.registry.get("fashion_cnn").build()
    inputs = recipe(sneaker, *RECIPES["fashion_cnn"]).requires_grad_()
    net(inputs)[0, 7].backward()
    torch.testing.assert_close(found.attribution.values, inputs.grad[0], rtol=1e-3, atol=1e-4)


def test_an_explanation_is_computed_once(fresh, sneaker):
    first = fresh.explain(sneaker, "fashion_cnn", "saliency")
    assert fresh.explain(sneaker.copy(), "fashion_cnn", "saliency") is first
    others = [
        fresh.explain(noise(0), "fashion_cnn", "saliency"),
        fresh.explain(sneaker, "fashion_cnn", "input_x_gradient"),
        fresh.explain(sneaker, "fashion_cnn", "saliency", target=0),
        fresh.explain(sneaker, "fashion_cnn", "grad_cam"),
        fresh.explain(sneaker, "fashion_cnn", "grad_cam", layer="features.0"),
    ]
    assert len({id(explanation) for explanation in [first, *others]}) == 6
    assert not torch.equal(others[3].attribution.values, others[4].attribution.values)


def test_kept_explanations_are_bounded(fresh, sneaker):
    assert fresh._explanations.max_bytes == session.MAX_EXPLANATIONS
    fresh._explanations.max_bytes = 3
    kept = [fresh.explain(sneaker, "fashion_cnn", "saliency", target=target) for target in range(5)]
    assert len(fresh._explanations) == 3
    assert fresh.explain(sneaker, "fashion_cnn", "saliency", target=4) is kept[4]
    assert fresh.explain(sneaker, "fashion_cnn", "saliency", target=0) is not kept[0]


def test_a_failed_explanation_is_not_kept(trapped, sneaker):
    lab, _, armed = trapped
    armed.append(True)
    with pytest.raises(Trap):
        lab.explain(sneaker, "fashion_cnn", "saliency")
    armed.clear()
    assert lab.explain(sneaker, "fashion_cnn", "saliency").is_top1


# Many files.


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
    with pytest.raises(UserError, match="no file nothing"):
        lab.open_image("nothing")


# Models and their layers.


@every_model
def test_layers_obstacles_and_the_default_layer_fit_together(lab, model):
    maps = [layer.name for layer in lab.layers(model) if layer.is_feature_map]
    assert lab.default_layer(model) in maps
    assert set(lab.obstacles(model)) <= set(METHODS)
    assert lab.obstacles(model) == {}
    assert lab.layers(model) is lab.layers(model)
    assert sum(layer.num_params for layer in lab.layers(model)) == lab.registry.get(model).num_params


@every_model
def test_extracted_features_equal_a_hook(lab, model):
    image, name = lab.open_image(SAMPLES[model]), lab.default_layer(model)
    kept = []
    net = lab.registry.get(model).build()
    net.get_submodule(name).register_forward_hook(lambda module, args, output: kept.append(output[0].clone()))
    with torch.no_grad():
        net(recipe(image, *RECIPES[model]))
    features = lab.extract(image, model, name)
    assert tuple(features.shape) == {layer.name: layer for layer in lab.layers(model)}[name].output_shape
    assert (features - kept[0]).norm() < 1e-4 * kept[0].norm()


@every_model
def test_first_filters_are_the_weights_of_the_first_convolution(lab, model):
    filters = lab.first_filters(model)
    weights = next(p for p in lab.registry.get(model).build().parameters() if p.ndim == 4)
    assert torch.equal(filters, weights)
    filters.zero_()
    assert lab.first_filters(model).any()


def own_model(build, version: int = 0) -> ModelSpec:
    prep = Preprocessing(crop_size=12, resize_size=12)
    return ModelSpec("own", "bundled", 0, ("a", "b", "c"), prep, lambda: build().eval(), "nothing", version=version)


def test_methods_with_an_obstacle_are_refused_and_the_others_work(fresh, sneaker, monkeypatch):
    def build():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    monkeypatch.setitem(BUNDLED, "own", lambda: own_model(build))
    obstacles = fresh.obstacles("own")
    assert set(obstacles) == {"guided_backprop", "guided_grad_cam"}
    assert fresh.default_layer("own") in [layer.name for layer in fresh.layers("own")]
    for method in METHODS:
        if method in obstacles:
            with pytest.raises(UserError, match="GELU"):
                fresh.explain(sneaker, "own", method)
        else:
            assert fresh.explain(sneaker, "own", method).attribution.values.isfinite().all()


def test_a_model_without_convolutions_has_no_filters_and_no_default_layer(fresh, sneaker, monkeypatch):
    monkeypatch.setitem(BUNDLED, "own", lambda: own_model(lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 3))))
    with pytest.raises(UserError, match="own has no convolution"):
        fresh.first_filters("own")
    assert fresh.default_layer("own") is None
    assert "grad_cam" in fresh.obstacles("own")
    assert fresh.shift(sneaker, "own", 1, 0).layers == ()


def test_a_model_with_broken_weights_is_refused(fresh, sneaker, monkeypatch):
    def build():
        net = nn.Sequential(nn.Flatten(), nn.Linear(144, 3))
        net[1].weight.data.fill_(float("nan"))
        return net

    monkeypatch.setitem(BUNDLED, "own", lambda: own_model(build))
    for call in (
        lambda: fresh.classify(sneaker, "own"),
        lambda: fresh.shift(sneaker, "own", 1, 0),
        lambda: fresh.explain(sneaker, "own", "saliency"),
    ):
        with pytest.raises(UserError, match="its weights are broken"):
            call()


def test_new_weights_under_the_same_name_are_used(fresh, sneaker, monkeypatch):
    def build(width: int):
        torch.manual_seed(width)
        return nn.Sequential(nn.Conv2d(1, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))

    found = []
    for version in (2, 5):
        monkeypatch.setitem(BUNDLED, "own", lambda v=version: own_model(lambda: build(v), v))
        explanation = fresh.explain(sneaker, "own", "saliency", target=0)
        found.append((fresh.layers("own")[0].output_shape[0], len(fresh.first_filters("own")), explanation))
    assert [row[:2] for row in found] == [(2, 2), (5, 5)]
    assert not torch.equal(found[0][2].attribution.values, found[1][2].attribution.values)


# Threads, and JSON.


def test_threads_that_share_a_model_get_the_answers_they_would_get_alone(fresh, lab):
    images = [noise(seed) for seed in range(4)]

    def analyse(where: Lab, image):
        shifted = where.shift(image, "fashion_cnn", 3, 1, "circular", layer="features.0", channel=2)
        explained = where.explain(image, "fashion_cnn", "guided_backprop")
        smooth = where.explain(image, "fashion_cnn", "smoothgrad")
        best = where.classify(image, "fashion_cnn", top=10)
        return (
            torch.tensor([p.probability for p in sorted(best.predictions, key=lambda p: p.index)]),
            shifted.comparison.of_shifted,
            explained.attribution.values,
            smooth.attribution.values,
            torch.tensor([layer.relative_error for layer in shifted.layers]),
        )

    start = threading.Barrier(4)

    def together(image):
        start.wait(timeout=20)
        return analyse(fresh, image)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(together, images))
    for image, answer in zip(images, answers, strict=True):
        for found, expected in zip(answer, analyse(lab, image), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert all(not torch.equal(a, b) for a, b in zip(answers[0], answers[1], strict=True))


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
