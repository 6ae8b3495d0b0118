"""Methods that draw at random or hide segments, against formulas in float64 and brute force."""

from itertools import combinations
from math import comb

import captum.attr
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor, nn

from analysis.attribution.methods import attribute
from analysis.attribution.perturbations import draw_masks
from analysis.attribution.segments import find_segments


@pytest.fixture
def net() -> nn.Module:
    """Smooth and far from additive."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(400, 3)).double().eval()


@pytest.fixture
def image() -> Tensor:
    """Four even regions with a little noise, which SLIC finds."""
    tones = torch.tensor([[0.0, 1.0], [2.0, -1.0]]).repeat_interleave(6, 0).repeat_interleave(6, 1)
    return (tones + 0.01 * torch.randn(1, 3, 12, 12)).double()


def gradients(net: nn.Module, points: Tensor, target: int) -> Tensor:
    points = points.detach().requires_grad_()
    return torch.autograd.grad(net(points)[:, target].sum(), points)[0]


@pytest.mark.parametrize("method", ["smoothgrad", "smoothgrad_squared", "vargrad"])
def test_noisy_gradients_are_combined_by_their_formulas(method, net, image) -> None:
    found = attribute(net, image, 2, method, seed=5, n_samples=6, noise_level=0.2, chunk=4).values

    generator = torch.Generator().manual_seed(5)
    noise = torch.cat([torch.randn(image.shape, generator=generator) for _ in range(6)]).double()
    each = gradients(net, image + 0.2 * (image.max() - image.min()) * noise, 2)
    expected = {
        "smoothgrad": each.mean(0),
        "smoothgrad_squared": each.square().mean(0),
        "vargrad": each.var(0, correction=0),
    }
    strongest = expected[method].abs().max()
    torch.testing.assert_close(found / strongest, (expected[method] / strongest).float(), rtol=0, atol=1e-6)


def test_gradient_shap_is_its_formula_and_its_gap_closes(net, image) -> None:
    found = attribute(net, image, 1, "gradient_shap", seed=2, n_samples=7, noise_level=0.1, chunk=3)

    generator = torch.Generator().manual_seed(2)
    shares = torch.rand(7, generator=generator).double()[:, None, None, None]
    noise = torch.cat([torch.randn(image.shape, generator=generator) for _ in range(7)]).double()
    starts = 0.1 * (image.max() - image.min()) * noise
    each = (image - starts) * gradients(net, starts + shares * (image - starts), 1)
    torch.testing.assert_close(found.values, each.mean(0).float())
    difference = float((net(image) - net(starts))[:, 1].mean())
    assert found.completeness_gap == pytest.approx(
        abs(float(each.mean(0).sum()) - difference) / max(abs(difference), 1), abs=1e-6
    )
    many = attribute(net, image, 1, "gradient_shap", n_samples=2000, noise_level=0.1)
    assert many.completeness_gap < 0.05


def test_rise_weighs_its_masks_by_the_scores(net, image) -> None:
    start = torch.rand(3, 12, 12).double()
    found = attribute(net, image, 1, "rise", baseline=start, seed=3, n_masks=9, cells=3, shown=0.4, chunk=4).values

    masks = draw_masks(9, (12, 12), 3, 0.4, torch.Generator().manual_seed(3))
    scores = torch.stack([net(image * mask + start * (1 - mask))[0, 1] for mask in masks]).detach()
    expected = sum((score - scores.mean()) * mask for score, mask in zip(scores, masks, strict=True)) / (9 * 0.4)
    torch.testing.assert_close(found, expected.float())


def test_masks_of_rise_show_as_much_as_they_should() -> None:
    masks = draw_masks(3000, (10, 14), 4, 0.3, torch.Generator().manual_seed(0))

    assert masks.shape == (3000, 1, 10, 14) and masks.min() >= 0 and masks.max() <= 1
    assert float((masks.mean(0) - 0.3).abs().max()) < 0.05


@pytest.mark.parametrize("channels", [1, 3])
def test_segments_are_numbered_without_gaps_and_follow_edges(channels, image) -> None:
    segments = find_segments(image[:, :channels], 4)

    assert segments.shape == (1, 1, 12, 12)
    assert segments.unique().tolist() == list(range(int(segments.max()) + 1))
    if channels == 3:
        assert len(segments[0, 0, :6, :6].unique()) == 1


@pytest.mark.parametrize("picture", [torch.zeros(1, 3, 16, 12), torch.full((1, 1, 9, 9), 3.0)])
def test_where_all_is_alike_the_picture_is_cut_evenly(picture) -> None:
    assert 4 <= int(find_segments(picture, 9).max()) + 1 <= 16


def scores_of_all(net: nn.Module, image: Tensor, segments: Tensor) -> dict[frozenset, float]:
    count = int(segments.max()) + 1
    chosen = [frozenset(each) for size in range(count + 1) for each in combinations(range(count), size)]
    return {
        each: float(net(image * sum((segments == n) for n in each) if each else 0 * image)[0, 1]) for each in chosen
    }


def find_shapley(net: nn.Module, image: Tensor, segments: Tensor) -> Tensor:
    """By its definition, over all selections."""
    scores, count = scores_of_all(net, image, segments), int(segments.max()) + 1
    found = torch.zeros_like(image[0])
    for number in range(count):
        value = sum(
            (scores[each | {number}] - score) / (count * comb(count - 1, len(each)))
            for each, score in scores.items()
            if number not in each
        )
        found[:, segments[0, 0] == number] = value
    return found


@pytest.mark.parametrize(("method", "samples", "most"), [("shapley_sampling", 400, 0.1), ("kernel_shap", 600, 1e-3)])
def test_shapley_values_come_near_the_definition(method, samples, most, net, image) -> None:
    segments = find_segments(image, 4)
    expected = find_shapley(net, image, segments)

    found = attribute(net, image, 1, method, n_segments=4, n_samples=samples)

    assert float((found.values - expected).abs().max()) < most * float(expected.abs().max())
    assert found.completeness_gap < 1e-4


def test_feature_ablation_is_captums_and_the_drop_of_each_segment(net, image) -> None:
    segments = find_segments(image, 4)

    found = attribute(net, image, 1, "feature_ablation", n_segments=4).values

    direct = captum.attr.FeatureAblation(net).attribute(image, target=1, feature_mask=segments)[0]
    torch.testing.assert_close(found, direct.detach().float())
    hidden = image * (segments != segments[0, 0, 0, 0])
    assert float(found[0, 0, 0]) == pytest.approx(float((net(image) - net(hidden))[0, 1]), abs=1e-6)


def test_lime_is_the_ridge_of_its_authors(net, image) -> None:
    segments = find_segments(image, 4)
    count = int(segments.max()) + 1
    generator = torch.Generator().manual_seed(7)
    draws = [torch.rand(1, count, generator=generator) < 0.5 for _ in range(29)]
    shown = torch.cat([torch.ones(1, count), *(draw.float() for draw in draws)]).double()
    scores = torch.stack([net(image * row[segments])[0, 1] for row in shown]).detach()
    cosines = shown.sum(1) / (shown.norm(dim=1) * count**0.5).clamp(min=1e-12)
    weights = (-((1 - cosines) ** 2) / 0.25**2).exp().sqrt()

    found = attribute(net, image, 1, "lime", n_segments=4, n_samples=30, seed=7).values

    ridge = Ridge(alpha=1.0).fit(shown.numpy(), scores.numpy(), weights.numpy())
    expected = torch.from_numpy(ridge.coef_)[segments[0]].expand(3, -1, -1)
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-6)
