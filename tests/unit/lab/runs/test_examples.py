"""The hard training pictures of a run; the file may come from anyone."""

import os

import pytest
import torch
from safetensors.torch import save, save_file

from lab.runs.examples import list_snapshots, read_examples, read_hard_examples, read_predictions
from models.registry import find_snapshot
from models.runs.run import Run, read_run
from tests.sentences import refused

COUNT = 5


def tensors() -> dict[str, torch.Tensor]:
    return {
        "images": torch.arange(COUNT * 64, dtype=torch.int64).to(torch.uint8).view(COUNT, 1, 8, 8),
        "labels": torch.arange(COUNT) % 3,
        "ids": torch.arange(COUNT) * 9,
        "logits": torch.arange(COUNT * 3).view(COUNT, 3).float(),
    }


@pytest.fixture
def run(tmp_path, make_run) -> Run:
    make_run(tmp_path)
    save_file(tensors(), tmp_path / "tiny" / "hard_examples.safetensors")
    return read_run(tmp_path, "tiny")


def test_what_was_written_is_read(run):
    examples, logits = read_hard_examples(run)
    expected = tensors()
    assert torch.equal(examples.images, expected["images"]) and torch.equal(examples.labels, expected["labels"])
    assert torch.equal(examples.ids, expected["ids"]) and torch.equal(logits, expected["logits"])
    assert examples.categories == ("ant", "bee", "cat")


@pytest.mark.parametrize(
    "changes",
    [
        {"images": torch.zeros(COUNT, 1, 9, 9, dtype=torch.uint8)},
        {"images": torch.zeros(COUNT, 1, 8, 8)},
        {"images": torch.zeros(0, 1, 8, 8, dtype=torch.uint8)},
        {"labels": torch.full((COUNT,), 3)},
        {"labels": torch.zeros(COUNT + 1, dtype=torch.int64)},
        {"ids": torch.zeros(COUNT, dtype=torch.int64)},
        {"logits": torch.zeros(COUNT, 4)},
        {"logits": torch.full((COUNT, 3), torch.nan)},
        {"logits": torch.zeros(COUNT, 3, dtype=torch.float64)},
        {"more": torch.zeros(1)},
    ],
)
def test_what_does_not_fit_is_refused(run, changes):
    save_file(tensors() | changes, run.path / "hard_examples.safetensors")
    with refused():
        read_hard_examples(run)


@pytest.mark.parametrize("content", [b"", b"no such file", save(tensors())[:-5]])
def test_damaged_files_are_refused(run, content):
    (run.path / "hard_examples.safetensors").write_bytes(content)
    with refused():
        read_hard_examples(run)


def test_a_missing_file_is_said(run):
    (run.path / "hard_examples.safetensors").unlink()
    with refused("hard_examples"):
        read_hard_examples(run)


@pytest.mark.parametrize("name", ["examples", "predictions", "hard_examples"])
def test_nobody_waits_for_a_pipe_and_nothing_huge_is_read(run, name):
    path = run.path / f"{name}.safetensors"
    path.unlink(missing_ok=True)
    read = {"examples": read_examples, "hard_examples": read_hard_examples}.get(name)
    read = read or (lambda run: read_predictions(run, read_hard_examples(run)[0]))
    os.mkfifo(path)
    with refused(f"tiny/{name}.safetensors"):
        read(run)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk, and would not fit into memory
    with refused(f"tiny/{name}.safetensors", "256 MB"):
        read(run)


def test_no_link_leads_out_of_the_run(run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    save_file(tensors(), elsewhere / "hard_examples.safetensors")
    (elsewhere / "0000005.safetensors").write_bytes((run.path / "weights.safetensors").read_bytes())
    (run.path / "hard_examples.safetensors").unlink()
    (run.path / "hard_examples.safetensors").symlink_to(elsewhere / "hard_examples.safetensors")
    with refused():
        read_hard_examples(run)
    (run.path / "snapshots").symlink_to(elsewhere)
    assert list_snapshots(run) == []
    with refused():
        find_snapshot(run, "5")
    (run.path / "snapshots").unlink()
    (run.path / "snapshots").mkdir()
    (run.path / "snapshots" / "0000005.safetensors").symlink_to(elsewhere / "0000005.safetensors")
    assert list_snapshots(run) == []
    with refused():
        find_snapshot(run, "5")
