"""ConvScope without a browser: the same functions, one command each, ``--json`` for machines."""

import sys

import torch
import typer

import commands.arms
import commands.datasets
import commands.pictures
import commands.runs
import commands.shifting
import commands.training  # noqa: F401 (importing a module adds its commands)
from analysis.errors import AnalysisError
from commands import app
from models.errors import ModelsError
from models.memory import keep_freed_memory


def main() -> int:
    """Runs one command; one line on stderr and exit code 2 for whatever the user can put right."""
    keep_freed_memory()
    try:
        if not sys.argv[1:]:
            raise typer.BadParameter("name a command; --help lists them")
        return app(standalone_mode=False) or 0
    except typer.Exit as error:
        return error.exit_code
    except (typer.TyperException, ModelsError, AnalysisError) as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
        return 2
    except torch.OutOfMemoryError:
        print("error: the device has too little memory for this; try a smaller model", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return 130


if __name__ == "__main__":
    sys.exit(main())
