"""What each layer of a network makes, costs and sees, from one forward pass of one picture.

It needs no more than shapes: with a module and an input on PyTorch's meta device nothing is computed, so that the
largest networks take a moment and no memory.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from torch import Tensor, nn

from analysis.layers import HANDS_ON, Layer, list_layers, watch_outputs
from analysis.state import preserved


@dataclass(frozen=True)
class Row:
    """One layer.

    Attributes:
        name: The module's name; its second call in a forward is ``name#2``.
        kind: Class name.
        output_shape: Without the batch dimension.
        num_params: Trained numbers; only the first call of a module counts them.
        multiply_adds: Of convolutions and matrix products, for one picture; a bias is not counted.
        receptive_field: Side in input pixels of what one cell sees, the picture's own side if it is all of it; None
            where the window is not fixed.
        stride: Input pixels from one cell to the next; None for outputs without positions.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    num_params: int
    multiply_adds: int
    receptive_field: int | None
    stride: int | None


@dataclass(frozen=True)
class Summary:
    """The rows in the order of the forward pass, and the sums for the whole network."""

    rows: tuple[Row, ...]
    num_params: int
    multiply_adds: int

    def to_json(self) -> dict:
        """A JSON-ready dictionary."""
        return asdict(self)


def summarize(module: nn.Module, inputs: Tensor) -> Summary:
    """Lists the innermost layers that a forward pass meets; modules that only hand on their input are left out.

    Args:
        module: A network; it is left as it was found.
        inputs: ``(N, C, H, W)`` on the module's device, which may be "meta"; only the first picture is used.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with preserved(module), FlopCounterMode(display=False) as counter:
        with _spending(module, lambda: counter.get_total_flops() // 2) as spent:
            layers = list_layers(module, inputs)
        total = counter.get_total_flops() // 2
    rows = tuple(_make_row(layer, spent[layer.name]) for layer in layers if _is_innermost(layer, layers))
    return Summary(rows, sum(parameter.numel() for parameter in module.parameters()), total)


def _make_row(layer: Layer, multiply_adds: int) -> Row:
    shape, sees, stride = layer.output_shape, layer.receptive_field, layer.stride
    return Row(layer.name, layer.type, shape, layer.num_params, multiply_adds, sees, stride)


def _is_innermost(layer: Layer, layers: tuple[Layer, ...]) -> bool:
    inside = f"{layer.name.split('#')[0]}."
    return layer.type not in HANDS_ON and not any(other.name.startswith(inside) for other in layers)


@contextmanager
def _spending(module: nn.Module, count: Callable[[], int]) -> Iterator[dict[str, int]]:
    """By how much ``count()`` grows during each module call, under the names of :func:`watch_outputs`."""
    started: dict[str, int] = {}
    spent: dict[str, int] = {}
    handles = []

    def start_for(name: str):
        def start(_module, _inputs):
            started[name] = count()

        return start

    def stop(name: str, _output: Tensor) -> None:
        spent[name] = count() - started[name.split("#")[0]]

    names = [name for name, _ in module.named_modules() if name]
    try:
        for name in names:
            handles.append(module.get_submodule(name).register_forward_pre_hook(start_for(name)))  # noqa: PERF401
        with watch_outputs(module, names, stop):
            yield spent
    finally:
        for handle in handles:
            handle.remove()
