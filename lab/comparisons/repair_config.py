"""What a repair bench is told, and what it begins with: cures that a model can have, and pictures that it knows."""

from pathlib import Path
from typing import Annotated

from pydantic import PlainValidator

from analysis.consistency.protocols import PROTOCOLS
from analysis.errors import UserError
from models.data.shapes import ShapesConfig
from models.devices import DEVICES
from models.networks.repairs import ARMS, Arm, list_arms
from models.registry import RUN_PREFIX
from models.runs.run import read_run
from models.settings import Choice, Integer, Nested, Number, Stored, Text, check_choice, checked_dataclass
from models.training.foreign_runs import find_dataset
from models.training.warm_start import find_start

BOUNDARIES = PROTOCOLS["exact"].boundaries


def _read_arms(arms: object) -> tuple[str, ...]:
    if not isinstance(arms, list | tuple) or not arms:
        raise UserError(f"arms must list at least one of {', '.join(ARMS)}.")
    arms = tuple(check_choice("arm", arm, ARMS) for arm in arms)
    if len(set(arms)) < len(arms):
        raise UserError("Name no arm twice.")
    return arms


@checked_dataclass
class RepairConfig(Stored):
    """Everything that decides the outcome of a repair bench, checked when it is made.

    ``start_from`` is a run ("run/NAME"), "fashion_cnn" or a ResNet of torchvision; each of ``arms`` is a key of
    ``models.networks.repairs.ARMS`` and trained for ``steps`` steps. ``image_size`` and ``shapes`` are those of the
    start model and its training where None. Consistency is measured on ``limit`` test pictures (None: all), each
    under ``shifts`` shifts of up to ``max_shift`` pixels with uncovered pixels filled by the rule ``boundary``.
    """

    start_from: Annotated[str, Text("a name or a path", min_length=1)] = "fashion_cnn"
    dataset: Annotated[str, Text("a name or a path", min_length=1)] = "fashion_mnist"
    arms: Annotated[tuple[str, ...], PlainValidator(_read_arms)] = (
        "as_is",
        "circular",
        "circular_blur",
        "circular_aps",
    )
    steps: Annotated[int, Integer(1, 10**7, help="Training steps of every arm.")] = 400
    batch_size: Annotated[int, Integer(2, 8192, help="")] = 128
    learning_rate: Annotated[float, Number(1e-8, 100.0, help="")] = 0.05
    seed: Annotated[int, Integer(0, 2**32 - 1, help="")] = 0
    blur_size: Annotated[int, Integer(2, 5, help="Taps of the low-pass filter, 2 to 5.")] = 3
    image_size: Annotated[int | None, Integer(8, 256, help="Side in pixels; the start model's if not given.")] = None
    shapes: Annotated[ShapesConfig | None, Nested(ShapesConfig)] = None
    limit: Annotated[int | None, Integer(1, 10**9, help="How many test pictures are shifted.")] = 1000
    max_shift: Annotated[int, Integer(1, 512, help="Longest shift in pixels.")] = 4
    shifts: Annotated[int, Integer(2, 2048, help="Shifts per picture.")] = 8
    boundary: Annotated[str, Choice(BOUNDARIES)] = "circular"
    data_root: Annotated[str, Text("a name or a path", min_length=1)] = "data"
    device: Annotated[str, Choice(DEVICES)] = "auto"


def list_cures(model: str, runs_root: Path) -> tuple[Arm, ...]:
    """Every arm for a model, or what keeps it from one. Raises UserError: the model cannot be used as a start."""
    return list_arms(find_start(model, runs_root).config)


def find_data(model: str, runs_root: Path) -> str:
    """What a model was trained on: a key of ``DATASETS``, or the path of a folder or zip.

    Raises:
        UserError: It is not known, or is no longer there.
    """
    if model == "fashion_cnn":
        return "fashion_mnist"
    if not model.startswith(RUN_PREFIX):
        raise UserError(f"Choose the pictures that {model} shall be trained further on.")
    return find_dataset(read_run(runs_root, model.removeprefix(RUN_PREFIX).partition("@")[0]))
