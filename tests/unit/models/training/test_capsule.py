"""Capsules: out and in again with equal logits, and nothing left behind by those that are none."""

import hashlib
import json
import os
import runpy
import stat
import struct
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from analysis.errors import UserError
from models.data.shapes import ShapesConfig
from models.registry import Registry
from models.runs.files import append_line, write_bytes, write_json
from models.runs.run import list_runs, read_run
from models.training import capsule, capsule_zip
from models.training.capsule import MEMBERS, pack_capsule, unpack_capsule
from models.training.config import TrainingConfig
from models.training.run import train
from tests.device import DEVICE
from tests.sentences import refused

ROOT = Path(__file__).parents[4]
REPORT = "<p>Report</p>"
PICTURES = {"examples.safetensors", "predictions.safetensors", "hard_examples.safetensors"}
PICTURES |= {"test_examples.safetensors"}


@pytest.fixture
def root(tmp_path, make_run) -> Path:
    """A folder with one finished run named tiny."""
    root = tmp_path / "runs"
    make_run(root)
    path = root / "tiny"
    sha256 = hashlib.sha256((path / "weights.safetensors").read_bytes()).hexdigest()
    result = {"val_accuracy": 0.5, "test_accuracy": None, "seconds": 1.5, "epochs": 2, "weights_sha256": sha256}
    write_json(path / "status.json", read_run(root, "tiny").status | {"result": result, "device": DEVICE})
    append_line(path / "metrics.jsonl", {"kind": "epoch", "epoch": 1, "train_loss": 0.25})
    write_bytes(path / "notes.txt", "größer".encode())
    write_json(path / "environment.json", {"torch": "1", "threads": 1})
    split = {"sha256": "0" * 64, "count": 2, "ids": "0-1"}
    splits = dict.fromkeys(("train", "validation", "test"), split)
    write_json(path / "data.json", {"name": "insects", "sha256": "1" * 64, "categories": ["ant"], "splits": splits})
    examples = {"images": torch.zeros(2, 1, 8, 8, dtype=torch.uint8), "labels": torch.tensor([0, 1])}
    write_bytes(path / "examples.safetensors", save(examples | {"ids": torch.tensor([4, 7])}))
    write_bytes(path / "predictions.safetensors", save({"logits": torch.zeros(2, 3)}))
    hard = examples | {"ids": torch.tensor([5, 6]), "logits": torch.zeros(2, 3)}
    for name in ("hard_examples", "test_examples"):
        write_bytes(path / f"{name}.safetensors", save(hard))
    write_bytes(path / "log.txt", b"/home/alice")
    return root


@pytest.fixture
def packed(root, tmp_path) -> Path:
    return pack_capsule(root / "tiny", tmp_path / "tiny.zip", REPORT)


def read_zip(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def snapshot(root: Path) -> dict:
    return {path: path.is_file() and path.read_bytes() for path in root.rglob("*")}


def check_refused(path: Path, root: Path, *facts: object, **options) -> None:
    """Opening fails with a sentence of one line, and leaves every file below ``root`` as it was."""
    before = snapshot(root)
    with refused(*facts) as caught:
        unpack_capsule(path, root, **options)
    text = str(caught.value)
    assert "\n" not in text and ".new-" not in text and len(text) < 400
    assert snapshot(root) == before


def test_a_capsule_names_no_folder(root, tmp_path):
    config = read_run(root, "tiny").config
    write_json(root / "tiny" / "config.json", config | {"dataset": "/home/alice/photos.zip", "data_root": "/home/a"})
    files = read_zip(pack_capsule(root / "tiny", tmp_path / "tiny.zip", REPORT))
    assert json.loads(files["config.json"]) == config | {"dataset": "photos.zip", "data_root": "data"}
    assert not any(b"/home" in data for data in files.values())


def test_a_capsule_is_a_model_with_equal_logits(root, packed, tmp_path):
    other = tmp_path / "elsewhere"
    assert unpack_capsule(packed, other) == "tiny"
    assert [run.name for run in list_runs(other)] == ["tiny"] == [path.name for path in other.iterdir()]
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    specs = [Registry(folder).get("run/tiny") for folder in (root, other)]
    with torch.no_grad():
        before, after = (spec.build()(x) for spec in specs)
    assert torch.equal(before, after)
    assert specs[0].categories == specs[1].categories and specs[0].preprocessing == specs[1].preprocessing
    old, new = read_run(root, "tiny"), read_run(other, "tiny")
    assert new.state == "finished" and new.kind == "training" and new.message == ""
    assert (new.config, new.result, new.metrics, new.notes) == (old.config, old.result, old.metrics, "größer")


def test_the_zip_has_what_is_promised_and_no_picture(packed):
    files = read_zip(packed)
    assert set(files) == set(MEMBERS) - PICTURES
    assert files["report.html"].decode() == REPORT
    assert files["reproduce.py"] == (ROOT / "assets" / "reproduce.py").read_bytes()
    assert not any(b"alice" in data for data in files.values())


def test_pictures_come_along_when_asked_for(root, tmp_path):
    path = pack_capsule(root / "tiny", tmp_path / "a.zip", REPORT, pictures=True)
    assert set(read_zip(path)) == set(MEMBERS)
    unpack_capsule(path, root, "again")
    for name in PICTURES:
        assert (root / "again" / name).read_bytes() == (root / "tiny" / name).read_bytes()


def test_the_same_run_gives_the_same_bytes(root, packed, tmp_path):
    again = pack_capsule(root / "tiny", tmp_path / "again.zip", REPORT)
    assert again.read_bytes() == packed.read_bytes()
    unpack_capsule(packed, tmp_path / "other")
    round_trip = pack_capsule(tmp_path / "other" / "tiny", tmp_path / "third.zip", REPORT)
    assert round_trip.read_bytes() == packed.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "again.zip",
        "third.zip",
        "tiny.zip",
    ]


def test_names_of_the_new_run(root, packed):
    assert unpack_capsule(packed, root) == "tiny-1"
    assert unpack_capsule(packed, root, "mine") == "mine"
    check_refused(packed, root, "mine", name="mine")
    check_refused(packed, root, name="../mine")


def test_report_and_script_of_others_are_not_kept(root, packed):
    assert unpack_capsule(packed, root, "again")
    names = {path.name for path in (root / "again").iterdir()}
    assert names == {name for name, member in MEMBERS.items() if member.kept} - PICTURES - {"capsule.json"} | {
        "status.json"
    }


@pytest.mark.parametrize("name", ["environment.json", "data.json", "notes.txt"])
def test_older_runs_have_fewer_files(root, tmp_path, name):
    (root / "tiny" / name).unlink()
    path = pack_capsule(root / "tiny", tmp_path / "a.zip", REPORT)
    assert name not in read_zip(path)
    assert unpack_capsule(path, root, "again") == "again"


def test_half_a_line_of_metrics_is_left_out(root, tmp_path):
    with (root / "tiny" / "metrics.jsonl").open("ab") as file:
        file.write(b'{"kind": "ep')
    files = read_zip(pack_capsule(root / "tiny", tmp_path / "a.zip", REPORT))
    assert files["metrics.jsonl"].count(b"\n") == 1 and json.loads(files["metrics.jsonl"])["epoch"] == 1


def test_only_a_finished_training_is_packed(root, tmp_path):
    path, out = root / "tiny" / "status.json", tmp_path / "a.zip"
    status = json.loads(path.read_text())
    for change in (
        {"state": "stopped"},
        {"kind": "evaluation"},
        {"result": None},
        {"result": status["result"] | {"weights_sha256": "0" * 64}},
    ):
        write_json(path, status | change)
        with refused():
            pack_capsule(root / "tiny", out, REPORT)
    with refused():
        pack_capsule(root / "none", out, REPORT)
    write_json(path, status)
    with refused():
        pack_capsule(root / "tiny", tmp_path / "no" / "folder.zip", REPORT)
    assert not out.exists()


def test_what_is_no_capsule(root, tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "empty.zip").write_bytes(b"")
    check_refused(tmp_path / "a.txt", root)
    check_refused(tmp_path / "empty.zip", root)
    check_refused(tmp_path / "none.zip", root)
    check_refused(tmp_path, root)
    check_refused(write_zip(tmp_path / "b.zip", {}), root, "capsule.json")
    check_refused(write_zip(tmp_path / "b.zip", {"cats/1.png": b""}), root, "cats/1.png")


@pytest.mark.parametrize("name", [name for name, member in MEMBERS.items() if member.required])
def test_every_required_file_is_missed(root, packed, tmp_path, name):
    files = read_zip(packed)
    del files[name]
    check_refused(write_zip(tmp_path / "a.zip", files), root, name)


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/evil", "a/../../evil", "C:\\evil", "sub/config.json", "status.json", "stop", "config.json/"],
)
def test_no_other_name_is_written(root, packed, tmp_path, name):
    check_refused(write_zip(tmp_path / "a.zip", read_zip(packed) | {name: b"x"}), root)


def test_a_name_that_ends_early_is_what_it_seems(root, packed, tmp_path):
    files = read_zip(packed)
    data = files.pop("notes.txt")
    path = write_zip(tmp_path / "a.zip", files | {"notes.txtXevil": data})
    path.write_bytes(path.read_bytes().replace(b"notes.txtXevil", b"notes.txt\0evil"))
    assert unpack_capsule(path, root, "again") == "again"
    assert (root / "again" / "notes.txt").read_bytes() == data


def test_symbolic_links_are_refused(root, packed, tmp_path):
    path = write_zip(tmp_path / "a.zip", {k: v for k, v in read_zip(packed).items() if k != "config.json"})
    entry = zipfile.ZipInfo("config.json")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, "/etc/passwd")
    check_refused(path, root, "config.json")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_files_that_are_there_twice_are_refused(root, packed):
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("config.json", b"{}")
    check_refused(packed, root, "config.json")


def test_unusual_zips_are_refused(root, packed, tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("capsule.json", b"{}")
    check_refused(path, root)
    data = bytearray(packed.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    check_refused(path, root)


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "weights.safetensors"])
def test_bombs_are_stopped_at_the_limit(root, packed, tmp_path, monkeypatch, name):
    monkeypatch.setitem(capsule.MEMBERS, name, capsule.CapsuleFile(2**20, check=MEMBERS[name].check))
    path = write_zip(tmp_path / "a.zip", read_zip(packed) | {name: bytes(20 * 2**20)})
    check_refused(path, root, name, "a.zip", "1 MB")


def test_a_size_that_lies_is_not_believed(root, packed, tmp_path, monkeypatch):
    path = write_zip(tmp_path / "a.zip", read_zip(packed) | {"config.json": bytes(2 * 2**20)})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<L", 2 * 2**20), struct.pack("<L", 100)))
    check_refused(path, root, "config.json")


def test_a_huge_table_of_contents_is_not_read(root, tmp_path, monkeypatch):
    path = write_zip(tmp_path / "a.zip", {f"{number}.json": b"" for number in range(2000)})
    monkeypatch.setattr(capsule_zip, "open_zip", lambda path: pytest.fail("the zip was opened"))
    check_refused(path, root)


@pytest.mark.parametrize("position", ["cut", "flipped"])
def test_damaged_zips(root, packed, position):
    data = bytearray(packed.read_bytes())
    if position == "cut":
        packed.write_bytes(data[: len(data) // 2])
        check_refused(packed, root)
    else:
        data[data.index(b"weights.safetensors") + 200] ^= 1
        packed.write_bytes(data)
        check_refused(packed, root, "weights.safetensors")


@pytest.mark.parametrize("name", ["notes.txt", "examples.safetensors", "data.json", "environment.json"])
def test_a_file_that_is_too_large_is_not_read_to_pack_it(root, tmp_path, name):
    with (root / "tiny" / name).open("r+b") as file:
        file.truncate(2**40)  # takes no room on the disk, and would not fit into memory
    with refused(f"tiny/{name}"):
        pack_capsule(root / "tiny", tmp_path / "a.zip", REPORT, pictures=True)
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize("name", [name for name, member in MEMBERS.items() if member.kept])
@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_is_no_ordinary_file_is_not_packed(root, tmp_path, name, kind):
    """Nobody waits for a pipe, and what lies elsewhere does not leave."""
    (tmp_path / "secret").write_text('{"secret": "of the owner"}')
    path = root / "tiny" / name
    path.unlink(missing_ok=True)
    os.mkfifo(path) if kind == "pipe" else path.symlink_to(tmp_path / "secret")
    with suppress(UserError):
        files = read_zip(pack_capsule(root / "tiny", tmp_path / "a.zip", REPORT, pictures=True))
        assert not any(b"of the owner" in data for data in files.values())


def test_a_run_of_a_folder_whose_name_is_no_text_is_packed_and_opened(root, tmp_path):
    """Its class folders came from a Korean zip: half characters stand for their bytes in the files of the run."""
    path, name = root / "tiny", os.fsdecode("강아지".encode("cp949"))
    card = json.loads((path / "model.json").read_text())
    write_json(path / "model.json", card | {"categories": [name, "bee", "cat"]})
    write_json(path / "config.json", read_run(root, "tiny").config | {"dataset": f"/data/{name}"})
    data = json.loads((path / "data.json").read_text())
    write_json(path / "data.json", data | {"categories": [name], "name": name})
    assert Registry(root).get("run/tiny").categories[0].encode()
    unpack_capsule(pack_capsule(path, tmp_path / "a.zip", REPORT), root, "again")
    spec = Registry(root).get("run/again")
    assert spec.categories[0].encode() and spec.categories[1:] == ("bee", "cat") and spec.trained_on.encode()


DEEP = b"[" * 100_000
BAD_CONTENT = [
    ("capsule.json", b"{}"),
    ("capsule.json", b"[]"),
    ("capsule.json", {"format": "other"}),
    ("capsule.json", {"version": 2}),
    ("capsule.json", {"version": True}),
    ("capsule.json", {"run": "../up"}),
    ("capsule.json", {"run": None}),
    ("capsule.json", {"result": []}),
    ("config.json", b""),
    ("config.json", DEEP),
    ("config.json", b"[1]"),
    ("config.json", b'{"a": NaN}'),
    ("config.json", b'{"a": "\\ud800"}'),
    ("environment.json", b"{"),
    ("data.json", b"{}"),
    ("metrics.jsonl", b'{"step": 1}\n{"step'),
    ("metrics.jsonl", b"{}\n" + DEEP),
    ("metrics.jsonl", b"7"),
    ("metrics.jsonl", b'{"train_loss": Infinity}'),
    ("notes.txt", b"\xff"),
    ("model.json", {"categories": ["a\ud800", "b", "c"]}),
    ("capsule.json", {"note": "\ud800"}),
    ("environment.json", {"\udfff": 1}),
    ("model.json", b"{}"),
    ("weights.safetensors", b""),
    ("weights.safetensors", save({"a": torch.zeros(1)})),
]


@pytest.mark.parametrize(("name", "content"), BAD_CONTENT)
def test_bad_content_is_refused(root, packed, tmp_path, name, content):
    files = read_zip(packed)
    if isinstance(content, dict):
        content = json.dumps(json.loads(files[name]) | content).encode()
    check_refused(write_zip(tmp_path / "a.zip", files | {name: content}), root)


@pytest.mark.parametrize(
    "change",
    [
        {"weights_sha256": "0" * 64},
        {"weights_sha256": "x"},
        {"test_accuracy": 1.5},
        {"val_accuracy": "high"},
        {"seconds": None},
        {"epochs": 1.5},
    ],
    ids=str,
)
def test_claims_about_the_result_are_checked(root, packed, tmp_path, change):
    files = read_zip(packed)
    card = json.loads(files["capsule.json"])
    card["result"] |= change
    check_refused(write_zip(tmp_path / "a.zip", files | {"capsule.json": json.dumps(card).encode()}), root)


def test_other_weights_of_the_same_shape_are_noticed(root, packed, tmp_path, make_run):
    make_run(tmp_path / "others", seed=1)
    weights = (tmp_path / "others" / "tiny" / "weights.safetensors").read_bytes()
    check_refused(write_zip(tmp_path / "a.zip", read_zip(packed) | {"weights.safetensors": weights}), root)


def test_claims_beside_the_result_are_dropped(root, packed, tmp_path):
    files = read_zip(packed)
    card = json.loads(files["capsule.json"])
    card["result"]["note"], card["message"], card["state"] = "<script>", "x", "running"
    path = write_zip(tmp_path / "a.zip", files | {"capsule.json": json.dumps(card).encode()})
    run = read_run(root, unpack_capsule(path, root, "again"))
    assert run.result == read_run(root, "tiny").result and run.state == "finished" and run.message == ""


def test_a_folder_that_cannot_be_written_to(packed, tmp_path):
    (tmp_path / "file").write_text("")
    with refused():
        unpack_capsule(packed, tmp_path / "file")


def test_the_script_trains_the_run_again_and_compares(tmp_path, monkeypatch, capsys):
    config = TrainingConfig(
        dataset="shapes",
        epochs=1,
        batch_size=32,
        model={"channels": (4,)},
        shapes=ShapesConfig(num_images=120),
        image_size=8,
        device=DEVICE,
    )
    result = train(config, tmp_path / "runs" / "first")
    path = pack_capsule(tmp_path / "runs" / "first", tmp_path / "first.zip", REPORT)
    folder = tmp_path / "unzipped"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    done = reproduce(folder, "--project", ROOT)
    assert done.returncode == 0, done.stderr
    assert "EQUAL" in done.stdout and done.stdout.count(result.weights_sha256) == 2
    assert read_run(folder / "runs", "first-again").result["weights_sha256"] == result.weights_sha256

    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"seed": 1})
    environment = json.loads((folder / "environment.json").read_text())
    write_json(folder / "environment.json", environment | {"processes": 2, "precision": "fp16"})
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "--name", "other"])
    with pytest.raises(SystemExit) as ended:  # in this process, which is quicker
        runpy.run_path(str(folder / "reproduce.py"), run_name="__main__")
    output = capsys.readouterr().out
    assert ended.value.code == 1 and "DIFFERENT" in output and "The DATA are not the same" in output
    assert "processes is 1, and was 2" in output and ", and was fp16" in output
    assert "torch is" not in output  # what is the same is not told


def test_the_script_says_what_it_needs(packed, tmp_path):
    with zipfile.ZipFile(packed) as archive:
        archive.extract("reproduce.py", tmp_path)
    done = reproduce(tmp_path)
    assert done.returncode == 2 and "--project" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("dataset", ["photos.zip", "..", "/home/alice", ["shapes"], None])
def test_the_script_looks_at_no_path_that_the_capsule_names(packed, tmp_path, dataset):
    folder = tmp_path / "unzipped"
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
    config = TrainingConfig(dataset="shapes").to_dict() | {"data_root": str(tmp_path / "made")}
    write_json(folder / "config.json", config | {"dataset": dataset})
    done = reproduce(folder, "--project", ROOT)
    assert done.returncode == 2 and "say --dataset" in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "runs").exists() and not (tmp_path / "made").exists()


def reproduce(folder: Path, *options) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "reproduce.py", *map(str, options)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
