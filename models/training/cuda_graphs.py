"""Forward and backward passes recorded once and replayed: a GPU computes small networks faster than Python asks.

Apart from the rest of the preparation, as it needs no training: ``benchmarks/`` records a network alone.
"""

import logging
import warnings
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


def record_passes(module: nn.Module, inputs: Tensor, precision: AbstractContextManager) -> None:
    """Lets a module in training mode replay CUDA graphs for inputs like these; in eval mode it is as ever.

    The numbers are those of the ordinary way. Gradients of a pass are gone with the next one, so that they cannot be
    added up over several. Where a network cannot be recorded, because what it does depends on values, or where there
    is no memory for it, all stays as it was. PyTorch's warning of gradients from other streams stays off afterwards.

    Args:
        module: On a CUDA device, in training mode and without hooks; its weights keep their places from now on.
        precision: An autocast that keeps no copies of the weights.
    """
    # Passes to warm up move running statistics. They also draw for dropout, but seeds are set at every step.
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    # Gradients come from the stream of the recording, which PyTorch finds odd at every new training.
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    try:
        # A recording that fails may leave the thread on its own stream; the outer block brings it back.
        with torch.cuda.stream(torch.cuda.current_stream()), precision, warnings.catch_warnings(action="ignore"):
            torch.cuda.make_graphed_callables(module, (inputs.clone(),))
    except RuntimeError as error:
        log.info("Steps are not recorded: %s", error)
    finally:
        for buffer, value in buffers:
            buffer.copy_(value)


def forget_passes(module: nn.Module) -> None:
    """Ends what :func:`record_passes` began, and frees the memory of the passes; nothing where there are none."""
    module.__dict__.pop("forward", None)
