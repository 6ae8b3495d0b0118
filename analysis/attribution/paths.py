"""Methods that average gradients between a baseline, the picture without evidence, and the picture."""

import torch

from analysis.attribution.method import N_SAMPLES, NOISE_LEVEL, Completeness, Cost, Method, Parameter
from analysis.attribution.question import (
    Evidence,
    Question,
    draw_noise,
    each,
    find_range,
    in_halves,
    measure_gap,
    split,
    watched,
)

TOLERANCE = 0.02
"""Integrated gradients stop at a smaller gap than this share of the difference of the scores."""
MAX_STEPS = 512
"""Forward and backward passes that integrated gradients may take, in pictures."""


def integrated_gradients(question: Question, *, n_steps: int = 32, max_steps: int = MAX_STEPS) -> Evidence:
    """Averages gradients on the way from the baseline to the input, at more and more points until they add up.

    On the way, ``baseline + u**2 * (input - baseline)`` for u from 0 to 1, points are evenly spaced in u: close to
    each other near the baseline, where most units of a network switch. From ``n_steps`` points on they are doubled
    while the gap (:func:`measure_gap`) is not below ``TOLERANCE``, but not beyond ``max_steps``. The trapezoidal rule
    keeps the earlier ones, so that no gradient is computed twice.
    """
    from captum.attr import Saliency

    inputs, start = question.inputs.detach(), question.start
    path = inputs - start
    after, before = (float(question.score(picture)) for picture in (inputs, start))

    def run(chunk: int) -> Evidence:
        total, steps, numbers = torch.zeros_like(inputs), n_steps, range(1, n_steps + 1)
        with watched(question, max(n_steps, max_steps)) as forward:
            explainer = Saliency(forward)
            while True:
                u = torch.tensor(numbers, dtype=torch.float64) / steps
                # Of 2 u du, which is the step along the way: nothing at the baseline, and half of it at the input.
                shares = torch.where(u < 1, 2 * u, 1)
                for part, weights in zip(u.split(chunk), shares.split(chunk), strict=True):
                    points = start + each(part**2, inputs) * path
                    gradients = explainer.attribute(points.requires_grad_(), question.target, abs=False)
                    total += (each(weights, inputs) * gradients).sum(0, keepdim=True)
                values = path * total / steps
                gap = measure_gap(float(values.cpu().double().sum()), after - before)
                if not gap >= TOLERANCE or 2 * steps > max_steps:  # also a gap that is not a number
                    return Evidence(values, completeness_gap=gap)
                steps, numbers = 2 * steps, range(1, 2 * steps, 2)

    return in_halves(question, run, 8)


def gradient_shap(question: Question, *, n_samples: int = 32, noise_level: float = 0.15) -> Evidence:
    """Averages ``(x - b) * gradient`` over noisy baselines ``b``, each at a random point on the way from it to ``x``.

    Captum's GradientShap without noise on the picture itself; it has no chunks and draws from global generators.
    The gap is that to the mean difference between the scores of the picture and of those baselines.
    """
    from captum.attr import Saliency

    inputs, start = question.inputs.detach(), question.start
    sigma = noise_level * find_range(inputs)

    def run(chunk: int) -> Evidence:
        generator = question.generator()
        total, differences = torch.zeros_like(inputs), 0.0
        with watched(question, n_samples) as forward:
            explainer, after = Saliency(forward), float(question.score(inputs))
            shares = torch.rand(n_samples, generator=generator)
            for part in split(range(n_samples), chunk):
                baselines = start + sigma * draw_noise(question, len(part), generator)
                path = inputs - baselines
                points = baselines + each(shares[part[0] : part[-1] + 1], inputs) * path
                gradients = explainer.attribute(points.requires_grad_(), question.target, abs=False)
                total += (path * gradients).sum(0, keepdim=True)
                differences += float((after - question.score(baselines)).double().sum())
        values = total / n_samples
        gap = measure_gap(float(values.cpu().double().sum()), differences / n_samples)
        return Evidence(values, completeness_gap=gap)

    return in_halves(question, run, 8)


METHODS = (
    Method(
        name="integrated_gradients",
        title="Integrated gradients",
        explanation="The picture is faded in from a neutral one, and the gradients on the way are averaged. "
        "All pixels together add up to the difference in score of the two pictures, but for a gap named beside it. "
        "The map depends on the neutral picture: where it equals yours, nothing is attributed.",
        formula=r"(x - x') \int_0^1 \partial f(x' + \alpha (x - x')) / \partial x \, d\alpha",
        citation="Sundararajan et al., Axiomatic Attribution for Deep Networks, 2017, arXiv:1703.01365",
        run=integrated_gradients,
        group="path",
        parameters=(
            Parameter("n_steps", "The first number of steps", "It is doubled until the map adds up.", 1, 4096, 32),
            Parameter(
                "max_steps", "The largest number of steps", "Where it stops, added up or not.", 1, 4096, MAX_STEPS
            ),
        ),
        cost=lambda options, size: Cost(options["n_steps"] + 2, options["n_steps"]),
        uses_baseline=True,
        completeness=Completeness(when_open=f", where it stops after {MAX_STEPS} steps"),
    ),
    Method(
        name="gradient_shap",
        title="GradientShap",
        explanation="The picture is faded in from many noisy neutral ones, each at one random moment. "
        "The mean adds up to the mean difference in score, the better the more samples there are. "
        "It depends less than integrated gradients on a single neutral picture, and is noisier.",
        formula=r"E_{b, \alpha} [(x - b) \, \partial f(b + \alpha (x - b)) / \partial x]",
        citation="Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, 2017, arXiv:1705.07874",
        run=gradient_shap,
        group="path",
        parameters=(N_SAMPLES, NOISE_LEVEL),
        cost=lambda options, size: Cost(2 * options["n_samples"] + 1, options["n_samples"]),
        uses_baseline=True,
        completeness=Completeness(
            "The map adds up to the mean difference in score", ", which more samples would make smaller"
        ),
    ),
)
