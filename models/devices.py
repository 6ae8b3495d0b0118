"""Which device computes, and how it gets its numbers."""

import torch
from torch import Tensor

from analysis.errors import UserError

DEVICES = ("auto", "cpu", "cuda", "mps")


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
