"""For which operations DeepLift and LRP have a rule, and what to call those for which they have none."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

MOVES = frozenset(
    "flatten reshape view permute transpose contiguous getitem chunk split squeeze unsqueeze cat pad clone "  # noqa: SIM905
    "dropout stochastic_depth add sub".split()
)
"""Functions that move values, add a constant, or do nothing in eval mode: relevance goes the way of the gradient."""
LINEAR = frozenset(
    {"mean", "sum", "mul", "div", "conv2d", "linear", "batch_norm", "avg_pool2d", "interpolate", "neg"}
)
"""Functions that are linear in what depends on the picture, if that is one of their arguments."""
WEIGHTED = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)
ACTIVATIONS: tuple[type[nn.Module], ...] = (
    *(nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.SiLU, nn.GELU, nn.Mish),
    *(nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.LogSigmoid, nn.Threshold),
)
"""Functions of one number each, as modules."""
ALIASES = {"iadd": "add", "imul": "mul", "isub": "sub", "truediv": "div", "itruediv": "div", "concat": "cat"}
TITLES = {
    "product": "the product of two maps",
    "matmul": "the product of two maps",
    "sub": "the difference of two maps",
    "layer_norm": "LayerNorm",
    "group_norm": "GroupNorm",
    "fn": "a pooling function",
}
"""What to call an operation without a rule; others have their own name."""


class Scaled(nn.Module):
    """Times a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


@dataclass(frozen=True)
class Rules:
    """What a method has rules for.

    Attributes:
        modules: types of modules; those of sums are captum's own, and allowed everywhere.
        functions: names of functions.
    """

    title: str
    modules: tuple[type[nn.Module], ...]
    functions: frozenset[str]


RULES = {
    "deep_lift": Rules(
        "DeepLift", (*WEIGHTED, *ACTIVATIONS, nn.MaxPool2d, nn.Softmax, nn.Upsample, Scaled), MOVES | LINEAR
    ),
    "lrp": Rules("LRP", (*WEIGHTED, *ACTIVATIONS, nn.MaxPool2d, Scaled), MOVES),
}


def list_missing(rules: Rules, nodes: Iterable[tuple[fx.Node, Any]]) -> tuple[str, ...]:
    """The operations without a rule, each once, in the order of computation.

    Args:
        nodes: What depends on the picture, with the module, function or name of a method that computes it.
    """
    found = (_find_missing(rules, node, part) for node, part in nodes)
    return tuple(dict.fromkeys(title for title in found if title))


def _find_missing(rules: Rules, node: fx.Node, part: nn.Module | Callable | str) -> str:
    if isinstance(part, nn.Module):
        is_known = type(part) in rules.modules or isinstance(part, nn.Conv2d | nn.Linear)
        return "" if is_known or type(part).__name__ == "Addition_Module" else type(part).__name__
    name = (part if isinstance(part, str) else getattr(part, "__name__", str(part))).rstrip("_")
    name = ALIASES.get(name, name)
    depends = [before for before in node.all_input_nodes if before.meta["carries"] or before.op == "placeholder"]
    if name in ("mul", "div") and len(depends) > 1:
        name = "product"
    if name in ("add", "sub") and len(depends) > 1 and rules.title == "LRP":
        return TITLES.get(name, "a sum of maps with weights")
    return "" if name in rules.functions else TITLES.get(name, name)
