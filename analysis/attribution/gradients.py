"""Methods that need nothing but gradients of the score at the picture, or at noisy copies of it."""

from collections.abc import Callable

import torch
from torch import Tensor

from analysis.attribution.method import N_SAMPLES, NOISE_LEVEL, Cost, Method, Options
from analysis.attribution.question import Evidence, Question, draw_noise, find_range, in_halves, split, watched


def saliency(question: Question) -> Evidence:
    """The gradient of the logit, with its sign."""
    from captum.attr import Saliency

    with watched(question, 1) as forward:
        return Evidence(Saliency(forward).attribute(question.inputs, question.target, abs=False))


def input_x_gradient(question: Question) -> Evidence:
    """The normalised input times that gradient."""
    from captum.attr import InputXGradient

    with watched(question, 1) as forward:
        return Evidence(InputXGradient(forward).attribute(question.inputs, question.target))


def smoothgrad(question: Question, *, noise_level: float = 0.15, n_samples: int = 32) -> Evidence:
    """The mean of the gradients of ``n_samples`` copies with Gaussian noise.

    The standard deviation of the noise is ``noise_level`` times the range of the input's values. Captum's
    NoiseTunnel would draw from the global generator; a generator of our own leaves that one alone.
    """
    return _combine(question, noise_level, n_samples, lambda mean, mean_square: mean)


def smoothgrad_squared(question: Question, *, noise_level: float = 0.15, n_samples: int = 32) -> Evidence:
    """The mean of their squares."""
    return _combine(question, noise_level, n_samples, lambda mean, mean_square: mean_square)


def vargrad(question: Question, *, noise_level: float = 0.15, n_samples: int = 32) -> Evidence:
    """Their variance, not corrected for the number of samples, as captum's."""
    return _combine(question, noise_level, n_samples, lambda mean, mean_square: (mean_square - mean**2).clamp(min=0))


def _combine(
    question: Question, noise_level: float, n_samples: int, combine: Callable[[Tensor, Tensor], Tensor]
) -> Evidence:
    from captum.attr import Saliency

    inputs = question.inputs.detach()
    sigma = noise_level * find_range(inputs)

    def run(chunk: int) -> Evidence:
        generator = question.generator()
        total, squares = (torch.zeros(inputs.shape, dtype=torch.float64) for _ in range(2))
        with watched(question, n_samples) as forward:
            explainer = Saliency(forward)
            for copies in split(range(n_samples), chunk):
                noisy = inputs + sigma * draw_noise(question, len(copies), generator)
                gradients = explainer.attribute(noisy.requires_grad_(), question.target, abs=False).cpu().double()
                total += gradients.sum(0, keepdim=True)
                squares += gradients.square().sum(0, keepdim=True)
        return Evidence(combine(total / n_samples, squares / n_samples))

    return in_halves(question, run, 8)


def _cost_of_samples(options: Options, size: tuple[int, int]) -> Cost:
    return Cost(options["n_samples"], options["n_samples"])


_NOISE = r"e_i \sim N(0, \sigma^2)"
METHODS = (
    Method(
        name="saliency",
        title="Saliency (plain gradient)",
        explanation="Each pixel shows how fast the class score changes when that pixel gets brighter. "
        "It tells what the model is sensitive to, not what the score is made of. "
        "It takes one backward pass and is usually noisy.",
        formula=r"\partial f(x) / \partial x",
        citation="Simonyan et al., Deep Inside Convolutional Networks, 2013, arXiv:1312.6034",
        run=saliency,
        group="gradient",
    ),
    Method(
        name="input_x_gradient",
        title="Input × gradient",
        explanation="Each pixel shows its own value times the gradient there. "
        "For a linear model this is exactly the pixel's share of the score without its bias; for a network, a guess. "
        "Pixels that the normalisation puts at zero always get zero.",
        formula=r"x \cdot \partial f(x) / \partial x",
        citation="Shrikumar et al., Not Just a Black Box, 2016, arXiv:1605.01713",
        run=input_x_gradient,
        group="gradient",
    ),
    Method(
        name="smoothgrad",
        title="SmoothGrad",
        explanation="Noise is added to many copies of the picture and their gradients are averaged. "
        "What belongs to one accidental pattern of pixels cancels out; what stays is stable nearby. "
        "More copies give a calmer map and take longer.",
        formula=rf"\frac{{1}}{{n}} \sum_i \partial f(x + e_i) / \partial x,\ {_NOISE}",
        citation="Smilkov et al., SmoothGrad: Removing Noise by Adding Noise, 2017, arXiv:1706.03825",
        run=smoothgrad,
        group="gradient",
        parameters=(N_SAMPLES, NOISE_LEVEL),
        cost=_cost_of_samples,
    ),
    Method(
        name="smoothgrad_squared",
        title="SmoothGrad, squared",
        explanation="Like SmoothGrad, but the gradients are squared before they are averaged. "
        "Nothing cancels out, so pixels that matter in either direction stand out strongly. "
        "The map has no sign: it says where, not for or against.",
        formula=rf"\frac{{1}}{{n}} \sum_i (\partial f(x + e_i) / \partial x)^2,\ {_NOISE}",
        citation="Hooker et al., A Benchmark for Interpretability Methods, 2018, arXiv:1806.10758",
        run=smoothgrad_squared,
        group="gradient",
        parameters=(N_SAMPLES, NOISE_LEVEL),
        cost=_cost_of_samples,
    ),
    Method(
        name="vargrad",
        title="VarGrad",
        explanation="Noise is added to many copies of the picture; the map shows how much their gradients differ. "
        "A pixel whose gradient is the same in all copies gets zero, however large that gradient is. "
        "The map has no sign: it says where the score bends, not for or against.",
        formula=rf"\mathrm{{Var}}_i [\partial f(x + e_i) / \partial x],\ {_NOISE}",
        citation="Adebayo et al., Local Explanation Methods, 2018, arXiv:1810.03307",
        run=vargrad,
        group="gradient",
        parameters=(N_SAMPLES, NOISE_LEVEL),
        cost=_cost_of_samples,
    ),
)
"""In the order of a picker."""
