"""Where passwords come from, and what wrong ones cost."""

import asyncio

import pytest

from tests.asynchronous import run_alone
from tests.sentences import refused
from ui.doors import login
from ui.doors.login import (
    BUSY_TRIES,
    FORGET_SECONDS,
    FREE_TRIES,
    LONGEST_WAIT,
    Tries,
    make_check,
    read_users,
    shorten,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_users_come_from_the_option_and_a_file(tmp_path):
    file = tmp_path / "users"
    file.write_text("teacher:a:b\n\nclass:secret\n")
    assert read_users("c:d", file) == {"teacher": "a:b", "class": "secret", "c": "d"}
    assert read_users(None, None) == {}


@pytest.mark.parametrize(
    ("auth", "text"), [("user", None), (":p", None), ("user:", None), (None, "user"), (None, "")]
)
def test_what_has_no_password_is_refused(auth, text, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    (tmp_path / "users").write_text(text or "")
    with refused("--auth"):
        read_users(auth, None if text is None else tmp_path / "users")


def test_at_a_terminal_the_password_is_asked_for(monkeypatch):
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr(login, "getpass", lambda prompt: "secret")
    assert read_users("teacher", None) == {"teacher": "secret"}


def test_only_the_right_pair_is_right():
    is_right = make_check({"a": "1", "b": "2"})
    pairs = [("a", "1"), ("b", "2"), ("a", "2"), ("", ""), ("c", "1"), ("a", ""), ("a\0", "1"), ("\ud800", "1")]
    assert [is_right(*pair) for pair in pairs] == [True, True] + [False] * 6


def test_after_some_wrong_ones_each_costs_twice_the_time_but_only_where_they_come_from(clock):
    tries, waits = Tries(clock), []
    for _ in range(FREE_TRIES):
        assert tries.begin("1.2.3.4") == 0
    for _ in range(12):
        waits.append(tries.begin("1.2.3.4"))
        assert tries.begin("1.2.3.4") == waits[-1] > 0 == tries.begin(f"5.6.7.{len(waits)}")  # waiting costs nothing
        clock.now += waits[-1]
        assert tries.begin("1.2.3.4") == 0
    assert waits == [min(2.0**power, LONGEST_WAIT) for power in range(12)]
    clock.now += FORGET_SECONDS + 1
    assert tries.begin("1.2.3.4") == tries.begin("1.2.3.4") == 0


def test_a_right_one_is_forgiven(clock):
    tries = Tries(clock)
    for _ in range(3 * FREE_TRIES):
        assert tries.begin("1.2.3.4") == 0
        tries.forgive("1.2.3.4")


def test_many_wrong_ones_from_everywhere_take_time_and_are_bounded(clock, monkeypatch):
    monkeypatch.setattr(login, "DELAY", 0.01)
    tries = Tries(clock)

    async def count(number: int) -> int:
        return sum(await asyncio.gather(*(tries.take_time() for _ in range(number))))

    assert run_alone(count(3 * login.MAX_DELAYED)) == 3 * login.MAX_DELAYED
    for _ in range(BUSY_TRIES):
        tries.note_wrong()
    assert run_alone(count(3 * login.MAX_DELAYED)) == login.MAX_DELAYED
    clock.now += login.BUSY_SECONDS
    assert run_alone(count(3 * login.MAX_DELAYED)) == 3 * login.MAX_DELAYED


def test_a_client_of_ipv6_is_its_network():
    assert shorten("2001:db8::1") == shorten("2001:db8::2") != shorten("2001:db8:0:1::1")
    assert [shorten(each) for each in ("1.2.3.4", "::ffff:1.2.3.4", "x")] == ["1.2.3.4", "::ffff:1.2.3.4", "x"]
