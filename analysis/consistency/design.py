"""What a protocol decides: how a picture is framed, and which shifts of each image are compared with which."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from analysis.shift.move import check_distance


@dataclass(frozen=True)
class Settings:
    """What a protocol needs to know.

    Attributes:
        window: Side of the network input in pixels.
        resize: Shorter side that the model's own preprocessing resizes pictures to.
        boundary: A key of ``BOUNDARIES``.
        max_shift: Largest shift; None takes the protocol's own.
        num_shifts: Shifts drawn per image, where the protocol draws.
        per_image: Draws for each image instead of once per batch, where the source shares a draw.
        scale: Size of the picture as Azulay and Weiss define it; None takes the protocol's own.
    """

    window: int
    resize: int
    boundary: str
    max_shift: int | None = None
    num_shifts: int = 8
    seed: int = 0
    per_image: bool = False
    scale: float | None = None


@dataclass(frozen=True)
class Framing:
    """From which square the windows are cut.

    Attributes:
        resize: Shorter side of the whole picture after resizing.
        source: Side of the square cut from its middle; the window's own side unless the boundary is ``crop``.
        start: Row and column of the source where the unshifted window begins.
        area: Instead of the above two steps, a random part of this share of the picture is resized to
            ``source`` (torchvision's ``RandomResizedCrop``).
    """

    resize: int
    source: int
    start: int = 0
    area: float | None = None


@dataclass(frozen=True)
class Design:
    """Which shifts are computed for each of N images, and which are compared. Columns number the shifts.

    Attributes:
        shifts: ``(N, S, 2)`` int16: dx, dy; column 0 is (0, 0). Where all images have the same ones, these are
            one row in memory: see :func:`share`.
        sample: ``(K,)``: the columns over which accuracy is averaged.
        pairs: ``(P, 2)``: the columns compared for consistency.
        axis: ``(A, 2)``: pairs one pixel apart along an axis.
        diagonal: ``(D, 2)``: pairs one pixel apart along a diagonal.
        groups: ``(N,)``: images that share their draws have the same number; they are resampled together.
        weights: ``(N,)`` float64: how much each image counts.
        all_pairs: Whether ``pairs`` are all pairs of the sample, in either direction.
        is_path: Whether the sample's columns follow one line, the same for all images.
        stops_early: Whether an image is over once it is wrong.
        facts: What was drawn from where, ready for JSON.
    """

    shifts: np.ndarray
    sample: np.ndarray
    pairs: np.ndarray
    groups: np.ndarray
    weights: np.ndarray
    axis: np.ndarray = field(default_factory=lambda: np.empty((0, 2), int))
    diagonal: np.ndarray = field(default_factory=lambda: np.empty((0, 2), int))
    all_pairs: bool = False
    is_path: bool = False
    stops_early: bool = False
    facts: dict = field(default_factory=dict)

    def select(self, rows: np.ndarray) -> "Design":
        """These images only."""
        groups, weights = self.groups[rows], self.weights[rows]
        is_shared = self.shifts.strides[0] == 0
        shifts = share(self.shifts[0], len(groups)) if is_shared else self.shifts[rows]
        return replace(self, shifts=shifts, groups=groups, weights=weights)


@dataclass(frozen=True)
class Protocol:
    """A table entry; ``boundaries`` are those it can use, its own first."""

    title: str
    boundaries: tuple[str, ...]

    def frame(self, settings: Settings) -> Framing:
        """How a picture is framed. Raises UserError: a setting that this protocol cannot use."""
        raise NotImplementedError

    def design(self, image_ids: Sequence[str], settings: Settings) -> Design:
        """The shifts of every image, in the order of ``image_ids``; raises what :meth:`frame` does."""
        raise NotImplementedError

    def frame_around(self, settings: Settings, reach: int) -> Framing:
        """The model's own window, for shifts of up to ``reach`` pixels; ``crop`` has so many real ones on every side.

        Raises:
            UserError: Some of the shifts would leave nothing of a picture.
        """
        if settings.boundary != "crop":
            check_distance(reach, reach, settings.window, settings.boundary)
            return Framing(settings.resize, settings.window)
        source = settings.window + 2 * reach
        return Framing(max(settings.resize, source), source, reach)


def share(shifts: np.ndarray, num: int) -> np.ndarray:
    """``(num, S, 2)``: the shifts ``(S, 2)`` for each of many images, without a copy."""
    return np.broadcast_to(shifts, (num, *shifts.shape))


def with_zero(moves: np.ndarray) -> np.ndarray:
    """``(..., S, 2)`` int16 with the unshifted window before the others."""
    return np.concatenate([np.zeros((*moves.shape[:-2], 1, 2), np.int16), moves.astype(np.int16)], axis=-2)


def paired(moves: np.ndarray, groups: np.ndarray, weights: np.ndarray, facts: dict) -> Design:
    """Compares the 1st with the 2nd shift, the 3rd with the 4th, and so on; ``moves (N, 2 P, 2)``."""
    sample = np.arange(1, 1 + moves.shape[1])
    return Design(with_zero(moves), sample, sample.reshape(-1, 2), groups, weights, facts=facts)


def counted_generator(seed: int, image_id: str) -> np.random.Generator:
    """Random numbers that depend on the seed and the image's name alone, not on what was drawn before."""
    key = hashlib.sha256(f"{seed}/{image_id}".encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
