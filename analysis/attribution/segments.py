"""Methods that hide whole segments of the picture: regions of like colour, which SLIC finds."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from analysis.attribution.method import Completeness, Cost, Method, Options, Parameter
from analysis.attribution.question import Evidence, Question, in_halves, measure_gap, require, watched

KERNEL_WIDTH = 0.25
"""Of LIME, in cosine distances between what is shown and the whole picture; the one of its authors for pictures."""
SEGMENTS = Parameter(
    "n_segments", "The number of segments", "About as many regions; more show finer detail.", 2, 1000, 40
)
PERMUTATIONS = Parameter(
    "n_samples",
    "The number of orders",
    "In which segments appear; more give a calmer map.",
    1,
    1000,
    5,
)
FITTED = Parameter(
    "n_samples", "The number of samples", "Several times that of the segments; more give a calmer map.", 8, 16384, 400
)


def find_segments(inputs: Tensor, n_segments: int) -> Tensor:
    """Numbers ``(1, 1, H, W)`` of about ``n_segments`` connected regions, from 0, without gaps.

    SLIC (Achanta et al. 2012) by scikit-image: of a picture with three channels in Lab, of others as they are.
    """
    from skimage.segmentation import slic

    picture = inputs[0].detach().cpu().float()
    low, high = picture.min(), picture.max()
    picture = (picture - low) / (high - low).clamp(min=1e-12)
    compactness = 10.0 if len(picture) == 3 else 0.1
    found = slic(picture.permute(1, 2, 0).numpy(), n_segments, compactness, start_label=0, channel_axis=-1)
    _, numbers = torch.from_numpy(found).unique(return_inverse=True)
    if int(numbers.max()) == 0:  # of noise, or where all is alike, SLIC makes one region, which says nothing
        numbers = _cut_squares(numbers.shape, n_segments)
    return numbers[None, None].to(inputs.device)


def _cut_squares(size: torch.Size, n_segments: int) -> Tensor:
    """Numbers ``(H, W)`` of about as many rectangles, at least two a side."""
    cells = max(2, round(n_segments**0.5))
    rows, columns = (torch.arange(side) * min(cells, side) // side for side in size)
    return rows[:, None] * min(cells, size[1]) + columns


def feature_ablation(question: Question, *, n_segments: int = 40) -> Evidence:
    """How much the score drops when one segment is replaced by the baseline."""
    from captum.attr import FeatureAblation

    segments = find_segments(question.inputs, n_segments)

    def run(chunk: int) -> Evidence:
        with watched(question, 1 + _count(segments)) as forward:
            values = FeatureAblation(forward).attribute(
                question.inputs,
                baselines=question.start,
                target=question.target,
                feature_mask=segments,
                perturbations_per_eval=chunk,
            )
        return Evidence(values)

    return in_halves(question, run, 16)


def shapley_sampling(question: Question, *, n_segments: int = 40, n_samples: int = 5) -> Evidence:
    """What a segment adds to the score when it appears after others, averaged over random orders."""
    from captum.attr import ShapleyValueSampling

    segments = find_segments(question.inputs, n_segments)
    total = 1 + n_samples * _count(segments)

    def permute(num_features: int, num_samples: int) -> Iterator[list[int]]:
        generator = question.generator()
        for _ in range(num_samples):
            yield torch.randperm(num_features, generator=generator).tolist()

    def run(chunk: int) -> Evidence:
        with watched(question, total) as forward:
            explainer = ShapleyValueSampling(forward)
            explainer.permutation_generator = permute
            values = explainer.attribute(
                question.inputs,
                baselines=question.start,
                target=question.target,
                feature_mask=segments,
                n_samples=n_samples,
                perturbations_per_eval=chunk,
            )
        return Evidence(values, completeness_gap=_measure_gap(question, values, segments))

    return in_halves(question, run, 16)


def kernel_shap(question: Question, *, n_segments: int = 40, n_samples: int = 400) -> Evidence:
    """Shapley values by a linear model of the score, fitted to random selections of segments."""
    from captum.attr import KernelShap

    segments = find_segments(question.inputs, n_segments)

    def run(chunk: int) -> Evidence:
        with watched(question, n_samples) as forward:
            explainer = KernelShap(_finite(forward))
            explainer.perturb_func = _select_like_shapley(question)
            values = _fit(question, explainer, segments, n_samples, chunk)
        return Evidence(values, completeness_gap=_measure_gap(question, values, segments))

    return in_halves(question, run, 16)


def lime(question: Question, *, n_segments: int = 40, n_samples: int = 400) -> Evidence:
    """Coefficients of a linear model of the score near the picture, fitted to random selections of segments.

    As the authors do for pictures: every segment is shown half of the time, the model is a ridge regression with
    ``alpha=1``, and selections count by ``sqrt(exp(-d**2 / KERNEL_WIDTH**2))`` of their cosine distance ``d`` from
    the selection of everything.
    """
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import Lime

    segments = find_segments(question.inputs, n_segments)

    def run(chunk: int) -> Evidence:
        with watched(question, n_samples) as forward:
            explainer = Lime(_finite(forward), SkLearnRidge(alpha=1.0), _find_nearness, _select_half(question))
            values = _fit(question, explainer, segments, n_samples, chunk)
        return Evidence(values)

    return in_halves(question, run, 16)


def _fit(question: Question, explainer: Any, segments: Tensor, n_samples: int, chunk: int) -> Tensor:
    return explainer.attribute(
        question.inputs.detach(),
        baselines=question.start,
        target=question.target,
        feature_mask=segments,
        n_samples=n_samples,
        perturbations_per_eval=chunk,
    )


def _finite(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """What is fitted has to be numbers."""

    def check(inputs: Tensor) -> Tensor:
        scores = forward(inputs)
        require(bool(scores.isfinite().all()), "The model gives scores that are not finite; check its weights.")
        return scores

    return check


def _select_like_shapley(question: Question) -> Any:
    """What captum's KernelShap draws, from a generator of our own: all, none, then k of M as often as they weigh."""

    def select(_inputs: Tensor, **known: Any) -> Iterator[Tensor]:
        count, generator = known["num_interp_features"], question.generator()
        yield torch.ones(1, count, dtype=torch.long, device=question.inputs.device)
        yield torch.zeros(1, count, dtype=torch.long, device=question.inputs.device)
        sizes = torch.arange(1, count, dtype=torch.float64)
        weights = (count - 1) / (sizes * (count - sizes))
        while True:
            size = 1 + int(torch.multinomial(weights, 1, generator=generator))
            shown = torch.zeros(1, count, dtype=torch.long)
            shown[0, torch.randperm(count, generator=generator)[:size]] = 1
            yield shown.to(question.inputs.device)

    return select


def _select_half(question: Question) -> Any:
    def select(_inputs: Tensor, **known: Any) -> Iterator[Tensor]:
        count, generator = known["num_interp_features"], question.generator()
        yield torch.ones(1, count, dtype=torch.long, device=question.inputs.device)
        while True:
            shown = torch.rand(1, count, generator=generator) < 0.5
            yield shown.long().to(question.inputs.device)

    return select


def _find_nearness(_inputs: Tensor, _perturbed: Tensor, shown: Tensor, **_known: object) -> Tensor:
    """The weight of a selection ``(1, M)`` of zeros and ones."""
    distance = 1 - shown.double().mean().sqrt()  # of the cosine between it and all ones
    return (-(distance**2) / KERNEL_WIDTH**2).exp().sqrt()


def _measure_gap(question: Question, values: Tensor, segments: Tensor) -> float:
    """Every pixel has the number of its segment, which counts once."""
    numbers = values.detach()[0, 0].double().cpu().flatten()
    _, firsts = _find_firsts(segments.flatten().tolist())
    after, before = (float(question.score(picture)) for picture in (question.inputs.detach(), question.start))
    return measure_gap(float(numbers[firsts].sum()), after - before)


def _find_firsts(numbers: Iterable[int]) -> tuple[list[int], list[int]]:
    """Each number once, and where it comes first."""
    found: dict[int, int] = {}
    for place, number in enumerate(numbers):
        found.setdefault(number, place)
    return list(found), list(found.values())


def _count(segments: Tensor) -> int:
    return int(segments.max()) + 1


def _cost_of_fit(options: Options, size: tuple[int, int]) -> Cost:
    return Cost(options["n_samples"])


_HIDDEN = r"x_S \text{ shows the segments } S"
_SUM = Completeness("The segments add up to the difference in score")
METHODS = (
    Method(
        name="feature_ablation",
        title="Feature ablation (segments)",
        explanation="The picture is cut into regions of like colour, and each is hidden alone. "
        "A region shows how far the score drops without it. "
        "Where two regions say the same, hiding one of them changes little, and both seem not to matter.",
        formula=r"f(x) - f(x \text{ without the segment})",
        citation="Zeiler and Fergus, Visualizing and Understanding ConvNets, 2013, arXiv:1311.2901",
        run=feature_ablation,
        group="perturbation",
        parameters=(SEGMENTS,),
        cost=lambda options, size: Cost(1 + options["n_segments"]),
        uses_baseline=True,
    ),
    Method(
        name="shapley_sampling",
        title="Shapley value sampling (segments)",
        explanation="Regions of like colour appear one after the other in random orders, from a neutral picture on. "
        "A region gets what it adds to the score on average, and all together add up to the difference exactly. "
        "It is the fairest division of the score among regions, and one of the slowest.",
        formula=rf"E_S [f(x_{{S \cup i}}) - f(x_S)],\ {_HIDDEN}",
        citation="Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, 2017, arXiv:1705.07874",
        run=shapley_sampling,
        group="perturbation",
        parameters=(SEGMENTS, PERMUTATIONS),
        cost=lambda options, size: Cost(3 + options["n_samples"] * options["n_segments"]),
        uses_baseline=True,
        completeness=_SUM,
    ),
    Method(
        name="kernel_shap",
        title="KernelShap (segments)",
        explanation="Random selections of regions are shown, and a linear model learns the score from them. "
        "Its weights are those for which its coefficients become the Shapley values, with fewer pictures than "
        "sampling takes. "
        "With few samples for many regions the numbers are noise.",
        formula=rf"\arg\min_\phi \sum_S \pi(S) (f(x_S) - \phi_0 - \sum_{{i \in S}} \phi_i)^2,\ {_HIDDEN}",
        citation="Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, 2017, arXiv:1705.07874",
        run=kernel_shap,
        group="perturbation",
        parameters=(SEGMENTS, FITTED),
        cost=lambda options, size: Cost(options["n_samples"] + 2),
        uses_baseline=True,
        completeness=_SUM,
    ),
    Method(
        name="lime",
        title="LIME (segments)",
        explanation="Random selections of regions are shown, and a linear model learns the score from them. "
        "Selections that are like the whole picture count most, so that it is right nearby. "
        "The numbers are pulled towards zero and add up to nothing in particular.",
        formula=r"\arg\min_w \sum_S e^{-d(S)^2 / 2 \sigma^2} (f(x_S) - w_0 - w^T S)^2 + \lVert w \rVert^2",
        citation="Ribeiro et al., Why Should I Trust You?, 2016, arXiv:1602.04938",
        run=lime,
        group="perturbation",
        parameters=(SEGMENTS, FITTED),
        cost=_cost_of_fit,
        uses_baseline=True,
    ),
)
"""In the order of a picker."""
