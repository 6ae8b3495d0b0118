"""What one forward pass tells about explaining a model: its feature maps, and whether ReLU rules reach it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from analysis.network.hooks import OperationMode, preserved, trace_calls
from analysis.network.layers import is_feature_map

RECTIFIER_TITLES = {
    "relu": "ReLU as a function instead of a module",
    "hardtanh": "Hardtanh, or ReLU6 as a function",
    "silu": "SiLU",
    "gelu": "GELU",
    "hardswish": "Hardswish",
    "leaky_relu": "LeakyReLU",
    "rrelu_with_noise": "RReLU",
    "_prelu_kernel": "PReLU",
    "elu": "ELU",
    "celu": "CELU",
    "mish": "Mish",
    "softplus": "Softplus",
    "threshold": "Threshold",
}
"""ATen operation -> what to call it where the guided rule misses it. The first two are missed only where
no nn.ReLU or nn.ReLU6 module runs them; gates (sigmoid, hardsigmoid) are no rectifiers."""

GUIDED_MODULES = {nn.ReLU: "relu", nn.ReLU6: "hardtanh"}
"""Modules whose backward pass the guided rule replaces -> the ATen operation that each call runs."""


@dataclass(frozen=True)
class ForwardTrace:
    """One forward pass of one image.

    Attributes:
        output_shape: shape of what the model returned; empty if that is not one tensor.
        feature_maps: name of a submodule -> its output shape ``(1, C, h, w)``, in the order of execution.
        default_layer: the feature map that Grad-CAM explains best, None if there is none.
        num_guided: how many ReLUs and ReLU6s are modules, where the guided rule works.
        unguided: names of the rectifiers that the guided rule would silently pass over.
    """

    output_shape: tuple[int, ...]
    feature_maps: dict[str, tuple[int, ...]]
    default_layer: str | None
    num_guided: int
    unguided: tuple[str, ...]

    @property
    def earlier_layer(self) -> str | None:
        """The last feature map with more cells than the default one, which itself is taken where there is none.

        At the default one, behind which most networks take the mean, the gradient is the same in all cells.
        """
        if self.default_layer is None:
            return None
        least = prod(self.feature_maps[self.default_layer][-2:])
        larger = [name for name, shape in self.feature_maps.items() if prod(shape[-2:]) > least]
        return larger[-1] if larger else self.default_layer


def trace_forward(module: nn.Module, inputs: Tensor) -> ForwardTrace:
    """Runs the model once, without gradients, and notes what matters for explaining it.

    Args:
        module: a classifier; left as it was found.
        inputs: one normalised image ``(1, C, H, W)``.
    """
    parts = dict(module.named_modules())
    recorder = _Recorder(inputs, parts)
    operations: Counter[str] = Counter()

    def count(operation: str, _args: tuple, _output: object) -> None:
        if operation in RECTIFIER_TITLES:
            operations[operation] += 1

    with preserved(module), torch.no_grad(), OperationMode(count), trace_calls(parts.items(), end=recorder.record):
        output = module(inputs)
    missed = operations - recorder.guided_calls
    return ForwardTrace(
        output_shape=tuple(output.shape) if isinstance(output, Tensor) else (),
        feature_maps=recorder.feature_maps,
        default_layer=recorder.default_layer,
        num_guided=recorder.guided_calls.total(),
        unguided=tuple(RECTIFIER_TITLES[operation] for operation in missed),
    )


def default_layer(module: nn.Module, inputs: Tensor) -> str | None:
    """Returns the name of the last feature map ``(1, C, h, w)`` before the final pooling, None without one.

    ``layer4`` of a ResNet, for example. The outermost module with that output gives the name.
    """
    return trace_forward(module, inputs).default_layer


class _Recorder:
    """Notes feature maps and calls of ReLU modules."""

    def __init__(self, inputs: Tensor, parts: Mapping[str, nn.Module]) -> None:
        self.image_size, self.parts = inputs.shape[-2:], parts
        self.feature_maps: dict[str, tuple[int, ...]] = {}
        self.candidates: list[str] = []
        self.guided_calls: Counter[str] = Counter()
        self.pooled: Tensor | None = None

    @property
    def default_layer(self) -> str | None:
        return self.candidates[-1] if self.candidates else None

    def record(self, name: str, output: object) -> None:
        """Notes what a module returned."""
        # Exact types: a subclass may compute something else.
        kind = type(self.parts[name])
        if kind in GUIDED_MODULES:
            self.guided_calls[GUIDED_MODULES[kind]] += 1
        if not isinstance(output, Tensor) or not name:
            return
        if kind.__module__ == "torch.nn.modules.pooling":
            self.pooled = output
        # A container that ends in a pooling layer returns the very tensor of that layer.
        pooled = output is self.pooled
        is_map = len(output) == 1 and is_feature_map(output.shape, self.image_size)
        # A module may run several times; its last output counts, as it does for captum.
        self.feature_maps.pop(name, None)
        self.candidates = [candidate for candidate in self.candidates if candidate != name]
        if is_map:
            self.feature_maps[name] = tuple(output.shape)
        if is_map and not pooled:
            self.candidates.append(name)
        elif output.ndim == 4 and not pooled:
            self._drop_parts_of(name)
        elif output.ndim == 3:
            # From here on the model works on a sequence of tokens (ViT, MLP-Mixer). What came before
            # is no summary of the picture that Grad-CAM could weigh.
            self.candidates.clear()

    def _drop_parts_of(self, name: str) -> None:
        """Prefers the map before a block that ends in 1 x 1 (layer4, tiny image) to one from its inside."""
        outside = [candidate for candidate in self.candidates if not candidate.startswith(f"{name}.")]
        self.candidates = outside or self.candidates
