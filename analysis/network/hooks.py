"""Watches a forward pass, and leaves a model and the random numbers as they were found, whatever an analysis does."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

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


@contextmanager
def trace_calls(
    parts: Iterable[tuple[str, nn.Module]],
    *,
    begin: Callable[[str], object] = lambda name: None,
    end: Callable[[str, object], object] = lambda name, output: None,
) -> Iterator[list[str]]:
    """Follows the calls of modules inside the block, after which its hooks are removed.

    Args:
        begin: Called as ``begin(name)`` before a module runs.
        end: Called as ``end(name, output)`` after it.

    Yields:
        The names of the calls that have begun and not ended, the innermost last.
    """
    running: list[str] = []

    def enter(name: str, _module: nn.Module, _inputs: tuple) -> None:
        running.append(name)
        begin(name)

    def leave(name: str, _module: nn.Module, _inputs: tuple, output: object) -> None:
        running.pop()
        end(name, output)

    with ExitStack() as hooks:
        for name, part in parts:
            hooks.enter_context(part.register_forward_pre_hook(partial(enter, name)))
            hooks.enter_context(part.register_forward_hook(partial(leave, name)))
        yield running


def number_calls() -> Callable[[str], str]:
    """Gives a function that tells calls of one name apart: ``name`` is followed by ``name#2``, ``name#3`` …"""
    counts: Counter[str] = Counter()

    def number(name: str) -> str:
        counts[name] += 1
        return name if counts[name] == 1 else f"{name}#{counts[name]}"

    return number


def find_tensor(output: object) -> Tensor | None:
    """The tensor that a module returned, or the first one of a tuple."""
    first = output[0] if isinstance(output, tuple) and output else output
    return first if isinstance(first, Tensor) else None


@contextmanager
def watch_outputs(
    module: nn.Module, names: Collection[str] | None, callback: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Calls ``callback(name, output)`` whenever one of the named calls inside the block has computed a tensor.

    The output is the live tensor: an in-place operation may change it later, so clone what is kept.

    Args:
        names: Of submodules; the second call of one in the block is ``name#2``. None for all calls of all of them.
    """
    number = number_calls()

    def end(name: str, output: object) -> None:
        tensor = find_tensor(output)
        if tensor is not None:
            called = number(name)
            if names is None or called in names:
                callback(called, tensor)

    if names is None:
        parts = [(name, part) for name, part in module.named_modules() if name]
    else:
        parts = [(name, module.get_submodule(name)) for name in {name.split("#")[0] for name in names}]
    with trace_calls(parts, end=end):
        yield


class OperationMode(TorchDispatchMode):
    """Calls ``see(name, args, output)`` after every ATen operation inside the block, whoever asked for it.

    An operation and its in-place variant have the same name here.
    """

    def __init__(self, see: Callable[[str, tuple, object], None]) -> None:
        super().__init__()
        self.see = see

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        self.see(function.overloadpacket.__name__.rstrip("_"), args, output)
        return output
