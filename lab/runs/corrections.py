"""The corrections to a run's labels, which are kept with the run, and which of them have been trained with."""

import json
import threading
from collections.abc import Iterable, Sequence

from analysis.errors import UserError, explained
from lab.runs.mistakes import PARTS, Correction, ErrorView, correct, has_settings_of, list_told, open_errors
from models.ordinary_files import read_start
from models.runs.files import write_json
from models.runs.run import Run

FILE = "corrections.json"
MAX_KEPT = 1000
"""Corrections of one run, those that later ones replace included."""
MAX_BYTES = 4 * 2**20
_FAILED = ("failed", "damaged")
"""States of a run that has not been trained with what its configuration says."""

_guard = threading.Lock()


def read_corrections(run: Run) -> tuple[Correction, ...]:
    """All corrections of a run, oldest first; none where there is no such file, or something else in it.

    Raises:
        UserError: The run has no classes to correct.
    """
    try:
        rows = json.loads(read_start(run.path / FILE, MAX_BYTES))["corrections"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return ()
    names = open_errors(run).confusion.categories
    read = [_read_row(row, names) for row in rows] if isinstance(rows, list) else []
    found = tuple(row for row in read if row is not None)
    return () if len(found) < len(read) or len(found) > MAX_KEPT else found


def add_correction(run: Run, view: ErrorView, index: int, label: int | None) -> None:
    """Keeps one more correction with the run.

    Args:
        label: The class it ought to have, or None to leave it out.

    Raises:
        UserError: No such class, the picture has it already, or there are too many corrections.
        UserError: They cannot be stored, or the run is not one's own.
    """
    with _guard:
        trail = correct(view, read_corrections(run), index, label)
        if len(trail) > MAX_KEPT:
            raise UserError(f"A run keeps at most {MAX_KEPT} corrections; train with these first.")
        _write(run, trail)


def take_back_correction(run: Run) -> None:
    """Forgets the last correction of a run. Raises UserError: what is left cannot be stored."""
    with _guard:
        _write(run, read_corrections(run)[:-1])


def find_trained(run: Run, trail: Iterable[Correction], runs: Iterable[Run]) -> dict[int, Run]:
    """Which corrections have been trained with: the number of a picture -> the first run that was told so.

    Such a run has the settings of the corrected one and the correction among its own; one that failed does not count.

    Args:
        trail: Its corrections, of each picture one.
        runs: Where to look, newest first.
    """
    labels = {str(correction.number): correction.label for correction in trail}
    found: dict[int, Run] = {}
    for other in runs:
        told = list_told(other)
        shared = [number for number in labels if number in told and told[number] == labels[number]]
        if shared and other.name != run.name and other.state not in _FAILED and has_settings_of(other, run):
            found |= dict.fromkeys(map(int, shared), other)
    return found


def _read_row(row: object, names: Sequence[str]) -> Correction | None:
    """One correction of a file, with every value checked."""
    if not isinstance(row, list) or len(row) != len(Correction._fields):
        return None
    number, label, part, before, after = row
    is_left_out = label is None
    fits = type(number) is int and 0 <= number < 10**15 and part in tuple(PARTS) and before in names
    fits &= is_left_out or (type(label) is int and 0 <= label < len(names) and after == names[label])
    return Correction(number, label, part, before, "left out" if is_left_out else after) if fits else None


def _write(run: Run, trail: Sequence[Correction]) -> None:
    with explained(f"The corrections of {run.name} cannot be stored"):
        write_json(run.check_own().path / FILE, {"corrections": [list(correction) for correction in trail]})
