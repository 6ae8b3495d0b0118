"""Methods that hide parts of the picture and look at the score alone: a square that moves, and random masks."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from analysis.attribution.method import Cost, Method, Options, Parameter
from analysis.attribution.question import Evidence, Question, in_halves, require, split, watched


def occlusion(question: Question, *, window: int | None = None, stride: int | None = None) -> Evidence:
    """Measures how much the logit drops when a square of the baseline covers part of the input.

    The square has a side of ``window`` pixels (a seventh of the shorter side if not given) and moves by
    ``stride`` pixels (half a window). Where squares overlap, their drops are averaged.
    """
    from captum.attr import Occlusion

    channels, *size = question.inputs.shape[1:]
    options = {"window": window, "stride": stride}
    window, stride = _find_square(options, (size[0], size[1]))
    require(1 <= window <= min(size), f"The window must have 1 to {min(size)} pixels, not {window}.")
    require(1 <= stride <= window, f"The stride must be 1 to {window} pixels, as wide as the window at most.")
    total = _cost_of_occlusion(options, (size[0], size[1])).forwards

    def run(chunk: int) -> Evidence:
        with watched(question, total) as forward:
            values = Occlusion(forward).attribute(
                question.inputs,
                sliding_window_shapes=(channels, window, window),
                strides=(channels, stride, stride),
                baselines=question.start,
                target=question.target,
                perturbations_per_eval=chunk,
            )
        return Evidence(values)

    return in_halves(question, run, 16)


def _find_square(options: Options, size: tuple[int, int]) -> tuple[int, int]:
    """Window and stride."""
    window, stride = options.get("window"), options.get("stride")
    window = max(1, round(min(size) / 7)) if window is None else window
    return window, max(1, window // 2) if stride is None else stride


def _cost_of_occlusion(options: Options, size: tuple[int, int]) -> Cost:
    window, stride = _find_square(options, size)
    return Cost(1 + math.prod(1 + math.ceil((side - window) / stride) for side in size))


def rise(question: Question, *, n_masks: int = 512, cells: int = 7, shown: float = 0.5) -> Evidence:
    """Averages random masks, weighted by the score of what they show.

    ``1 / (N p) * sum_i (f_i - mean f) * M_i`` (Petsiuk et al. 2018, equation 6). The authors weigh by probabilities,
    this by logits, as everything here; these may all be far from zero, which would add as much of the mean mask, a
    noise. Their mean is therefore taken off; in expectation that changes all pixels alike.

    A mask is a grid of ``cells`` by ``cells`` that are shown with a probability of ``shown``, enlarged bilinearly and
    moved by less than a cell. What it hides is the baseline.
    """
    inputs, start = question.inputs.detach(), question.start
    height, width = inputs.shape[-2:]

    def run(chunk: int) -> Evidence:
        generator = question.generator()
        weighed, masked = (torch.zeros(1, 1, height, width, dtype=torch.float64) for _ in range(2))
        scores = []
        with watched(question, n_masks) as forward:
            for part in split(range(n_masks), chunk):
                masks = draw_masks(len(part), (height, width), cells, shown, generator)
                with torch.no_grad():
                    logits = forward(start + masks.to(inputs) * (inputs - start))
                found = logits[:, question.target].cpu().double()
                weighed += (found[:, None, None, None] * masks).sum(0, keepdim=True)
                masked += masks.sum(0, keepdim=True)
                scores.append(found)
        mean = torch.cat(scores).mean()
        return Evidence((weighed - mean * masked) / (n_masks * shown))

    return in_halves(question, run, 16)


def draw_masks(count: int, size: tuple[int, int], cells: int, shown: float, generator: torch.Generator) -> Tensor:
    """Masks ``(count, 1, H, W)`` in [0, 1] of RISE, the same however many are drawn at a time."""
    height, width = size
    steps = tuple(-(-side // cells) for side in size)
    masks = []
    for _ in range(count):
        grid = (torch.rand(1, 1, cells + 1, cells + 1, generator=generator) < shown).double()
        large = F.interpolate(grid, tuple((cells + 1) * step for step in steps), mode="bilinear", align_corners=False)
        top, left = (int(torch.randint(step, (1,), generator=generator)) for step in steps)
        masks.append(large[..., top : top + height, left : left + width])
    return torch.cat(masks)


METHODS = (
    Method(
        name="occlusion",
        title="Occlusion",
        explanation="A neutral square moves over the picture, and the map shows how far the score drops. "
        "It uses no gradients, only what the model answers. "
        "A smaller square shows finer detail and takes longer.",
        formula=r"f(x) - f(x \text{ with the window covered})",
        citation="Zeiler and Fergus, Visualizing and Understanding ConvNets, 2013, arXiv:1311.2901",
        run=occlusion,
        group="perturbation",
        parameters=(
            Parameter(
                "window",
                "The window",
                "Side of the square in pixels; else a seventh of the side.",
                1,
                4096,
                None,
            ),
            Parameter(
                "stride", "The stride", "Pixels that it moves by, at most a window; else half of one.", 1, 4096, None
            ),
        ),
        cost=_cost_of_occlusion,
        uses_baseline=True,
    ),
    Method(
        name="rise",
        title="RISE (random masks)",
        explanation="The picture is shown through many random masks, and a pixel gets the mean score of those that "
        "show it, compared with all. "
        "It uses no gradients, only what the model answers. "
        "Few masks leave a noise that more of them take away.",
        formula=r"\frac{1}{N p} \sum_i (f(x \odot M_i) - \bar f) \, M_i",
        citation="Petsiuk et al., RISE: Randomized Input Sampling for Explanation, 2018, arXiv:1806.07421",
        run=rise,
        group="perturbation",
        parameters=(
            Parameter("n_masks", "The number of masks", "More take away noise and take longer.", 2, 16384, 512),
            Parameter("cells", "The number of cells", "Of a mask, along a side; more show finer detail.", 2, 64, 7),
            Parameter("shown", "The share shown", "How likely a cell is shown.", 0.05, 0.95, 0.5, is_whole=False),
        ),
        cost=lambda options, size: Cost(options["n_masks"]),
        uses_baseline=True,
    ),
)
"""In the order of a picker."""
