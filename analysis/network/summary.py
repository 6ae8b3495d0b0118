"""What each layer of a network makes, costs and sees, from one forward pass of one picture.

It needs no more than shapes: with a module and an input on PyTorch's meta device nothing is computed, so that the
largest networks take a moment and no memory.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from torch import Tensor, nn

from analysis.network.hooks import find_tensor, number_calls, preserved, trace_calls
from analysis.network.layers import HANDS_ON, Layer, list_layers


@dataclass(frozen=True)
class Row:
    """One layer.

    Attributes:
        num_params: Trained numbers; only the first call of a module counts them.
        multiply_adds: Of convolutions and matrix products, for one picture; a bias is not counted. Those of layers
            inside count there.
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
    """Lists the innermost layers that a forward pass meets, and whatever else has parameters of its own.

    Modules that only hand on their input are left out.

    Args:
        inputs: ``(N, C, H, W)`` on the module's device, which may be "meta"; only the first picture is used.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with preserved(module), FlopCounterMode(display=False) as counter:
        with _spending(module, lambda: counter.get_total_flops() // 2) as spent:
            layers = list_layers(module, inputs)
        total = counter.get_total_flops() // 2
    rows = tuple(_make_row(layer, spent.get(layer.name, 0)) for layer in layers if _has_row(layer, layers))
    return Summary(rows, sum(parameter.numel() for parameter in module.parameters()), total)


def _make_row(layer: Layer, multiply_adds: int) -> Row:
    shape, sees, stride = layer.output_shape, layer.receptive_field, layer.stride
    return Row(layer.name, layer.type, shape, layer.num_params, multiply_adds, sees, stride)


def _has_row(layer: Layer, layers: tuple[Layer, ...]) -> bool:
    inside = f"{layer.name.split('#')[0]}."
    is_innermost = layer.type not in HANDS_ON and not any(other.name.startswith(inside) for other in layers)
    return is_innermost or layer.num_params > 0


@contextmanager
def _spending(module: nn.Module, count: Callable[[], int]) -> Iterator[dict[str, int]]:
    """By how much ``count()`` grows in each module call, calls inside left out; names as in :func:`watch_outputs`."""
    spent: dict[str, int] = {}
    running: list[tuple[int, int]] = []  # of the calls that have begun: the count there, what calls inside spent
    number = number_calls()

    def end(name: str, output: object) -> None:
        start, inside = running.pop()
        if find_tensor(output) is not None:  # a call without an output of its own counts around it
            total = count() - start
            spent[number(name)] = total - inside
            inside = total
        if running:
            running[-1] = running[-1][0], running[-1][1] + inside

    parts = [(name, part) for name, part in module.named_modules() if name]
    with trace_calls(parts, begin=lambda name: running.append((count(), 0)), end=end):
        yield spent
