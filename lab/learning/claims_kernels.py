"""What the lecture claims of kernels, made by hand or learned, and how each is checked."""

import torch
from torch import Tensor
from torch.nn import functional as F

from analysis.convolution.convolve import Convolution, convolve
from analysis.convolution.kernels import KERNELS
from analysis.convolution.stack import read_layers
from lab.learning.claim import At, Claim, Finding, is_equal, is_less, is_more, is_no_difference
from lab.learning.claims_convolution import EDGE, find_difference, run_stack
from lab.learning.convolution import measure_layers, read_grey
from models.data.samples import get_sample

LEARNING_STEPS = 300
SUMS = ("mean", "mean10", "mean16", "sharpen5", "sharpen9", "vertical_edges", "horizontal_edges")
"""Hand-made kernels of the notes that are kernels."""


def _check_means(at: At, extra: int) -> Finding:
    import cv2

    grey = read_grey(at.lab.open_image(get_sample("chelsea").path), 64)
    facts = []
    for name, divisor in (("mean", 9), ("mean10", 10), ("mean16", 16)):
        cells = torch.tensor(KERNELS[name].cells).double() / (divisor + extra)
        facts.append(is_equal(f"weights of {KERNELS[name].title} add up to", cells.sum().item(), 1.0, 1e-12))
    blurred = torch.from_numpy(cv2.blur(grey.numpy(), (3, 3)))[1:-1, 1:-1]
    kernel = torch.tensor(KERNELS["mean"].cells).double() / (9 + extra)
    made = convolve(Convolution(kernel[None, None]), grey).output
    return Finding((*facts, is_no_difference("1/9 against OpenCV’s blur", find_difference(made, blurred))))


def _check_sums(at: At, names: tuple[str, ...]) -> Finding:
    grey = read_grey(at.lab.open_image(get_sample("chelsea").path), 32)
    windows = grey.unfold(0, 3, 1).unfold(1, 3, 1).flatten(2).flatten(0, 1)  # (N, 9)
    facts = []
    for name in names:
        kernel = KERNELS[name]
        made = convolve(Convolution(kernel.weights[None, None], rule=kernel.rule), grey).output.flatten()
        weights = torch.linalg.lstsq(windows, made).solution
        facts.append(is_no_difference(f"{kernel.title}: error of the best nine weights",
                                      find_difference(windows @ weights, made), 1e-6))  # fmt: skip
    return Finding(
        tuple(facts), note="The nine weights are those that come nearest to what the filter gives of a photo."
    )


def _check_sharpen(at: At, names: tuple[str, ...]) -> Finding:
    even, step = torch.full((5, 8), 7.0).double(), torch.tensor([[4.0] * 4 + [8.0] * 4] * 5).double()
    facts = []
    for name in names:
        kernel, title = Convolution(KERNELS[name].weights[None, None]), KERNELS[name].title
        change = find_difference(convolve(kernel, even).output, even[1:-1, 1:-1])
        made = convolve(kernel, step).output
        rise = round((made.max() - made.min()).item(), 9)
        facts.append(is_no_difference(f"{title}: change of an even area", change))
        facts.append(is_more(f"{title}: from dark to bright across an edge of 4", rise, 4.0))
    return Finding(tuple(facts))


def _check_edges(at: At, swaps: bool) -> Finding:
    upright = torch.tensor(EDGE).double()
    edges = {"vertical_edges": upright, "horizontal_edges": upright.T}
    facts = []
    for name, edge in edges.items():
        kernel = Convolution(KERNELS[name].weights[None, None])
        own, other = (edge.T, edge) if swaps else (edge, edge.T)
        largest, none = (convolve(kernel, each).output.abs().max().item() for each in (own, other))
        facts += [is_equal(f"{KERNELS[name].title}: on such an edge", largest, 30.0)]
        facts += [is_equal(f"{KERNELS[name].title}: on an edge the other way", none, 0.0)]
    return Finding(tuple(facts))


def _check_learned(at: At, teacher: str) -> Finding:
    grey = read_grey(at.lab.open_image(get_sample("chelsea").path), 48) / 255
    grey = grey - grey.mean()
    rule = KERNELS[teacher]
    wanted = convolve(Convolution(rule.weights[None, None], rule=rule.rule), grey).output
    weights = torch.zeros(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        optimizer = torch.optim.LBFGS([weights], max_iter=LEARNING_STEPS, line_search_fn="strong_wolfe",
                                      tolerance_grad=1e-12, tolerance_change=1e-14)  # fmt: skip

        def measure() -> Tensor:
            optimizer.zero_grad()
            loss = (F.conv2d(grey[None, None], weights)[0, 0] - wanted).square().mean()
            loss.backward()
            return loss

        optimizer.step(measure)
    learned = weights.detach()[0, 0]
    missed = (F.conv2d(grey[None, None], learned[None, None])[0, 0] - wanted).norm().item() / wanted.norm().item()
    return Finding(
        (
            is_less("largest error of a learned weight", find_difference(learned, rule.weights), 0.01),
            is_less("error of what it gives, of its size", missed, 0.01),
        ),
        note=f"The layer began with zeros and saw a photo, and that photo filtered with “{rule.title}”, as its goal.",
    )  # fmt: skip


def _check_three_see(at: At, layers: str, claimed: int) -> Finding:
    seen, alone = (measure_layers("64,56,56", each)[-1].receptive_field_input for each in (layers, "conv(64,7)"))
    return Finding(
        (
            is_equal("three layers see", seen, claimed, unit="pixels"),
            is_equal("one 7 x 7 sees", alone, 7, unit="pixels"),
        )
    )


def _check_three_cost(at: At, single: int) -> Finding:
    channels = 64
    stacks = ("conv(64,3,1,1,bias=0) relu " * 3, f"conv(64,{single},1,{single // 2},bias=0) relu")
    three, one = (run_stack("64,56,56", layers)[1] for layers in stacks)
    bends = [sum(layer.kind == "relu" for layer in read_layers(layers)) for layers in stacks]
    return Finding(
        (
            is_equal("weights of three 3 x 3, C = 64", three, 27 * channels**2),
            is_equal("weights of one 7 x 7", one, 49 * channels**2),
            is_less("three against one", three, one),
            is_more("non-linearities", bends[0], bends[1]),
        )
    )


_C = "convolution"
KERNEL = {
    "mean_kernels": Claim(
        "Means", _C,
        "The mean (1/9) and the weighted means (1/10 with centre 2; 1/16 with 1 2 1 / 2 4 2 / 1 2 1) blur and "
        "keep the brightness: their weights add up to 1.",
        _check_means, {"extra": 0}, {"extra": 1}, "divided by one more",
        see="tab=learn&bench=convolution&conv=kernel:mean",
    ),
    "kernels_are_sums": Claim(
        "Hand-made kernels", _C,
        "Mean, weighted means, median, sharpening and edges are hand-made kernels: nine weights, nine products, "
        "a sum.",
        _check_sums,
        {"names": (*SUMS, "median")}, {"names": SUMS},
        "without the median", see="tab=learn&bench=convolution&conv=kernel:median",
    ),
    "sharpen": Claim(
        "Sharpening", _C,
        "0 −1 0 / −1 5 −1 / 0 −1 0, and all −1 around a centre of 9, sharpen: even areas stay, edges become "
        "steeper.",
        _check_sharpen, {"names": ("sharpen5", "sharpen9")}, {"names": ("mean",)}, "the mean instead",
        see="tab=learn&bench=convolution&conv=kernel:sharpen5",
    ),
    "edge_kernels": Claim(
        "Edges one way", _C,
        "A kernel for vertical edges answers to vertical ones alone, one for horizontal edges to horizontal ones.",
        _check_edges, {"swaps": False}, {"swaps": True}, "edges the other way",
        see="tab=learn&bench=convolution&conv=kernel:vertical_edges",
    ),
    "learned_kernel": Claim(
        "Kernels can be learned", _C,
        "A CNN learns its kernels instead: from examples alone it comes to the kernel that made them.",
        _check_learned, {"teacher": "vertical_edges"}, {"teacher": "median"},
        "examples made by a median, which is no kernel", seconds=0.5, see="tab=learn&bench=convolution",
    ),
    "three_see_seven": Claim(
        "Three times 3 x 3 see 7 x 7", _C,
        "Three stacked 3 x 3 layers have the receptive field of one 7 x 7 layer.", _check_three_see,
        {"layers": "conv(64,3) conv(64,3) conv(64,3)", "claimed": 7}, {"layers": "conv(64,3) conv(64,3)"},
        "two layers", see="tab=learn&bench=shapes",
    ),
    "three_cost_less": Claim(
        "And cost less", _C,
        "Three 3 x 3 layers have 27 C² weights against 49 C² of one 7 x 7 layer, and more non-linearities.",
        _check_three_cost, {"single": 7}, {"single": 5}, "one 5 x 5 layer instead", see="tab=learn&bench=shapes",
    ),
}  # fmt: skip
"""Name -> claim."""
