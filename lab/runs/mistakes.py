"""What a run's network got wrong, with the pictures; most of it is read from files, without the network."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.attribution.methods import attribute
from analysis.confusion import Confusion, measure_confusion
from analysis.errors import Progress, UserError, no_progress
from analysis.figures.drawing import draw_pixels
from analysis.figures.overlay import measure_scale
from lab.lru import RecentResults
from lab.runs.examples import Examples, read_examples, read_hard_examples, read_predictions
from lab.session import Lab
from models.registry import RUN_PREFIX
from models.runs.run import Run
from models.runs.submit import next_name
from models.training.config import TrainingConfig
from models.training.foreign_runs import plan_again

MAX_KEPT_BYTES = 160 * 2**20
"""Of the pictures and predictions that are kept in memory."""
LINEAR = ("saliency", "input_x_gradient", "integrated_gradients", "smoothgrad", "occlusion", "grad_cam")
"""Methods whose map of a difference of logits is the difference of the two maps; the others cut signals off."""
CORRECTED = "-corrected"
"""In the name of a run that another one's corrections have led to."""
_CORRECTED_NAME = re.compile(rf"{CORRECTED}-[0-9]+$")

_VIEWS: "RecentResults[ErrorView]" = RecentResults(MAX_KEPT_BYTES)


class Correction(NamedTuple):
    """What is to be changed about one picture.

    Attributes:
        label: The class it ought to have; None to leave the picture out.
        part: Of the data set, a key of ``PARTS``.
        before: Name of the class that it has in the run.
        after: Name of the class it ought to have, or that it is left out.
    """

    number: int
    label: int | None
    part: str
    before: str
    after: str


@dataclass(frozen=True)
class Part:
    """A table entry: a title, the files of a run that the pictures are in, and what reads them with their logits."""

    title: str
    files: tuple[str, ...]
    read: Callable[[Run], tuple[Examples, Tensor]]


@dataclass(frozen=True, eq=False)
class ErrorView:
    """What a network said about the pictures of one part of its data, a key of ``PARTS``.

    ``runners_up (N,)`` are the classes that would have been predicted without the ones that were.
    """

    part: str
    examples: Examples
    confusion: Confusion
    runners_up: Tensor

    def draw(self, index: int, size: int = 112) -> NDArray[np.uint8]:
        """One picture ``(H', W', 3)``, enlarged in whole pixels to about ``size``."""
        return draw_pixels(self.examples.images[index].float() / 255, size=size)

    def describe(self, index: int) -> str:
        """What a picture is and what it was taken for, in one line."""
        found, names = self.confusion, self.confusion.categories
        true, predicted = names[found.labels[index]], names[found.predicted[index]]
        said = f"predicted {predicted} ({100 * found.probability[index]:.0f} %), loss {found.losses[index]:.2f}"
        return f"true {true}, {said}, {self.part} picture {self.examples.ids[index]}"

    def select(self, true: int | None, predicted: int | None) -> list[int]:
        """The pictures of one true and one predicted class, largest loss first; None stands for any class.

        Raises:
            UserError: No such class.
        """
        found = self.confusion
        if true is not None and predicted is not None:
            return found.cell(true, predicted)
        in_loss_order = found.top_losses(len(found))
        for wanted, classes in ((true, found.labels.tolist()), (predicted, found.predicted.tolist())):
            if wanted is not None:
                found.cell(wanted, wanted)  # refuses a class that does not exist
                in_loss_order = [index for index in in_loss_order if classes[index] == wanted]
        return in_loss_order


@dataclass(frozen=True, eq=False)
class PictureContrast:
    """Why a network took one picture for what it did: the maps of two classes, and of their difference.

    Attributes:
        other: The class it is compared with: the right one, or the second best where the prediction is right.
        for_predicted: ``(C, H, W)``, or one channel for Grad-CAM; positive values speak for the class.
        for_other: The same for the other class.
        difference: What speaks for the predicted class rather than the other one.
        scale: The magnitude of the strongest colour, of all three maps and of both signs.
        remarks: What to know when reading the maps of the two classes.
    """

    predicted: int
    other: int
    for_predicted: Tensor
    for_other: Tensor
    difference: Tensor
    scale: float
    remarks: tuple[str, str] = ("", "")


def open_errors(run: Run, part: str = "validation") -> ErrorView:
    """The confusion matrix and the pictures of a run, from its files alone: no network is loaded.

    What was opened last is kept until the files change.

    Args:
        part: A key of ``PARTS``.

    Raises:
        UserError: A file is missing or damaged; more classes than a matrix is made for.
    """
    key = (str(run.path.absolute()), part, find_version(run, part))
    if (known := _VIEWS.get(key)) is not None:
        return known
    examples, logits = PARTS[part].read(run)
    found = measure_confusion(logits, examples.labels, examples.categories)
    runners_up = logits.scatter(1, found.predicted[:, None], -torch.inf).argmax(1)
    view = ErrorView(part, examples, found, runners_up)
    _VIEWS.keep(key, view, examples.images.nbytes + 64 * len(examples))
    return view


def find_version(run: Run, part: str = "validation") -> tuple[int | None, ...]:
    """Changes whenever what :func:`open_errors` reads does: when the files were written, None for missing ones."""
    return tuple(_find_time(run.path / name) for name in (*PARTS[part].files, "model.json"))


def has_errors(run: Run, part: str = "validation") -> bool:
    """Whether :func:`open_errors` can be expected to work."""
    return run.kind == "training" and None not in find_version(run, part)


def contrast_picture(
    lab: Lab, run: Run, view: ErrorView, index: int, method: str, *, progress: Progress = no_progress
) -> PictureContrast:
    """Explains by its pixels why a picture was taken for one class rather than another, with the latest weights.

    Args:
        method: Of ``LINEAR``, so that the difference of two maps is the map of a difference.

    Raises:
        UserError: The network cannot be loaded; the method cannot explain this network.
    """
    name, found = f"{RUN_PREFIX}{run.name}", view.confusion
    pixels = view.examples.images[index : index + 1].float() / 255
    with lab.use(name) as (loaded, _):
        prep = loaded.spec.preprocessing
        if tuple(pixels.shape[1:]) != (prep.num_channels, prep.crop_size, prep.crop_size):
            raise UserError(f"The pictures kept with the run do not fit {name}.")
        inputs = loaded.to_inputs(pixels)
        predicted, other = int(found.predicted[index]), int(found.labels[index])
        if predicted == other:
            other = int(view.runners_up[index])
        answers = [
            attribute(loaded.module, inputs, target, method, progress=progress) for target in (predicted, other)
        ]
    first, second = (answer.values for answer in answers)
    remarks = (" ".join(answers[0].remarks), " ".join(answers[1].remarks))
    scale = measure_scale(first, second, first - second, sign="signed")
    return PictureContrast(predicted, other, first, second, first - second, float(scale), remarks)


def correct(view: ErrorView, trail: Sequence[Correction], index: int, label: int | None) -> tuple[Correction, ...]:
    """The corrections with one more: another class for a picture, or None to leave it out.

    Args:
        trail: All corrections so far, oldest first; of several for one picture the last one counts.

    Raises:
        UserError: No such class, or the picture has it already.
    """
    names, number = view.confusion.categories, int(view.examples.ids[index])
    if label is not None and not 0 <= label < len(names):
        raise UserError(f"There is no class {label}; there are the classes 0 to {len(names) - 1}.")
    own, after = int(view.examples.labels[index]), "left out" if label is None else names[label]
    known = {earlier.number: earlier.label for earlier in trail}
    if known.get(number, own) == label:
        raise UserError(f"Picture {number} is {after} already; choose another class.")
    return *trail, Correction(number, label, view.part, names[own], after)


def latest_corrections(trail: Iterable[Correction]) -> list[Correction]:
    """Of each picture the last correction, in the order in which the pictures were first corrected."""
    return list({correction.number: correction for correction in trail}.values())


def plan_corrected_run(lab: Lab, run: Run, trail: Iterable[Correction]) -> tuple[TrainingConfig, str]:
    """The configuration of a run with the corrections added to its own, and the next free name for that.

    Raises:
        UserError: There are no corrections, the run is not one's own, its configuration is damaged, or it came as a
            capsule without what it was trained on.
    """
    corrections = {str(correction.number): correction.label for correction in trail}
    if not corrections:
        raise UserError("There is no correction yet; choose a picture, then relabel or exclude it.")
    config = plan_again(run.check_own(), data_root=lab.data_root, device=lab.models.device.type)
    name = next_name(lab.runs_root, f"{_CORRECTED_NAME.sub('', run.name)}{CORRECTED}.run")
    return replace(config, corrections={**config.corrections, **corrections}), name


def is_upload(run: Run) -> bool:
    """Whether the run was trained on pictures that are kept inside its own directory."""
    dataset = run.config.get("dataset")
    return isinstance(dataset, str) and Path(dataset).is_relative_to(run.path.absolute() / "upload")


def find_uncorrected(run: Run, runs: Iterable[Run]) -> Run | None:
    """The run with the same settings and fewer corrections: the one that a corrected run is best compared with."""
    corrections, best = list_told(run), None
    for other in runs:
        others = list_told(other)
        is_subset = corrections and others.items() < corrections.items()
        if is_subset and (best is None or len(others) > best[0]) and has_settings_of(other, run):
            best = len(others), other
    return best and best[1]


def list_told(run: Run) -> dict:
    """The corrections in a run's configuration: with these it was trained."""
    corrections = run.config.get("corrections")
    return corrections if isinstance(corrections, dict) else {}


def has_settings_of(run: Run, other: Run) -> bool:
    """Whether two runs were told the same but for corrections, and but for where the data are."""
    return _read_settings(run) == _read_settings(other)


def _read_validation(run: Run) -> tuple[Examples, Tensor]:
    examples = read_examples(run)
    return examples, read_predictions(run, examples)


def _read_settings(run: Run) -> dict:
    """All settings, also those that an older version did not name, without corrections and without the place.

    What is trained on another machine, as a run from a capsule is, may well be the same training.
    """
    elsewhere = {"data_root": "", "device": "auto", "trackers": [], "compile": False}
    dataset = Path(str(run.config.get("dataset"))).name
    settings = {**run.config, **elsewhere, "dataset": dataset, "corrections": {}}
    try:
        return TrainingConfig.from_dict(settings).to_dict()
    except UserError:
        return settings


def _find_time(path: Path) -> int | None:
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return None


PARTS = {
    "validation": Part("validation", ("examples.safetensors", "predictions.safetensors"), _read_validation),
    "test": Part("test", ("test_examples.safetensors",), lambda run: read_hard_examples(run, "test_examples")),
    "training": Part("training, the largest losses", ("hard_examples.safetensors",), read_hard_examples),
}
"""Of the pictures of a data set, those that are kept with a run."""
