"""Which device computes: the best there is, or the one asked for, or a sentence."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.devices import DEVICES, _find_pauses, resolve_device
from tests.sentences import refused

ROOT = Path(__file__).parents[3]


@pytest.fixture
def machine(monkeypatch):
    def pretend(cuda: bool, mps: bool):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2 * cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize(
    ("cuda", "mps", "best"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_fastest_device(machine, cuda, mps, best):
    machine(cuda, mps)
    assert resolve_device("auto") == torch.device(best)
    assert resolve_device("cpu") == torch.device("cpu")


def test_one_of_several_gpus_can_be_named(machine):
    machine(cuda=True, mps=False)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)


def test_a_gpu_that_is_not_there_is_refused(machine):
    machine(cuda=True, mps=False)
    with refused("2", "cuda:2"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_missing_devices_are_refused(machine, name):
    machine(cuda=False, mps=False)
    with refused(name.split(":")[0].upper()):
        resolve_device(name)


@pytest.mark.parametrize("name", ["", "gpu", "tpu", "CUDA", "cpu:x", "cuda:", "cuda:x", "cuda:-1", "auto:0"])
def test_unknown_names_are_refused_with_the_choices(machine, name):
    machine(cuda=True, mps=False)
    with refused(", ".join(DEVICES)):
        resolve_device(name)


def test_float32_means_float32_on_cuda(machine, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    machine(cuda=False, mps=True)
    resolve_device("auto")
    assert torch.backends.cudnn.allow_tf32
    machine(cuda=True, mps=False)
    resolve_device("auto")
    assert not torch.backends.cudnn.allow_tf32


THREADS = """
import os, threading, torch
from models.devices import release_threads
torch.set_num_threads(4)
counts = []

def compute():
    torch.ones(2000, 2000).exp()
    counts.append(len(os.listdir("/proc/self/task")))
    release_threads()
    counts.append(len(os.listdir("/proc/self/task")))
    torch.ones(2000, 2000).exp()
    release_threads()

release_threads()  # of one that has none
for _ in range(2):
    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
print(*counts)
"""


@pytest.mark.skipif(not _find_pauses(), reason="PyTorch came without GNU's OpenMP")
def test_a_thread_that_has_computed_leaves_no_others_behind():
    command = [sys.executable, "-c", THREADS]
    found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    with_team, without, *again = map(int, found)
    assert with_team - without == 3 and again == [with_team, without]
