"""Runs side by side: what came out of each, and which settings they differ in."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from analysis.errors import UserError
from models.checkpoints import read_model_card
from models.ordinary_files import read_json
from models.runs.run import Run
from models.training.provenance import is_sha256

MAX_TEXT = 60
"""Characters of a setting's value."""
MAX_DEPTH = 4
MAX_DATA_BYTES = 32 * 2**20
NOT_SET = "—"
"""Where a run does not have a setting."""


@dataclass(frozen=True)
class RunRow:
    """One line of the table; None where it is not known (yet).

    ``parameters`` is a number of trained values, accuracies are in [0, 1], ``seconds`` those of the whole training,
    ``val_pictures`` what the validation accuracies are shares of.
    """

    name: str
    state: str
    data: str
    architecture: str
    parameters: int | None
    best_val_accuracy: float | None
    last_val_accuracy: float | None
    test_accuracy: float | None
    seconds: float | None
    seed: int | None
    notes: str
    val_pictures: int | None = None


@dataclass(frozen=True)
class Comparison:
    """The table, and the settings that differ: ``(setting, one value for each run)``, sorted by name.

    ``is_same_validation`` says whether all were measured on the same validation pictures, bit for bit; None where
    some run does not tell.
    """

    rows: tuple[RunRow, ...]
    settings: tuple[tuple[str, tuple[str, ...]], ...]
    is_same_validation: bool | None = None

    def to_json(self) -> dict:
        """``{runs, settings, is_same_validation}``."""
        settings = [{"setting": name, "values": list(values)} for name, values in self.settings]
        return {
            "runs": [asdict(row) for row in self.rows],
            "settings": settings,
            "is_same_validation": self.is_same_validation,
        }


def compare_runs(runs: Sequence[Run]) -> Comparison:
    """A line for each training run, and the settings in which they differ; never fails because of a file."""
    tables = [_flatten(run.config) for run in runs]
    names = sorted(set().union(*tables))
    columns = {name: tuple(table.get(name, NOT_SET) for table in tables) for name in names}
    differing = tuple((name, values) for name, values in columns.items() if len(set(values)) > 1)
    return Comparison(describe_runs(runs), differing, _is_same_validation(runs))


def describe_runs(runs: Sequence[Run]) -> tuple[RunRow, ...]:
    """A line for each training run; never fails because of a file."""
    return tuple(_read_row(run) for run in runs)


def _read_row(run: Run) -> RunRow:
    result, config = run.result if isinstance(run.result, dict) else {}, run.config
    accuracies = [_number(line.get("val_accuracy"), 1.0) for line in run.metrics if line.get("kind") == "epoch"]
    measured = [accuracy for accuracy in accuracies if accuracy is not None]
    seed = config.get("seed")
    return RunRow(
        name=run.name,
        state=run.state,
        data=_clip(Path(_text(config.get("dataset"))).stem),
        architecture=_clip(_text(config.get("architecture"))),
        parameters=_count_parameters(run),
        best_val_accuracy=max(measured, default=None),
        last_val_accuracy=measured[-1] if measured else None,
        test_accuracy=_number(result.get("test_accuracy"), 1.0),
        seconds=_number(result.get("seconds"), 1e9),
        seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
        notes=run.notes,
        val_pictures=run.count_pictures("validation"),
    )


def _count_parameters(run: Run) -> int | None:
    try:
        return read_model_card(run.path / "model.json").num_params
    except UserError:
        return None


def _is_same_validation(runs: Sequence[Run]) -> bool | None:
    hashes = {_hash_of_validation(run) for run in runs}
    return None if None in hashes else len(hashes) <= 1


def _hash_of_validation(run: Run) -> str | None:
    """The SHA-256 of the validation pictures and their labels, as the run noted it."""
    try:
        splits = read_json(run.path / "data.json", MAX_DATA_BYTES).get("splits")
    except UserError:
        return None
    split = splits.get("validation") if isinstance(splits, dict) else None
    found = split.get("sha256") if isinstance(split, dict) else None
    return found if is_sha256(found) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object, high: float) -> float | None:
    """The value if it is a number from 0 to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value <= high else None


def _flatten(values: Mapping, prefix: str = "", depth: int = 0) -> dict[str, str]:
    """Settings by their full name, ``model.dropout``, each value as short text."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        full = f"{prefix}{_clip(str(name))}"
        if isinstance(value, dict) and value and depth < MAX_DEPTH:
            flat |= _flatten(value, f"{full}.", depth + 1)
        else:
            flat[full] = _clip(value if isinstance(value, str) else _to_text(value))
    return flat


def _to_text(value: object) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError):  # no number or table that a configuration could hold
        return "…"


def _clip(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
