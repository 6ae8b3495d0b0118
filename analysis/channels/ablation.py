"""What becomes of the logits when channels of a feature map are taken away, one at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from analysis.errors import Progress, UserError, no_progress
from analysis.network.chunks import run_in_chunks
from analysis.network.hooks import find_tensor, number_calls, preserved, watch_outputs
from analysis.network.receptive_field import check_channel

CHUNK = 16
"""Channels in a forward pass, each in a copy of the picture."""


def ablate_channels(
    module: nn.Module,
    inputs: Tensor,
    name: str,
    channels: Sequence[int] | None = None,
    *,
    progress: Progress = no_progress,
) -> Tensor:
    """The logits with each of some channels set to zero wherever it is.

    Args:
        module: A network; left as it was found.
        inputs: ``(1, C, H, W)``.
        name: A layer with a feature map ``(N, channels, h, w)``, with ``#2`` for its second call.
        channels: Which ones; None takes all.

    Returns:
        ``(1 + n, K)`` float32 on the CPU: those of the whole network, then one row for each channel.

    Raises:
        UserError: There is no such channel, or the layer is not reached.
    """
    shape: list[int] = []
    with preserved(module), torch.inference_mode():
        with watch_outputs(module, [name], lambda _, maps: shape.extend(maps.shape)):
            rows = [module(inputs).float().cpu()]
        if not shape:
            raise UserError(f"Nothing can be taken away from {name}: the picture does not reach it.")
        chosen = [check_channel(name, each, shape[1]) for each in (range(shape[1]) if channels is None else channels)]

        def compute(part: Sequence[int]) -> Tensor:
            with _without(module, name, part):
                return module(inputs.expand(len(part), -1, -1, -1)).float().cpu()

        rows += [logits for _, logits in run_in_chunks(compute, chosen, CHUNK, progress)]
    return torch.cat(rows)


@contextmanager
def _without(module: nn.Module, name: str, channels: Sequence[int]) -> Iterator[None]:
    """In every forward inside the block, the ``i``-th picture lacks the ``i``-th of these channels of a layer."""
    number, own = number_calls(), name.split("#")[0]

    def take_away(_module: nn.Module, _inputs: tuple, output: object) -> object:
        maps = find_tensor(output)
        if maps is None or number(own) != name:
            return None
        # A copy: what the layer gave may be used elsewhere, or be a view of what it was given.
        reduced = maps.clone()
        reduced[torch.arange(len(channels)), list(channels)] = 0
        return (reduced, *output[1:]) if isinstance(output, tuple) else reduced

    with module.get_submodule(own).register_forward_hook(take_away):
        yield
