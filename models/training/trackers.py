"""Experiment trackers that a training can report to beside its run directory, through Accelerate."""

import sys
from contextlib import redirect_stdout, suppress
from importlib.util import find_spec
from pathlib import Path

from analysis.errors import UserError

TRACKERS = {"tensorboard": "tensorboard", "trackio": "trackio"}
"""Accelerate's name of the tracker -> the package it needs."""
PROJECT = "convscope"


def check_installed(trackers: tuple[str, ...]) -> None:
    """Raises UserError if the package of a tracker is not installed."""
    for name in trackers:
        if find_spec(TRACKERS[name]) is None:
            raise UserError(f"The tracker {name} is not here; run pip install {TRACKERS[name]}, or leave it out.")


def open_trackers(accelerator, trackers: tuple[str, ...], run_dir: Path, config: dict) -> None:
    """Starts the trackers that the accelerator was made with.

    Args:
        accelerator: Made with ``log_with=trackers``.
        trackers: Keys of :data:`TRACKERS`.
        run_dir: Its name is that of the tracked run, where a tracker has one.
        config: The settings to note; only plain values are.
    """
    if not trackers:
        return
    plain = {name: value for name, value in config.items() if isinstance(value, int | float | str | bool)}
    names = {"trackio": {"name": run_dir.name}}
    with redirect_stdout(sys.stderr):  # trackio talks, and whoever reads the output waits for JSON
        accelerator.init_trackers(PROJECT, plain, {name: names[name] for name in trackers if name in names})


def close_trackers(accelerator) -> None:
    """Ends what :func:`open_trackers` started."""
    with redirect_stdout(sys.stderr):
        accelerator.end_training()
        if trackio := sys.modules.get("trackio"):
            with suppress(RuntimeError):  # there is no run of its own
                trackio.finish()  # or it would end the run, and say so, when the process ends
