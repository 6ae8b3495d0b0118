"""The hand of a process on the run that it works on."""

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from analysis.errors import UserError
from models.ordinary_files import read_json
from models.runs.files import append_line, overwrite_json, write_json
from models.runs.process import read_clock, record_process


class RunWriter:
    """The training process's hand on its run; an error that passes through leaves the state "failed"."""

    def __init__(self, run_dir: Path):
        self.run_dir = run_dir
        self._status = read_json(run_dir / "status.json")

    def __enter__(self) -> "RunWriter":
        try:
            record_process(self.run_dir, os.getpid())
        except OSError as error:
            self._note_failure(error)
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self._note_failure(error)

    def update(self, **values: object) -> None:
        """Changes these entries of status.json and keeps the others; says by the way that the process is alive."""
        self._status |= values | {"heard": read_clock()}
        write_json(self.run_dir / "status.json", self._status)

    def _note_failure(self, error: BaseException) -> None:
        try:
            self.update(state="failed", message=_describe(error)[:2000])
        except OSError:
            # On a full disk the error itself is what matters: it goes on into the log.
            with suppress(OSError):
                overwrite_json(self.run_dir / "status.json", self._status)

    def add_metrics(self, values: dict) -> None:
        """Appends one line to metrics.jsonl."""
        append_line(self.run_dir / "metrics.jsonl", values)


class SilentWriter(RunWriter):
    """For the other processes of a training on several: they take part, and one writes for all."""

    def __init__(self, run_dir: Path):
        self.run_dir = run_dir

    def update(self, **values: object) -> None:
        """Nothing."""

    def add_metrics(self, values: dict) -> None:
        """Nothing."""


def _describe(error: BaseException) -> str:
    """What went wrong, without where on this machine: everybody who opens the page reads it."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"A file could not be read or written ({error.strerror})."
    return f"{type(error).__name__}: {error}"
