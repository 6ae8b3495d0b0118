"""How published evaluations of shift consistency draw their shifts, to the letter, and our own exact one.

A protocol answers two questions: how a picture is framed (from which square the windows are cut), and which
shifts of each image are compared with which. Both are plain numbers, so that they can be checked without a model.
``dx, dy`` are network-input pixels, right and down positive; a window that starts one pixel further to the right
shows content one pixel further to the left.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.consistency.design import (
    Design,
    Framing,
    Protocol,
    Settings,
    counted_generator,
    paired,
    share,
    with_zero,
)
from analysis.consistency.polyphase_protocols import PolyphaseBySize, PolyphaseCifar, PolyphaseImageNet
from analysis.errors import UserError
from analysis.shift.move import BOUNDARIES

_SHUFFLED = 2**12
"""Up to so many numbers are shuffled to draw a few of them."""
_NEAR = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [1, -1], [-1, 1], [-1, -1]], np.int16)


@dataclass(frozen=True)
class Exact(Protocol):
    """K different shifts for each image, uniform on {-k..k} x {-k..k}, and all pairs of them.

    The share of agreeing pairs is a U-statistic: an unbiased estimate of the chance that two different
    shifts agree, and that chance itself once K reaches (2k + 1)^2. An image's draws depend on the seed and
    its name alone, and the first of them stay when more are drawn. One-pixel changes compare the unshifted
    picture with one neighbour along an axis and one along a diagonal (with all of them if all shifts are used).
    """

    def frame(self, settings: Settings) -> Framing:
        """The window with k real pixels around it."""
        return self.frame_around(settings, self._limit(settings))

    def design(self, image_ids: Sequence[str], settings: Settings) -> Design:
        """Columns: unshifted, the K draws, then the one-pixel neighbours."""
        limit = self._limit(settings)
        side = 2 * limit + 1
        num = min(settings.num_shifts, side**2)
        is_full = num == side**2

        def row(cells: np.ndarray, steps: np.ndarray) -> np.ndarray:
            drawn = np.stack(np.divmod(cells, side), axis=1) - limit
            return with_zero(np.concatenate([drawn, steps]))

        def draw(image_id: str) -> np.ndarray:
            rng = counted_generator(settings.seed, image_id)
            steps = _NEAR[[rng.integers(4), 4 + rng.integers(4)]]
            return row(_draw_different(rng, side**2, num), steps)

        if is_full:
            shifts = share(row(np.arange(side**2), _NEAR), len(image_ids))
        else:
            shifts = np.stack([draw(image_id) for image_id in image_ids])
        sample = np.arange(1, 1 + num)
        steps = np.array([(0, column) for column in range(1 + len(sample), shifts.shape[1])])
        axis, diagonal = np.split(steps, 2)
        pairs = np.stack(np.triu_indices(len(sample), 1), axis=1) + 1
        ranges = {"dx": [-limit, limit], "dy": [-limit, limit], "per_image": len(sample), "all": is_full}
        facts = {"ranges": ranges, "pairing": "all pairs of the shifts of an image, without replacement"}
        return Design(
            shifts, sample, pairs, **_each_alone(shifts), axis=axis, diagonal=diagonal, all_pairs=True, facts=facts
        )

    def _limit(self, settings: Settings) -> int:
        return settings.max_shift or max(1, round(settings.window * 16 / 224))


@dataclass(frozen=True)
class Zhang(Protocol):
    """Zhang, "Making Convolutional Networks Shift-Invariant Again", 2019; ``main.py --evaluate-shift``.

    Pictures are resized to 256 and cropped to 256 x 256; windows of 224 begin at offsets drawn by
    ``np.random.randint(32, size=2)``, first the row: 0 to 31, although 32 would fit. One pair of offsets
    serves a whole batch of 8 in the order of the data, in 5 passes. Identical pairs count. The source sets no
    seed; here it is ``np.random.seed(seed)``. Other windows keep the proportion 32/224, or ``max_shift``.
    """

    passes: int = 5
    batch: int = 8

    def frame(self, settings: Settings) -> Framing:
        """256 for a window of 224."""
        return _frame_with_room(self, settings, _room(settings))

    def design(self, image_ids: Sequence[str], settings: Settings) -> Design:
        """Columns: unshifted, then the two offsets of each pass."""
        room, num = _room(settings), len(image_ids)
        batch = 1 if settings.per_image else self.batch
        groups = np.arange(num) // batch
        rng = np.random.RandomState(settings.seed)
        offsets = np.array(
            [
                [(rng.randint(room, size=2), rng.randint(room, size=2)) for _ in range(groups[-1] + 1)]
                for _ in range(self.passes)
            ]
        )  # (passes, batches, 2, row and column)
        moves = (room // 2 - offsets)[..., ::-1].transpose(1, 0, 2, 3).reshape(groups[-1] + 1, -1, 2)
        facts = {
            "ranges": {"offsets": [0, room - 1]},
            "pairing": f"one pair for every {batch} images and pass",
            "passes": self.passes,
        }
        return paired(moves[groups], groups, np.ones(num), facts)


@dataclass(frozen=True)
class Diagonal(Protocol):
    """Zhang, 2019; ``main.py --evaluate-diagonal``: probability of the right class along a diagonal.

    33 windows of 224 that begin at (k, k), k = 0 to 32, of the 256 x 256 picture. The source saves the
    traces; comparing neighbours and the variation along the trace are derived from them here.
    """

    def frame(self, settings: Settings) -> Framing:
        """256 for a window of 224."""
        return _frame_with_room(self, settings, _room(settings))

    def design(self, image_ids: Sequence[str], settings: Settings) -> Design:
        """Columns: unshifted, then the offsets 0, 1, ..."""
        room = _room(settings)
        facts = {"ranges": {"offsets": [0, room], "step": [1, 1]}, "pairing": "neighbours on the diagonal"}
        steps = room // 2 - np.arange(room + 1)
        return _path(steps, len(image_ids), np.arange(1, room + 2), facts)


@dataclass(frozen=True)
class AzulayWeiss(Protocol):
    """Azulay and Weiss, "Why do deep convolutional networks generalize so poorly ...", 2018;
    ``CheckTranslationInvariance.py``.

    For c from centre - 4 to centre + 3, the window at (c, c) is compared with the one at (c + 1, c + 1): the
    chance that the class changes, the mean absolute change (MAC) of the probability of the class predicted
    first, and accuracy over the 8 first windows. Boundary ``crop``: a random part of the share ``scale`` of the
    picture, resized to 234, with centre = int((234 - 224 - 1) / 2) = 4. Boundary ``mean``, called black
    background in the source: the whole picture at int(224 / scale) pixels on a canvas that is zero *after* the
    normalisation. The sources' scales are 0.1, 0.4, 0.7 and 1.0 with ``crop``, 1.3, 1.6 and 1.9 without;
    its 1001 images are the first ones of a shuffled loader.
    """

    reach: int = 4
    room: int = 10

    def frame(self, settings: Settings) -> Framing:
        """A picture with room for the crop protocol, or a smaller one inside the window."""
        if settings.max_shift is not None:
            raise UserError("The protocol aw fixes its shifts itself: leave the largest shift out.")
        if settings.boundary == "crop":
            area = settings.scale or 1.0
            if not 0 < area <= 1:
                raise UserError("The protocol aw with boundary crop needs a scale of at most 1.")
            return Framing(settings.resize, settings.window + self.room, (self.room - 1) // 2, area)
        scale = settings.scale or 1.3
        if scale <= 1:
            raise UserError("The protocol aw on a uniform background needs a scale above 1.")
        side = min(int(settings.window / scale), settings.window - self.room)
        if side < 1:
            raise UserError(f"Pictures of {settings.window} pixels are too small for the protocol aw.")
        return Framing(settings.resize, side, (settings.window - side - 1) // 2, 1.0)

    def design(self, image_ids: Sequence[str], settings: Settings) -> Design:
        """Columns: centre, then the 9 positions from centre - 4 to centre + 4."""
        self.frame(settings)
        steps = np.arange(-self.reach, self.reach + 1)
        facts = {
            "ranges": {"position_minus_centre": [-self.reach, self.reach], "step": [1, 1]},
            "pairing": "neighbours on the diagonal, the first against the second",
        }
        # A window that moves right shows content further left; a picture on a canvas moves itself.
        content = -steps if settings.boundary == "crop" else steps
        return _path(content, len(image_ids), np.arange(1, len(steps)), facts)


@dataclass(frozen=True)
class Adversarial(Protocol):
    """Michaeli, Michaeli and Soudry, "Alias-Free Convnets", 2023; ``shift_eval.py``.

    An image counts if it is right unshifted and at every shift tested. Circular: all rolls by 1 to m - 1 rows
    and columns, m = 32: 961 shifts, none negative, none along an axis alone. Boundary ``crop``: windows at the
    offsets 1 to 2m, both ways, of a picture with m more pixels on every side. Other windows keep 32/224, or
    ``max_shift`` = m.
    """

    def frame(self, settings: Settings) -> Framing:
        """The model's own window; m real pixels around it for crops."""
        return self.frame_around(settings, _room(settings))

    def design(self, image_ids: Sequence[str], settings: Settings) -> Design:
        """Columns: unshifted, then every shift, row by row."""
        limit = _room(settings)
        is_crop = settings.boundary == "crop"
        numbers = range(1, 2 * limit + 1) if is_crop else range(1, limit)
        if not numbers:
            raise UserError("The protocol afc-adv tests the shifts 1 to max_shift - 1: it needs at least 2.")
        drawn = np.array(list(itertools.product(numbers, repeat=2)))[:, ::-1]
        moves = limit - drawn if is_crop else drawn
        shifts = share(with_zero(moves), len(image_ids))
        sample = np.arange(1, shifts.shape[1])
        low, high = int(moves.min()), int(moves.max())
        facts = {"ranges": {"dx": [low, high], "dy": [low, high]}, "pairing": "the label, at every shift"}
        nothing = np.empty((0, 2), int)
        return Design(shifts, sample, nothing, **_each_alone(shifts), stops_early=True, facts=facts)


_CROP_FIRST = ("crop", *(name for name in BOUNDARIES if name != "crop"))
_ROLL_FIRST = ("circular", "mean", "zero")
PROTOCOLS: dict[str, Protocol] = {
    "exact": Exact("Unbiased estimate from all pairs of random shifts", tuple(BOUNDARIES)),
    "zhang": Zhang("Zhang 2019: consistency of two random crops", _CROP_FIRST),
    "diag33": Diagonal("Zhang 2019: trace along a diagonal", _CROP_FIRST),
    "aw": AzulayWeiss("Azulay & Weiss 2018: one pixel along the diagonal", ("crop", "mean")),
    "aps-imagenet": PolyphaseImageNet("Chaman & Dokmanic 2021, ImageNet: two random rolls", ("circular",)),
    "aps-cifar": PolyphaseCifar("Chaman & Dokmanic 2021, CIFAR-10: two random rolls", _ROLL_FIRST),
    "aps": PolyphaseBySize("Chaman & Dokmanic 2021: one of these two, by the size of the pictures", _ROLL_FIRST),
    "afc-adv": Adversarial("Michaeli et al. 2023: right at every shift", ("circular", "crop")),
}
"""Name -> protocol."""


def _room(settings: Settings) -> int:
    """32 pixels for a window of 224."""
    return settings.max_shift or max(1, round(settings.window * 32 / 224))


def _frame_with_room(protocol: Protocol, settings: Settings, room: int) -> Framing:
    """Zhang's square: resized to its own side, so nothing but the room is lost."""
    if settings.boundary != "crop":
        return protocol.frame_around(settings, room - room // 2)
    source = settings.window + room
    return Framing(source, source, room // 2)


def _draw_different(rng: np.random.Generator, size: int, num: int) -> np.ndarray:
    """``num`` different numbers below ``size``; a larger ``num`` begins with the same ones."""
    if size <= _SHUFFLED:
        return rng.permutation(size)[:num]
    found: dict[int, None] = {}  # in the order of the draws
    while len(found) < num:
        found |= dict.fromkeys(rng.integers(size, size=num).tolist())
    return np.array(list(found)[:num])


def _each_alone(shifts: np.ndarray) -> dict:
    return {"groups": np.arange(len(shifts)), "weights": np.ones(len(shifts))}


def _path(steps: np.ndarray, num: int, sample: np.ndarray, facts: dict) -> Design:
    """The diagonal shifts ``steps``, each compared with the next."""
    shifts = share(with_zero(np.stack([steps, steps], axis=1)), num)
    columns = np.arange(1, 1 + len(steps))
    pairs = np.stack([columns[:-1], columns[1:]], axis=1)
    return Design(shifts, sample, pairs, **_each_alone(shifts), diagonal=pairs, is_path=True, facts=facts)
