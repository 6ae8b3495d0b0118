"""Evaluations on several processes."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from analysis.errors import Cancelled
from lab.evaluation import run as evaluation
from lab.evaluation.config import EvaluationConfig
from lab.evaluation.distributed import Processes, settled
from lab.evaluation.run import evaluate, evaluate_as_run
from lab.session import Lab

ROOT = Path(__file__).parents[4]


def test_the_others_neither_report_nor_remove_chunks(run, lab, folder, tmp_path, monkeypatch):
    second = Processes(rank=1, count=2, gather=lambda items: items)
    monkeypatch.setattr(evaluation, "all_processes", lambda device: nullcontext(second))
    config = EvaluationConfig(models=("toy",), data=str(folder), threads=1)
    assert evaluate(lab, config, tmp_path / "work") == {}
    assert [path.name for path in (tmp_path / "work").rglob("*.npz")] == ["000001.npz"]
    stopped = replace(second, gather=lambda items: [(True, 64), *items])
    monkeypatch.setattr(evaluation, "all_processes", lambda device: nullcontext(stopped))
    with pytest.raises(Cancelled):  # because another one was
        evaluate(lab, config, tmp_path / "work")
    monkeypatch.setenv("RANK", "1")
    assert evaluate_as_run(lab, config, tmp_path / "run") == {}


def test_the_number_of_threads_is_that_of_the_machine():
    """Whatever torchrun has set: the bits of a convolution depend on it."""
    before = torch.get_num_threads()
    try:
        found = []
        for inherited in (1, 3):
            torch.set_num_threads(inherited)
            with settled(None) as threads:
                found.append((threads, torch.get_num_threads()))
            assert torch.get_num_threads() == inherited
        assert found[0] == found[1] and found[0][0] == found[0][1]
    finally:
        torch.set_num_threads(before)


def test_two_processes_give_the_bytes_of_one(tmp_path):
    # Passive: threads that spin while they wait would slow down the other process.
    settings = {"CONVSCOPE_DEVICE": "cpu", "CONVSCOPE_RUNS_ROOT": str(tmp_path), "OMP_WAIT_POLICY": "PASSIVE"}
    environment = os.environ | settings
    for variable in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "OMP_NUM_THREADS"):
        environment.pop(variable, None)
    options = ["--model", "fashion_cnn", "--data", "fashion_mnist", "--limit", "40", "--no-checks", "--json"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launcher, str(ROOT / "cli.py"), "evaluate", *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    two = json.loads(done.stdout)
    config = EvaluationConfig(models=("fashion_cnn",), limit=40)
    one = evaluate(Lab(device="cpu", runs_root=tmp_path), config, tmp_path / "work")
    assert (one["environment"]["processes"], two["environment"]["processes"]) == (1, 2)
    assert json.dumps([one["models"], one["pairs"]]) == json.dumps([two["models"], two["pairs"]])
    assert one["models"][0]["statistics"]["accuracy"]["value"] > 0.8
