"""Explanations, layers and filters of models that are lent: right, kept, and nothing left behind on a model."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from analysis.attribution.methods import METHODS
from lab import session
from lab.session import Lab
from models.data.preprocessing import Preprocessing
from models.registry import BUNDLED
from models.zoo.spec import ModelSpec
from tests.device import DEVICE
from tests.sentences import refused
from tests.unit.lab.session.samples import RECIPES, SAMPLES, every_model, noise, recipe


@pytest.fixture
def fresh(tmp_path) -> Lab:
    return Lab(device=DEVICE, data_root=tmp_path / "data", runs_root=tmp_path / "runs")


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
CALLS |= {
    method: lambda lab, image, m=method: lab.explain(image, "fashion_cnn", m)
    for method in METHODS
    if method != "attention_rollout"
}
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
        fresh.explain(sneaker, "fashion_cnn", "occlusion"),
        fresh.explain(sneaker, "fashion_cnn", "occlusion", options={"window": 14, "stride": 7}),
    ]
    assert len({id(explanation) for explanation in [first, *others]}) == 8
    assert not torch.equal(others[3].attribution.values, others[4].attribution.values)
    assert not torch.equal(others[5].attribution.values, others[6].attribution.values)


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


@every_model
def test_layers_obstacles_and_the_default_layer_fit_together(lab, model):
    maps = [layer.name for layer in lab.layers(model) if layer.is_feature_map]
    assert lab.default_layer(model) in maps
    assert set(lab.obstacles(model)) <= set(METHODS)
    assert set(lab.obstacles(model)) == {"attention_rollout"}
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
    assert set(obstacles) == {"guided_backprop", "deconvolution", "guided_grad_cam", "attention_rollout"}
    assert fresh.default_layer("own") in [layer.name for layer in fresh.layers("own")]
    for method in METHODS:
        if method in obstacles:
            with refused("GELU" if method != "attention_rollout" else "rollout"):
                fresh.explain(sneaker, "own", method)
        else:
            assert fresh.explain(sneaker, "own", method).attribution.values.isfinite().all()


def test_a_model_without_convolutions_has_no_filters_and_no_default_layer(fresh, sneaker, monkeypatch):
    monkeypatch.setitem(BUNDLED, "own", lambda: own_model(lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 3))))
    with refused("own"):
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
        with refused():
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
