"""The feature map of a layer as the network goes on with it: after an activation function that follows at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from analysis.network.hooks import trace_calls

ACTIVATION_FUNCTIONS = frozenset(
    "relu relu6 clamp clamp_min hardtanh leaky_relu prelu rrelu elu selu celu threshold gelu silu mish softplus "  # noqa: SIM905
    "hardswish".split()
)
"""Activations that a network may call as a function, without a module, by ``__name__``; gates are not among them."""


@contextmanager
def tapped(module: nn.Module, layer: str) -> Iterator[nn.Module]:
    """Gives a module that hands on, in every forward inside the block, the feature map that ``layer`` ends with.

    That is the layer's output, or, where the module around it applies an activation function to that at once (the
    ReLU after ``features`` of torchvision's DenseNet), the result of it. What is hooked to the given module sees the
    map and may replace it; its last call in a forward counts.

    Args:
        module: A network; left as it was found.
        layer: Name of a submodule that returns a tensor.
    """
    around = {module.get_submodule(".".join(layer.split(".")[:depth])) for depth in range(layer.count(".") + 1)}
    others = [(name, part) for name, part in module.named_modules() if part not in around]
    part, follower = module.get_submodule(layer), _Follower()
    # The trace first: what the layer itself calls has to be over when its output is taken.
    with trace_calls(others) as follower.running, part.register_forward_hook(follower.start), follower:
        yield follower.tap


class _Follower(TorchFunctionMode):
    """Passes a layer's output, and what activation functions outside of other modules make of it, to ``tap``."""

    def __init__(self) -> None:
        super().__init__()
        self.tap = nn.Identity()
        self._map: Tensor | None = None
        self.running: list[str] = []  # the modules at work that do not hold the layer

    def start(self, _module: nn.Module, _inputs: tuple, output: Tensor) -> Tensor:
        self._map = self.tap(output)
        return self._map

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        source = args[0] if args else kwargs.get("input")
        is_rectifier = getattr(func, "__name__", "").rstrip("_") in ACTIVATION_FUNCTIONS
        if self.running or not is_rectifier or source is None or source is not self._map:
            return result
        if result is source:  # in place: the network may go on with the tensor itself
            tapped_map = self.tap(result.clone())
            if tapped_map.shape != result.shape:  # a batch in the place of one map
                result.resize_as_(tapped_map)
            self._map = result.copy_(tapped_map)
        else:
            self._map = self.tap(result)
        return self._map
