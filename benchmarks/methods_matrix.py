"""Writes docs/methods.md: which methods of Explain work on which networks, why not, and how long they take.

``python benchmarks/methods_matrix.py`` builds one network of each of torchvision's families and each of our own with
random weights, and runs each method once with as few samples as it takes. The seconds are estimates: those of a
forward and of a backward pass, measured here, times as many as the method costs with its defaults.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, from anywhere

import torch
from torch import Tensor, nn

from analysis.attribution.method import GROUPS, Method
from analysis.attribution.methods import METHODS, attribute, find_obstacles
from analysis.errors import UserError

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"
SIDE = 64
SIDES = {"inception_v3": 96, "vit_b_16": 224, "maxvit_t": 224}
FAMILIES = (
    "alexnet vgg11 resnet18 squeezenet1_1 densenet121 googlenet inception_v3 mobilenet_v2 mobilenet_v3_small "  # noqa: SIM905
    "mnasnet0_5 shufflenet_v2_x0_5 efficientnet_b0 efficientnet_v2_s regnet_y_400mf convnext_tiny swin_t swin_v2_t "
    "maxvit_t vit_b_16".split()
)
LEAST = {"n_samples": 8, "n_steps": 2, "max_steps": 2, "n_masks": 4, "n_segments": 3, "n_baselines": 1}
"""Options with which a method runs everything once."""
HEAD = """# Which method works on which network

Written by `benchmarks/methods_matrix.py`: one network of each of torchvision's families and each of ours, with random
weights. A number is about how many **seconds** a map takes with the method's defaults on one core of {machine}, for a
picture of {side} pixels a side (inception_v3 96, maxvit_t and vit_b_16 224; ours as built): the passes that it costs
times what a forward and a backward pass took. A letter says **why not**, below. What the methods compute is in
[explanations.md](explanations.md); `cli.py methods --model NAME` says the same of any model.

"""


def build_all() -> dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]]:
    """Name -> what builds the network, and the shape of its input."""
    from torchvision.models import get_model

    from models.networks.table import ARCHITECTURES

    def of_torchvision(name: str) -> Callable[[], nn.Module]:
        more = {"init_weights": False, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
        return lambda: get_model(name, weights=None, **more)

    def of_ours(name: str) -> Callable[[], nn.Module]:
        config, network = ARCHITECTURES[name]
        return lambda: network(config())

    sides = {name: SIDES.get(name, SIDE) for name in FAMILIES}
    families = {name: (of_torchvision(name), (3, side, side)) for name, side in sides.items()}
    ours = {f"our {name}": (of_ours(name), find_shape(config())) for name, (config, _) in ARCHITECTURES.items()}
    return ours | families


def find_shape(config: Any) -> tuple[int, int, int]:
    """Of the picture that a network of ours is built for."""
    return config.in_channels, config.image_size, config.image_size


def try_all(build: Callable[[], nn.Module], shape: tuple[int, int, int]) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds of the methods that work on a network, and why the others do not."""
    torch.manual_seed(0)
    module, inputs = build().eval(), torch.randn(1, *shape)
    forward, backward = measure_passes(module, inputs)
    seconds, reasons = {}, find_obstacles(module, inputs)
    for name, method in METHODS.items():
        if name in reasons:
            continue
        try:
            attribute(module, inputs, 1, name, **choose_least(method, shape[-1]))
        except UserError as error:
            reasons[name] = str(error)
            continue
        cost = method.measure_cost(shape[-2:])
        seconds[name] = cost.forwards * forward + cost.backwards * backward
    return seconds, reasons


def measure_passes(module: nn.Module, inputs: Tensor) -> tuple[float, float]:
    """Seconds of a forward pass and of a backward pass to the picture; the best of three."""
    module.requires_grad_(False)
    inputs = inputs.clone().requires_grad_()
    forwards, backwards = [], []
    for _ in range(3):
        started = time.perf_counter()
        score = module(inputs)[0, 1]
        between = time.perf_counter()
        torch.autograd.grad(score, inputs)
        forwards.append(between - started)
        backwards.append(time.perf_counter() - between)
    return min(forwards), min(backwards)


def choose_least(method: Method, side: int) -> dict[str, float]:
    """Options with which the method takes little time."""
    known = {parameter.name for parameter in method.parameters}
    options = {name: value for name, value in LEAST.items() if name in known}
    return options | ({"window": side // 2, "stride": side // 2} if {"window", "stride"} <= known else {})


def write_page(found: dict[str, tuple[dict[str, float], dict[str, str]]]) -> str:
    """The page."""
    letters: dict[str, str] = {}
    for _, reasons in found.values():
        for name, reason in reasons.items():
            reason = reason.replace(METHODS[name].title, "The method", 1)
            letters.setdefault(reason, name_letter(len(letters)))
    processor = platform.processor() or platform.machine()
    lines = [HEAD.format(machine=processor, side=SIDE)]
    names = list(METHODS)
    for group, title in GROUPS.items():
        chosen = [name for name in names if METHODS[name].group == group]
        lines.append(f"## {title}\n\n| network | {' | '.join(METHODS[name].title for name in chosen)} |\n")
        lines.append(f"|---|{'---:|' * len(chosen)}\n")
        for network, (seconds, reasons) in found.items():
            cells = []
            for name in chosen:
                reason = reasons.get(name, "").replace(METHODS[name].title, "The method", 1)
                cells.append(f"{seconds[name]:.2g}" if name in seconds else f"**{letters[reason]}**")
            lines.append(f"| {network} | {' | '.join(cells)} |\n")
        lines.append("\n")
    lines.append("## Why not\n\n")
    lines += [f"- **{letter}**: {reason}\n" for reason, letter in letters.items()]
    return "".join(lines)


def name_letter(number: int) -> str:
    """a, b ... z, aa, ab ..."""
    first, last = divmod(number, 26)
    return (chr(96 + first) if first else "") + chr(97 + last)


def main() -> None:
    """Tries all and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="networks; all if not given")
    parser.add_argument("--out", type=Path, default=PAGE)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name, (build, shape) in build_all().items():
        if not arguments.only or name in arguments.only:
            found[name] = try_all(build, shape)
            print(f"{name}: {len(found[name][0])} of {len(METHODS)} work", flush=True)
            arguments.out.write_text(write_page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
