"""Methods with a rule for every operation on the way back: DeepLift and layer-wise relevance propagation."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.attribution.method import NOISE_LEVEL, Completeness, Cost, Method, Parameter
from analysis.attribution.question import (
    Evidence,
    Question,
    contrasted,
    draw_noise,
    find_range,
    in_halves,
    measure_gap,
    split,
)
from analysis.attribution.rules_table import ACTIVATIONS, WEIGHTED, Scaled


def deep_lift(question: Question) -> Evidence:
    """Changes of the score from that of the baseline, divided by the rescale rule."""
    inputs, start = question.inputs, question.start
    question.progress(0, 2)
    values = _lift(question, inputs, start)
    question.progress(2, 2)
    after, before = (float(question.score(picture)) for picture in (inputs.detach(), start))
    return Evidence(values, completeness_gap=measure_gap(float(values.cpu().double().sum()), after - before))


def deep_lift_shap(question: Question, *, n_baselines: int = 8, noise_level: float = 0.15) -> Evidence:
    """The mean of DeepLift over noisy baselines.

    Captum's DeepLiftShap, in chunks. The gap is that to the mean difference between the scores of the picture and of
    those baselines.
    """
    inputs, start = question.inputs.detach(), question.start
    sigma = noise_level * find_range(inputs)

    def run(chunk: int) -> Evidence:
        generator = question.generator()
        total, differences, after = torch.zeros_like(inputs), 0.0, float(question.score(inputs))
        for part in split(range(n_baselines), chunk):
            question.progress(part[0], n_baselines)
            baselines = start + sigma * draw_noise(question, len(part), generator)
            pictures = inputs.expand(len(part), -1, -1, -1).clone().requires_grad_()
            total += _lift(question, pictures, baselines).sum(0, keepdim=True)
            differences += float((after - question.score(baselines)).double().sum())
        question.progress(n_baselines, n_baselines)
        values = total / n_baselines
        gap = measure_gap(float(values.cpu().double().sum()), differences / n_baselines)
        return Evidence(values, completeness_gap=gap)

    return in_halves(question, run, 4)


def _lift(question: Question, inputs: Tensor, baselines: Tensor) -> Tensor:
    module = question.copied
    assert module is not None  # as the table says that the method needs it
    with warnings.catch_warnings(), contrasted(module, question.versus):
        # On every call captum announces its hooks; the copy that they are on is thrown away.
        warnings.filterwarnings("ignore", "Setting forward, backward hooks")
        return _make_deep_lift(module).attribute(inputs, baselines, question.target).detach()


def _make_deep_lift(module: nn.Module) -> Any:
    """Captum's DeepLift with its rule for all activations, and with poolings whose windows overlap."""
    from captum.attr import DeepLift
    from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR, nonlinear

    rules = {**dict.fromkeys(ACTIVATIONS, nonlinear), **SUPPORTED_NON_LINEAR, nn.MaxPool2d: _lift_pooling}

    class AllDeepLift(DeepLift):
        """With more rules."""

        def _is_non_linear(self, module: nn.Module) -> bool:
            return type(module) in rules

        def _backward_hook(self, module: Any, grad_input: Tensor, grad_output: Tensor) -> Tensor:
            rule = rules[type(module)]
            return rule(module, module.input, module.output, grad_input, grad_output, eps=self.eps)

    return AllDeepLift(module)


def _lift_pooling(
    module: Any, inputs: Tensor, outputs: Tensor, grad_input: Tensor, grad_output: Tensor, eps: float
) -> Tensor:
    """The rule of captum, and of the authors' code, for maxima: what is above the lower maximum goes to either place.

    Captum's own lets overlapping windows overwrite each other: what a pixel gets from one of them is lost.
    """
    picture, reference = outputs.chunk(2)
    higher = torch.maximum(picture, reference)
    shares = grad_output * torch.cat([higher - reference, picture - higher])
    _, places = F.max_pool2d(
        inputs, module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode, True
    )
    spread = torch.zeros_like(inputs).flatten(2)
    spread.scatter_add_(2, places.flatten(2), shares.flatten(2))
    spread_out = sum(spread.view_as(inputs).chunk(2))
    change = inputs.chunk(2)[0] - inputs.chunk(2)[1]
    multipliers = torch.where(change.abs() < eps, grad_input.chunk(2)[0], spread_out / change)
    return torch.cat([multipliers, multipliers])


def lrp(question: Question, *, epsilon: float = 1e-3) -> Evidence:
    """Divides the score backwards, layer by layer, in the proportions in which the inputs of a unit made it.

    The epsilon rule for what has weights, for poolings and for sums; activations hand on what they get. In a contrast
    the relevance of the one class less that of the other. The sum is the score but for what biases and ``epsilon``
    take, which is the gap.
    """
    classes = [question.target] if question.versus is None else [question.target, question.versus]
    maps = []
    for number, target in enumerate(classes):
        question.progress(number, len(classes))
        maps.append(_propagate(question, target, epsilon))
    question.progress(len(classes), len(classes))
    values = maps[0] if len(maps) == 1 else maps[0] - maps[1]
    gap = measure_gap(float(values.cpu().double().sum()), float(question.score(question.inputs.detach())))
    return Evidence(values, completeness_gap=gap)


def _propagate(question: Question, target: int, epsilon: float) -> Tensor:
    from captum.attr import LRP
    from captum.attr._core.lrp import SUPPORTED_NON_LINEAR_LAYERS
    from captum.attr._utils.custom_modules import Addition_Module
    from captum.attr._utils.lrp_rules import EpsilonRule, IdentityRule

    module = question.copied
    assert module is not None  # as the table says that the method needs it
    passing = (*(kind for kind in ACTIVATIONS if kind not in SUPPORTED_NON_LINEAR_LAYERS), Scaled)
    for part in module.modules():
        if isinstance(part, (*WEIGHTED, nn.MaxPool2d, Addition_Module)):
            vars(part)["rule"] = EpsilonRule(epsilon)
        # Captum takes a container that the rewriting has left empty for a layer, too.
        elif isinstance(part, passing) or type(part) is nn.Module:
            vars(part)["rule"] = IdentityRule()

    class Watchful(LRP):
        """Captum's, which copies all weights onto themselves at the end, also those that others compute with."""

        def _restore_state(self) -> None:
            pass  # these rules leave weights alone

    return Watchful(module).attribute(question.inputs, target).detach()


METHODS = (
    Method(
        name="deep_lift",
        title="DeepLift",
        explanation="The picture is compared with a neutral one; each unit's change is divided among its inputs. "
        "All pixels together add up to the difference in score, in a single pass. "
        "It depends on the neutral picture, and its rules are a choice of its authors.",
        formula=r"m_{x \to y} = \Delta y / \Delta x \text{ at each activation}",
        citation="Shrikumar et al., Learning Important Features, 2017, arXiv:1704.02685",
        run=deep_lift,
        group="rule",
        cost=lambda options, size: Cost(4, 2),
        needs_rules="deep_lift",
        uses_baseline=True,
        completeness=Completeness(),
    ),
    Method(
        name="deep_lift_shap",
        title="DeepLiftShap",
        explanation="DeepLift from many noisy neutral pictures, averaged. "
        "All pixels together add up to the mean difference in score. "
        "It depends less on a single neutral picture.",
        formula=r"E_b [\text{DeepLift from } b]",
        citation="Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, 2017, arXiv:1705.07874",
        run=deep_lift_shap,
        group="rule",
        parameters=(
            Parameter(
                "n_baselines", "The number of neutral pictures", "More give a calmer map and take longer.", 1, 1024, 8
            ),
            NOISE_LEVEL,
        ),
        cost=lambda options, size: Cost(3 * options["n_baselines"] + 1, 2 * options["n_baselines"]),
        needs_rules="deep_lift",
        uses_baseline=True,
        completeness=Completeness("The map adds up to the mean difference in score"),
    ),
    Method(
        name="lrp",
        title="Layer-wise relevance propagation",
        explanation="The score is handed back layer by layer, to a unit's inputs in proportion to what they added. "
        "It compares with no other picture. "
        "Biases keep a part of the score, and units near zero hand back large parts of either sign.",
        formula=r"R_i = \sum_j \frac{x_i w_{ij}}{z_j + \epsilon \, \mathrm{sign}(z_j)} R_j",
        citation="Bach et al., On Pixel-Wise Explanations by LRP, 2015, doi:10.1371/journal.pone.0130140, "
        "of networks with its rules in Montavon et al. 2017, arXiv:1706.07979",
        run=lrp,
        group="rule",
        parameters=(
            Parameter(
                "epsilon",
                "Epsilon",
                "Added to what is divided by: more takes noise and weak evidence away.",
                1e-9,
                10,
                1e-3,
                is_whole=False,
            ),
        ),
        cost=lambda options, size: Cost(3, 1),
        needs_rules="lrp",
        completeness=Completeness("The map adds up to the score", ", which biases and epsilon have taken"),
    ),
)
"""In the order of a picker."""
