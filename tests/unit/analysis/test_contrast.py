"""The contrast of two classes against the two maps it is the difference of, and against autograd."""

import pytest
import torch
from torch import nn

from analysis.attribution import METHODS, attribute
from analysis.contrast import LINEAR, contrast
from analysis.errors import AnalysisError, Cancelled
from analysis.overlay import measure_scale

PREDICTED, TRUE = 2, 0


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=[nn.ReLU, nn.ReLU6])
def net(request) -> nn.Module:
    """In train mode, with a layer that random dropout would change."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        request.param(),
        nn.Conv2d(6, 8, 3, stride=2),
        request.param(),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(1, 3, 12, 12)


@pytest.mark.parametrize("method", LINEAR)
def test_linear_methods_give_the_difference_of_the_two_maps(method, net, image):
    layer = "3" if METHODS[method].needs_layer else None
    found = contrast(net, image, PREDICTED, TRUE, method, layer=layer)
    maps = [attribute(net, image, target, method, layer=layer).values for target in (PREDICTED, TRUE)]
    torch.testing.assert_close(found.values, maps[0] - maps[1], rtol=1e-4, atol=1e-6)
    assert found.values.abs().max() > 0
    assert (found.method, found.predicted, found.true, found.layer) == (method, PREDICTED, TRUE, layer)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_answers_with_one_scale_for_both_signs(method, net, image):
    found = contrast(net, image, PREDICTED, TRUE, method)
    assert found.scale == measure_scale(found.values, sign="signed") > 0
    assert found.values.shape[-2:] == image.shape[-2:]


@pytest.mark.parametrize("method", LINEAR)
def test_swapping_the_classes_changes_the_sign(method, net, image):
    there, back = (contrast(net, image, *pair, method).values for pair in ((PREDICTED, TRUE), (TRUE, PREDICTED)))
    torch.testing.assert_close(there, -back, rtol=1e-4, atol=1e-6)


def test_saliency_is_the_gradient_of_the_difference(net, image):
    found = contrast(net, image, PREDICTED, TRUE)
    leaf = image.clone().requires_grad_()
    logits = net.eval()(leaf)[0]
    (gradient,) = torch.autograd.grad(logits[PREDICTED] - logits[TRUE], leaf)
    torch.testing.assert_close(found.values, gradient[0])


def test_integrated_gradients_add_up_to_the_change_of_the_difference(net, image):
    found = contrast(net, image, PREDICTED, TRUE, "integrated_gradients", n_steps=256)
    net.eval()
    with torch.no_grad():
        ends = net(torch.cat([image, torch.zeros_like(image)]))
    change = (ends[:, PREDICTED] - ends[:, TRUE]).diff().neg()
    assert float(found.values.sum()) == pytest.approx(float(change), abs=2e-3)


def describe(model: nn.Module) -> list:
    hooks = [(part.training, len(part._forward_hooks), len(part._backward_hooks)) for part in model.modules()]
    return [hooks, [(p.requires_grad, p.grad) for p in model.parameters()], torch.get_rng_state().tolist()]


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was_found(net, image, fails):
    before, parameters = describe(net), [p.clone() for p in net.parameters()]

    def cancel(done, total):
        raise Cancelled

    if fails:
        with pytest.raises(Cancelled):
            contrast(net, image, PREDICTED, TRUE, "occlusion", progress=cancel)
    else:
        contrast(net, image, PREDICTED, TRUE, "occlusion")
    assert describe(net) == before
    assert all(torch.equal(one, other) for one, other in zip(parameters, net.parameters(), strict=True))
    assert net.eval()(image).shape == (1, 4)


@pytest.mark.parametrize(
    ("predicted", "true", "method", "layer", "message"),
    [
        (1, 1, "saliency", None, "two classes"),
        (4, 0, "saliency", None, "Class 4 does not exist: this model has classes 0 to 3"),
        (0, -1, "saliency", None, "Class -1 does not exist"),
        (0, 1, "grad_cam", "33", "Layer 33 has no feature map in this model; try 3"),
    ],
)
def test_what_cannot_be_asked_is_refused(net, image, predicted, true, method, layer, message):
    with pytest.raises(AnalysisError, match=message):
        contrast(net, image, predicted, true, method, layer=layer)


def test_only_classifiers_have_a_contrast(image):
    with pytest.raises(AnalysisError, match="one score per class"):
        contrast(nn.Conv2d(3, 4, 3), image, 0, 1)
