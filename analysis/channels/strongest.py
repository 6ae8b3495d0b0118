"""Where over many pictures every channel of some layers answers most, in one pass."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from analysis.errors import Progress, UserError, no_progress
from analysis.network.chunks import run_in_chunks
from analysis.network.hooks import preserved, watch_outputs

NUM_STRONGEST = 9
"""Pictures kept of each channel: as many as Zeiler & Fergus (2014) show."""
CHUNK = 16
"""Pictures in a forward pass."""

Load = Callable[[Sequence[int]], tuple[Sequence[int], Tensor]]
"""Numbers of pictures -> those of them that can be read, and their network input ``(N, C, H, W)``."""


@dataclass(frozen=True, eq=False)
class Strongest:
    """The strongest cell of each of ``k`` different pictures, for every channel of a layer, strongest first.

    Of equally strong ones, the picture and then the cell that come first.

    Attributes:
        values: ``(C, k)`` float32.
        pictures: ``(C, k)`` int64, numbers of pictures.
        cells: ``(C, k, 2)`` int64, row and column in the map.
    """

    values: Tensor
    pictures: Tensor
    cells: Tensor

    @classmethod
    def empty(cls, channels: int, k: int, device: torch.device) -> "Strongest":
        """Before the first picture."""
        return cls(
            torch.full((channels, k), -torch.inf, device=device),
            torch.full((channels, k), -1, device=device),
            torch.zeros((channels, k, 2), dtype=torch.int64, device=device),
        )

    def merge(self, maps: Tensor, numbers: Sequence[int]) -> "Strongest":
        """The strongest with those of more pictures.

        Args:
            maps: ``(N, C, h, w)``.
            numbers: Of the ``N`` pictures, each larger than all before.

        Raises:
            UserError: The maps hold numbers that are not finite.
        """
        lines = _find_line_peaks(maps)  # (N, C, h)
        peaks, k = lines.amax(2).float(), self.values.shape[1]  # (N, C)
        if not bool(peaks.isfinite().all()):
            raise UserError("The layer gives numbers that are not finite; the weights of the model are broken.")
        # Of a channel whose weakest kept cell is reached by none of these, nothing changes.
        fresh = (peaks.amax(0) > self.values[:, -1]).nonzero()[:, 0]
        every = torch.cat([self.values[fresh], peaks.T[fresh]], dim=1)  # (F, k + N)
        # Stable, so that of equal values the first picture stays, however the pictures are divided into chunks.
        best, order = every.sort(dim=1, descending=True, stable=True)
        best, order = best[:, :k], order[:, :k]
        old = order.clamp(max=k - 1)
        seen, places = (
            self.pictures[fresh].gather(1, old),
            self.cells[fresh].gather(1, old[..., None].expand(-1, -1, 2)),
        )
        numbered, ranks = (order >= k).nonzero(as_tuple=True)
        inside, channels = order[numbered, ranks] - k, fresh[numbered]
        # Only of those that are kept is it worth knowing where in the map they are.
        rows = lines[inside, channels].argmax(1)
        places[numbered, ranks] = torch.stack([rows, maps[inside, channels, rows].argmax(1)], dim=1)
        seen[numbered, ranks] = torch.as_tensor(numbers, device=maps.device)[inside]
        values, pictures, cells = self.values.clone(), self.pictures.clone(), self.cells.clone()
        values[fresh], pictures[fresh], cells[fresh] = best, seen, places
        return Strongest(values, pictures, cells)

    def finish(self) -> "Strongest":
        """On the CPU, and without the places that no picture has filled."""
        kept = int((self.pictures[0] >= 0).sum()) if len(self.pictures) else 0
        return Strongest(*(each[:, :kept].cpu() for each in (self.values, self.pictures, self.cells)))


def _find_line_peaks(maps: Tensor) -> Tensor:
    """The largest value of every row of maps ``(N, C, h, w)``: ``(N, C, h)``.

    With channels last in memory the reduction over a dimension of the permuted view is ten times as fast.
    """
    turned = maps.permute(0, 2, 3, 1)
    return turned.amax(2).permute(0, 2, 1) if turned.is_contiguous() else maps.amax(3)


class _Reached(Exception):
    """What comes behind the last layer need not be computed."""


def find_strongest(
    module: nn.Module,
    load: Load,
    num_pictures: int,
    layers: Collection[str],
    k: int = NUM_STRONGEST,
    *,
    progress: Progress = no_progress,
) -> dict[str, Strongest]:
    """The strongest cells of every channel of layers over many pictures, in one forward pass of each.

    Args:
        module: A network; left as it was found.
        load: Opens pictures by number. Called outside of the network's memory, once for each part.
        num_pictures: Numbers from 0 on.
        layers: Names of layers with feature maps ``(N, C, h, w)``, with ``#2`` for the second call.
        k: Pictures for each channel.

    Returns:
        Layer -> its strongest cells, on the CPU; fewer than ``k`` where there are fewer pictures.

    Raises:
        UserError: A layer gives no numbers that are finite, or none at all.
    """
    kept: dict[str, Strongest] = {}

    def look(part: Sequence[int]) -> dict[str, Strongest]:
        numbers, inputs = load(part)
        found: dict[str, Strongest] = {}

        def see(name: str, maps: Tensor) -> None:
            before = kept.get(name) or Strongest.empty(maps.shape[1], k, maps.device)
            found[name] = before.merge(maps, numbers)
            if len(found) == len(layers):
                raise _Reached

        if len(numbers):
            with watch_outputs(module, layers, see), suppress(_Reached):
                module(inputs)
        return found

    with preserved(module), torch.inference_mode():
        for _, found in run_in_chunks(look, range(num_pictures), CHUNK, progress):
            kept |= found
    if missing := [name for name in layers if name not in kept]:
        raise UserError(f"Nothing can be said of {missing[0]}: no picture has reached it.")
    return {name: kept[name].finish() for name in layers}
