"""What a repair bench begins with: the cures that a model can have, and the pictures that it knows."""

from pathlib import Path

from analysis.errors import UserError
from models.networks.repairs import Arm, list_arms
from models.registry import RUN_PREFIX
from models.runs.run import read_run
from models.training.foreign_runs import find_dataset
from models.training.warm_start import find_start


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
