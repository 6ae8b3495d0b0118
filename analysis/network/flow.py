"""Which calls of modules the input and the output of each call come from, followed through a forward."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from analysis.network.geometry_calls import iterate_tensors

PICTURE = ""
"""What stands for the network's own input among the names of calls."""
Origins = tuple[str, ...]


class FlowMode(TorchFunctionMode):
    """Follows origins from ``inputs`` through everything computed inside the ``with`` block.

    A tensor that a module returned comes from that call; what a function makes comes from whatever its arguments come
    from. Origins are names as :func:`analysis.network.hooks.watch_outputs` gives them, in the order in which they
    are first met.
    """

    def __init__(self, inputs: Tensor):
        super().__init__()
        self._origins = WeakTensorKeyDictionary()
        self._origins[inputs] = (PICTURE,)
        self._read: dict[str, Origins] = {}

    @contextmanager
    def watch(self, module: nn.Module) -> Iterator[None]:
        """Notes inside the block what every module below ``module`` reads."""
        handles = [
            part.register_forward_pre_hook(partial(self._enter, name), with_kwargs=True)
            for name, part in module.named_modules()
            if name
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def leave(self, name: str, output: Tensor, *, repeats: bool) -> tuple[Origins, Origins]:
        """What the call ``name``, which has just returned ``output``, has read, and what its output comes from.

        ``repeats`` says that it is the very tensor that a part inside has returned, perhaps changed in place since.
        """
        made_from = self._origins.get(output, ())
        if not repeats or len(made_from) != 1:
            self._origins[output] = (name,)
        return self._read.get(name.split("#")[0], ()), made_from

    def _enter(self, name: str, _module: nn.Module, args: tuple, kwargs: dict) -> None:
        self._read[name] = self._gather((args, kwargs))

    def _gather(self, values: object) -> Origins:
        known = (self._origins.get(tensor, ()) for tensor in iterate_tensors(values))
        return tuple(dict.fromkeys(name for origins in known for name in origins))

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        origins = self._gather((args, kwargs))
        if origins:
            if getattr(func, "__name__", "") == "__setitem__":
                self._origins[args[0]] = origins
            for output in iterate_tensors(result):
                self._origins[output] = origins
        return result
