"""What a run found that is no training, for whoever shows it: a file with other parts is damaged, and said to be."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.errors import UserError
from models.ordinary_files import SETTINGS, short_name
from models.runs.files import read_lines
from models.runs.run import Run

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MAX_SHOWN = 80
"""Characters of the place in a document that is not as it should be."""


def read_document(run: Run) -> dict | None:
    """The content of a run's result.json; None before there is any.

    Raises:
        UserError: It is damaged: it cannot be read, or a part that is shown is missing or of another kind.
    """
    from lab.schemas import DOCUMENTS

    document = run.document
    if document is not None and run.kind in DOCUMENTS:
        _check(run.path / "result.json", DOCUMENTS[run.kind], document)
    return document


def read_rows(run: Run) -> list[dict]:
    """The rows of a table so far, of an experiment or of a comparison of features, out of its status.

    Raises:
        UserError: They are damaged, or nobody knows the experiment.
    """
    from lab.schemas import ROWS

    experiment, rows = run.config.get("experiment", run.kind), run.status.get("rows") or []
    if rows:
        if not isinstance(experiment, str) or experiment not in ROWS:
            raise UserError(f"{short_name(run.path / SETTINGS)} is damaged: it names no experiment.")
        _check(run.path / "status.json", ROWS[experiment], rows)
    return rows


def read_measurements(run_dir: Path, experiment: str, key: Sequence[str]) -> list[dict]:
    """What an experiment, or a comparison of features, has measured so far; a line that does not say of what is none.

    Args:
        experiment: A key of ``EXPERIMENTS``, or "features".
        key: The entries of a measurement that tell it from the others.

    Raises:
        UserError: A measurement is damaged.
    """
    from lab.schemas import MEASUREMENTS

    path = run_dir / "measurements.jsonl"
    found = [line for line in read_lines(path) if all(isinstance(line.get(name), str | int) for name in key)]
    _check(path, MEASUREMENTS[experiment], found)
    return found


def check_arm_measurement(path: Path, line: dict) -> None:
    """Checks what a comparison has measured of a trained arm: a line of the file. Raises UserError: it is damaged."""
    from lab.schemas import ARM_MEASUREMENT

    _check(path, ARM_MEASUREMENT, line)


def check_trained_arm(run: Run, points: list[dict]) -> None:
    """Checks what a comparison takes from the training of an arm: its result, and the points of its curve.

    Raises:
        UserError: They are damaged.
    """
    from lab.schemas import ARM_POINTS, ARM_RESULT

    _check(run.path / "status.json", ARM_RESULT, run.result or {})
    _check(run.path / "metrics.jsonl", ARM_POINTS, points)


def _check(path: Path, schema: "TypeAdapter", values: object) -> None:
    from pydantic import ValidationError

    try:
        schema.validate_python(values, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:MAX_SHOWN] or "a part"
        problem = "is missing" if first["type"] == "missing" else "is not what it should be"
        raise UserError(f"{short_name(path)} is damaged: {place} {problem}; start this work anew.") from error
