"""Who may see and change which runs."""

import hashlib
import os
import shutil

import pytest

from lab.jobs import JOBS, JobManager, main
from models.access import NOBODY, OWNER, ROLES, Viewer, acting, is_loopback, viewer, whose
from models.registry import ASSETS, Registry
from models.runs.changes import publish_run
from models.runs.files import write_json
from models.runs.process import record_process
from models.runs.queue import LOCKS
from models.runs.run import list_all_runs, list_runs, read_run
from models.runs.status import clean_status
from models.runs.submit import create_run
from models.training.capsule import pack_capsule
from models.training.config import TrainingConfig
from models.training.warm_start import find_start, inherit_network
from tests.sentences import refused

ADA, BOB = Viewer("ada", "train"), Viewer("bob", "train")
ACTIONS = {
    "stop": lambda jobs, name: jobs.stop(name),
    "kill": lambda jobs, name: jobs.kill(name),
    "resume": lambda jobs, name: jobs.resume(name),
    "delete": lambda jobs, name: jobs.delete(name),
    "rename": lambda jobs, name: jobs.rename(name, "another"),
    "note": lambda jobs, name: jobs.write_notes(name, "mine"),
    "publish": lambda jobs, name: jobs.publish(name, True),
    "hide": lambda jobs, name: jobs.publish(name, False),
    "capsule": lambda jobs, name: pack_capsule(jobs.runs_root / name, jobs.runs_root / "out.zip", ""),
    "start from it": lambda jobs, name: find_start(f"run/{name}", jobs.runs_root),
}


@pytest.fixture
def jobs(tmp_path, monkeypatch) -> JobManager:
    """With a run of the owner's, one of Ada's, and one that the owner shows."""
    jobs = JobManager(tmp_path)
    monkeypatch.setattr(jobs, "_launch", lambda run_dir: None)
    for name, who in {"owners": OWNER, "adas": ADA, "shown": OWNER}.items():
        with acting(who):
            path = create_run(tmp_path, name, {})
        write_json(path / "status.json", read_run(tmp_path, name).status | {"state": "stopped"})
        shutil.copyfile(ASSETS / "fashion_cnn.json", path / "model.json")
        shutil.copyfile(ASSETS / "fashion_cnn.safetensors", path / "weights.safetensors")
    publish_run(tmp_path, "shown")
    return jobs


def hash_tree(root) -> dict:
    files = (path for path in root.rglob("*") if path.is_file() and LOCKS not in path.parts)
    return {str(path): hashlib.sha256(path.read_bytes()).digest() for path in files}


@pytest.mark.parametrize(
    ("who", "seen"),
    [
        (OWNER, {"owners", "adas", "shown"}),
        (Viewer("cy"), {"owners", "adas", "shown"}),
        (ADA, {"adas", "shown"}),
        (Viewer("ada", "look"), {"adas", "shown"}),
        (BOB, {"shown"}),
        (Viewer("", "train"), {"shown"}),
        (NOBODY, {"shown"}),
    ],
)
def test_a_visitor_sees_their_own_runs_and_those_that_the_owner_shows(jobs, who, seen):
    with acting(who):
        assert {run.name for run in list_runs(jobs.runs_root)} == {run.name for run in jobs.list()} == seen
        assert len(jobs.list_all()) == 3 == len(list_all_runs(jobs.runs_root))
        for name in sorted({"owners", "adas", "shown"} - seen):
            with refused(name):
                jobs.read(name)
            with refused(name):
                Registry(jobs.runs_root).get(f"run/{name}")


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("name", ["owners", "adas", "shown"])
def test_only_whoever_started_a_run_can_change_it_or_take_it_away(jobs, action, name):
    before = hash_tree(jobs.runs_root)
    with acting(BOB), refused():
        ACTIONS[action](jobs, name)
    assert hash_tree(jobs.runs_root) == before


def test_what_is_ones_own_can_be_changed(jobs):
    with acting(ADA):
        jobs.write_notes("adas", "mine")
        jobs.resume("adas")
        jobs.stop("adas")
        assert jobs.read("adas").is_stopping and jobs.read("adas").owner == "ada"
    with acting(Viewer("cy")):  # the owner's browser
        write_json(jobs.runs_root / "adas/status.json", jobs.read("adas").status | {"state": "stopped"})
        jobs.resume("adas")
        assert jobs.read("adas").starter == ADA
    write_json(jobs.runs_root / "adas/status.json", jobs.read("adas").status | {"state": "stopped"})
    with acting(ADA):
        jobs.rename("adas", "renamed")
        jobs.delete("renamed")
    assert {run.name for run in jobs.list()} == {"owners", "shown"}


def test_what_is_shown_no_longer_is_not_seen_any_more(jobs):
    jobs.publish("shown", False)
    with acting(BOB):
        assert jobs.list() == []


@pytest.mark.parametrize("kind", JOBS)
@pytest.mark.parametrize("role", ROLES)
def test_who_may_start_which_work(jobs, kind, role):
    may = role == "owner" or (role == "train" and kind in ("training", "range_test"))
    with acting(Viewer("bob", role)):
        if not may:
            with refused():
                jobs.start_program(kind, {}, "one")
            return
        assert jobs.read(jobs.start_program(kind, {}, "one")).starter == viewer()


@pytest.mark.parametrize("config", [{"dataset": "."}, {"trackers": ["tensorboard"]}])
def test_folders_and_trackers_are_the_owners(jobs, config):
    with acting(BOB), refused():
        jobs.start_program("training", config, "one")
    with acting(Viewer("", "train")), refused():  # it would be nobody's
        jobs.start_program("training", {}, "one")


def test_nobody_puts_a_run_among_the_parts_of_anothers_job(jobs):
    create_run(jobs.runs_root, "bench", {}, "arms")
    create_run(jobs.runs_root, "bench-dropout-0", {})
    with acting(ADA):
        with refused():
            create_run(jobs.runs_root, "bench-dropout-1", {})
        with refused():
            jobs.rename("adas", "bench-dropout-1")


def test_a_job_does_what_whoever_started_it_may(jobs, monkeypatch):
    seen = []
    monkeypatch.setattr("models.training.run.JOB.__class__.run", lambda job, run_dir, listen: seen.append(viewer()))
    for name in ("adas", "owners"):
        assert main([str(jobs.runs_root / name)]) == 0
    assert seen == [ADA, OWNER]


def test_the_queue_counts_everybodys_jobs(jobs):
    for number in range(9):
        path = create_run(jobs.runs_root, f"busy-{number}", {})
        record_process(path, os.getpid())
    with acting(BOB), refused("8"):
        jobs.start_program("training", {}, "one")


def test_who_somebody_is_survives_a_status_file():
    for who in (OWNER, ADA, Viewer("cy"), Viewer("", "train")):
        assert whose(clean_status(who.sign())) == who
    assert whose(clean_status({"owner": 3, "role": "emperor"})) == OWNER


@pytest.mark.parametrize(
    ("host", "here"),
    [
        *((host, True) for host in ("localhost", "127.0.0.1", "127.8.0.1", "::1")),
        *((host, False) for host in ("0.0.0.0", "", "127.0.0.1.evil.com", "192.168.0.2", "2130706433")),
    ],
)
def test_which_addresses_are_this_machines(host, here):
    assert is_loopback(host) == here


@pytest.mark.parametrize(
    ("start", "said"),
    [("adas", "do not fit"), ("owners", "There is no run named owners"), ("shown", "looked at")],
)
def test_a_training_of_a_visitors_begins_with_their_own_models_alone(jobs, start, said):
    """In its own process too, whatever is written in its settings; Ada's own has weights for grey pictures."""
    settings = {"dataset": "shapes", "shapes": {"num_images": 60}, "device": "cpu", "start_from": "run/adas"}
    with acting(ADA):
        config = TrainingConfig.from_dict(inherit_network(settings, jobs.runs_root)).to_dict()
        path = create_run(jobs.runs_root, "one", config | {"start_from": f"run/{start}"})
    assert main([str(path)]) == 1
    run = read_run(jobs.runs_root, "one")
    assert run.starter == ADA and said in run.message
