"""Which device computes, and how it gets its numbers."""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from analysis.errors import UserError

DEVICES = ("auto", "cpu", "cuda", "mps")
OMP_PAUSE_SOFT = 1
"""``omp_pause_resource_t`` of OpenMP 5.0, section 3.2.44."""


def resolve_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Once it is CUDA, float32 means float32 in this process: PyTorch lets convolutions round to the 10 bits of TF32,
    with which a pretrained network's logits, and all that is said about them, would be others than on a CPU.

    Raises:
        UserError: No such device here.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    kind, colon, index = name.partition(":")
    if kind not in available or (colon and not index.isdecimal()):
        raise UserError(f"There is no device called {name}; choose one of {', '.join(DEVICES)}.")
    if not available[kind]:
        raise UserError(f"This machine has no {kind.upper()} device; use --device auto or cpu.")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise UserError(f"This machine has {torch.cuda.device_count()} CUDA devices, so there is no {name}.")
    if kind == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(name)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; does not wait for what a GPU has still to do before, as ``.to()`` would."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def release_threads() -> None:
    """Ends the threads that OpenMP keeps for the calling one, until that computes again, which takes 0.1 ms.

    GNU's OpenMP lets threads wait awake for the next operation only while a process has no more of them than there
    are cores. In a server every thread that has ever computed has its own, so that all of them sleep, and are woken
    for each of a network's operations: a forward pass of a small batch takes half as long again.
    """
    for pause in _find_pauses():
        pause(OMP_PAUSE_SOFT)


@cache
def _find_pauses() -> tuple[Callable[[int], int], ...]:
    """``omp_pause_resource_all`` of the OpenMP that comes with PyTorch, where it comes with GNU's."""
    libraries = (ctypes.CDLL(str(path)) for path in (Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    return tuple(each.omp_pause_resource_all for each in libraries if hasattr(each, "omp_pause_resource_all"))
