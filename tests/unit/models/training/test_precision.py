"""Which numbers are computed in, on machines that are not here."""

import itertools

import pytest
import torch

from models.training.precision import NATIVE, PRECISIONS, choose_precision
from tests.sentences import refused


@pytest.fixture
def machine(monkeypatch):
    """``machine(cpu=..., cuda=...)`` pretends what the CPU and the GPU can do."""

    def pretend(cpu: dict | None = None, cuda: bool = False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu or {})
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: cuda)

    return pretend


@pytest.mark.parametrize("name", NATIVE)
def test_auto_is_half_precision_on_cpus_made_for_it(machine, name):
    machine({name: True, "avx2": True})
    assert choose_precision("auto", "cpu") == "bf16"
    assert choose_precision("auto", "cpu", half_on_cpu=False) == "no"
    machine({name: False, "avx2": True, "avx512_f": True})
    assert choose_precision("auto", "cpu") == "no"
    machine({})
    assert choose_precision("auto", "cpu") == "no"


def test_auto_on_a_gpu_does_not_ask_the_cpu(machine):
    for can_half, half_on_cpu in itertools.product((True, False), repeat=2):
        machine(dict.fromkeys(NATIVE, can_half), cuda=True)
        assert choose_precision("auto", "cuda", half_on_cpu=half_on_cpu) == "bf16"
        machine(dict.fromkeys(NATIVE, can_half), cuda=False)
        assert choose_precision("auto", "cuda", half_on_cpu=half_on_cpu) == "fp16"
        assert choose_precision("auto", "mps", half_on_cpu=half_on_cpu) == "no"


@pytest.mark.parametrize("device", ["cpu", "mps", "cuda"])
def test_what_is_asked_for_is_what_is_used(machine, device):
    machine({})
    assert choose_precision("float32", device) == "no"
    assert choose_precision("bfloat16", device) == "bf16"
    if device == "cuda":
        assert choose_precision("float16", device) == "fp16"
    else:
        with refused("float16", "bfloat16 or float32"):
            choose_precision("float16", device)


def test_accelerate_knows_every_name():
    from accelerate.utils import PrecisionType

    assert {value for value in PRECISIONS.values() if value} <= set(PrecisionType.list())
