"""What visitors may use of this machine: one table, and who has used how much of it in the last minute."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from weakref import WeakSet

from analysis.errors import UserError
from analysis.grammar import count
from models.access import Viewer, viewer

MAX_REMEMBERED = 20_000
"""Visitors of whom it is known what they have used; the ones longest away are forgotten first."""
TOLERANCE = 1e-6
UPLOAD_MARGIN = 2**16
"""Bytes of an upload that are no file's: names and boundaries."""


@dataclass(frozen=True)
class Quota:
    """What each visitor of a role may use.

    Attributes:
        requests: A minute, of those that have something done.
        computing: Seconds a minute that networks work for them.
        jobs: That work or wait at a time.
        job_minutes: How long a job may work at a time.
        upload_mb: Of one upload.
        kept_mb: Of their runs, with what was uploaded for them.
        files_mb: Of what they have uploaded and were given as results, at a time (see :mod:`ui.doors.cache`) and a
            minute.
        pages: That one browser has open at a time.
        at_one_place: Visitors of one address together may use as much a minute as so many.
        all_kept_mb: Of the runs of all visitors together.
    """

    requests: float = 600
    computing: float = 40
    jobs: float = 2
    job_minutes: float = 20
    upload_mb: float = 64
    files_mb: float = 200
    kept_mb: float = 500
    pages: float = 8
    at_one_place: float = 20
    all_kept_mb: float = 10_000


TRAINS = Quota()
TRIES = replace(TRAINS, jobs=0, job_minutes=0, kept_mb=0)
LOOKS = replace(TRIES, upload_mb=0)
QUOTAS: Mapping[str, Quota] = MappingProxyType({"nobody": LOOKS, "look": LOOKS, "try": TRIES, "train": TRAINS})
"""Role -> what whoever has it may use; nothing limits a role that is not in it."""

A_MINUTE = {
    "requests": "This page answers {:g} requests a minute of each visitor, and yours are used up; go on in {} s.",
    "computing": "This page computes {:g} s a minute for each visitor, and yours are used up; go on in {} s.",
    "files_mb": "This page keeps {:g} MB of files a minute for each visitor, and you have had that; go on in {} s.",
}
"""What is limited by the minute -> what those are told who have had it."""


AT_ONE_PLACE = "Everybody at your address together has used what this page has for {:g} visitors; go on in {} s."
SMALLEST_FILE = 2**16
"""Bytes that a smaller one counts as."""


class OverQuota(UserError):
    """A visitor has had as much as there is for them.

    Attributes:
        quota: A field of :class:`Quota`.
        seconds: When it frees by itself, if that is known.
    """

    def __init__(self, quota: str, sentence: str, seconds: int | None = None):
        super().__init__(sentence)
        self.quota, self.seconds = quota, seconds


def read_quotas(texts: Iterable[str]) -> Mapping[str, Quota]:
    """``QUOTAS`` with other numbers for all roles, from texts like "jobs=3".

    Raises:
        UserError: No such quota, or no number from 0 on, from 1 on of what is given by the minute.
    """
    changed: dict[str, float] = {}
    names = [*asdict(TRAINS)]
    for text in texts:
        name, _, value = (part.strip() for part in text.partition("="))
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if name not in names or not (name in (*A_MINUTE, "at_one_place")) <= number < math.inf:
            raise UserError(f"A quota is NAME=NUMBER, not {text}; the names are {', '.join(names)}.")
        changed[name] = number
    return {role: replace(quota, **changed) for role, quota in QUOTAS.items()}


class Allowance:
    """So much a minute for each name, and in any shorter time no more than a minute's worth beyond that.

    Whoever uses t seconds has then used at most ``a_minute * (1 + t / 60)``, and the last thing that was begun before
    that. Many threads may ask.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, limit: int = MAX_REMEMBERED):
        self._clock, self._limit = clock, limit
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()  # not given back yet, and when that was so
        self._guard = threading.Lock()

    def find_wait(self, name: str, a_minute: float, amount: float = 0) -> float:
        """Seconds until there is so much left; 0 where there is."""
        with self._guard:
            missing = self._read(name, a_minute, self._clock()) + amount - a_minute
        return missing * 60 / a_minute if missing > TOLERANCE else 0.0

    def use(self, name: str, a_minute: float, amount: float) -> None:
        """Takes so much, whether or not there is."""
        with self._guard:
            now = self._clock()
            self._used[name] = self._read(name, a_minute, now) + amount, now
            self._used.move_to_end(name)
            if len(self._used) > self._limit:
                self._used.popitem(last=False)

    def _read(self, name: str, a_minute: float, now: float) -> float:
        used, then = self._used.get(name, (0.0, now))
        return max(0.0, used - (now - then) * a_minute / 60)


class Quotas:
    """The table as it is in force, and what visitors have used of it.

    Args:
        table: Role -> what whoever has it may use.
        clock: Seconds that only grow.
    """

    def __init__(self, table: Mapping[str, Quota] = QUOTAS, clock: Callable[[], float] = time.monotonic):
        self.table = table
        self._requests, self._computing, self._files = Allowance(clock), Allowance(clock), Allowance(clock)
        self._begun: WeakSet[object] = WeakSet()
        self._pages: dict[str, list[str]] = {}
        self._guard = threading.Lock()

    def find(self, who: Viewer) -> Quota | None:
        """What somebody may use; None where nothing limits it."""
        return self.table.get(who.role)

    def count_request(self, who: Viewer, cost: float = 1) -> None:
        """Raises OverQuota if there are too many; one may cost as much as several."""
        if (quota := self.find(who)) is None:
            return
        self._check(self._requests, who, "requests", quota.requests, cost)
        self._use(self._requests, who, quota.requests, cost)

    def check_files(self, who: Viewer) -> None:
        """Raises OverQuota if somebody has uploaded, and been given, as much as they may for now."""
        if (quota := self.find(who)) is not None:
            self._check(self._files, who, "files_mb", quota.files_mb)

    def count_file(self, who: Viewer, num_bytes: int) -> None:
        """One more has come in, or was made."""
        if (quota := self.find(who)) is not None:
            self._use(self._files, who, quota.files_mb, max(num_bytes, SMALLEST_FILE) / 1e6)

    def check_computing(self, work: object = None) -> None:
        """Raises OverQuota if networks have worked for long enough for whoever asks; not in the midst of a work.

        Args:
            work: What they would work for now, where that takes several turns.
        """
        quota = self.find(viewer())
        if quota is not None and work not in self._begun:
            self._check(self._computing, viewer(), "computing", quota.computing)

    def count_computing(self, seconds: float, work: object = None) -> None:
        """Networks have worked for whoever asks, and for this."""
        if (quota := self.find(viewer())) is not None:
            self._use(self._computing, viewer(), quota.computing, seconds)
        if work is not None:
            self._begun.add(work)

    def check_upload(self, who: Viewer, num_bytes: int) -> None:
        """Raises OverQuota if somebody may not upload so much at once."""
        quota = self.find(who)
        if quota is not None and num_bytes > quota.upload_mb * 1e6 + UPLOAD_MARGIN:
            raise OverQuota(
                "upload_mb", f"Visitors of this page may upload {quota.upload_mb:g} MB at once, and this is more."
            )

    def check_page(self, who: Viewer, session: str) -> None:
        """Raises OverQuota if a page is one more than somebody may have open."""
        quota, others = self.find(who), {*self._pages.get(who.account, ())} - {session}
        if quota is not None and len(others) >= quota.pages:
            raise OverQuota(
                "pages", f"You have {count(len(others), 'page')} of this open, as many as a visitor may; close one."
            )

    @contextmanager
    def open_page(self, who: Viewer, session: str) -> Iterator[None]:
        """A page is open for the length of a ``with`` block; raises OverQuota as :meth:`check_page` does."""
        with self._guard:
            self.check_page(who, session)
            pages = self._pages.setdefault(who.account, [])
            pages.append(session)
        try:
            yield
        finally:
            with self._guard:
                pages.remove(session)
                if not pages:
                    del self._pages[who.account]

    def _check(self, kept: Allowance, who: Viewer, name: str, a_minute: float, amount: float = 0) -> None:
        wait = math.ceil(kept.find_wait(who.account, a_minute, amount))
        if wait > 0:
            raise OverQuota(name, A_MINUTE[name].format(a_minute, wait), wait)
        if (most := self._find_most(who)) is not None:
            wait = math.ceil(kept.find_wait(f"@@{who.place}", a_minute * most, amount))
            if wait > 0:
                raise OverQuota(name, AT_ONE_PLACE.format(most, wait), wait)

    def _use(self, kept: Allowance, who: Viewer, a_minute: float, amount: float) -> None:
        kept.use(who.account, a_minute, amount)
        if (most := self._find_most(who)) is not None:
            kept.use(f"@@{who.place}", a_minute * most, amount)

    def _find_most(self, who: Viewer) -> float | None:
        """How many visitors' worth their place has; None where nobody knows which place that is."""
        quota = self.find(who)
        return quota.at_one_place if quota is not None and who.place else None
