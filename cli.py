"""ConvScope without a browser: the same functions, one command each, ``--json`` for machines."""

import sys

from analysis.errors import is_out_of_memory
from models.problems import MAYBE_PROBLEMS, TOO_LITTLE_MEMORY_TO_START, describe_problem
from models.terminal import INTERRUPTED, ends_as_interrupted, ends_at_once, printable, printable_output


def main() -> int:
    """Runs one command; one line on stderr and exit code 2 for whatever the user can put right."""
    try:
        with ends_at_once():  # importing takes seconds
            import commands.arms
            import commands.channels
            import commands.datasets
            import commands.features
            import commands.learning
            import commands.pictures
            import commands.runs
            import commands.shifting
            import commands.training
            import commands.trust  # noqa: F401 (importing a module adds its commands)
            from models.runs.memory import keep_freed_memory
    except MAYBE_PROBLEMS as error:
        if not is_out_of_memory(error):
            raise
        return _refuse(TOO_LITTLE_MEMORY_TO_START)

    keep_freed_memory()
    with printable_output(), ends_as_interrupted():
        return _run_command()


def _run_command() -> int:
    import typer

    from commands.app import app

    try:
        if not sys.argv[1:]:
            raise typer.BadParameter("name a command; --help lists them")
        return app(standalone_mode=False) or 0
    except typer.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except typer.TyperException as error:
        problem = error.format_message()
    except MAYBE_PROBLEMS as error:
        described = describe_problem(error)
        if described is None:
            raise
        problem = described
    return _refuse(problem)


def _refuse(problem: str) -> int:
    print(f"error: {printable(' '.join(problem.split()))}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
