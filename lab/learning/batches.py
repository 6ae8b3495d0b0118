"""A small batch out of a layer of a model, and what autograd says of its normalisation."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from analysis.errors import Progress, UserError, no_progress
from analysis.network.layers import extract_features
from lab.session import Lab
from models.data.samples import find_fitting

PICTURES, CHANNELS = 6, 3
MOST_NUMBERS = 1024


@dataclass(frozen=True)
class LayerBatch:
    """The middle cell of some channels.

    Attributes:
        layer: Name.
        layers: Names of all layers with feature maps.
        channels: Indices of the channels that differ most between the pictures.
        values: ``(N, D)``, pictures and channels.
        pictures: Titles of the samples.
    """

    layer: str
    layers: tuple[str, ...]
    channels: tuple[int, ...]
    values: Tensor
    pictures: tuple[str, ...]


def take_batch(lab: Lab, model: str, layer: str = "", progress: Progress = no_progress) -> LayerBatch:
    """What a layer makes of samples that fit the model; without a name, the first layer with feature maps.

    Raises:
        UserError: No sample fits, or there is no such layer.
    """
    samples = find_fitting(lab.registry.get(model).trained_on)[:PICTURES]
    if len(samples) < 2:
        raise UserError(f"No samples are of the kind that {model} was trained on, so there is no batch to take.")
    with lab.use(model, progress) as (loaded, facts):
        layers = tuple(each.name for each in facts.layers if each.is_feature_map)
        pixels = [loaded.spec.preprocessing.to_pixels(lab.open_image(sample.path)) for sample in samples]
        maps = extract_features(loaded.module, loaded.to_inputs(torch.stack(pixels)), layer or layers[0])
    cells = maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]  # (N, C)
    channels = cells.var(0).topk(min(CHANNELS, cells.shape[1])).indices.sort().values
    titles = tuple(sample.title for sample in samples)
    return LayerBatch(layer or layers[0], layers, tuple(channels.tolist()), cells[:, channels], titles)


def differentiate(batch: Any, upstream: Any, gamma: Any, beta: Any, epsilon: Any) -> dict:
    """The gradients of batch normalisation by autograd, in double precision.

    Args:
        batch: ``N`` rows of ``D`` numbers.
        upstream: Gradient of the loss by the output, the same shape.
        gamma: ``D`` scales.
        beta: ``D`` shifts.
        epsilon: What is added to the variance.

    Returns:
        ``dx``, ``dgamma`` and ``dbeta``, as lists.

    Raises:
        UserError: Not numbers, or not of these shapes.
    """
    try:
        x, g, scale, shift = (torch.tensor(part, dtype=torch.float64) for part in (batch, upstream, gamma, beta))
        added = float(epsilon)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UserError("A batch is rows of numbers, as many in each.") from error
    if x.ndim != 2 or x.shape != g.shape or scale.shape != x.shape[1:] or shift.shape != scale.shape:
        raise UserError("A batch, its gradient, scales and shifts do not fit each other.")
    if not 2 <= x.shape[0] <= x.numel() <= MOST_NUMBERS:
        given = f"{x.shape[0]} pictures and {x.numel()} numbers"
        raise UserError(f"A batch needs 2 pictures at least and {MOST_NUMBERS} numbers at most, not {given}.")
    leaves = [part.requires_grad_() for part in (x, scale, shift)]
    F.batch_norm(x, None, None, scale, shift, training=True, eps=added).backward(g)
    names = ("dx", "dgamma", "dbeta")
    return {name: leaf.grad.tolist() for name, leaf in zip(names, leaves, strict=True) if leaf.grad is not None}
