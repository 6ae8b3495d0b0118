"""Which numbers a training computes in."""

import torch

from analysis.errors import UserError

PRECISIONS = {"auto": None, "float32": "no", "bfloat16": "bf16", "float16": "fp16"}
"""Name -> what Accelerate calls it; "auto" is decided by :func:`choose_precision`."""
NATIVE = ("avx512_bf16", "amx_bf16")
"""Instructions with which a CPU computes in bfloat16 faster than in float32, and not by way of it."""


def choose_precision(name: str, device: str, *, half_on_cpu: bool = True) -> str:
    """What Accelerate calls the precision.

    Weights, losses and sums stay float32 in all of them.

    Args:
        name: A key of ``PRECISIONS``; "auto" is half precision on CUDA and on CPUs made for it, else float32.
        device: "cpu", "cuda" or "mps".
        half_on_cpu: Whether "auto" may mean half precision on a CPU.

    Raises:
        UserError: The device cannot compute in it.
    """
    if name == "float16" and device != "cuda":
        raise UserError("float16 needs a CUDA device; use bfloat16 or float32.")
    if (chosen := PRECISIONS[name]) is not None:
        return chosen
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if device == "cpu" and half_on_cpu and _is_native() else "no"


def _is_native() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in NATIVE)
