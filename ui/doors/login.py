"""The password of ``--auth``: where it comes from, how often it may be wrong, and what is open without it."""

import asyncio
import hashlib
import hmac
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from getpass import getpass
from pathlib import Path

from analysis.errors import UserError
from models.access import shorten

FREE_TRIES = 5
LONGEST_WAIT = 300.0
FORGET_SECONDS = 900.0
"""After so much quiet, an address begins anew."""
BUSY_TRIES, BUSY_SECONDS = 30, 60.0
"""So many wrong passwords in so much time, from wherever: then every try takes ``DELAY`` seconds."""
DELAY = 2.0
MAX_DELAYED = 50
MAX_ADDRESSES = 10_000
SHOWN = "Other users of this machine can read the password in its list of processes; --auth USER asks for it instead."
NEEDS_PASSWORD = "--auth takes USER:PASSWORD where there is no terminal to ask for the password."
BAD_FILE = "--auth-file takes a text file with USER:PASSWORD on each line."


def read_users(auth: str | None, file: Path | None) -> dict[str, str]:
    """User -> password; empty where none is asked for.

    Args:
        auth: ``USER:PASSWORD``, or ``USER``, whose password is asked for at the terminal.
        file: Has ``USER:PASSWORD`` on each line.

    Raises:
        UserError: There is no password.
    """
    users: dict[str, str] = {}
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise UserError(BAD_FILE) from error
        pairs = [line.partition(":")[::2] for line in lines if line.strip()]
        if not pairs or not all(map(all, pairs)):
            raise UserError(BAD_FILE)
        users |= {user.strip(): password for user, password in pairs}
    if auth is not None:
        user, _, password = auth.partition(":")
        if user and ":" not in auth and sys.stdin is not None and sys.stdin.isatty():
            password = getpass(f"Password for {user}: ")
        if not user or not password:
            raise UserError(NEEDS_PASSWORD)
        users[user] = password
    return users


def make_check(users: dict[str, str]) -> Callable[[str, str], bool]:
    """What tells whether a password is a user's, in the same time for every wrong one."""

    def digest(text: str) -> bytes:
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

    expected = {digest(f"{user}\0{password}") for user, password in users.items()}

    def is_right(user: str, password: str) -> bool:
        given = digest(f"{user}\0{password}")
        return sum(hmac.compare_digest(given, each) for each in expected) > 0

    return is_right


class Tries:
    """Wrong passwords, by the address they come from: after some, each costs twice the time of the one before.

    An address that has to wait is told how long. While many are wrong from everywhere, every try takes its time, but
    a right one is still let in.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._all: deque[float] = deque(maxlen=BUSY_TRIES)
        self._num_delayed = 0
        self._guard = threading.Lock()

    def begin(self, address: str) -> float:
        """Counts a try, as wrong until :meth:`forgive`; the seconds to wait where it comes too early, else 0."""
        address, now = shorten(address), self._clock()
        with self._guard:
            count, last = self._wrong.get(address, (0, now))
            if now - last > FORGET_SECONDS:
                count = 0
            wait = min(2.0 ** (count - FREE_TRIES), LONGEST_WAIT) - (now - last) if count >= FREE_TRIES else 0.0
            if wait > 0:
                return wait
            self._wrong[address] = (count + 1, now)
            self._wrong.move_to_end(address)
            if len(self._wrong) > MAX_ADDRESSES:
                self._wrong.popitem(last=False)
            return 0.0

    def note_wrong(self) -> None:
        """A try was wrong."""
        with self._guard:
            self._all.append(self._clock())

    def forgive(self, address: str) -> None:
        """The last try was right."""
        with self._guard:
            self._wrong.pop(shorten(address), None)

    async def take_time(self) -> bool:
        """Delays a try if many were wrong lately; whether it may be made: not of too many at once."""
        is_busy = len(self._all) == BUSY_TRIES and self._clock() - self._all[0] < BUSY_SECONDS
        if not is_busy:
            return True
        if self._num_delayed >= MAX_DELAYED:
            return False
        self._num_delayed += 1
        try:
            await asyncio.sleep(DELAY)
        finally:
            self._num_delayed -= 1
        return True
