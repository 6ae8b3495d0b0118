"""What a run may decide on this machine that was opened from a capsule: what is trained and how, and nothing else.

A capsule comes from anybody. Of its settings, names that mean the same everywhere are followed; where data lie, on
what and with whose help is computed, and who is told of it, are those of whoever opens it. A run's own settings are
the owner's, and followed as they are.
"""

from pathlib import Path, PurePath

from analysis.errors import UserError
from models.data.datasets import DATASETS
from models.ordinary_files import SETTINGS, mend, read_json, short_name
from models.runs.run import Run
from models.training.config import TrainingConfig

MAX_SHOWN = 60
"""Characters of a name that a capsule gives."""


def find_dataset(run: Run) -> str:
    """The data set that a run was trained on, for more trainings on it.

    Returns:
        A key of ``DATASETS``, or the path of the owner's own pictures.

    Raises:
        UserError: It was opened from a capsule and trained on own pictures, or does not say on what.
    """
    return _check_dataset(run, read_json(run.path / SETTINGS).get("dataset"))


def plan_again(run: Run, *, data_root: str | Path, device: str) -> TrainingConfig:
    """The configuration that would train a run again, here.

    Args:
        data_root: Where data sets are kept here; of an own run, its own stays.
        device: To train on; likewise.

    Raises:
        UserError: As for :func:`find_dataset`, it began with the weights of a run that is not here, or its
            settings are damaged.
    """
    settings = read_json(run.path / SETTINGS)
    if not run.is_opened:
        return TrainingConfig.from_dict(settings)
    # Before they are checked: what is not followed may be nothing that there is here.
    here = {"data_root": str(data_root), "device": device, "compile": False, "trackers": []}
    config = TrainingConfig.from_dict(settings | here)
    _check_dataset(run, config.dataset)
    if config.start_from and PurePath(config.start_from).name != config.start_from:  # a run here, or a path
        raise UserError(
            f"The run {run.name} was opened from a capsule, which does not bring {_shown(config.start_from)}, whose "
            "weights it began with; so it cannot be trained again here."
        )
    return config


def _check_dataset(run: Run, dataset: object) -> str:
    if not isinstance(dataset, str):
        raise UserError(f"{short_name(run.path / SETTINGS)} does not say which data the run was trained on.")
    if run.is_opened and dataset not in DATASETS:
        name = _shown(PurePath(dataset.replace("\\", "/")).name)
        raise UserError(
            f"The run {run.name} was opened from a capsule, which does not bring its data set {name}; if you have "
            "these pictures, choose them as own pictures for a new training."
        )
    return dataset


def _shown(name: str) -> str:
    return repr(mend(name[:MAX_SHOWN]))
