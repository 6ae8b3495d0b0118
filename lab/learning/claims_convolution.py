"""What the lecture claims of convolutions and their kernels, and how each is checked."""

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.convolution.associativity import compare_orders
from analysis.convolution.convolve import Convolution, convolve
from analysis.convolution.stack import build, read_layers, read_shape
from analysis.sound.detector import FRAMES_SEEN, PLACE, Detector
from analysis.sound.spectrogram import BANDS
from lab.learning.claim import (
    At,
    Claim,
    Finding,
    Guess,
    is_difference,
    is_equal,
    is_no_difference,
    is_share,
)
from lab.learning.sound import MEASURED, find_detector

EDGE = [[10, 10, 10, 0, 0, 0]] * 6
STRIPES = [[(column - row) % 4 for column in range(1, 8)] for row in range(7)]
LEARNING_STEPS = 300


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Whole numbers from -9 to 9, float64; the same for the same seed."""
    return torch.randint(-9, 10, shape, generator=torch.Generator().manual_seed(seed)).double()


def run_stack(shape: str, layers: str) -> tuple[tuple[int, ...], int]:
    """The size that a network really gives, as height, width, channels, and its parameters."""
    channels_first = read_shape(shape)
    with torch.device("meta"), torch.inference_mode():
        network = build(read_layers(layers), channels_first).eval()
        made = tuple(network(torch.zeros(1, *channels_first)).shape[1:])
    return (*made[1:], made[0]), sum(each.numel() for each in network.parameters())


def find_difference(one: Tensor, other: Tensor) -> float:
    """The largest of a cell."""
    return (one - other).abs().max().item()


def _check_products(at: At, adds_bias: bool) -> Finding:
    picture, kernels, biases = draw(3, 9, 9), draw(2, 3, 3, 3, seed=1), draw(2, seed=2)
    made = F.conv2d(picture[None], kernels, biases)[0]  # (2, 7, 7)
    sums = torch.zeros_like(made)
    for number, row, column in product(range(2), range(7), range(7)):
        patch = picture[:, row : row + 3, column : column + 3]
        sums[number, row, column] = (patch * kernels[number]).sum() + adds_bias * biases[number]
    return Finding(
        (
            is_equal("numbers that the layer gives", made.numel(), 2 * 7 * 7),
            is_no_difference("layer against sum of products and bias", find_difference(made, sums)),
        ),
        note="Two filters of 3 x 3 x 3 on a picture of 9 x 9 x 3, all whole numbers.",
    )


def _check_depth(at: At, groups: int) -> Finding:
    layer = nn.Conv2d(6, 6, 3, groups=groups, device="meta")
    picture = torch.zeros(1, 6, 9, 9)
    try:
        F.conv2d(picture, torch.zeros(1, 5, 3, 3))
        outcome = "slides"
    except RuntimeError:
        outcome = "refused"
    return Finding(
        (
            is_equal("depth of a filter on 6 channels", layer.weight.shape[1], 6),
            is_equal("a filter of depth 5 on 6 channels", outcome, "refused"),
        )
    )


def _check_maps(at: At, counts: tuple[int, ...], claimed: tuple[int, ...]) -> Finding:
    made = [run_stack("3,32,32", f"conv({count},5)")[0][-1] for count in counts]
    facts = [
        is_equal(f"maps of {count} filters", found, wanted)
        for count, found, wanted in zip(counts, made, claimed, strict=True)
    ]
    return Finding(tuple(facts))


def _check_sizes(at: At, rounds_up: bool) -> Finding:
    agree = total = 0
    for size, kernel, stride, padding in product(range(5, 20), range(1, 6), range(1, 5), range(3)):
        if kernel > size + 2 * padding:
            continue
        steps = size + 2 * padding - kernel
        claimed = (-(-steps // stride) if rounds_up else steps // stride) + 1
        made = F.conv1d(torch.zeros(1, 1, size, device="meta"), torch.zeros(1, 1, kernel, device="meta"),
                        stride=stride, padding=padding)  # fmt: skip
        agree, total = agree + (made.shape[-1] == claimed), total + 1
    return Finding((is_equal("settings in which formula and layer agree", agree, total),))


def check_stack(
    at: At, shape: str, layers: str, size: tuple[int, ...] | None = None, parameters: int | None = None
) -> Finding:
    """The size and the parameters of a stack, by building it and sending a picture through."""
    made, number = run_stack(shape, layers)
    facts = [is_equal("size that comes out", made, size)] if size else []
    facts += [is_equal("parameters", number, parameters)] if parameters else []
    return Finding(tuple(facts))


def _check_edge(at: At, kernel: list, claimed: list) -> Finding:
    output = convolve(Convolution(torch.tensor(kernel).double()[None, None]), torch.tensor(EDGE).double()).output
    rows = {tuple(int(value) for value in row) for row in output.tolist()}
    return Finding(
        (
            is_equal("size", tuple(output.shape), (4, 4)),
            is_equal("different rows", len(rows), 1),
            is_equal("a row", " ".join(map(str, min(rows))), " ".join(map(str, claimed))),
        )
    )


def _check_stride(at: At, stride: int, claimed: tuple[int, int]) -> Finding:
    kernel = torch.tensor([[2, 0, 1], [0, 1, 2], [1, 0, 2]]).double()
    output = convolve(Convolution(kernel[None, None], stride=stride), torch.tensor(STRIPES).double()).output
    names = ("at the first position", "at the next one in the row")
    return Finding(
        tuple(
            is_equal(name, int(value), wanted)
            for name, value, wanted in zip(names, output[0, :2], claimed, strict=True)
        )
    )


def _check_correlation(at: At, is_symmetric: bool) -> Finding:
    from scipy.signal import convolve2d, correlate2d

    picture, kernel = draw(12, 12), draw(3, 3, seed=1)
    if is_symmetric:
        kernel = kernel + kernel.flip(0, 1)

    def layer(weights: Tensor) -> Tensor:
        return F.conv2d(picture[None, None], weights[None, None])[0, 0]

    true, correlated = (
        torch.from_numpy(f(picture.numpy(), kernel.numpy(), "valid")) for f in (convolve2d, correlate2d)
    )
    return Finding(
        (
            is_no_difference("Conv2d against cross-correlation", find_difference(layer(kernel), correlated)),
            is_difference("Conv2d against true convolution", find_difference(layer(kernel), true)),
            is_no_difference(
                "Conv2d with flipped kernel against true convolution",
                find_difference(layer(kernel.flip(0, 1)), true),
            ),
        ),
        note="True convolution and cross-correlation are those of scipy.signal.",
    )


def _check_associative(at: At, flip: bool) -> Finding:
    found = compare_orders(draw(8, 8), draw(3, 3, seed=1), draw(3, 3, seed=2), flip=flip)
    what = "one by one against joined first"
    return Finding((is_no_difference(what, found.difference),))


def _check_axes(at: At, flips: bool) -> Finding:
    from scipy.signal import correlate

    facts = []
    for axes, function in ((1, F.conv1d), (3, F.conv3d)):
        values, kernel = draw(*[9] * axes), draw(*[3] * axes, seed=1)
        laid_on = kernel.flip(list(range(axes))) if flips else kernel
        made = function(values[None, None], laid_on[None, None])[0, 0]
        expected = torch.from_numpy(correlate(values.numpy(), kernel.numpy(), "valid", "direct"))
        facts.append(is_no_difference(f"{axes}D layer against the sum", find_difference(made, expected)))
    return Finding(tuple(facts))


def _check_sliding(at: At, reverses: bool) -> Finding:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, last = nn.Linear(FRAMES_SEEN * BANDS, 32), nn.Linear(32, 1)
        levels = torch.randn(4, 100, BANDS)
    slid = torch.from_numpy(Detector(nn.Sequential(first, nn.ReLU(), last)).scan(levels.numpy()))
    kernel = first.weight.detach().unflatten(1, (FRAMES_SEEN, BANDS)).transpose(1, 2)  # (32, BANDS, FRAMES_SEEN)
    kernel = kernel.flip(2) if reverses else kernel
    with torch.inference_mode():
        hidden = F.conv1d(levels.transpose(1, 2), kernel, first.bias).relu()
        scores = F.conv1d(hidden, last.weight[..., None], last.bias)[:, 0]
    return Finding((is_no_difference("slid MLP against Conv1d", find_difference(slid, scores), 1e-4),))


def _check_sound(at: At, listens_at_its_place: bool) -> Finding:
    _, accuracy = find_detector(0, at.progress)
    fixed = dict(zip(accuracy.places, accuracy.fixed, strict=True))
    there = fixed.pop(PLACE)
    elsewhere = [there] if listens_at_its_place else [*fixed.values()]
    right, total = round(sum(elsewhere) * MEASURED), len(elsewhere) * MEASURED
    found, asked = round(sum(accuracy.scanned) * MEASURED), len(accuracy.scanned) * MEASURED
    return Finding(
        (
            is_share("fixed network, word at another place", right, total, below=0.6),
            is_share("slid over time, wherever the word is", found, asked, above=0.95),
        ),
        number=100 * found / asked,
        note=f"Half of the recordings have the word. At its own place the fixed network is right in {there:.0%}.",
    )


_C = "convolution"
CONVOLUTION = {
    "one_product": Claim(
        "One dot product for each position", _C,
        "Each position of a filter gives one number: the dot product with what lies under it, plus one bias for "
        "each filter.",
        _check_products, {"adds_bias": True}, {"adds_bias": False}, "the bias left out of the sum",
        see="tab=learn&bench=convolution",
    ),
    "filter_depth": Claim(
        "As deep as the input", _C, "A filter is as deep as its input.", _check_depth, {"groups": 1}, {"groups": 6},
        "filters that see one channel each (depthwise)", see="tab=learn&bench=convolution",
    ),
    "one_map": Claim(
        "One filter, one map", _C,
        "One filter gives one activation map; six filters give a tensor of six channels.", _check_maps,
        {"counts": (1, 6), "claimed": (1, 6)}, {"claimed": (3, 18)}, "one map for each channel of the input",
        see="tab=learn&bench=convolution&conv=example:six",
    ),
    "output_size": Claim(
        "The size of the output", _C,
        "With input H, filter F, stride S and padding P the output has O = floor((H + 2P − F) / S) + 1 positions.",
        _check_sizes, {"rounds_up": False}, {"rounds_up": True}, "rounded up instead of down",
        see="tab=learn&bench=shapes",
    ),
    "six_filters": Claim(
        "Six filters of 5 x 5", _C,
        "A picture of 32 x 32 x 3 and six filters of 5 x 5 x 3, stride 1, no padding: 28 x 28 x 6 comes out.",
        check_stack, {"shape": "3,32,32", "layers": "conv(6,5)", "size": (28, 28, 6)}, {"layers": "conv(6,3)"},
        "filters of 3 x 3", see="tab=learn&bench=convolution&conv=example:six",
    ),
    "ten_filters": Claim(
        "Ten filters of 5 x 5, padded", _C,
        "A picture of 32 x 32 x 3 and ten filters of 5 x 5, stride 1, padding 2: 32 x 32 x 10 comes out, with 10 "
        "· (5 · 5 · 3 + 1) = 760 parameters.",
        check_stack, {"shape": "3,32,32", "layers": "conv(10,5,1,2)", "size": (32, 32, 10), "parameters": 760},
        {"layers": "conv(10,5,1,2,bias=0)"}, "no bias", see="tab=learn&bench=convolution&conv=example:ten",
    ),
    "vertical_edge": Claim(
        "A vertical edge", _C,
        "A 6 x 6 picture whose left half is 10 and whose right half is 0, and a 3 x 3 kernel with 1 0 −1 in each "
        "row: 4 x 4 comes out, each row 0 30 30 0.",
        _check_edge, {"kernel": [[1, 0, -1]] * 3, "claimed": [0, 30, 30, 0]},
        {"kernel": [[1, 1, 1], [0, 0, 0], [-1, -1, -1]]}, "the kernel turned on its side",
        see="tab=learn&bench=convolution&conv=example:edge",
    ),
    "stride_two": Claim(
        "Stride 2 on 7 x 7", _C,
        "The 7 x 7 picture of the notes and the kernel 2 0 1 / 0 1 2 / 1 0 2 give 15 at the first position and, "
        "at stride 2, 17 as the next value in the row.",
        _check_stride, {"stride": 2, "claimed": (15, 17)}, {"stride": 1}, "stride 1",
        see="tab=learn&bench=convolution&conv=example:stride",
    ),
    "cross_correlation": Claim(
        "It is cross-correlation", _C,
        "What deep learning calls convolution is cross-correlation; true convolution flips the kernel.",
        _check_correlation, {"is_symmetric": False}, {"is_symmetric": True},
        "a kernel that flipping does not change", see="tab=learn&bench=convolution",
    ),
    "associative": Claim(
        "True convolution is associative", _C,
        "With true convolution, two kernels one after the other give the same as both joined into one first.",
        _check_associative, {"flip": True}, {"flip": False}, "cross-correlation instead",
        see="tab=learn&bench=convolution",
    ),
    "one_and_three_axes": Claim(
        "One and three axes", _C,
        "There is also 1D and 3D convolution: the same sum over a signal, or over slices.", _check_axes,
        {"flips": False}, {"flips": True}, "a kernel laid on the wrong way round",
        see="tab=learn&bench=convolution&conv=source:signal",
    ),
    "slid_network": Claim(
        "A slid network is a convolution", _C,
        "A CNN can scan a spectrogram: a small network slid over it does what a 1D convolution with its weights "
        "does.",
        _check_sliding, {"reverses": False}, {"reverses": True}, "kernels that run backwards in time",
        see="tab=learn&bench=sound",
    ),
    "sound_scan": Claim(
        "Did the word occur?", _C,
        "A small network that was trained with a word at one place fails elsewhere; slid over the spectrogram, "
        "with the maximum over positions, it answers “did it occur?” wherever it occurred.",
        _check_sound, {"listens_at_its_place": False}, {"listens_at_its_place": True},
        "the word where the fixed network listens",
        Guess("In how many recordings is the slid network right?", "%", 0.05), seconds=4.0,
        see="tab=learn&bench=sound",
    ),
}  # fmt: skip
"""Name -> claim."""
