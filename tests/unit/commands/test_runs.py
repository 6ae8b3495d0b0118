"""The commands on runs, as a user types them."""

import hashlib
import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from models.registry import Registry
from models.runs.files import write_json
from models.runs.process import read_clock, record_process
from models.runs.run import list_runs, read_run
from models.runs.submit import create_run
from tests.device import DEVICE


@pytest.fixture
def tiny(root, make_run):
    """A finished run named tiny."""
    make_run(root)
    sha256 = hashlib.sha256((root / "tiny" / "weights.safetensors").read_bytes()).hexdigest()
    result = {"val_accuracy": 0.5, "test_accuracy": 0.5, "seconds": 1.0, "epochs": 1, "weights_sha256": sha256}
    write_json(root / "tiny" / "status.json", read_run(root, "tiny").status | {"result": result})
    (root / "tiny" / "metrics.jsonl").write_text("")
    return root / "tiny"


def test_runs_lists_every_run(run, run_json, tiny, root):
    (root / "broken").mkdir()
    (root / "broken" / "config.json").write_text("{")
    found = {entry["name"]: entry for entry in run_json("runs")}
    assert set(found) == {"tiny", "broken"} and found["broken"]["state"] == "damaged"
    assert found["tiny"]["kind"] == "training" and found["tiny"]["result"]["test_accuracy"] == 0.5
    code, out, _ = run("runs")
    assert code == 0 and "test accuracy 50.0%" in out and len(out.splitlines()) == 2


def test_runs_that_wait_say_for_how_many_and_can_be_stopped_and_killed(run, run_json, root):
    """Processes of their own, as they would be: one that works, and two that wait."""
    processes = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(3)]
    try:
        for number, (name, process) in enumerate(zip(("works", "next", "last"), processes, strict=True)):
            path = create_run(root, name, {})
            record_process(path, process.pid)
            state = {"state": "queued" if number else "running", "device": DEVICE}
            write_json(path / "status.json", read_run(root, name).status | state)
        assert {entry["name"]: entry["before"] for entry in run_json("runs")} == {"works": 0, "next": 1, "last": 2}
        assert "queued     2 before it" in run("runs")[1]
        assert run("stop", "next")[0] == 0 and (root / "next" / "stop").exists()
        assert run("kill", "works")[0] == 0
        assert processes[0].wait(10) == -signal.SIGKILL and read_run(root, "works").state == "stopped"
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no such signal")
def test_runs_whose_process_is_suspended_say_when_they_were_last_heard_of(run, run_json, root):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        path = create_run(root, "a", {})
        record_process(path, process.pid)
        heard = {name: part - 61 if name != "boot" else part for name, part in read_clock().items()}
        write_json(path / "status.json", read_run(root, "a").status | {"state": "running", "heard": heard})
        assert run_json("runs")[0]["silence"] == "last heard of 1 min ago"
        os.kill(process.pid, signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        assert run_json("runs")[0]["silence"] == "suspended, last heard of 1 min ago"
        assert "running    suspended, last heard of 1 min ago" in run("runs")[1]
    finally:
        process.kill()
        process.wait()


def test_rename_note_and_delete(run, tiny, root):
    assert run("rename", "tiny", "big")[0] == 0
    assert [entry.name for entry in list_runs(root)] == ["big"]
    assert run("note", "big", "Works best <so far>")[0] == 0
    assert read_run(root, "big").notes == "Works best <so far>"
    assert run("delete", "big")[0] == 0
    assert list_runs(root) == []


def test_a_capsule_goes_out_and_in(run, run_json, tiny, root, tmp_path):
    document = run_json("capsule", "tiny", tmp_path / "a.zip")
    path = tmp_path / "a.zip"
    assert document == {"run": "tiny", "path": str(path), "num_bytes": path.stat().st_size}
    assert run_json("open-capsule", path) == {"run": "tiny-1", "model": "run/tiny-1"}
    code, out, _ = run("open-capsule", path, "--name", "mine")
    assert code == 0 and "run/mine" in out
    x = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        first, second = (Registry(root).get(f"run/{name}").build()(x) for name in ("tiny", "mine"))
    assert torch.equal(first, second)


def test_export_onnx_writes_a_checked_file(run_json, tiny, tmp_path):
    path = tmp_path / "model.onnx"
    document = run_json("export-onnx", "run/tiny", path)
    assert document["num_bytes"] == path.stat().st_size and document["max_difference"] < 1e-4
    assert document["input_shape"] == ["batch", 1, 8, 8] and document["output_shape"] == ["batch", 3]


@pytest.mark.parametrize(
    "arguments",
    [
        ("resume", "none"),
        ("resume", "tiny"),
        ("rename", "none", "x"),
        ("rename", "tiny", "../x"),
        ("note", "none", "x"),
        ("delete", "none"),
        ("stop", "none"),
        ("kill", "../tiny"),
        ("capsule", "none", "a.zip"),
        ("capsule", "tiny", "no/folder/a.zip"),
        ("open-capsule", "none.zip"),
        ("export-onnx", "run/none", "a.onnx"),
    ],
    ids=" ".join,
)
def test_problems_are_one_line(run, tiny, arguments):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
    assert "Traceback" not in err


def test_resume_goes_on_with_the_fields_of_train(run, root):
    settings = ("--dataset", "shapes", "--num-images", 120, "--image-size", 8, "--channels", "4", "--epochs", 1)
    documents = []
    for command in (("train", "--run", "whole", *settings), ("resume", "whole")):
        code, out, _ = run(*command, "--json")
        assert code == 0
        documents.append(json.loads(out))
        write_json(root / "whole" / "status.json", read_run(root, "whole").status | {"state": "stopped"})
    trained, resumed = documents
    assert set(resumed) == set(trained) and resumed["run"] == "whole"
    assert resumed["weights_sha256"] == trained["weights_sha256"]


def test_a_run_is_shown_to_visitors_and_no_longer(run, tiny, root):
    assert not read_run(root, "tiny").is_published
    assert run("publish", "tiny")[0] == 0 and read_run(root, "tiny").is_published
    assert run("publish", "tiny", "--undo")[0] == 0 and not read_run(root, "tiny").is_published
    assert run("publish", "nothing")[0] == 2
