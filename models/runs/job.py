"""What all kinds of long work have in common: the run directory is lent to them, errors become sentences, and
``python -m MODULE RUN_DIR`` does what its config.json says.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from analysis.errors import UserError, is_out_of_memory
from models.problems import MAYBE_PROBLEMS, describe_problem
from models.runs.memory import keep_freed_memory
from models.runs.writer import RunWriter
from models.terminal import printable_output

Result = TypeVar("Result")


def run_program(
    module: str, arguments: Sequence[str], run_job: Callable[[Path], Result], describe: Callable[[Result], str]
) -> int:
    """Runs ``run_job`` on the run directory named by the only argument and prints how it went.

    Args:
        module: The program's name, for its usage.
        arguments: Of the command line.
        run_job: Does what the config.json of the run directory says.
        describe: Turns its result into a line.

    Returns:
        The exit status: 0, 1 after an error that a person can mend, 2 after wrong arguments.
    """
    if len(arguments) != 1:
        print(f"usage: python -m {module} RUN_DIR", file=sys.stderr)
        return 2
    keep_freed_memory()
    with printable_output():
        try:
            result = run_job(Path(arguments[0]).resolve())
        except UserError as error:
            print(error, file=sys.stderr)
            return 1
        print(describe(result))
        return 0


@contextmanager
def open_job(run_dir: Path) -> Iterator[RunWriter]:
    """Lends the files of a run to the process that works on it.

    Args:
        run_dir: Of the run.

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
