"""Capsules from anybody: whatever their files say, nothing of this machine is read, made, started or shown."""

import hashlib
import json
import os
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from analysis.errors import UserError
from lab.comparisons.train import find_arm
from lab.jobs import JobManager
from models.registry import Registry
from models.runs.changes import rename_run
from models.runs.files import write_json
from models.runs.run import read_run
from models.training.capsule import pack_capsule, unpack_capsule
from models.training.config import TrainingConfig
from models.training.foreign_runs import find_dataset, plan_again
from tests.device import DEVICE
from tests.sentences import refused

HERE = {"data_root": "/here/data", "device": "cpu"}


@pytest.fixture
def owned(tmp_path):
    """A folder of the owner's pictures, which no visitor has been shown."""
    for label in ("cats", "dogs"):
        folder = tmp_path / "private" / label
        folder.mkdir(parents=True)
        for number in range(8):
            Image.fromarray(np.full((16, 16, 3), number * 9, np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "private"


@pytest.fixture
def open_hostile(tmp_path, make_run):
    """``open_hostile(config, **files)``: the run that a capsule becomes with these settings, and files changed."""

    def opened(config: dict, name: str = "guest", **files: dict):
        root = tmp_path / "theirs"
        make_run(root)
        path = root / "tiny"
        sha256 = hashlib.sha256((path / "weights.safetensors").read_bytes()).hexdigest()
        result = {"val_accuracy": 0.5, "test_accuracy": 0.5, "seconds": 1.0, "epochs": 1, "weights_sha256": sha256}
        write_json(path / "status.json", read_run(root, "tiny").status | {"result": result})
        (path / "metrics.jsonl").write_text('{"kind": "epoch", "epoch": 1}\n')
        packed = pack_capsule(path, tmp_path / "packed.zip", "")
        with zipfile.ZipFile(packed) as archive:
            content = {member: archive.read(member) for member in archive.namelist()}
        content["config.json"] = json.dumps(config).encode()
        for member, values in files.items():
            content[f"{member}.json"] = json.dumps(json.loads(content.get(f"{member}.json", "{}")) | values).encode()
        hostile = tmp_path / "hostile.zip"
        with zipfile.ZipFile(hostile, "w") as archive:
            for member, data in content.items():
                archive.writestr(member, data)
        return read_run(tmp_path / "runs", unpack_capsule(hostile, tmp_path / "runs", name))

    return opened


def settings(**changes) -> dict:
    return TrainingConfig(dataset="shapes", device="cpu").to_dict() | changes


def refusal(run) -> str:
    with pytest.raises(UserError) as caught:
        plan_again(run, **HERE)
    with pytest.raises(UserError) as other:
        find_dataset(run)
    assert str(caught.value) == str(other.value)
    return str(caught.value)


def test_no_path_of_a_capsule_is_looked_at(open_hostile, owned, tmp_path, monkeypatch):
    """What is there, what is not, and what may not be looked at get the same answer, whichever way it is named."""
    monkeypatch.chdir(tmp_path)
    run = open_hostile(settings())
    upload = run.path / "upload" / "x.zip"
    paths = [
        str(owned),
        "private",
        "./private",
        "../" + str(owned),
        "/nowhere",
        "/etc/passwd",
        "/root",
        "~",
        ".",
        "..",
    ]
    paths += [f"{run.path}/upload/../../../private", str(upload), "Shapes", "shapes/", "C:\\Users", "\\\\host\\share"]

    def touch(*_arguments, **_options):
        pytest.fail("a path of the capsule was looked at")

    told = set()
    for path in paths:
        write_json(run.path / "config.json", settings(dataset=path))
        with monkeypatch.context() as patch:
            for name in ("exists", "is_file", "is_dir", "iterdir", "resolve"):
                patch.setattr(Path, name, touch)
            patch.setattr(os, "scandir", touch)
            message = refusal(run)
        assert "opened from a capsule" in message and "choose them as own pictures" in message
        assert str(tmp_path) not in message and "/" not in message and "C:" not in message
        told.add(message.replace(repr(PurePosixPath(path.replace("\\", "/")).name), "NAME"))
    assert len(told) == 1
    assert not list((tmp_path / "runs").glob("*corrected*"))


@pytest.mark.parametrize(
    "places",
    [
        {"device": "cuda", "compile": True, "trackers": ["tensorboard", "trackio"]},
        {"device": "cuda:7", "compile": "yes", "trackers": ["/somewhere/else", "os.system"]},
        {"data_root": 3, "device": None, "trackers": "/somewhere/else"},
    ],
)
def test_this_machine_decides_where_and_with_whose_help(open_hostile, tmp_path, places):
    """Also where what the capsule says of it is nothing that there is here."""
    made = {"data_root": str(tmp_path / "made" / "anywhere")}
    run = open_hostile(settings(learning_rate=0.03, corrections={"5": 1}, **(made | places)))
    config = plan_again(run, **HERE)
    here = {"data_root": "/here/data", "device": "cpu", "compile": False, "trackers": ()}
    assert {name: getattr(config, name) for name in here} == here
    assert (config.dataset, config.learning_rate, config.corrections) == ("shapes", 0.03, {"5": 1})
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "start", ["run/other", "run/other@5", "run/../../etc", "run//etc/passwd", "/etc/passwd", "../x.pth"]
)
def test_a_run_of_another_machine_is_no_run_of_this_one(open_hostile, make_run, tmp_path, start):
    make_run(tmp_path / "runs", "other")
    run = open_hostile(settings(start_from=start))
    with refused():
        plan_again(run, **HERE)
    assert plan_again(open_hostile(settings(start_from="fashion_cnn"), "second"), **HERE).start_from == "fashion_cnn"


HOSTILE = [
    {"dataset": None},
    {"dataset": ["shapes"]},
    {"dataset": {"path": "/etc"}},
    {"corrections": {"../x": 1}},
    {"corrections": {"1": "/etc"}},
    {"architecture": "__import__"},
    {"model": {"channels": [10**9]}},
    {"shapes": {"num_images": 10**12}},
    {"start_from": {"a": 1}},
    {"augment": {"__class__": 1}},
    {"processes": 64},
    {"upload": "/etc"},
]


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: json.dumps(change)[:30])
def test_settings_that_are_none_are_a_sentence(open_hostile, change):
    with pytest.raises(UserError) as caught:
        plan_again(open_hostile(settings(**change)), **HERE)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("change", [{"dataset": "shapes\ud800"}, {"dataset": "x\x1b[2J"}])
def test_a_name_that_no_screen_should_get_is_shown_as_what_it_is(open_hostile, change):
    run = open_hostile(settings())
    write_json(run.path / "config.json", settings(**change))
    message = refusal(run)
    assert message.isprintable() and message.encode()


def test_an_opened_capsule_stays_one(open_hostile, owned, tmp_path):
    """Under another name, and packed and opened again."""
    run = open_hostile(settings(dataset=str(owned)))
    assert run.is_opened and run.kind == "training" and run.state == "finished"
    rename_run(tmp_path / "runs", "guest", "mine")
    renamed = read_run(tmp_path / "runs", "mine")
    assert renamed.is_opened and "opened from a capsule" in refusal(renamed)
    again = unpack_capsule(pack_capsule(renamed.path, tmp_path / "b.zip", ""), tmp_path / "runs", "again")
    assert read_run(tmp_path / "runs", again).is_opened
    with refused():
        JobManager(tmp_path / "runs").resume("mine")


def test_a_capsule_of_own_pictures_is_a_model_and_says_what_it_lacks(open_hostile, tmp_path):
    run = open_hostile(settings(dataset="photos.zip"))
    spec = Registry(tmp_path / "runs").get("run/guest")
    assert spec.trained_on == "photos" and spec.categories == ("ant", "bee", "cat") and spec.build()
    assert "does not bring its data set 'photos.zip'; if you have these pictures, choose them" in refusal(run)


def test_the_owners_own_runs_are_trained_again_as_before(tmp_path, owned, make_run):
    make_run(tmp_path / "runs")
    path = tmp_path / "runs" / "tiny"
    own = settings(
        dataset=str(owned), data_root=str(tmp_path), compile=True, trackers=["tensorboard"], start_from="run/a"
    )
    write_json(path / "config.json", own)
    run = read_run(tmp_path / "runs", "tiny")
    assert plan_again(run, **HERE) == TrainingConfig.from_dict(own) and find_dataset(run) == str(owned)


def test_a_capsule_is_nobodys_arm(open_hostile, tmp_path):
    """A comparison would take its weights for what it has trained itself."""
    config = TrainingConfig(dataset="shapes", device=DEVICE)
    open_hostile(config.to_dict(), "arms-1-plain-0")
    with refused("arms-1-plain-0"):
        find_arm(config, tmp_path / "runs" / "arms-1-plain-0")


@pytest.mark.parametrize("file", ["model", "environment", "capsule", "config"])
def test_halves_of_characters_do_not_come_in(open_hostile, file):
    change = {"categories": ["ant", "bee\ud800", "cat"]} if file == "model" else {"note\udc00": "x"}
    with refused(f"{file}.json"):
        open_hostile(
            settings(**change) if file == "config" else settings(), **({} if file == "config" else {file: change})
        )
