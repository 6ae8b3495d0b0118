"""The kernels that a model has learned, layer by layer."""

from dataclasses import asdict, dataclass

from torch import Tensor, nn

from analysis.errors import Progress, UserError, no_progress
from lab.session import Lab


@dataclass(frozen=True)
class KernelLayer:
    """A convolution of a model.

    Attributes:
        channels: How deep a filter is: input channels, divided by ``groups``.
        size: Rows and columns of a kernel.
    """

    name: str
    filters: int
    channels: int
    size: tuple[int, int]
    stride: tuple[int, int]
    groups: int

    def to_json(self) -> dict:
        """A JSON-ready dictionary."""
        return asdict(self)


def list_kernels(lab: Lab, model: str, loading: Progress = no_progress) -> tuple[KernelLayer, ...]:
    """The convolutions over pictures of a model, in the order in which they are defined.

    Args:
        model: A model's name, ``run/NAME`` for a training of one's own.
        loading: Counts the bytes of weights that have to be downloaded.
    """
    with lab.use(model, loading) as (loaded, _):
        return tuple(_describe(name, part) for name, part in _find_convolutions(loaded.module).items())


def read_kernel(
    lab: Lab, model: str, layer: str, filter: int, channel: int | None = None, loading: Progress = no_progress
) -> Tensor:
    """One kernel of a layer: ``(rows, columns)`` float32 on the CPU; ``(channels, rows, columns)`` without a channel.

    Args:
        layer: A name that :func:`list_kernels` gives.
        filter: Which output channel it makes, from 0 on.
        channel: Which input channel of its group it looks at, from 0 on.

    Raises:
        UserError: There is no such layer, filter or channel.
    """
    with lab.use(model, loading) as (loaded, _):
        convolutions = _find_convolutions(loaded.module)
        if layer not in convolutions:
            known = ", ".join(convolutions) or "no convolutions"
            raise UserError(f"{model} has no convolution called {layer[:60]}; it has {known}.")
        weight = convolutions[layer].weight.detach().float().cpu()  # (filters, channels, rows, columns)
    for what, number, size in (("filter", filter, weight.shape[0]), ("channel", channel, weight.shape[1])):
        if number is not None and not 0 <= number < size:
            raise UserError(f"{layer} has the {what}s 0 to {size - 1}, not {number}.")
    kernel = weight[filter].clone()
    return kernel if channel is None else kernel[channel]


def _find_convolutions(module: nn.Module) -> dict[str, nn.Conv2d]:
    return {name: part for name, part in module.named_modules() if isinstance(part, nn.Conv2d)}


def _describe(name: str, part: nn.Conv2d) -> KernelLayer:
    filters, channels, rows, columns = part.weight.shape
    down, across = part.stride
    return KernelLayer(name, filters, channels, (rows, columns), (down, across), part.groups)
