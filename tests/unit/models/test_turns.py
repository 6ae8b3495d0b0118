"""One thread computes at a time, and no visitor's next turn comes before another's first."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import UserError
from models import turns as module
from models.turns import SHARE, Turns, never

TIMEOUT = 10


class Crowd:
    """Threads of several visitors, each with some parts of work, that all wait before the first may begin."""

    def __init__(self, visitors: list[tuple[str, int]], where: Callable[[str], str] = lambda visitor: ""):
        self.names = threading.local()
        self.turns = Turns(lambda: self.names.visitor)
        self.turns.where = lambda: where(self.names.visitor)
        self.order: list[int] = []
        self.num_inside = 0
        self.names.visitor = "first"
        with ThreadPoolExecutor(len(visitors)) as pool:
            with self.turns.take():
                done = []
                for number, (visitor, num_parts) in enumerate(visitors):
                    done.append(pool.submit(self.work, number, visitor, num_parts))
                    while self.turns.num_waiting <= number:  # they come one after the other
                        pass
            for each in done:
                each.result(TIMEOUT)

    def work(self, number: int, visitor: str, num_parts: int) -> None:
        self.names.visitor = visitor
        with self.turns.take() as is_mine:
            for part in range(num_parts):
                assert is_mine and self.num_inside == 0
                self.num_inside += 1
                self.order.append(number)
                self.num_inside -= 1
                if part < num_parts - 1:
                    self.turns.give_way()


def test_ten_requests_of_one_do_not_stand_before_the_first_of_another():
    assert Crowd([*[("a", 1)] * 10, ("b", 1)]).order[:2] == [0, 10]


def test_many_names_at_one_place_leave_an_eighth_of_the_turns_to_others():
    visitors = [*((f"eve{number}", 1) for number in range(60)), ("bob", 20)]
    order = Crowd(visitors, lambda visitor: visitor[:3]).order
    turns_of_bob = [turn for turn, number in enumerate(order) if number == 60]
    assert turns_of_bob[:SHARE] == [*range(SHARE, 2 * SHARE)] and turns_of_bob[-1] < 60
    order = Crowd(visitors).order  # as they would come without places
    assert [turn for turn, number in enumerate(order) if number == 60][:2] == [60, 61]


def test_a_long_work_delays_others_by_one_part_and_is_done_all_the_same():
    order = Crowd([("a", 20), ("b", 1), ("c", 1)]).order
    assert order[:3] == [0, 1, 2] and Counter(order) == {0: 20, 1: 1, 2: 1}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4)), min_size=2, max_size=6))
def test_everybody_is_served_and_nobody_waits_for_more_than_one_turn_of_each_other(visitors):
    order = Crowd(visitors).order
    assert Counter(order) == Counter({number: parts for number, (_, parts) in enumerate(visitors)})
    firsts = [order.index(next(n for n, (name, _) in enumerate(visitors) if name == one)) for one, _ in visitors]
    assert max(firsts) < len({name for name, _ in visitors})


def test_inside_a_turn_there_is_another_at_once_and_only_the_outer_one_ends_it():
    turns, entered = Turns(), threading.Event()

    def wait() -> None:
        with turns.take():
            entered.set()

    with turns.take():
        with turns.take() as is_mine:
            assert is_mine
        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        assert not entered.wait(0.1)
    assert entered.wait(TIMEOUT)
    thread.join(TIMEOUT)


def test_who_has_been_served_meanwhile_does_not_wait_for_the_turn():
    turns, served = Turns(), threading.Event()

    def wait() -> bool:
        with turns.take(served.is_set) as is_mine:
            return is_mine

    with ThreadPoolExecutor(1) as pool:
        with turns.take():
            waiting = pool.submit(wait)
            while not turns.num_waiting:
                pass
            served.set()
        assert waiting.result(TIMEOUT) is False
    assert turns.num_waiting == 0


@given(st.permutations([True, True, False, False]))
def test_who_goes_without_a_turn_leaves_it_to_the_next(kinds):
    turns, served = Turns(), threading.Event()

    def wait(is_served: bool) -> bool:
        with turns.take(served.is_set if is_served else never) as is_mine:
            return is_mine

    with ThreadPoolExecutor(4) as pool:
        with turns.take():
            waiting = []
            for number, is_served in enumerate(kinds):
                waiting.append(pool.submit(wait, is_served))
                while turns.num_waiting <= number:
                    pass
            served.set()
        assert [each.result(TIMEOUT) for each in waiting] == [not is_served for is_served in kinds]


def test_an_error_ends_the_turn_and_giving_way_is_for_who_has_it():
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns.take():
        raise ZeroDivisionError
    with turns.take():
        with ThreadPoolExecutor(1) as pool:
            pool.submit(turns.give_way).result(TIMEOUT)
        calls = []
        turns.sharing(lambda done, total: calls.append((done, total)))(1, 2)
    assert calls == [(1, 2)] and turns.num_waiting == 0
    with turns.take() as is_mine:
        assert is_mine


def test_what_a_visitor_has_had_of_turns_is_counted_and_whoever_has_had_enough_need_not_wait(monkeypatch):
    turns, counted, now = Turns(), [], [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    turns.count = counted.append

    def refuse():
        raise UserError("Enough.")

    with turns.take():
        now[0] = 3.0
        turns.check = refuse
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(turns.take().__enter__)
            with pytest.raises(UserError, match="Enough"):
                waiting.result(TIMEOUT)
        with turns.take():  # the same turn
            now[0] = 5.0
    assert counted == [5.0] and turns.num_waiting == 0
    turns.check = lambda: None
    with turns.take():
        now[0] = 6.0
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(lambda: turns.take().__enter__() and turns._end())
            while not turns.num_waiting:
                pass
            turns.give_way()
            done.result(TIMEOUT)
            now[0] = 8.0
    assert sum(counted) == 8.0


def test_who_waits_is_told_how_many_come_before(monkeypatch):
    monkeypatch.setattr(module, "TELL_SECONDS", 0.01)
    names, told = threading.local(), []
    names.visitor = "first"
    turns = Turns(lambda: names.visitor)
    turns.tell = lambda place, number: told.append((names.visitor, place, number))

    def wait(visitor: str) -> None:
        names.visitor = visitor
        with turns.take():
            pass

    with ThreadPoolExecutor(4) as pool, turns.take():
        for number, visitor in enumerate(("a", "a", "b", "first")):
            pool.submit(wait, visitor)
            while turns.num_waiting <= number:
                pass
        told.clear()
        while len({*told}) < 4:
            pass
    assert sorted({*told}) == [("a", 0, 4), ("a", 3, 4), ("b", 1, 4), ("first", 2, 4)]


def test_what_was_computed_for_another_is_counted_for_them_and_not_for_who_has_the_turn(monkeypatch):
    now, names, counted = [0.0], threading.local(), []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    turns = Turns()
    turns.count = lambda seconds: counted.append((names.visitor, seconds))
    names.visitor = "ada"
    with turns.take():
        now[0] = 10.0
        names.visitor = "bob"
        turns.hand_on(4.0)
        names.visitor = "ada"
    assert counted == [("bob", 4.0), ("ada", 6.0)]


def test_what_was_used_up_while_somebody_waited_is_seen_before_they_begin():
    turns, used_up = Turns(), threading.Event()

    def check() -> None:
        if used_up.is_set():
            raise UserError("Enough.")

    turns.check = check
    with ThreadPoolExecutor(1) as pool:
        with turns.take():
            waiting = pool.submit(turns.take().__enter__)
            while not turns.num_waiting:
                pass
            used_up.set()
        with pytest.raises(UserError, match="Enough"):
            waiting.result(TIMEOUT)
    used_up.clear()
    with turns.take() as is_mine:
        assert is_mine
