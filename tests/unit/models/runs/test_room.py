"""Room for the runs of visitors: what leaves, what never does, and that they are told before."""

import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.access import OWNER, Viewer, acting
from models.quotas import OverQuota, Quota
from models.runs.changes import publish_run
from models.runs.files import write_json
from models.runs.process import record_process
from models.runs.room import SPARED_SECONDS, Room, _find_end, check_jobs, let_go
from models.runs.run import list_all_runs, list_runs, read_run
from models.runs.submit import create_run
from tests.sentences import refused

ADA, BOB = Viewer("ada", "train"), Viewer("bob", "train")
DAY = SPARED_SECONDS
RUNS = st.lists(
    st.tuples(
        st.sampled_from([ADA, BOB, OWNER]),
        st.sampled_from(["finished", "stopped", "failed", "running"]),
        st.booleans(),
        st.integers(0, 3),
        st.floats(0, 3 * DAY),
    ),
    max_size=6,
)
"""Whose, its state, whether it is shown, megabytes, and the seconds since it ended."""


class Clock:
    """What time it is."""

    now = 1_000_000_000.0

    def __call__(self):
        return self.now


def plant(root, name, who, state="finished", is_shown=False, megabytes=1, age=2 * DAY):
    with acting(who):
        path = create_run(root, name, {})
    write_json(path / "status.json", read_run(root, name).status | {"state": state})
    with (path / "data").open("wb") as file:
        file.truncate(round(megabytes * 1e6))
    if is_shown:
        publish_run(root, name)
    if state in ("running", "queued"):
        record_process(path, os.getpid())
    os.utime(path / "status.json", (Clock.now - age,) * 2)


def ask(room, quota, root, who=ADA, num_bytes=0, besides=""):
    return [run.name for run in room.find_leaving(who, quota, list_all_runs(root), num_bytes, besides)]


def test_own_runs_leave_oldest_first_after_that_was_said_and_not_by_a_double_click(tmp_path):
    for name in "abc":
        plant(tmp_path, name, ADA, age=0)
    room, quota = Room(clock := Clock()), Quota(kept_mb=2.5)
    assert ask(room, quota, tmp_path, BOB) == []
    for pause in (0, 1):  # seconds after that was said
        clock.now += pause
        with refused("3.0", 2.5, "a", "1.0", error=OverQuota) as caught:
            ask(room, quota, tmp_path)
        assert caught.value.quota == "kept_mb"
    clock.now += 2
    assert ask(room, quota, tmp_path) == ["a"]
    with pytest.raises(OverQuota):  # said once, for once
        ask(room, quota, tmp_path)
    clock.now += 3
    with refused("a, b", error=OverQuota):  # more than was said
        ask(room, quota, tmp_path, num_bytes=10**6)
    clock.now += 601
    with pytest.raises(OverQuota):  # long ago
        ask(room, quota, tmp_path, num_bytes=10**6)
    clock.now += 3
    assert ask(room, quota, tmp_path, num_bytes=10**6) == ["a", "b"]
    assert ask(room, Quota(kept_mb=3.1), tmp_path) == []
    with refused("b", error=OverQuota):
        ask(room, quota, tmp_path, besides="a")


def test_what_works_or_is_shown_does_not_leave(tmp_path):
    plant(tmp_path, "works", ADA, "running")
    plant(tmp_path, "shown", ADA, is_shown=True)
    with refused(1, error=OverQuota):
        ask(Room(Clock()), Quota(kept_mb=1), tmp_path)


def test_in_all_there_is_room_for_so_much_and_a_day_is_everybodys(tmp_path):
    plant(tmp_path, "owners", OWNER, megabytes=50)
    plant(tmp_path, "new", BOB, age=DAY - 7200)
    plant(tmp_path, "old", BOB)
    quota = Quota(all_kept_mb=1.5)
    clock = Clock()
    assert ask(Room(clock), quota, tmp_path) == ["old"]
    with refused("2 h", error=OverQuota) as caught:
        ask(Room(clock), quota, tmp_path, num_bytes=10**6)
    assert (caught.value.quota, caught.value.seconds) == ("all_kept_mb", 7200)
    clock.now += 7201
    assert ask(Room(clock), quota, tmp_path, num_bytes=10**6) == ["old", "new"]


def measure(runs, num_bytes):
    """The bytes of Ada's runs, and of all visitors', with those of a new one."""
    sizes = [(run.owner, run.num_bytes) for run in runs if not run.starter.is_owner]
    return [num_bytes + sum(size for name, size in sizes if name in names) for names in (("ada",), ("ada", "bob"))]


@given(RUNS, st.integers(0, 6), st.integers(0, 9), st.integers(0, 2))
def test_what_leaves_makes_room_and_only_where_that_cannot_be_it_is_refused(
    tmp_path_factory, planted, kept, all_kept, new
):
    root, num_bytes, clock = tmp_path_factory.mktemp("room"), new * 10**6, Clock()
    for number, each in enumerate(planted):
        plant(root, f"r{number}", *each)
    quota, room, before = Quota(kept_mb=kept + 0.1, all_kept_mb=all_kept + 0.1), Room(clock), list_all_runs(root)
    limits, leaving = (quota.kept_mb * 1e6, quota.all_kept_mb * 1e6), None
    for _ in range(2):
        with suppress(OverQuota):
            leaving = room.find_leaving(ADA, quota, before, num_bytes)
            break
        clock.now += 3
    ended = [run for run in before if run.state != "running" and not run.is_published and not run.starter.is_owner]
    free = [run for run in ended if run.owner == "ada"], [run for run in ended if clock.now - DAY > _find_end(run)]
    lowest = [
        amount - sum(run.num_bytes for run in runs)
        for amount, runs in zip(measure(before, num_bytes), free, strict=True)
    ]
    if leaving is None:
        assert any(amount > limit for amount, limit in zip(lowest, limits, strict=True))
        return
    if all(amount <= limit for amount, limit in zip(measure(before, num_bytes), limits, strict=True)):
        assert leaving == []
    let_go(leaving)
    after = list_all_runs(root)
    assert {run.name for run in before} - {run.name for run in after} == {run.name for run in leaving}
    assert {run.name for run in leaving} <= {run.name for run in ended}
    assert all(amount <= limit for amount, limit in zip(measure(after, num_bytes), limits, strict=True))


def test_a_visitor_has_so_many_jobs(tmp_path):
    for name, who, state in (
        ("a", ADA, "queued"),
        ("b", ADA, "finished"),
        ("c", BOB, "running"),
        ("d", OWNER, "queued"),
    ):
        plant(tmp_path, name, who, state)
    runs = list_all_runs(tmp_path)
    check_jobs(ADA, Quota(jobs=2), runs)
    with refused(1, error=OverQuota) as caught:
        check_jobs(ADA, Quota(jobs=1), runs)
    assert (caught.value.quota, caught.value.seconds) == ("jobs", None)
    path = tmp_path / "a"
    write_json(path / "status.json", read_run(tmp_path, "a").status | {"seconds_left": 130})
    with refused("2 min", error=OverQuota) as caught:
        check_jobs(ADA, Quota(jobs=1), list_runs(tmp_path))
    assert caught.value.seconds == 131
