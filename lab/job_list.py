"""All jobs as one list: what each is at, how many come before it, how long it takes if that was measured here."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.runs.queue import jobs_before, line_order, may_meet
from models.runs.run import AT_WORK, UNFINISHED, Run
from models.runs.status import as_number

STATES = ("running", "waiting", "stopping", "finished", "stopped", "failed")
BUSY = STATES[:3]
MAX_ENDED = 6
LARGER = ("arms", "repair", "features")
"""Kinds of jobs with trainings of their own, which are called after them."""
SAME_PACE = frozenset(
    (
        *("epochs", "max_steps", "patience", "optimizer", "learning_rate", "schedule", "weight_decay", "l1", "loss"),
        *("label_smoothing", "clip_norm", "label_noise", "corrections", "seed", "split_seed", "snapshots"),
        *("snapshot_every", "trackers", "data_root"),
    )
)
"""Settings of a training that hardly change how long a step takes."""


@dataclass(frozen=True)
class ListedJob:
    """A job as the list shows it.

    Attributes:
        run: Its run.
        state: One of ``STATES``.
        before: How many jobs have to end before it begins.
        seconds: How long the work takes that is left; None where nothing says so.
        seconds_until: How long it waits until that begins; None where it does not wait, or nothing says so.
    """

    run: Run
    state: str
    before: int = 0
    seconds: float | None = None
    seconds_until: float | None = None


def list_jobs(runs: Sequence[Run]) -> list[ListedJob]:
    """Those at work, those that wait, in the order of their turns, and the last few that have ended, newest first.

    Args:
        runs: All of them, as :func:`models.runs.run.list_runs` gives them. Those that came as capsules are no jobs,
            and the trainings of a larger job are parts of it.
    """
    larger = tuple(f"{run.name}-" for run in runs if run.kind in LARGER)
    whole = [run for run in runs if not run.is_opened and not _is_part(run, larger)]
    acting = {run.name: _find_acting(run, runs) for run in whole if run.state in UNFINISHED}
    waits = {name: run.state == "queued" for name, run in acting.items()}
    busy = sorted(
        (run for run in whole if run.name in acting),
        key=lambda run: (waits[run.name], line_order(acting[run.name])),
    )
    listed: list[ListedJob] = []
    for run in busy:
        seconds, until = expect_seconds(run, runs), None
        if waits[run.name]:
            earlier = [job.seconds for job in listed if may_meet(acting[job.run.name], acting[run.name])]
            known = [each for each in earlier if each is not None]
            until = sum(known) if known and len(known) == len(earlier) else None
        state = "stopping" if run.is_stopping else "waiting" if waits[run.name] else "running"
        listed.append(ListedJob(run, state, jobs_before(acting[run.name], runs), seconds, until))
    ended = [run for run in whole if run.name not in acting][:MAX_ENDED]
    return listed + [ListedJob(run, run.state if run.state in STATES else "failed") for run in ended]


def expect_seconds(run: Run, runs: Sequence[Run]) -> float | None:
    """How long the rest of a job's work takes on this machine; None where nothing was measured.

    That is what it says itself, or said before it was broken off; else what was said when it was started; else, for
    a training, what steps of the newest one took here that is alike but for its length and what costs no time.
    """
    if run.silence:
        return None
    said = run.status.get("seconds_left", run.status.get("seconds_expected"))
    return said if said is not None or run.kind != "training" else _expect_training(run, runs)


def _expect_training(run: Run, runs: Sequence[Run]) -> float | None:
    kind, (steps, epochs) = _name_pace(run), (as_number(run.config.get(name)) for name in ("max_steps", "epochs"))
    for other in runs:
        took, done = other.result_number("seconds"), other.status.get("step")
        if other.is_opened or not took or not done or _name_pace(other) != kind:
            continue
        per_epoch = other.status.get("total_steps", 0) / max(1, other.status.get("epochs", 0))
        return took / done * (steps or (epochs or 0) * per_epoch) or None
    return None


def _name_pace(run: Run) -> tuple:
    """What is the same in trainings whose steps take equally long."""
    return run.kind, sorted((name, repr(value)) for name, value in run.config.items() if name not in SAME_PACE)


def _find_acting(run: Run, runs: Sequence[Run]) -> Run:
    """The run that is at work or waits for a job: a part of it, or itself."""
    if run.kind not in LARGER:
        return run
    parts = [each for each in runs if each.state in UNFINISHED and _is_part(each, (f"{run.name}-",))]
    return next((part for part in parts if part.state in AT_WORK), parts[0] if parts else run)


def _is_part(run: Run, larger: tuple[str, ...]) -> bool:
    return run.kind == "training" and run.name.startswith(larger)
