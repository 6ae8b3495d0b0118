"""One class minus another, what the methods cost, and baselines."""

import pytest
import torch

from analysis.attribution.baselines import BASELINES, make_baseline
from analysis.attribution.methods import METHODS, attribute
from analysis.errors import UserError
from tests.sentences import refused
from tests.unit.analysis.attribution.explained import CONVOLUTIONAL, QUICK, ResidualNet

ADDITIVE = [
    *("saliency", "input_x_gradient", "smoothgrad", "gradient_shap", "lrp", "occlusion", "rise", "feature_ablation"),
    *("shapley_sampling", "kernel_shap", "lime", "grad_cam", "layer_gradient_x_activation", "layer_conductance"),
    *("internal_influence",),
]
"""Methods whose map of a difference is the difference of their maps."""


@pytest.mark.parametrize("method", ADDITIVE)
def test_the_map_of_a_contrast_is_the_difference_of_the_maps(method, image) -> None:
    net, image = ResidualNet().double().eval(), image.double()

    found, first, second = (
        attribute(net, image, target, method, versus=versus, **QUICK.get(method, {})).values
        for target, versus in ((1, 2), (1, None), (2, None))
    )

    torch.testing.assert_close(found, first - second, rtol=1e-4, atol=1e-5 * float(first.abs().max()))
    assert not torch.allclose(found, first, rtol=1e-2)


@pytest.mark.parametrize("method", CONVOLUTIONAL)
def test_every_method_takes_a_contrast(method, net, image) -> None:
    options = QUICK.get(method, {})
    result, plain = (attribute(net, image, 1, method, versus=versus, **options) for versus in (0, None))

    assert (result.target, result.versus) == (1, 0)
    assert result.values.shape == plain.values.shape
    assert not net._forward_hooks


@pytest.mark.parametrize("method", CONVOLUTIONAL)
def test_a_method_costs_what_it_says(method, net, image) -> None:
    seen, options = [], QUICK.get(method, {})
    net.fc.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))

    attribute(net, image, 1, method, **options)

    cost = METHODS[method].measure_cost((12, 12), options)
    # Beside it, the network is looked at, followed for the places of cells, and copied.
    assert 0.4 * cost.forwards - 2 <= sum(seen) <= 1.3 * cost.forwards + 6


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("channels", [1, 3])
def test_baselines_are_pictures_of_the_same_size(name, channels) -> None:
    pixels, mean = torch.rand(channels, 20, 30), torch.full((channels,), 0.4)

    made, again = (make_baseline(name, pixels, mean, seed=3) for _ in range(2))

    assert made.shape == pixels.shape and made.min() >= 0 and made.max() <= 1
    assert torch.equal(made, again)
    assert not torch.equal(made, pixels)


def test_the_blurred_picture_is_smooth_and_has_its_mean() -> None:
    pixels = torch.rand(3, 64, 64)
    made = make_baseline("blur", pixels, torch.zeros(3))

    assert float((made[:, :, 1:] - made[:, :, :-1]).abs().max()) < 0.05
    assert float(made.mean()) == pytest.approx(float(pixels.mean()), abs=0.02)
    assert torch.equal(
        make_baseline("blur", torch.ones(1, 9, 9), torch.zeros(1)).round(decimals=5), torch.ones(1, 9, 9)
    )


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.uses_baseline])
def test_the_baseline_itself_has_no_evidence(method, image) -> None:
    net = ResidualNet().eval()
    is_about_noise = method in ("gradient_shap", "deep_lift_shap", "internal_influence")

    result = attribute(net, image, 1, method, baseline=image[0], **QUICK.get(method, {}))

    strongest = float(attribute(net, image, 1, method, **QUICK.get(method, {})).values.abs().max())
    assert is_about_noise or float(result.values.abs().max()) < 1e-4 * strongest


def test_a_number_that_is_no_parameter_is_refused(net, image) -> None:
    for parameter in (parameter for method in METHODS.values() for parameter in method.parameters):
        for value in (parameter.low - 1, parameter.high * 2, True, "3", float("nan"), None):
            with pytest.raises(UserError, match="must be"):
                parameter.check(value)
        assert parameter.read(str(parameter.low)) == parameter.low
    with refused():
        METHODS["rise"].parameters[0].read("many")
