"""When something is saved next."""

import pytest

from models.training import recorder
from models.training.recorder import Pace


@pytest.fixture
def now(monkeypatch):
    """The time, which stands still unless it is changed."""
    time = [1000.0]
    monkeypatch.setattr(recorder.time, "monotonic", lambda: time[0])
    return time


def save(pace: Pace, now: list[float], seconds: float) -> None:
    with pace.saving():
        now[0] += seconds


def test_the_first_is_due_at_once_or_after_its_seconds(now):
    assert Pace(5.0, is_due=True).is_due()
    later = Pace(5.0)
    now[0] += 4.9
    assert not later.is_due()
    now[0] += 0.2
    assert later.is_due() and later.is_due()  # asking changes nothing


def test_the_seconds_are_those_from_the_end_of_the_last_saving(now):
    pace = Pace(5.0, is_due=True)
    save(pace, now, 0.1)
    now[0] += 4.95
    assert not pace.is_due()
    now[0] += 0.1
    assert pace.is_due()


def test_what_takes_long_is_done_rarely(now):
    """A network that is written in 3 s would otherwise be written 3 of every 8 s."""
    pace, saved, began = Pace(5.0), 0, now[0]
    while now[0] < began + 3600:
        now[0] += 0.5  # a step
        if pace.is_due():
            save(pace, now, 3.0)
            saved += 1
    assert saved * 3.0 <= 3600 / 20 and saved > 40


def test_one_slow_moment_is_forgotten_with_the_next(now):
    pace = Pace(5.0, is_due=True)
    save(pace, now, 10.0)
    now[0] += 199
    assert not pace.is_due()
    now[0] += 2
    save(pace, now, 0.01)
    now[0] += 5.1
    assert pace.is_due()
