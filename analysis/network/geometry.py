"""Where in the picture each cell of a feature map looks: stride and receptive field, followed through a forward.

One forward pass runs under a ``TorchFunctionMode`` that sees every call of torch's Python interface, modules
and functional calls alike, and carries a :class:`Geometry` along with each tensor. The arithmetic is that of
Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019.
"""

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from analysis.network.geometry_calls import Call, iterate_tensors
from analysis.network.geometry_rules import MAKERS, find_rule
from analysis.network.windows import UNKNOWN, Axis, Geometry, merge


class GeometryMode(TorchFunctionMode):
    """Follows geometry from ``inputs (N, C, H, W)`` through everything computed inside the ``with`` block.

    What a function does to positions is known from a rule for it, or from torch's own mark of pointwise
    functions; after any other function the geometry is ``UNKNOWN``.
    """

    def __init__(self, inputs: Tensor):
        super().__init__()
        self._known = WeakTensorKeyDictionary()
        self._known[inputs] = Geometry((Axis(1, 0, 0), Axis(1, 0, 0)))

    def find(self, tensor: Tensor) -> Geometry | None:
        """The geometry of a tensor made inside the block, or ``UNKNOWN``."""
        return self._known.get(tensor, UNKNOWN)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        sources = [tensor for tensor in iterate_tensors((args, kwargs)) if tensor in self._known]
        name = getattr(func, "__name__", "")
        if not sources or name in MAKERS:
            return result
        if name == "__setitem__":
            self._known[args[0]] = UNKNOWN
        outputs = list(iterate_tensors(result))
        known = [(source, self._known[source]) for source in sources]
        merged = merge([geometry for _, geometry in known])
        if merged is UNKNOWN or merged.axes is None:
            for output in outputs:
                self._known[output] = merged
            return result
        local = [(source, geometry.dims) for source, geometry in known if geometry is not UNKNOWN and geometry.axes]
        call, rule = Call(func, args, kwargs, local, outputs, merged.axes, merged.dims), find_rule(name)
        for index, output in enumerate(outputs):
            self._known[output] = rule(call, index)
        return result
