"""Long work on a run directory: what its kinds have in common, and what an entry of the table of kinds says."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from analysis.errors import Cancelled, UserError, is_out_of_memory
from models.ordinary_files import read_json
from models.problems import MAYBE_PROBLEMS, describe_problem
from models.runs.files import write_json
from models.runs.stop import StopRequest
from models.runs.submit import take_up_run
from models.runs.writer import RunWriter


class Settings(Protocol):
    """What config.json holds."""

    def to_dict(self) -> dict:
        """Ready for JSON."""


Config = TypeVar("Config", bound=Settings)
Result = TypeVar("Result")
Listener = Callable[..., None]
"""Told what the work finds while it goes on; what exactly, its kind decides."""


def ignore(*news: object) -> None:
    """Nothing: the listener where nobody listens."""


@dataclass(frozen=True)
class Job(Generic[Config, Result]):
    """A kind of long work, done by whichever process calls :meth:`run`.

    Attributes:
        kind: Its name in status.json.
        read_config: Makes the settings of what config.json holds; raises UserError.
        work: ``work(config, writer, stop, listen)`` waits for its turn on the device and does it. It raises Cancelled
            after a stop, unless what it has then is a result too.
        describe: The line of a result for whoever started the process.
        summarize: The entries of status.json that a result adds, or has in the place of ``state="finished"``.
        to_document: What of a result goes to result.json; None where the work writes other files.
        stopped: The message of status.json after Cancelled.
        go_on: What :meth:`start` says then; may name the ``{run}``.
    """

    kind: str
    read_config: Callable[[dict], Config]
    work: Callable[[Config, RunWriter, StopRequest, Listener], Result]
    describe: Callable[[Result], str]
    summarize: Callable[[Result], dict[str, Any]] = lambda result: {}
    to_document: Callable[[Any], dict] | None = lambda document: document
    stopped: str = ""
    go_on: str = ""
    listen: Listener = ignore

    def run(self, run_dir: Path, listen: Listener = ignore) -> Result | None:
        """Does what the config.json of a run directory says.

        Returns:
            The result, or None if the run was stopped.

        Raises:
            UserError: The settings, a model or the data cannot be used, or whatever else somebody can put right;
                the run's state is then "failed".
        """
        with open_job(run_dir) as writer, StopRequest(run_dir) as stop:
            try:
                result = self.work(self.read_config(read_json(run_dir / "config.json")), writer, stop, listen)
            except Cancelled:
                writer.update(state="stopped", message=stop.reason or self.stopped)
                return None
            if self.to_document is not None:
                write_json(run_dir / "result.json", self.to_document(result))
            ended = {"state": "finished", "message": "", "seconds_left": 0.0} | self.summarize(result)
            if ended["state"] == "stopped":
                ended["message"] = stop.reason or ended["message"]
            writer.update(**ended)
            return result

    def start(self, config: Config, run_dir: Path, listen: Listener = ignore) -> Result | None:
        """Makes a run and does its work in this process; the same one that was broken off goes on.

        Returns:
            The result; None if the run was stopped and this is one of several processes.

        Raises:
            UserError: There is another run of that name, it was stopped, or see :meth:`run`.
        """
        take_up_run(run_dir, json.loads(json.dumps(config.to_dict())), self.kind)
        result = self.run(run_dir, listen)
        # torchrun would report a failure of its own if one of several processes failed.
        if result is None and int(os.environ.get("WORLD_SIZE", "1")) == 1:
            raise UserError(self.go_on.format(run=run_dir.name))
        return result


@contextmanager
def open_job(run_dir: Path) -> Iterator[RunWriter]:
    """Lends the files of a run to the process that works on it.

    Raises:
        UserError: In the place of whatever went wrong that somebody can put right; the run's state is then
            "failed", and its message that sentence.
    """
    # Once around it, for the writer's own files, and once inside it, so that the writer notes the sentence.
    with _explained(run_dir), RunWriter(run_dir) as writer, _explained(run_dir):
        yield writer


@contextmanager
def _explained(run_dir: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except MAYBE_PROBLEMS as error:
        problem = describe_problem(error)
        if isinstance(error, OSError) and not is_out_of_memory(error):
            problem = f"{_name_place(error, run_dir)} ({error.strerror or error})."
        if problem is None:
            raise
        raise UserError(problem) from error


def _name_place(error: OSError, run_dir: Path) -> str:
    """What could not be done with which file; one without a name was being written."""
    if isinstance(error.filename, str) and not Path(error.filename).is_relative_to(run_dir):
        return f"{error.filename} cannot be used"
    return f"The run {run_dir.name} cannot be written"
