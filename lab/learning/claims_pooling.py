"""What the lecture claims of pooling, heads and receptive fields, and how each is checked."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from analysis.convolution.pooling import POOLINGS, pool_sum
from analysis.convolution.stack import build, read_layers
from lab.learning.claim import (
    At,
    Claim,
    Fact,
    Finding,
    Guess,
    is_difference,
    is_equal,
    is_less,
    is_more,
    is_no_difference,
)
from lab.learning.claims_convolution import check_stack, draw, find_difference, run_stack
from lab.learning.convolution import measure_layers
from lab.learning.receptive_field import measure_field
from models.data.samples import get_sample
from models.registry import DEFAULT_MODEL

FAMILIES = (
    "alexnet", "densenet121", "googlenet", "inception_v3", "resnet18", "resnext50_32x4d", "shufflenet_v2_x0_5",
    "squeezenet1_0", "vgg11", "wide_resnet50_2",
)  # fmt: skip
"""One of each family of torchvision that has layers of max pooling, but for two whose layers are functions."""


def _check_linear(at: At, kind: str, is_linear: bool) -> Finding:
    difference = pool_sum(kind, draw(1, 16, 16), draw(1, 16, 16, seed=1)).difference
    what = f"{POOLINGS[kind].title}: pooled sum against sum of pooled"
    return Finding(((is_no_difference if is_linear else is_difference)(what, difference),))


def _check_padding(at: At, families: Sequence[str], most: float) -> Finding:
    padded: list[str] = []
    for number, name in enumerate(families):
        at.progress(number, len(families))
        pools = [part for part in build_empty(name).modules() if isinstance(part, nn.MaxPool2d)]
        padded += [name] * any(pool.padding not in (0, (0, 0)) for pool in pools)
    return Finding(
        (is_less(f"of {len(families)} networks, those that pad", len(padded), math.ceil(most * len(families))),),
        number=float(len(padded)),
        note="One network of each family in torchvision; “rarely” is taken for less than a third. "
        f"Padded: {', '.join(padded) or 'none'}.",
    )


def build_empty(name: str) -> nn.Module:
    """A network of torchvision without numbers in it: only its layers and their sizes."""
    from torchvision.models import get_model

    more = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        return get_model(name, weights=None, **more)


def _check_outputs(at: At, head: str, shape: tuple[int, int, int]) -> Finding:
    channels, height, width = shape
    text = ",".join(map(str, shape))
    made, flat = (run_vector(text, layers) for layers in (head, "flatten"))
    return Finding(
        (
            is_equal("outputs of global average pooling", made, channels),
            is_equal("outputs of flatten", flat, channels * height * width),
            is_less("one against the other", made, flat),
        ),
        number=flat / made,
        note=f"Of a map of {height} x {width} x {channels}, as VGG has before its head.",
    )


def run_vector(shape: str, layers: str) -> int:
    """How many numbers a stack gives that ends with a vector."""
    return run_stack(shape, layers)[0][-1]


def _check_head(at: At, head: str) -> Finding:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular"), nn.ReLU()]
        body = nn.Sequential(*layers, nn.Conv2d(8, 16, 3, padding=1, padding_mode="circular"), nn.ReLU()).double()
    heads = {"gap": lambda maps: maps.mean((2, 3)), "flatten": lambda maps: maps.flatten(1)}
    picture = draw(1, 3, 16, 16)
    with torch.inference_mode():
        before, after = (body(each) for each in (picture, picture.roll((3, 5), (2, 3))))
    changes = {name: find_difference(give(before), give(after)) for name, give in heads.items()}
    return Finding(
        (
            is_no_difference("pooled globally: change by a shift", changes[head]),
            is_difference("flattened: change by a shift", changes["flatten"]),
        ),
        note="Two layers without strides, their borders wrapped around, and a picture moved by 3 and 5 pixels.",
    )


def _find_seen(layers: str, side: int) -> int:
    """Along how many pixels the middle cell of a network has a gradient, its kernels being ones."""
    shape = (1, side, side)
    with torch.random.fork_rng(devices=[]):
        network = build(read_layers(layers), shape).double()
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    picture = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        made = network(picture)
        (gradient,) = torch.autograd.grad(made[0, 0, made.shape[2] // 2, made.shape[3] // 2], picture)
    return int((gradient[0, 0].abs().sum(0) > 0).sum())


def _check_growth(at: At, stride: int, layers: int, grows: str) -> Finding:
    sides = [_find_seen(f"conv(1,3,{stride}) " * number, 2 ** (number + 2)) for number in range(1, layers + 1)]
    steps = [after - before for before, after in pairwise(sides)]
    wanted = {"linear": [2] * len(steps), "doubling": [2**number for number in range(2, layers + 1)]}[grows]
    return Finding(
        (
            _list("sides after 1, 2, 3, ... layers", sides, [3 + sum(wanted[:n]) for n in range(layers)]),
            _list("grows by", steps, wanted),
        ),
        number=float(sides[-1]),
        note="Layers of 3 x 3. Counted are pixels that the middle cell has a gradient for.",
    )


def _list(what: str, found: Sequence[int], claimed: Sequence[int]) -> Fact:
    return is_equal(what, ", ".join(map(str, found)), ", ".join(map(str, claimed)))


def _check_effective(at: At, layer: str, outside: bool) -> Finding:
    image = at.lab.open_image(get_sample("chelsea").path)
    field = measure_field(at.lab, image, DEFAULT_MODEL, layer, progress=at.progress)
    seen, side = field.layer.receptive_field, field.effective
    assert seen is not None
    strong = field.influence > 0.0455 * field.influence.max()
    share = field.influence.square()[~strong if outside else strong].sum() / field.influence.square().sum()
    return Finding(
        (
            is_less("side of what really moves the unit", side, float(seen), "pixels"),
            is_more("of its squared gradient, share in there", 100 * share.item(), 50.0, "%"),
            is_less("and share of the pixels that it can see", 100 * strong.sum().item() / seen**2, 50.0, "%"),
        ),
        number=side,
        note=f"The middle unit of {layer} in {DEFAULT_MODEL}, on the cat.",
    )


def _check_previous(at: At, layers: str) -> Finding:
    row = measure_layers("1,64,64", layers)[-1]
    found = _find_seen(layers, 64)
    return Finding(
        (
            is_equal("in the layer before", row.receptive_field_previous, 3, unit="cells"),
            is_equal("in the picture, by counting gradients", found, row.receptive_field_input, unit="pixels"),
            is_more("the one in the picture is larger", row.receptive_field_input, row.receptive_field_previous),
        ),
        number=float(found),
    )


_P = "pooling"
POOLING = {
    "max_pool_shape": Claim(
        "Max pooling keeps channels", _P, "Max pooling keeps the channels and shrinks height and width.",
        check_stack, {"shape": "64,32,32", "layers": "pool(2)", "size": (16, 16, 64)}, {"layers": "conv(32,2,2)"},
        "a convolution of 32 filters instead", see="tab=learn&bench=pooling",
    ),
    "max_not_linear": Claim(
        "Max pooling is not linear", _P, "Max pooling is itself non-linear.", _check_linear,
        {"kind": "max", "is_linear": False}, {"kind": "average"}, "average pooling instead",
        see="tab=learn&bench=pooling&pool=kind:max",
    ),
    "average_linear": Claim(
        "Average pooling is linear", _P, "Average pooling is linear.", _check_linear,
        {"kind": "average", "is_linear": True}, {"kind": "l2"}, "L2 pooling instead",
        see="tab=learn&bench=pooling&pool=kind:average",
    ),
    "rarely_padded": Claim(
        "Rarely padded", _P, "Max pooling is rarely padded.", _check_padding, {"families": FAMILIES, "most": 1 / 3},
        {"families": ("alexnet", "vgg11", "squeezenet1_0")}, "AlexNet, VGG and SqueezeNet alone",
        Guess(f"Of {len(FAMILIES)} networks in torchvision, how many pad a max pooling?", "", 0.15), seconds=2.0,
        see="tab=learn&bench=pooling",
    ),
    "gap_outputs": Claim(
        "Far fewer outputs", _P, "Global average pooling has far fewer outputs than flatten: C against H · W · C.",
        _check_outputs, {"head": "gap", "shape": (512, 7, 7)}, {"head": "flatten"}, "flatten in its place",
        Guess("Of a map of 7 x 7 x 512, how many times fewer?", "times", 0.02), see="tab=learn&bench=shapes",
    ),
    "gap_shift": Claim(
        "A head that does not mind shifts", _P,
        "Global average pooling is more robust to translation of the input than flatten: by itself it does not "
        "notice.",
        _check_head, {"head": "gap"}, {"head": "flatten"}, "flatten in its place", see="tab=learn&bench=pooling",
    ),
    "two_fields": Claim(
        "Two receptive fields", _P,
        "A cell has a receptive field in the layer before it, and a larger one in the picture.", _check_previous,
        {"layers": "conv(1,3) conv(1,3,2) conv(1,3)"}, {"layers": "conv(1,3)"},
        "the first layer, whose layer before is the picture",
        Guess("3 x 3, then 3 x 3 at stride 2, then 3 x 3: how many pixels does a cell see?", "pixels", 0.01),
        see="tab=learn&bench=shapes",
    ),
    "field_linear": Claim(
        "Linear at stride 1", _P, "At stride 1 the receptive field grows linearly with the number of layers.",
        _check_growth, {"stride": 1, "layers": 6, "grows": "linear"}, {"stride": 2}, "stride 2",
        Guess("How many pixels does a cell see after six layers of 3 x 3?", "pixels", 0.01),
        see="tab=learn&bench=receptive_field",
    ),
    "field_exponential": Claim(
        "Exponential with strides", _P,
        "With strides the receptive field grows exponentially: at stride 2 each layer adds twice as much.",
        _check_growth, {"stride": 2, "layers": 6, "grows": "doubling"}, {"stride": 1}, "stride 1",
        Guess("And after six layers of 3 x 3 at stride 2?", "pixels", 0.01), see="tab=learn&bench=receptive_field",
    ),
    "effective_smaller": Claim(
        "What really influences a unit", _P,
        "The effective receptive field is what really influences a unit: a part of what it can see.",
        _check_effective, {"layer": "blocks.3.2.conv_pw", "outside": False}, {"outside": True},
        "all pixels but those",
        Guess("This unit can see 115 pixels a side. By how many is it really moved?", "pixels", 0.2), seconds=1.5,
        see="tab=learn&bench=receptive_field&seen_by=blocks.3.2.conv_pw",
    ),
}  # fmt: skip
"""Name -> claim."""
