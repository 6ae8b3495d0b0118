"""Leaves a model and the random numbers as they were found, whatever an analysis does to them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)
"""Where ``nn.Module`` keeps its hooks; PyTorch has no public way to list or to restore them."""


@contextmanager
def preserved(module: nn.Module) -> Iterator[nn.Module]:
    """Puts ``module`` in eval mode and afterwards restores what the block may have changed.

    Restored, also when the block raises: the train or eval flag, the hooks and the buffers (which
    tensors, not their values) of every submodule, ``requires_grad`` and ``.grad`` of every parameter,
    and the state of PyTorch's global CPU generator. Inside, every ``.grad`` starts as None, so that
    nothing is added to a gradient that somebody else still needs.

    Args:
        module: the model; everything below it is looked after, too.

    Yields:
        The same module, in eval mode.
    """
    submodules = [_SubmoduleState(submodule) for submodule in module.modules()]
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in module.parameters()]
    generator_state = torch.get_rng_state()
    try:
        for parameter, _, _ in parameters:
            parameter.grad = None
        module.eval()
        yield module
    finally:
        torch.set_rng_state(generator_state)
        for submodule in submodules:
            submodule.restore()
        for parameter, requires_grad, gradient in parameters:
            parameter.requires_grad_(requires_grad)
            parameter.grad = gradient


class _SubmoduleState:
    """Mode, hooks and buffers of one module, without its children's."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.training = module.training
        self.hooks = {name: dict(getattr(module, name)) for name in _HOOKS}
        self.full_backward = module._is_full_backward_hook
        self.buffers: dict[str, Tensor | None] = dict(module._buffers)

    def restore(self) -> None:
        # The flag is set directly: train() would recurse, and some models override it.
        self.module.training = self.training
        # The dictionaries are refilled, not replaced: handles of the hooks refer to them.
        for name, hooks in self.hooks.items():
            _refill(getattr(self.module, name), hooks)
        self.module._is_full_backward_hook = self.full_backward
        _refill(self.module._buffers, self.buffers)


def _refill(target: dict, contents: dict) -> None:
    target.clear()
    target.update(contents)
