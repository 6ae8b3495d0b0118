"""The table of quotas: nothing exceeds it, what is below it is never refused, and it frees when it says."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.access import OWNER, ROLES, Viewer, acting
from models.quotas import A_MINUTE, QUOTAS, UPLOAD_MARGIN, Allowance, OverQuota, Quota, Quotas, read_quotas
from tests.sentences import refused

ADA, BOB = Viewer("ada", "train"), Viewer("bob", "try")
STEPS = st.lists(
    st.tuples(st.sampled_from(["ada", "bob"]), st.floats(0, 40), st.floats(0, 8)), min_size=1, max_size=40
)
"""Who asks, how many seconds after the one before, and for how much."""


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def find_most(used: list[tuple[float, float]], now: float, a_minute: float) -> float:
    """How far, over any time up to now, what was used exceeds what that time has given back."""
    return max(
        (sum(a for t, a in used if t >= since) - (now - since) * a_minute / 60 for since, _ in used), default=0
    )


@given(STEPS, st.floats(1, 30))
def test_over_any_time_nobody_uses_more_than_that_time_gives_and_a_minute_s_worth(steps, a_minute):
    clock = Clock()
    allowance, used = Allowance(clock), {"ada": [], "bob": []}
    for name, pause, amount in steps:
        clock.now += pause
        most = find_most(used[name], clock.now, a_minute) + amount
        wait = allowance.find_wait(name, a_minute, amount)
        assert (wait == 0) == (max(most, amount) <= a_minute + 1e-6) or abs(most - a_minute) < 1e-5
        if amount <= a_minute:
            clock.now += wait
            assert allowance.find_wait(name, a_minute, amount) == 0
            allowance.use(name, a_minute, amount)
            used[name].append((clock.now, amount))
            assert find_most(used[name], clock.now, a_minute) <= a_minute + 1e-5


@given(STEPS, st.floats(1, 30))
def test_computing_exceeds_the_quota_by_one_turn_and_goes_on_when_it_is_said(steps, a_minute):
    clock = Clock()
    quotas = Quotas({role: Quota(computing=a_minute) for role in QUOTAS}, clock)
    for name, pause, seconds in steps:
        clock.now += pause
        with acting(Viewer(name, "try")):
            try:
                quotas.check_computing()
            except OverQuota as error:
                assert error.quota == "computing" and str(error.seconds) in str(error)
                clock.now += error.seconds
                quotas.check_computing()
            quotas.count_computing(seconds)
            assert quotas._computing.find_wait(name, a_minute) <= seconds * 60 / a_minute + 1e-3


def test_what_has_begun_is_finished_and_what_comes_next_is_refused():
    class Work: ...

    quotas, map_, others = Quotas(dict.fromkeys(QUOTAS, Quota(computing=10)), Clock()), Work(), Work()
    with acting(ADA):
        quotas.check_computing(map_)
        for _ in range(3):
            quotas.count_computing(8, map_)
            quotas.check_computing(map_)
        for work in (others, None):
            with refused(10, 84, error=OverQuota):
                quotas.check_computing(work)
    with acting(BOB):
        quotas.check_computing(others)


def test_requests_are_counted_by_browser_or_else_by_address():
    clock = Clock()
    quotas = Quotas({role: Quota(requests=3) for role in QUOTAS}, clock)
    here, there = (Viewer(role="look", address=address) for address in ("10.0.0.1", "10.0.0.2"))
    for who in (ADA, BOB, here, there):
        for _ in range(3):
            quotas.count_request(who)
        with refused(3, 20, error=OverQuota) as caught:
            quotas.count_request(who)
        assert (caught.value.quota, caught.value.seconds) == ("requests", 20)
    clock.now += 19.9
    with pytest.raises(OverQuota):
        quotas.count_request(ADA)
    clock.now += 0.1
    quotas.count_request(ADA)
    assert here.sign() == {"role": "look"} and "10.0.0" not in repr(here) and here == there


def test_many_names_at_one_place_have_as_much_as_some():
    quotas = Quotas(dict.fromkeys(QUOTAS, Quota(requests=10, files_mb=10, at_one_place=2)), Clock())
    crowd = [Viewer(f"eve{number}", "try", f"2001:db8::{number}") for number in range(1, 9)]
    for who in crowd[:4]:
        quotas.count_request(who, 5)
        quotas.check_files(who)
        quotas.count_file(who, 6_000_000)
    for check in (quotas.count_request, quotas.check_files):
        with refused(2, error=OverQuota):
            check(crowd[4])
        check(Viewer("bob", "try", "10.0.0.1"))
        check(Viewer("cy", "try", "127.0.0.1"))  # through a tunnel: anybody


def test_many_small_files_count_as_larger_ones():
    quotas = Quotas(dict.fromkeys(QUOTAS, Quota(files_mb=1)), Clock())
    for _ in range(16):
        quotas.check_files(ADA)
        quotas.count_file(ADA, 1)
    with refused(1, error=OverQuota):
        quotas.check_files(ADA)


def test_the_owner_has_no_quota_and_every_other_role_has():
    quotas = Quotas(dict.fromkeys(QUOTAS, Quota(requests=1, computing=1)), Clock())
    for _ in range(5):
        quotas.count_request(OWNER)
        quotas.check_computing()
        quotas.count_computing(100)
        quotas.check_upload(OWNER, 10**12)
    assert {*QUOTAS} == {*ROLES} - {"owner"}


def test_what_is_uploaded_may_have_so_much_and_its_frame():
    quotas, most = Quotas(read_quotas(["upload_mb=2"])), 2_000_000 + UPLOAD_MARGIN
    quotas.check_upload(ADA, most)
    with refused(2, error=OverQuota) as caught:
        quotas.check_upload(ADA, most + 1)
    assert caught.value.quota == "upload_mb"


def test_the_owner_may_change_every_number_of_the_table():
    names = asdict(QUOTAS["train"])
    assert {name: asdict(read_quotas([f" {name} = 7.5 "])["try"])[name] for name in names} == dict.fromkeys(
        names, 7.5
    )
    assert read_quotas([]) == dict(QUOTAS) and read_quotas(["jobs=1", "jobs=0"])["train"].jobs == 0


@pytest.mark.parametrize(
    "text",
    ["jobs", "jobs=", "jobs=many", "jobs=-1", "jobs=nan", "jobs=inf", "job=1", "", *(f"{a}=0" for a in A_MINUTE)],
)
def test_what_is_no_quota_is_refused(text):
    with refused(text, "kept_mb"):
        read_quotas([text])


def test_the_table_of_the_documentation_is_that_of_the_program():
    text = Path(__file__).parents[3].joinpath("docs/sharing.md").read_text(encoding="utf-8")
    told = {name: float(number) for name, number in re.findall(r"^\| `(\w+)` \|[^|]*\| (\d+) \|", text, re.M)}
    assert told == asdict(QUOTAS["train"])


def test_of_very_many_visitors_those_longest_away_are_forgotten():
    allowance = Allowance(Clock(), limit=2)
    for name in ("ada", "bob", "cy"):
        allowance.use(name, 1, 1)
    assert [allowance.find_wait(name, 1, 1) > 0 for name in ("ada", "bob", "cy")] == [False, True, True]


def test_pages_count_while_they_are_open():
    quotas = Quotas({"train": Quota(pages=2)})
    with quotas.open_page(ADA, "a"), quotas.open_page(ADA, "a"):  # the same one twice, as after a broken connection
        with quotas.open_page(ADA, "b"):
            for session in ("a", "b"):
                quotas.check_page(ADA, session)
            with refused(2, error=OverQuota) as caught, quotas.open_page(ADA, "c"):
                pass
            assert caught.value.quota == "pages"
            quotas.check_page(Viewer("cy", "train"), "c")
        with quotas.open_page(ADA, "c"):
            pass
    assert quotas._pages == {}
    with quotas.open_page(OWNER, "a"), quotas.open_page(OWNER, "b"), quotas.open_page(OWNER, "c"):
        pass
