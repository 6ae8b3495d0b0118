"""One model's votes on shifted pictures, chunk by chunk; finished chunks are kept in files."""

import io
import logging
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from analysis.consistency.design import Design, Framing, Settings, counted_generator
from analysis.consistency.votes import Votes
from analysis.network.chunks import halve, unless_too_large
from analysis.shift.circular import CircularPadding
from analysis.shift.move import Extended, extend
from models.cache import LoadedModel
from models.data.decoding.formats import ImageError
from models.data.labelled import EvaluationData
from models.data.preprocessing import Preprocessing
from models.ordinary_files import is_ordinary
from models.runs.files import write_bytes

CHUNK = 32
"""Images in a chunk. It is part of the result: which windows share a forward pass may change its last bits."""
MAX_LOGITS = 2**12
"""Windows whose logits are kept at once."""
STRIDES = 32
"""Shifts tested between two looks at which images are still right, where that ends their test."""

_DAMAGED = (
    OSError,
    EOFError,
    KeyError,
    TypeError,
    ValueError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""How NumPy fails at a file that was cut short or is something else; all of it means: compute it again."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chunk:
    """The votes on some images; those with a ``problem`` could not be read and have none."""

    votes: Votes
    problems: np.ndarray

    def to_bytes(self) -> bytes:
        """An npz file without pickles."""
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, problems=self.problems, **self.votes.arrays())
        return file.getvalue()

    @staticmethod
    def read(path: Path, num_images: int, num_votes: int) -> "Chunk | None":
        """What an earlier run left, or None if there is nothing or it is damaged."""
        expected = Votes.empty(num_images, num_votes).arrays()
        if not is_ordinary(path):  # a pipe would make the evaluation wait
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in (*expected, "problems")}
        except _DAMAGED:
            return None
        problems = arrays.pop("problems")
        fits = all(arrays[name].shape == array.shape for name, array in expected.items())
        fits &= all(arrays[name].dtype == array.dtype for name, array in expected.items())
        return Chunk(Votes(**arrays), problems) if fits and problems.shape == (num_images,) else None


@dataclass
class Voter:
    """Asks one model about the pictures of one data set.

    Attributes:
        loaded: The model, lent for as long as this is used.
        labels: ``(N,)``: for every picture the model's class, or -1.
        rows: ``(M,)``: which pictures take part.
        batch_size: Windows in one forward pass; halved when the device runs out of memory.
    """

    loaded: LoadedModel
    data: EvaluationData
    labels: np.ndarray
    rows: np.ndarray
    design: Design
    framing: Framing
    settings: Settings
    batch_size: int
    twin: bool = False

    @property
    def num_chunks(self) -> int:
        """Chunks that all the images make."""
        return -(-len(self.rows) // CHUNK)

    @property
    def num_votes(self) -> int:
        """Votes kept of each image: two, where only the first wrong one matters."""
        return 2 if self.design.stops_early else self.design.shifts.shape[1]

    def chunk(self, number: int, folder: Path) -> Chunk:
        """The votes on the images of one chunk, from its file in ``folder`` or computed and written there."""
        images = np.arange(len(self.rows))[number * CHUNK : (number + 1) * CHUNK]
        path = folder / f"{number:06d}.npz"
        found = Chunk.read(path, len(images), self.num_votes)
        if found is None:
            found = self._compute(images)
            _write(path, found.to_bytes())
        return found

    def _compute(self, images: np.ndarray) -> Chunk:
        while (found := unless_too_large(self._vote, images)) is None:
            self.batch_size = halve(self.batch_size)
        return found

    def _vote(self, images: np.ndarray) -> Chunk:
        votes = Votes.empty(len(images), self.num_votes)
        votes.labels[:] = self.labels[self.rows[images]]
        problems, pictures = [""] * len(images), {}
        for row, image in enumerate(images):
            try:
                pictures[row] = self._open(int(image))
            except ImageError as error:
                problems[row] = f"{self.data.image_ids[self.rows[image]]}: {error}"
        if self.design.stops_early:
            self._vote_while_right(votes, pictures, images)
        else:
            self._vote_on_all(votes, pictures, images)
        return Chunk(votes, np.array(problems, dtype=np.str_))

    def _vote_on_all(self, votes: Votes, pictures: dict[int, Extended], images: np.ndarray) -> None:
        rows, columns = list(pictures), np.arange(self.num_votes)
        size = max(1, MAX_LOGITS // self.num_votes)
        for start in range(0, len(rows), size):
            for row, logits in self._answers(pictures, images, rows[start : start + size], columns):
                votes.count(row, columns, logits)
                votes.count_change(row, logits, self.design.pairs, both_ways=self.design.all_pairs)

    def _vote_while_right(self, votes: Votes, pictures: dict[int, Extended], images: np.ndarray) -> None:
        """Goes on with an image only as long as it is right; its second vote is wrong as soon as any is."""
        rows, num = list(pictures), self.design.shifts.shape[1]
        for start, stop in [(0, 1), *((at, min(at + STRIDES, num)) for at in range(1, num, STRIDES))]:
            column = np.array([min(start, 1)])
            for row, logits in self._answers(pictures, images, rows, np.arange(start, stop)):
                first_wrong = (logits.argmax(1) != votes.labels[row]).argmax()
                votes.count(row, column, logits[[first_wrong]])
            rows = [row for row in rows if votes.top1[row, column] == votes.labels[row]]

    def _answers(
        self, pictures: dict[int, Extended], images: np.ndarray, rows: list[int], columns: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Rows with their logits ``(len(columns), K)``; equal shifts of an image are computed once."""
        if not rows:
            return
        shifts = [np.unique(self.design.shifts[images[row], columns], axis=0, return_inverse=True) for row in rows]
        windows = [(pictures[row], *shift) for row, (moves, _) in zip(rows, shifts, strict=True) for shift in moves]
        logits, start = self._forward(windows), 0
        for row, (moves, inverse) in zip(rows, shifts, strict=True):
            own = logits[start : start + len(moves)][inverse.ravel()]
            start += len(moves)
            yield row, own

    @torch.inference_mode()
    def _forward(self, windows: list[tuple[Extended, int, int]]) -> np.ndarray:
        """The logits ``(len(windows), K)``."""
        mode: AbstractContextManager = CircularPadding() if self.twin else nullcontext()
        logits = []
        for start in range(0, len(windows), self.batch_size):
            batch = torch.stack(
                [picture.window(dx, dy) for picture, dx, dy in windows[start : start + self.batch_size]]
            )
            inputs = batch.to(self.loaded.device).contiguous(memory_format=self.loaded.spec.memory_format)
            with mode:
                logits.append(self.loaded.module(inputs).float().cpu().numpy())
        return np.concatenate(logits)

    def _open(self, image: int) -> Extended:
        """The picture with its surroundings, normalised."""
        prep = self.loaded.spec.preprocessing
        index = self.rows[image]
        margin = int(np.abs(self.design.shifts[image]).max())
        rng = counted_generator(self.settings.seed, self.data.image_ids[index])
        framed = frame_picture(self.data.picture(index), prep, self.framing, self.settings.boundary, margin, rng)
        return replace(framed, pixels=prep.normalize(framed.pixels))


def _write(path: Path, data: bytes) -> None:
    """Writes a file into a folder that the same evaluation, done elsewhere, may remove at any time."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return write_bytes(path, data)
        except FileNotFoundError:
            log.info("%s was removed; making it again.", path.parent)


def frame_picture(
    image: Image.Image, prep: Preprocessing, framing: Framing, boundary: str, margin: int, rng: np.random.Generator
) -> Extended:
    """The pixels ``(C, H, W)`` in [0, 1] that windows are cut from.

    Args:
        prep: Of the model; its sizes give way to those of ``framing``.
        margin: How far the windows will move.
        rng: Draws the part of the picture, where that is random.
    """
    size = prep.crop_size
    if framing.area is None:
        square = replace(prep, resize_size=framing.resize, crop_size=framing.source).to_pixels(image)
    else:
        square = _random_part(image, prep.num_channels, framing, rng)
    if boundary == "crop":
        return Extended(
            square, torch.ones(square.shape[-2:], dtype=torch.bool), framing.start, framing.start, size, size
        )
    if framing.area is None:
        return extend(square, margin, boundary, prep.mean)
    # A picture smaller than the window, on a canvas that is zero after the normalisation.
    side, start = size + 2 * margin, framing.start + margin
    place = (..., slice(start, start + framing.source), slice(start, start + framing.source))
    canvas = torch.tensor(prep.mean).view(-1, 1, 1).repeat(1, side, side)
    canvas[place] = square
    is_real = torch.zeros(side, side, dtype=torch.bool)
    is_real[place] = True
    return Extended(canvas, is_real, margin, margin, size, size)


def _random_part(image: Image.Image, num_channels: int, framing: Framing, rng: np.random.Generator) -> Tensor:
    """torchvision's ``RandomResizedCrop``, which draws from PyTorch's global generator."""
    from torchvision.transforms import RandomResizedCrop
    from torchvision.transforms import functional as F

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63)))
        part = RandomResizedCrop(framing.source, scale=(framing.area, framing.area))(
            image.convert("L" if num_channels == 1 else "RGB")
        )
    return F.convert_image_dtype(F.pil_to_tensor(part), torch.float32)
