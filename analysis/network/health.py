"""Signs of trouble inside a network: channels that never fire or always saturate, norms of weights and gradients."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from analysis.grammar import count
from analysis.network.hooks import OperationMode, number_calls, preserved, trace_calls
from analysis.network.windows import Size, find_size

NEAR_BOUND = 0.01
"""Outputs this close to a bound, as a share of the distance between the bounds, count as saturated."""
SATURATED_SHARE = 0.95
"""A channel is saturated if more than this share of its outputs is."""
CONSTANT = 1e-6
"""A channel whose values span no more than this, relative to their size where that is above 1, is constant."""


@dataclass(frozen=True)
class LayerHealth:
    """One call of an activation.

    Attributes:
        name: The module's name; where a module computes an activation without a module of its own, that name
            and the activation's, ``conv1/relu``; a second call of either is ``name#2``.
        dead: Number of channels with the same output for every picture and position; of the ReLU family, those
            that are never positive.
        saturated: Number of channels that stay at a bound; None for an activation without bounds.
    """

    name: str
    dead: int
    saturated: int | None
    channels: int
    activation: str

    def to_json(self) -> dict:
        """All attributes."""
        return asdict(self)


@dataclass(frozen=True)
class OutputRange:
    """What to look for in the output of an activation.

    ``is_rectifier``: 0 means "does not fire". ``saturates_at``: values that no output passes, where gradients vanish;
    ``span`` is the distance between the bounds.
    """

    is_rectifier: bool = False
    saturates_at: tuple[float, ...] = ()
    span: float = 1.0


def _clamp(low: float = -1.0, high: float = 1.0) -> OutputRange:
    """Hardtanh; ReLU6 is the one from 0 to 6, whose lower end means "does not fire"."""
    return OutputRange(low == 0, (high,) if low == 0 else (low, high), high - low)


def _fixed(activation: OutputRange) -> Callable[..., OutputRange]:
    return lambda *_: activation


_SMOOTH = _fixed(OutputRange())
OUTPUT_RANGES: dict[str, Callable[..., OutputRange]] = {
    "relu": _fixed(OutputRange(is_rectifier=True)),
    "hardtanh": _clamp,
    "tanh": _fixed(OutputRange(saturates_at=(-1.0, 1.0), span=2.0)),
    "sigmoid": _fixed(OutputRange(saturates_at=(0.0, 1.0))),
    "hardsigmoid": _fixed(OutputRange(saturates_at=(0.0, 1.0))),
    **dict.fromkeys(("leaky_relu", "rrelu_with_noise", "_prelu_kernel", "elu", "celu", "silu"), _SMOOTH),
    **dict.fromkeys(("gelu", "hardswish", "mish", "softplus", "threshold"), _SMOOTH),
}
"""ATen operation -> what to look for, from the operation's arguments after the input."""


def measure_health(module: nn.Module, inputs: Tensor) -> list[LayerHealth]:
    """Runs the network once, in eval mode and without gradients, and looks at every activation.

    Activations are seen whether a module or a function computes them.

    Args:
        module: Any network, not a compiled one; left as it was found.
        inputs: ``(N, C, H, W)``, best a few hundred pictures: a channel is dead on these.

    Returns:
        Every call of an activation, in the order of computation.
    """
    parts = dict(module.named_modules())
    watch = _Watch(find_size(inputs), {name for name, part in parts.items() if _is_plain(part)})
    with preserved(module), torch.no_grad(), trace_calls(parts.items()) as watch.running, OperationMode(watch.see):
        module(inputs)
    return watch.found


@torch.no_grad()
def measure_norms(module: nn.Module) -> list[dict]:
    """Euclidean norms over the weight and bias of every layer that has some, in the order of the network.

    Returns:
        ``{name, weight_norm, gradient_norm}``; gradient_norm is None where nothing is trained, or norms are no
        finite numbers.
    """
    found = []
    for name, layer in module.named_modules():
        own = list(layer.parameters(recurse=False))
        if own:
            gradients = [parameter.grad for parameter in own if parameter.grad is not None]
            norms = [_measure_norm(own), _measure_norm(gradients) if gradients else None]
            found.append({"name": name, "weight_norm": norms[0], "gradient_norm": norms[1]})
    return found


def _measure_norm(tensors: list[Tensor]) -> float | None:
    norm = nn.utils.get_total_norm(tensors)
    return norm.item() if norm.isfinite() else None


def describe_health(layers: Sequence[LayerHealth]) -> tuple[str, ...]:
    """What is wrong, in plain sentences, the worst layers of each kind first; one sentence if nothing is."""
    dead = [(layer.dead, layer, _describe_dead(layer)) for layer in layers]
    ends = "stay at the ends of their range, where gradients vanish"
    saturated = [(layer.saturated or 0, layer, ends) for layer in layers]
    sentences = [
        f"{layer.name}: {number} of {count(layer.channels, 'channel')} {words}."
        for found in (dead, saturated)
        for number, layer, words in sorted(found, key=lambda item: -item[0] / item[1].channels)
        if number
    ]
    if layers and not sentences:
        sentences = [f"No dead or saturated channels in {count(len(layers), 'activation')}."]
    return tuple(sentences)


def _describe_dead(layer: LayerHealth) -> str:
    return "never fire" if layer.activation in ("relu", "hardtanh") else "have the same output for every picture"


class _Watch:
    """Looks at every operation of a forward pass, and knows which module it belongs to.

    Args:
        plain: Names of the modules without parts and weights; one that computes an activation is that activation.
    """

    def __init__(self, image_size: Size, plain: set[str]) -> None:
        self.image_size, self.plain = image_size, plain
        self.running: list[str] = []
        self.found: list[LayerHealth] = []
        self.number = number_calls()

    def see(self, operation: str, args: tuple, output: object) -> None:
        if operation not in OUTPUT_RANGES or not isinstance(output, Tensor):
            return
        if (dim := self._channel_dim(output)) is not None:
            limits = [value for value in args[1:] if isinstance(value, int | float)]
            owner = self.running[-1] if self.running else ""
            name = self.number(owner if owner in self.plain else f"{owner}/{operation}".lstrip("/"))
            self.found.append(_judge(name, operation, OUTPUT_RANGES[operation](*limits), output.detach(), dim))

    def _channel_dim(self, output: Tensor) -> int | None:
        """Where the channels are: second, but last in sequences ``(N, L, C)`` and in maps ``(N, h, w, C)``.

        A map has the proportions of the picture; that tells the two layouts of four dimensions apart.
        """
        if output.ndim == 4:
            return 3 if self._distortion(*output.shape[1:3]) < self._distortion(*output.shape[2:]) else 1
        return {2: 1, 3: 2}.get(output.ndim)

    def _distortion(self, height: int, width: int) -> int:
        return abs(height * self.image_size[1] - width * self.image_size[0])


def _judge(name: str, operation: str, wanted: OutputRange, output: Tensor, channel_dim: int) -> LayerHealth:
    others = [dim for dim in range(output.ndim) if dim != channel_dim]
    high = output.amax(others)
    if wanted.is_rectifier:
        dead = high <= 0
    else:
        low = output.amin(others)
        dead = high - low <= CONSTANT * high.abs().maximum(low.abs()).clamp(min=1)
    saturated = None
    if wanted.saturates_at:
        reach = NEAR_BOUND * wanted.span
        near = torch.stack([(output - bound).abs() <= reach for bound in wanted.saturates_at]).any(0)  # as the output
        saturated = int((near.float().mean(others) > SATURATED_SHARE).sum())
    return LayerHealth(name, int(dead.sum()), saturated, len(high), activation=operation)


def _is_plain(part: nn.Module) -> bool:
    return not any(True for _ in (*part.children(), *part.parameters(recurse=False)))
