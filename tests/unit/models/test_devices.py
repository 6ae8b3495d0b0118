"""Which device computes: the best there is, or the one asked for, or a sentence."""

import pytest
import torch

from analysis.errors import UserError
from models.devices import DEVICES, resolve_device


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
    with pytest.raises(UserError, match="2 CUDA devices, so there is no cuda:2"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_missing_devices_are_refused(machine, name):
    machine(cuda=False, mps=False)
    with pytest.raises(UserError, match=f"no {name.split(':')[0].upper()} device; use --device auto or cpu"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["", "gpu", "tpu", "CUDA", "cpu:x", "cuda:", "cuda:x", "cuda:-1", "auto:0"])
def test_unknown_names_are_refused_with_the_choices(machine, name):
    machine(cuda=True, mps=False)
    with pytest.raises(UserError, match=f"choose one of {', '.join(DEVICES)}"):
        resolve_device(name)


def test_float32_means_float32_on_cuda(machine, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    machine(cuda=False, mps=True)
    resolve_device("auto")
    assert torch.backends.cudnn.allow_tf32
    machine(cuda=True, mps=False)
    resolve_device("auto")
    assert not torch.backends.cudnn.allow_tf32
