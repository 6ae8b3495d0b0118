"""Many pictures through a network in chunks, keeping of every feature map only what is asked of it."""

import itertools
import logging
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from analysis.equivariance.align import to_double
from analysis.errors import Progress, is_out_of_memory, no_progress
from analysis.network.chunks import halve, unless_too_large
from analysis.network.hooks import watch_outputs
from analysis.network.layers import Layer, MapLayer

CHUNK = 8
"""Pictures per forward pass, while memory lasts."""
MIN_CHUNK = 3
"""A picture and the two versions of it that may have to be compared with each other."""
REJECTIONS = (RuntimeError, ValueError, AssertionError, IndexError)
"""What networks raise for pictures of a size that they do not take."""

log = logging.getLogger(__name__)


def measure_levels(module: nn.Module, layers: Collection[Layer], inputs: Tensor) -> dict[str, Tensor]:
    """The level of each channel, ``(C,)`` float64, of every layer with positions: its mean over a few pictures.

    Args:
        layers: The layers wanted; those without positions are left out.
        inputs: ``(N, C, H, W)`` network input.
    """
    names = {layer.name for layer in layers if isinstance(layer, MapLayer)}
    return average(ReducedForwards(module, names).pool(inputs, ((0, 0),)))


def average(pooled: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean ``(C,)`` over pictures and phases of what :meth:`ReducedForwards.pool` returns."""
    return {name: means.mean(dim=(0, 1)) for name, means in pooled.items()}


class ReducedForwards:
    """Runs a network and reduces what its layers compute at once, so that no map outlives its forward pass.

    Raises:
        UserError: There is too little memory even for the smallest chunk.
    """

    def __init__(
        self, module: nn.Module, names: Collection[str], progress: Progress = no_progress, total: int = 0
    ) -> None:
        self.module, self.names = module, frozenset(names)
        self.progress, self.done, self.total = progress, 0, total
        self.chunk = CHUNK

    def compare(
        self,
        pictures: Mapping[Hashable, Tensor],
        to_inputs: Callable[[Tensor], Tensor],
        measure: Callable[[str, dict[Hashable, Tensor]], dict],
    ) -> dict[str, dict]:
        """Joins what ``measure(name, maps)`` returns for every layer and chunk of pictures.

        ``maps`` has the keys of ``pictures``. The first picture is in every chunk, the next two are together.

        Args:
            pictures: ``(C, H, W)`` pixels.
            to_inputs: Network input from ``(N, C, H, W)`` pixels.
            measure: Gets the live ``(C, h, w)`` maps of a chunk.
        """
        first, *others = pictures
        numbers: dict[str, dict] = {name: {} for name in self.names}

        def prepare(keys: Sequence[Hashable]) -> Tensor:
            return to_inputs(torch.stack([pictures[key] for key in (first, *keys)]))

        def reduce(name: str, keys: Sequence[Hashable], output: Tensor) -> dict:
            return measure(name, dict(zip((first, *keys), output, strict=True)))

        for found in self._run(others or [first], prepare, reduce, num_shared=1):
            for name, values in found.items():
                numbers[name] |= values
        return numbers

    def pool(self, inputs: Tensor, phases: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """The spatial mean of every map under circular shifts of the pictures.

        Args:
            inputs: ``(N, C, H, W)`` network input.
            phases: K shifts (dx, dy) in pixels.

        Returns:
            ``(N, K, C)`` float64 on the CPU for every layer.
        """
        rows: dict[str, list[Tensor]] = {name: [] for name in self.names}

        def prepare(shifts: Sequence[tuple[int, tuple[int, int]]]) -> Tensor:
            return torch.stack(
                [inputs[index].roll((dy, dx), (-2, -1)) for index, (dx, dy) in shifts]
            )  # (chunk, C, H, W)

        def reduce(name: str, shifts: Sequence, output: Tensor) -> list[Tensor]:
            return [to_double(maps).mean(dim=(-2, -1)).cpu() for maps in output]

        for found in self._run(list(itertools.product(range(len(inputs)), phases)), prepare, reduce):
            for name, means in found.items():
                rows[name] += means
        return {name: torch.stack(means).unflatten(0, (-1, len(phases))) for name, means in rows.items()}

    def explore(self, inputs: Tensor, names: Collection[str], look: Callable[[str, Tensor], None]) -> None:
        """Shows some layers of one picture of any size to ``look(name, map)``, as far as the network goes with it.

        The forward ends with the last of them: what comes behind, such as a head, may not take that size. Layers
        behind the first that does not, or that there is too little memory for, are not shown.

        Args:
            inputs: ``(1, C, H, W)`` network input.
            look: Gets the live ``(C, h, w)`` map.
        """
        missing, own = set(names), []

        def watch(name: str, output: Tensor) -> None:
            missing.remove(name)
            try:
                look(name, output[0])
            except Exception as error:
                own.append(error)
                raise
            if not missing:
                raise _Reached

        try:
            with watch_outputs(self.module, names, watch), torch.inference_mode():
                self.module(inputs)
        except _Reached:
            pass
        except REJECTIONS as error:
            if error in own and not is_out_of_memory(error):
                raise  # not of the network
            log.info("At %d x %d the network did not come to all layers: %s", *inputs.shape[-2:], error)
        self._count(1)

    def _run(
        self, items: Sequence, prepare: Callable, reduce: Callable, num_shared: int = 0
    ) -> Iterator[dict[str, Any]]:
        """What ``reduce(name, items, output)`` returns by name, one dictionary for every chunk of items."""
        start = 0
        while start < len(items):
            part = items[start : start + self.chunk - num_shared]
            found = unless_too_large(self._look, part, prepare, reduce)
            if found is None:
                self.chunk = halve(self.chunk, MIN_CHUNK)
                continue
            yield found
            start += len(part)
            self._count(len(part))

    def _count(self, number: int) -> None:
        self.done += number
        self.progress(self.done, self.total)

    def _look(self, items: Sequence, prepare: Callable, reduce: Callable) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def watch(name: str, output: Tensor) -> None:
            found[name] = reduce(name, items, output)

        with watch_outputs(self.module, self.names, watch), torch.inference_mode():
            self.module(prepare(items))
        return found


class _Reached(Exception):
    """Ends a forward at the last layer that is wanted."""
