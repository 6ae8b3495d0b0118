"""What the modules have in common that work on a run directory: ``python -m MODULE RUN_DIR``."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from analysis.errors import UserError
from models.runs.memory import keep_freed_memory
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
