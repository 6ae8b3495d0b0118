"""Whether there is room for another job of a visitor, and which of their runs leave to make it."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from analysis.errors import UserError
from models.access import OWNER, Viewer, acting
from models.quotas import MAX_REMEMBERED, OverQuota, Quota
from models.runs.run import BROKEN_OFF, UNFINISHED, Run, delete_run, submission_order

ENDED = ("finished", *BROKEN_OFF)
SPARED_SECONDS = 24 * 3600
"""For so long after a run has ended, nobody else's takes its place."""
THINKING_SECONDS = (2, 600)
"""Somebody who was told what leaves agrees by asking again: after so long, so that it is no double click, and before
so long."""


def check_jobs(who: Viewer, quota: Quota, runs: Iterable[Run]) -> None:
    """Raises OverQuota if a visitor has as many jobs as they may."""
    own = [run for run in runs if run.state in UNFINISHED and who.owns(run.owner)]
    if len(own) < quota.jobs:
        return
    said = [run.status["seconds_left"] for run in own if "seconds_left" in run.status]
    left = min([*said, quota.job_minutes * 60]) if said else None
    until = "" if left is None else f", which takes about {max(1, round(left / 60))} min"
    raise OverQuota(
        "jobs",
        f"You have as many jobs that work or wait as a visitor may, {len(own)}; stop one, or start this once one has "
        f"ended{until}.",
        None if left is None else round(left) + 1,
    )


class Room:
    """Finds what leaves so that runs of visitors stay within what is kept of them.

    Args:
        now: Seconds since 1970.
    """

    def __init__(self, now: Callable[[], float] = time.time):
        self._now = now
        self._told: OrderedDict[str, tuple[float, frozenset[str]]] = OrderedDict()
        self._guard = threading.Lock()

    def find_leaving(
        self, who: Viewer, quota: Quota, runs: Sequence[Run], num_bytes: int, besides: str = ""
    ) -> list[Run]:
        """The runs that are deleted if another one begins; the visitor's own only after they were told.

        The owner's runs stay, and those that the owner shows, and what is at work.

        Args:
            num_bytes: What is put into the new run.
            besides: A run that stays, too.

        Raises:
            OverQuota: There is no room, or not before the visitor agrees, which they do by asking again.
        """
        theirs = sorted((run for run in runs if not run.starter.is_owner), key=submission_order)
        sizes = {run.name: run.num_bytes for run in theirs}
        free = [run for run in theirs if run.state in ENDED and not run.is_published and run.name != besides]
        own = [run for run in theirs if who.owns(run.owner)]
        mine = sum(sizes[run.name] for run in own) + num_bytes
        leaving = _choose([run for run in free if run in own], sizes, mine - quota.kept_mb * 1e6)
        if leaving is None:
            raise OverQuota(
                "kept_mb",
                f"Your runs and this take {_mb(mine)} MB, and {quota.kept_mb:g} MB are kept for each visitor: "
                "too much, even without those of your runs that could be deleted for it.",
            )
        everything = sum(sizes.values()) + num_bytes - sum(sizes[run.name] for run in leaving)
        ends = {run.name: _find_end(run) for run in free if run not in leaving}
        old = sorted((run for run in free if run.name in ends), key=lambda run: ends[run.name])
        others = _choose(old, sizes, everything - quota.all_kept_mb * 1e6)
        wait = others and ends[others[-1].name] + SPARED_SECONDS - self._now()
        if others is None or (wait and wait > 0):
            raise OverQuota(
                "all_kept_mb",
                f"The runs of all visitors take {_mb(everything)} MB, and {quota.all_kept_mb:g} MB are kept of them. "
                + (
                    f"Try again in {math.ceil(wait / 3600)} h, or delete runs of yours."
                    if wait
                    else "Delete some of yours first."
                ),
                math.ceil(wait) if wait else None,
            )
        leaving += others
        self._ask(who, quota, [run for run in leaving if run in own], sizes, mine)
        return leaving

    def _ask(self, who: Viewer, quota: Quota, leaving: Sequence[Run], sizes: dict[str, int], mine: float) -> None:
        """Raises OverQuota unless the visitor knows that these leave."""
        if not leaving:
            return
        names, now = frozenset(run.name for run in leaving), self._now()
        with self._guard:
            then, told = self._told.pop(who.account, (0.0, frozenset[str]()))
            if names <= told and THINKING_SECONDS[0] <= now - then <= THINKING_SECONDS[1]:
                return
            self._told[who.account] = (then if names == told and now - then < THINKING_SECONDS[0] else now), names
            if len(self._told) > MAX_REMEMBERED:
                self._told.popitem(last=False)
        listed, size = ", ".join(run.name for run in leaving), sum(sizes[run.name] for run in leaving)
        raise OverQuota(
            "kept_mb",
            f"Your runs and this take {_mb(mine)} MB, and {quota.kept_mb:g} MB are kept for each visitor. Start it "
            f"again, and your oldest are deleted for it: {listed}, {_mb(size)} MB. "
            "Or delete others first.",
        )


def let_go(leaving: Iterable[Run]) -> None:
    """Deletes runs that :meth:`Room.find_leaving` has found."""
    with acting(OWNER):
        for run in leaving:
            with suppress(UserError):  # it is gone, or somebody goes on with it
                delete_run(run.path.parent, run.name)


def _choose(runs: Iterable[Run], sizes: dict[str, int], num_bytes: float) -> list[Run] | None:
    """The first of the runs that take so much together; None where all of them do not."""
    chosen: list[Run] = []
    for run in runs:
        if num_bytes <= 0:
            break
        chosen.append(run)
        num_bytes -= sizes[run.name]
    return None if num_bytes > 0 else chosen


def _mb(num_bytes: float) -> str:
    return f"{num_bytes / 1e6:.1f}"


def _find_end(run: Run) -> float:
    """When a run ended, in seconds since 1970."""
    try:
        return (run.path / "status.json").stat().st_mtime
    except OSError:  # it is gone
        return 0.0
