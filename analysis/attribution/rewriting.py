"""A copy of a network in which every activation, pooling and sum is a module of its own, that is called once.

Methods that change the way back (guided backpropagation, DeepLift, LRP) do so at modules: an activation that is used
twice, works in place, or is called as a function is out of their reach.
"""

import copy
import operator
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from analysis.attribution.rules_table import RULES, Scaled, list_missing
from analysis.errors import is_out_of_memory

TOLERANCE = 1e-4
"""Between the logits of a network and of its copy, as a share of the largest."""
POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
AVERAGE = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
CALLS: dict[Any, tuple[type[nn.Module], tuple[str, ...]]] = {
    **dict.fromkeys((F.relu, torch.relu, torch.relu_, "relu", "relu_"), (nn.ReLU, ("inplace",))),
    F.relu6: (nn.ReLU6, ("inplace",)),
    F.hardtanh: (nn.Hardtanh, ("min_val", "max_val", "inplace")),
    F.leaky_relu: (nn.LeakyReLU, ("negative_slope", "inplace")),
    F.elu: (nn.ELU, ("alpha", "inplace")),
    F.selu: (nn.SELU, ("inplace",)),
    F.silu: (nn.SiLU, ("inplace",)),
    F.gelu: (nn.GELU, ("approximate",)),
    F.mish: (nn.Mish, ("inplace",)),
    F.hardswish: (nn.Hardswish, ("inplace",)),
    F.hardsigmoid: (nn.Hardsigmoid, ("inplace",)),
    F.softplus: (nn.Softplus, ("beta", "threshold")),
    **dict.fromkeys((F.sigmoid, torch.sigmoid, "sigmoid", "sigmoid_"), (nn.Sigmoid, ())),
    **dict.fromkeys((F.tanh, torch.tanh, "tanh", "tanh_"), (nn.Tanh, ())),
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), (nn.MaxPool2d, POOL)),
    F.avg_pool2d: (nn.AvgPool2d, AVERAGE),
    F.adaptive_avg_pool2d: (nn.AdaptiveAvgPool2d, ("output_size",)),
}
"""What can be called as a function or a method -> the module that does it, and its arguments after the input."""
SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")
PRODUCTS = (operator.mul, operator.imul, torch.mul, "mul", "mul_")
MEANS = (torch.mean, "mean")
IDLE = (nn.Identity, nn.modules.dropout._DropoutNd)
"""Modules that do nothing in eval mode."""


@dataclass(frozen=True)
class Rewritten:
    """A copy, or why there is none.

    Attributes:
        module: shares all weights with the network; None where ``problem`` says why not.
        missing: key in ``RULES`` -> the operations for which these have no rule.
    """

    module: nn.Module | None = None
    problem: str = ""
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)


def rewrite(module: nn.Module, inputs: Tensor) -> Rewritten:
    """Makes the copy, by torch.fx, and checks that it computes the same.

    Args:
        module: a classifier in eval mode; left alone.
        inputs: ``(1, C, H, W)``, for which the logits are compared.
    """
    twin = copy_sharing_weights(module).eval().requires_grad_(False)
    inputs = inputs.detach()
    with torch.no_grad():
        expected = twin(inputs)
        try:
            with _tracing:
                graph = _Tracer().trace(twin)
            copied = fx.GraphModule(twin, graph)
            _Notes(copied).run(inputs)
            _separate(copied)
            found = _Notes(copied).run(inputs)
        except Exception as error:  # of whatever kind the model's own code raises when it gets no tensors
            if is_out_of_memory(error):
                raise
            return Rewritten(problem=f"it cannot be followed operation by operation ({type(error).__name__})")
    if not _is_same(found, expected):
        return Rewritten(problem="a copy with these operations as modules computes other scores")
    nodes = [(node, _find_part(copied, node)) for node in graph.nodes if node.meta["carries"] and node.op != "output"]
    return Rewritten(copied, missing={name: list_missing(rules, nodes) for name, rules in RULES.items()})


def copy_sharing_weights(module: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers are those of the network itself."""
    tensors = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, memo={id(tensor): tensor for tensor in tensors})


_tracing = threading.Lock()
"""While it traces, torch.fx has its own functions in the place of those of ``nn.Module``, for all threads."""


class _Tracer(fx.Tracer):
    """Follows what is not one of PyTorch's own modules, nor a convolution that only pads in a way of its own.

    What other threads compute in the meantime is none of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(self, m: nn.Module, forward: Callable, args: tuple, kwargs: dict) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.Linear) or super().is_leaf_module(m, module_qualified_name)


class _Notes(fx.Interpreter):
    """Notes of each node its shape, and whether it is a tensor that depends on the picture."""

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        depends = n.op == "placeholder" or any(before.meta.get("depends") for before in n.all_input_nodes)
        is_tensor = isinstance(result, Tensor) or (
            isinstance(result, tuple | list) and any(isinstance(part, Tensor) for part in result)
        )
        n.meta |= {"depends": depends, "carries": depends and is_tensor and n.op != "placeholder"}
        n.meta["shape"] = tuple(result.shape) if isinstance(result, Tensor) else None
        return result


def _separate(copied: fx.GraphModule) -> None:
    """Makes modules of functions, and of each call a module of its own with an input of its own."""
    used: set[str] = set()
    for number, node in enumerate(list(copied.graph.nodes)):
        part = _find_part(copied, node)
        if isinstance(part, IDLE):
            node.replace_all_uses_with(node.args[0])
            copied.graph.erase_node(node)
        elif isinstance(part, nn.Flatten):
            _replace(copied, node, torch.flatten, (node.args[0], part.start_dim, part.end_dim))
        elif isinstance(part, nn.Module):
            again = node.target in used
            used.add(str(node.target))
            fresh = copy_sharing_weights(part) if again else part
            if hasattr(fresh, "inplace"):
                vars(fresh)["inplace"] = False
            _replace_by_module(copied, node, fresh, f"again_{number}" if again else str(node.target), node.args)
        elif (made := _make_module(copied, node)) is not None:
            fresh, arguments = made
            _replace_by_module(copied, node, fresh, f"module_{number}", arguments)
    copied.graph.lint()
    copied.delete_all_unused_submodules()
    copied.recompile()


def _find_part(copied: fx.GraphModule, node: fx.Node) -> Any:
    """The module, function or name of a method that a node calls."""
    return copied.get_submodule(str(node.target)) if node.op == "call_module" else node.target


def _replace(copied: fx.GraphModule, node: fx.Node, function: Callable, arguments: tuple) -> None:
    with copied.graph.inserting_before(node):
        new = _note(copied.graph.call_function(function, arguments), node)
    node.replace_all_uses_with(new)
    copied.graph.erase_node(node)


def _replace_by_module(copied: fx.GraphModule, node: fx.Node, part: nn.Module, name: str, arguments: tuple) -> None:
    """Calls the module with copies of its inputs: what is hooked to those concerns no other module."""
    copied.add_submodule(name, part)
    with copied.graph.inserting_before(node):
        own = tuple(
            _note(copied.graph.call_function(torch.clone, (each,)), each) if isinstance(each, fx.Node) else each
            for each in arguments
        )
        new = _note(copied.graph.call_module(name, own, dict(node.kwargs) if node.op == "call_module" else {}), node)
        if node.meta.get("flatten"):
            new = _note(copied.graph.call_function(torch.flatten, (new, 1)), node)
    node.replace_all_uses_with(new)
    copied.graph.erase_node(node)


def _note(new: fx.Node, old: fx.Node) -> fx.Node:
    """What is known of a node is known of the one that takes its place."""
    # Not all of it: fx itself notes there what is wrapped, which then holds for every trace of the process.
    new.meta |= {name: old.meta[name] for name in ("depends", "carries", "shape")}
    return new


def _make_module(copied: fx.GraphModule, node: fx.Node) -> tuple[nn.Module, tuple] | None:
    """The module that does what a function or method does, and its inputs; None where none is known."""
    from captum.attr._utils.custom_modules import Addition_Module

    if node.op not in ("call_function", "call_method") or not node.meta["carries"]:
        return None
    tensors = [argument for argument in node.args if isinstance(argument, fx.Node) and argument.meta["carries"]]
    if node.target in SUMS and len(tensors) == 2 and not node.kwargs:
        return Addition_Module(), tuple(tensors)
    if node.target in PRODUCTS and len(tensors) == 1 and not node.kwargs:
        (factor,) = [argument for argument in node.args if argument is not tensors[0]] or [None]
        return (Scaled(float(factor)), tuple(tensors)) if isinstance(factor, int | float) else None
    if node.target is F.batch_norm:
        return _make_batch_norm(copied, node)
    given = dict(node.kwargs)
    source = node.args[0] if node.args else given.pop("input", None)
    if not isinstance(source, fx.Node):
        return None
    if node.target in MEANS and _is_global_mean(source, node):
        node.meta["flatten"] = not (given.get("keepdim") or node.args[2:3] == (True,))
        return nn.AdaptiveAvgPool2d(1), (source,)
    if node.target in CALLS:
        kind, names = CALLS[node.target]
        given |= dict(zip(names, node.args[1:], strict=False))
        given = {name: value for name, value in given.items() if name not in ("inplace", "return_indices")}
        if not any(isinstance(value, fx.Node) for value in given.values()):
            return kind(**given), (source,)
    return None


def _is_global_mean(source: fx.Node, node: fx.Node) -> bool:
    dims: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    shape = source.meta["shape"]
    is_pair = isinstance(dims, tuple | list) and len(dims) == 2
    return is_pair and shape is not None and len(shape) == 4 and sorted(dim % 4 for dim in dims) == [2, 3]


def _make_batch_norm(copied: fx.GraphModule, node: fx.Node) -> tuple[nn.Module, tuple] | None:
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    given: dict[str, Any] = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    found = {name: value for name, value in given.items() if name in names[1:5] and isinstance(value, fx.Node)}
    if len(found) != 4 or given.get("training") or any(value.op != "get_attr" for value in found.values()):
        return None
    tensors = {name: operator.attrgetter(str(value.target))(copied) for name, value in found.items()}
    norm = nn.BatchNorm2d(len(tensors["weight"]), eps=given.get("eps", 1e-5)).eval()
    norm.weight, norm.bias = tensors["weight"], tensors["bias"]
    norm.running_mean, norm.running_var = tensors["running_mean"], tensors["running_var"]
    return norm, (given["input"],)


def _is_same(found: object, expected: object) -> bool:
    if not isinstance(found, Tensor) or not isinstance(expected, Tensor) or found.shape != expected.shape:
        return False
    # Values that are not finite are reported where they are looked at; here they only have to be the same.
    limit = TOLERANCE * float(expected.abs().nan_to_num().max())
    return torch.allclose(found, expected, rtol=0, atol=limit, equal_nan=True)
