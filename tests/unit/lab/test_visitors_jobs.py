"""Jobs of visitors: how many, how long, how much is kept; and that they keep the owner from nothing."""

import os
from pathlib import Path

import pytest

from lab.jobs import MAX_WAITING, JobManager
from models.access import OWNER, Viewer, acting
from models.quotas import QUOTAS, OverQuota, Quota
from models.runs import queue
from models.runs.files import write_json
from models.runs.process import record_process
from models.runs.status import ALLOWED
from models.training.config import TrainingConfig
from tests.sentences import refused

ADA = Viewer("ada", "train")
CONFIG = TrainingConfig(dataset="shapes", epochs=1)


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes a manager whose jobs wait for ever."""
    monkeypatch.setattr(JobManager, "_launch", lambda self, run_dir: record_process(run_dir, os.getpid()))
    return lambda **numbers: JobManager(tmp_path / "runs", {"train": Quota(**numbers)})


def end(jobs: JobManager, name: str, megabytes: float = 0) -> None:
    path = jobs.runs_root / name
    write_json(path / "status.json", jobs.read(name).status | {"state": "stopped"})
    with (path / "data").open("wb") as file:
        file.truncate(round(megabytes * 1e6))


def test_visitors_have_so_many_jobs_each_and_keep_the_owner_from_nothing(make):
    jobs = make(jobs=2)
    for number in range(MAX_WAITING + 1):
        with acting(Viewer(f"v{number // 2}", "train")):
            jobs.start(CONFIG)
    with acting(Viewer("v0", "train")), refused(2, error=OverQuota) as caught:
        jobs.start(CONFIG)
    assert caught.value.quota == "jobs"
    with acting(ADA), refused(8):
        jobs.start(CONFIG)
    name = jobs.start(CONFIG)
    runs = jobs.list_all()
    assert [queue.queue_place(run, runs) for run in runs if run.name in (name, "shapes-1")] == [1, 2]
    assert queue._is_first(jobs.runs_root / name, "cpu") and not queue._is_first(jobs.runs_root / "shapes-1", "cpu")
    with acting(Viewer("v0", "train")):
        end(jobs, "shapes-1")
        jobs.stop("shapes-2")
        with refused(8):
            jobs.resume("shapes-1")


def test_to_go_on_counts_as_a_job_too(make):
    jobs = make(jobs=1)
    with acting(ADA):
        end(jobs, jobs.start(CONFIG))
        jobs.start(CONFIG)
        with refused(1, error=OverQuota) as caught:
            jobs.resume("shapes-1")
        assert caught.value.quota == "jobs" and jobs.read("shapes-1").state == "stopped"


def test_how_long_a_job_may_work_is_noted_when_a_visitor_starts_it(make):
    jobs = make(job_minutes=7)
    assert jobs.read(jobs.start(CONFIG)).status.get(ALLOWED) is None
    with acting(ADA):
        name = jobs.start(CONFIG)
        assert jobs.read(name).status[ALLOWED] == 7
        end(jobs, name)
        jobs.quotas = {"train": Quota(job_minutes=9)}
        jobs.resume(name)
        assert jobs.read(name).status[ALLOWED] == 9
        end(jobs, name)
    jobs.resume(name)  # the owner lets it go on
    assert jobs.read(name).status[ALLOWED] is None and jobs.read(name).starter == ADA


def test_the_oldest_leave_for_a_job_that_begins_and_only_then(make, monkeypatch):
    jobs = make(kept_mb=2.5)
    clock = [10.0**9]
    monkeypatch.setattr(jobs._room, "_now", lambda: clock[0])
    for who in (OWNER, ADA, ADA, ADA):
        with acting(who):
            end(jobs, jobs.start(CONFIG), 1)
    with acting(ADA):
        for go_on in (lambda: jobs.start(CONFIG), lambda: jobs.resume("shapes-3")):
            with refused("shapes-2", "1.0", error=OverQuota):
                go_on()
            clock[0] += 3
            with refused("shapes-4"):
                jobs.start(CONFIG, "shapes-4")
            assert len(jobs.list_all()) == 4
        with refused("shapes-2", "1.0", error=OverQuota):
            jobs.resume("shapes-3")
        clock[0] += 3
        jobs.resume("shapes-3")
    assert {run.name for run in jobs.list_all()} == {"shapes-1", "shapes-3", "shapes-4"}


def test_an_upload_and_a_capsule_count_with_what_is_kept(make, tmp_path):
    jobs, big = make(kept_mb=0.5), tmp_path / "pets.zip"
    big.write_bytes(bytes(600_000))
    config = TrainingConfig(dataset=str(big), epochs=1)
    with acting(ADA):
        for start in (lambda: jobs.start(config, is_upload=True), lambda: jobs.open_capsule(big)):
            with refused("0.6", 0.5, error=OverQuota) as caught:
                start()
            assert caught.value.quota == "kept_mb"
        with refused("No such file"):
            jobs.start_program("training", {"dataset": str(tmp_path / "gone.zip")}, "gone", "dataset")
    assert jobs.list_all() == []
    assert jobs.start(config, is_upload=True) == "pets-1"
    assert Path(jobs.read("pets-1").config["dataset"]).stat().st_size == 600_000


def test_without_other_numbers_those_of_the_table_hold(tmp_path):
    assert JobManager(tmp_path).quotas is QUOTAS
