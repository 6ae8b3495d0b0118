"""The command line in processes that begin with the libraries imported, as two that torchrun starts or alone."""

import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch

from tests.server import find_free_port

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["accelerate", "commands.training", "lab.jobs", "models.training.loop", "torchvision"])


def start_together(
    count: int, arguments: Sequence[str], environment: dict[str, str], errors: Path
) -> list[ForkServerProcess]:
    """Starts ``cli.py`` with ``arguments`` in ``count`` processes that meet as those of torchrun do.

    Each writes what it says into a file of its own, ``errors`` with its rank as the suffix.
    """
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_port()), "WORLD_SIZE": str(count)}
    started = []
    for rank in range(count):
        settings = environment | address | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        process = FORKS.Process(target=_run, args=(arguments, settings, errors.with_suffix(f".{rank}")))
        process.start()
        started.append(process)
    return started


def join_all(processes: list[ForkServerProcess], timeout: float) -> list[int | None]:
    """Their exit codes, None of one that does not end in time; none of them outlives this."""
    deadline = time.monotonic() + timeout
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
        process.join()
    return codes


def _run(arguments: Sequence[str], environment: dict[str, str], output: Path) -> None:
    import cli

    os.environ.update(environment)
    torch.set_num_threads(1)
    with output.open("wb") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    sys.argv = ["cli.py", *arguments]
    sys.exit(cli.main())
