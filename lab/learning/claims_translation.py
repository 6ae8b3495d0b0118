"""What the lecture claims of objects that move, and how each is checked."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.errors import Progress
from analysis.grammar import count
from lab.learning.claim import (
    At,
    Claim,
    Fact,
    Finding,
    Guess,
    is_equal,
    is_less,
    is_no_difference,
    is_share,
)
from lab.learning.claims_convolution import draw, find_difference
from lab.lru import RecentResults
from lab.shifts import map_picture
from models.data.samples import get_sample
from models.registry import DEFAULT_MODEL

SIDE, WIDE, HOME = 8, 24, 8
"""Of the digits of scikit-learn, of the canvas that they lie on, and the column at which they lie in training."""
NOTHING = 10
"""The class of a window that does not hold a whole digit."""
STEPS, BATCH, HIDDEN, LEARNED = 400, 128, 64, 1200
SQUARES = 4
"""Along a side: of so many squares one is covered."""
_trained: "RecentResults[Moved]" = RecentResults(4)


def _check_shift(at: At, stride: int) -> Finding:
    picture, kernels, by = draw(1, 3, 16, 16), draw(8, 3, 3, 3, seed=1), (3, 5)

    def apply(values: Tensor, mode: str) -> Tensor:
        return F.conv2d(F.pad(values, (1, 1, 1, 1), mode), kernels, stride=stride)

    moved = picture.roll(by, (2, 3))
    to = tuple(each // stride for each in by)
    wrapped = find_difference(apply(moved, "circular"), apply(picture, "circular").roll(to, (2, 3)))
    padded = (apply(moved, "constant") - apply(picture, "constant").roll(to, (2, 3))).abs().amax((0, 1)) > 0
    inside = torch.ones_like(padded)
    for row in (0, 1):  # cells that look beyond the border, before the shift or after it
        for axis, step in enumerate(to):
            inside.index_fill_(axis, torch.tensor([-row, (step - row) % len(padded)]), False)
    return Finding(
        (
            is_no_difference("borders wrapped around: one order against the other", wrapped),
            is_equal("padded with zeros: cells away from the border that differ", int((padded & inside).sum()), 0),
        ),
        note="A picture of 16 x 16 moved by 3 and 5 pixels, and eight filters of 3 x 3.",
    )


def _check_content(at: At, dx: int, wraps: bool) -> Finding:
    image = at.lab.open_image(get_sample("chelsea").path)
    result = at.lab.shift(image, DEFAULT_MODEL, dx, 0, "circular", twin=wraps, progress=at.progress)
    error = [each.relative_error for each in result.layers if each.relative_error is not None][-1]
    return Finding(
        (is_less("how far its features are from moving along", 100 * error, 5.0, "%"),),
        number=100 * error,
        note=f"The deepest feature maps of {DEFAULT_MODEL}, the cat moved by {count(dx, 'pixel')}; 0 % would be "
        "features that only depend on content, and 5 % is taken for near enough.",
    )


def _check_sideways(at: At, reach: int, boundary: str, least: float) -> Finding:
    image = at.lab.open_image(get_sample("chelsea").path)
    *_, found = map_picture(at.lab, image, DEFAULT_MODEL, reach, boundary, progress=at.progress)
    shifts = (2 * reach + 1) ** 2
    kept = round(found.map.share_kept * shifts)
    return Finding(
        (
            Fact(
                f"of {shifts} shifts, those with the same class",
                write_all(shifts, least),
                str(kept),
                kept >= least * shifts,
            ),
        ),
        number=float(kept),
        note=f"{DEFAULT_MODEL}, and every shift of the cat up to {reach} pixels each way.",
    )


def write_all(number: int, share: float) -> str:
    """So large a share of them."""
    return f"all {number}" if share == 1 else f"at least {share * number:.0f}"


CHANGES: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "tilted": lambda image, angle: image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128)),
    "darker": lambda image, light: ImageEnhance.Brightness(image).enhance(light),
}
"""What can happen to a photo -> what makes it so, by how much."""


def _check_changed(at: At, change: str, by: float) -> Finding:
    image = at.lab.open_image(get_sample("chelsea").path).convert("RGB")
    before, after = (
        at.lab.classify(each, DEFAULT_MODEL, 1, at.progress).predictions[0]
        for each in (image, CHANGES[change](image, by))
    )
    return Finding(
        (is_equal("the answer", after.category, before.category),),
        note=f"{DEFAULT_MODEL}: before {before.category} ({before.probability:.0%}), then {after.category} "
        f"({after.probability:.0%}).",
    )


def _check_covered(at: At, squares: int, least: float) -> Finding:
    image = at.lab.open_image(get_sample("chelsea").path).convert("RGB")
    pixels = np.asarray(image)
    before = at.lab.classify(image, DEFAULT_MODEL, 1, at.progress).predictions[0].category
    rows, columns = (np.linspace(0, size, squares + 1).astype(int) for size in pixels.shape[:2])
    kept = 0
    for number in range(squares**2):
        at.progress(number, squares**2)
        row, column = divmod(number, squares)
        covered = pixels.copy()
        covered[rows[row] : rows[row + 1], columns[column] : columns[column + 1]] = 128
        after = at.lab.classify(Image.fromarray(covered), DEFAULT_MODEL, 1, at.progress).predictions[0].category
        kept += after == before
    total = squares**2
    return Finding(
        (
            Fact(
                f"of {total} squares, those that may be covered",
                write_all(total, least),
                str(kept),
                kept >= least * total,
            ),
        ),
        number=float(kept),
        note=f"{DEFAULT_MODEL}: a grey square hides {100 / total:.0f} % of the photo, once at each place.",
    )


@dataclass(frozen=True, eq=False)
class Moved:
    """Digits on a canvas: an MLP of the whole canvas, and one of a window, both trained at one place alone."""

    fixed: nn.Module
    window: nn.Module
    digits: Tensor  # (N, 8, 8), for the test
    labels: Tensor

    def place(self, column: int) -> Tensor:
        """``(N, 8, WIDE)``: the digits at a column."""
        return _place(self.digits, column)

    @torch.inference_mode()
    def count_fixed(self, column: int) -> int:
        """Right answers of the MLP of the whole canvas."""
        return int((self.fixed(self.place(column).flatten(1)).argmax(1) == self.labels).sum())

    @torch.inference_mode()
    def count_scanned(self, column: int) -> int:
        """Right answers of the MLP of a window, slid over the canvas, with the maximum over places."""
        windows = self.place(column).unfold(2, SIDE, 1).permute(0, 2, 1, 3).flatten(2)  # (N, places, 64)
        scores = self.window(windows)  # (N, places, 11)
        best = (scores[..., :NOTHING] - scores[..., NOTHING:]).amax(1)
        return int((best.argmax(1) == self.labels).sum())


def _place(digits: Tensor, column: int) -> Tensor:
    canvas = digits.new_zeros(len(digits), SIDE, WIDE)
    canvas[:, :, column : column + SIDE] = digits
    return canvas


def find_moved(progress: Progress, seed: int = 0) -> Moved:
    """Both networks of this seed, trained when they are first asked for."""
    found = _trained.get((seed,))
    if found is None:
        found = _train_moved(progress, seed)
        _trained.keep((seed,), found, 1)
    return found


def _train_moved(progress: Progress, seed: int) -> Moved:
    """Trains both where the digit lies at ``HOME`` alone; the global random state stays as it is."""
    from sklearn.datasets import load_digits

    found = load_digits()
    digits, labels = torch.from_numpy(found.images).float() / 16, torch.from_numpy(found.target)
    learned, goals = _place(digits[:LEARNED], HOME), labels[:LEARNED]
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        fixed = nn.Sequential(nn.Linear(SIDE * WIDE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, NOTHING))
        window = nn.Sequential(nn.Linear(SIDE * SIDE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, NOTHING + 1))
        optimizer = torch.optim.AdamW([*fixed.parameters(), *window.parameters()], 3e-3)
        for step in range(STEPS):
            progress(step, STEPS)
            batch = torch.randint(LEARNED, (BATCH,))
            places = torch.randint(WIDE - SIDE + 1, (BATCH,))
            places[::3] = HOME
            windows = learned.unfold(2, SIDE, 1)[batch, :, places].flatten(1)  # (N, 64)
            wanted = torch.where(places == HOME, goals[batch], NOTHING)
            optimizer.zero_grad()
            loss = F.cross_entropy(fixed(learned[batch].flatten(1)), goals[batch])
            (loss + F.cross_entropy(window(windows), wanted)).backward()
            optimizer.step()
    progress(STEPS, STEPS)
    return Moved(fixed.requires_grad_(False), window.requires_grad_(False), digits[LEARNED:], labels[LEARNED:])


def _check_fixed(at: At, columns: tuple[int, ...]) -> Finding:
    moved = find_moved(at.progress)
    total = len(moved.labels)
    there, right = moved.count_fixed(HOME), sum(moved.count_fixed(column) for column in columns)
    return Finding(
        (
            is_share("right where the digits lay in training", there, total, above=0.85),
            is_share("right at other places", right, total * len(columns), below=0.5),
        ),
        number=100 * right / total / len(columns),
        note=f"An MLP of the whole canvas, {LEARNED:,} digits of 8 x 8 at column {HOME}; guessing is right in 10 %.",
    )


def _check_scanned(at: At, slides: bool) -> Finding:
    moved = find_moved(at.progress)
    columns, total = (0, 4, 12, 16), len(moved.labels)
    count = moved.count_scanned if slides else moved.count_fixed
    right = sum(map(count, columns))
    return Finding(
        (is_share("right at other places", right, total * len(columns), above=0.85),),
        number=100 * right / total / len(columns),
        note="The MLP of a window, trained where the digit lay at one place, slid over the canvas: the largest of "
        "its scores decides.",
    )


_T = "translation"
_CAT = "What if the cat moves sideways, is tilted, or the photo is darker? The network says the same: "
TRANSLATION = {
    "shift_convolve": Claim(
        "Equivariance", _T, "Shift then convolve is the same as convolve then shift.", _check_shift, {"stride": 1},
        {"stride": 2}, "stride 2", see="tab=shift&dx=3&boundary=circular",
    ),
    "content_alone": Claim(
        "Content, not place", _T,
        "Features should depend on content, not on where it is: those of a trained network move along with the "
        "picture.",
        _check_content, {"dx": 1, "wraps": False}, {"dx": 32, "wraps": True},
        "a whole stride, and borders wrapped around in every layer",
        Guess("By how much do the deepest features miss, of their size, when the cat moves by one pixel?", "%", 0.3),
        seconds=2.0, see="tab=shift&dx=1&boundary=circular",
    ),
    "cat_sideways": Claim(
        "The cat moves", _T, _CAT + "it keeps its answer when the cat moves by up to 3 pixels.", _check_sideways,
        {"reach": 3, "boundary": "crop", "least": 1.0}, {"least": 0.25}, "a quarter of the shifts is enough",
        Guess("Of 49 shifts by up to 3 pixels, after how many is the class the same?", "", 0.1), seconds=3.0,
        see="tab=shift&boundary=crop",
    ),
    "cat_tilted": Claim(
        "The cat is tilted", _T, _CAT + "it keeps its answer when the photo is tilted by 20 degrees.", _check_changed,
        {"change": "tilted", "by": 20.0}, {"by": 0.0}, "not tilted at all", seconds=0.5, see="tab=classify",
    ),
    "cat_darker": Claim(
        "The photo is darker", _T, _CAT + "it keeps its answer when the photo has half of its light.", _check_changed,
        {"change": "darker", "by": 0.5}, {"by": 0.0}, "no light at all", seconds=0.5, see="tab=classify",
    ),
    "cat_covered": Claim(
        "A part is covered", _T, "Occlusion: a network sees the same when any sixteenth of the photo is covered.",
        _check_covered, {"squares": SQUARES, "least": 1.0}, {"least": 0.25}, "a quarter of the squares is enough",
        Guess("Of 16 squares, how many may be covered without another answer?", "", 0.1), seconds=2.0,
        see="tab=explain",
    ),
    "mlp_elsewhere": Claim(
        "An MLP fails elsewhere", _T, "An MLP trained with the object in one place fails on another.", _check_fixed,
        {"columns": (0, 4, 12, 16)}, {"columns": (HOME,)}, "the place of the training",
        Guess("In how many cases is it right at other places?", "%", 0.3), seconds=1.5, see="tab=learn&bench=sound",
    ),
    "scanning_cures": Claim(
        "Scanning is the cure", _T,
        "Scanning with shared weights is the cure: the same answer wherever the object is.", _check_scanned,
        {"slides": True}, {"slides": False}, "the MLP of the whole canvas",
        Guess("In how many cases is the slid MLP right at other places?", "%", 0.1), seconds=1.5,
        see="tab=learn&bench=sound",
    ),
}  # fmt: skip
"""Name -> claim."""
