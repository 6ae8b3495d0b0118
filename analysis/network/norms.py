"""How large the weights of each layer are, and the gradients of the last step."""

import torch
from torch import nn


@torch.no_grad()
def measure_norms(module: nn.Module) -> list[dict]:
    """Euclidean norms over the weight and bias of every layer that has some, in the order of the network.

    Returns:
        ``{name, weight_norm, gradient_norm}``; gradient_norm is None where nothing is trained, or norms are no
        finite numbers.
    """
    found = []
    for name, layer in module.named_modules():
        own = list(layer.parameters(recurse=False))
        if own:
            gradients = [parameter.grad for parameter in own if parameter.grad is not None]
            norms = [_norm(own), _norm(gradients) if gradients else None]
            found.append({"name": name, "weight_norm": norms[0], "gradient_norm": norms[1]})
    return found


def _norm(tensors: list[torch.Tensor]) -> float | None:
    norm = nn.utils.get_total_norm(tensors)
    return norm.item() if norm.isfinite() else None
