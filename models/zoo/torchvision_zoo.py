"""Every classifier of torchvision, with the weights that it publishes."""

from functools import cache
from pathlib import Path

import torch
from torch import nn

from analysis.errors import UserError
from models.data.preprocessing import Preprocessing
from models.weights import USABLE, WeightsFile, load_state_dict
from models.zoo.spec import ModelSpec


@cache
def torchvision_names() -> tuple[str, ...]:
    """The names of torchvision's image classification builders."""
    from torchvision import models as zoo

    return tuple(zoo.list_models(module=zoo))


@cache
def torchvision_model(name: str) -> ModelSpec:
    """A builder of torchvision with its weights, their preprocessing and categories.

    Args:
        name: "resnet50" for the default weights, "resnet50:IMAGENET1K_V1" for others.

    Raises:
        UserError: There are no such weights for this builder.
    """
    from torchvision.models import get_model_builder, get_model_weights

    builder, _, wanted = name.partition(":")
    choices = get_model_weights(builder)
    if wanted and wanted not in choices.__members__:
        raise UserError(f"{builder} has no weights called {wanted}; there are {', '.join(choices.__members__)}.")
    weights = choices[wanted] if wanted else choices.DEFAULT
    file = WeightsFile(weights.url, round(weights.meta["_file_size"] * 2**20))
    return ModelSpec(
        name=name,
        source="torchvision",
        num_params=weights.meta["num_params"],
        categories=tuple(weights.meta["categories"]),
        preprocessing=Preprocessing.from_torchvision(weights.transforms()),
        build=lambda: _build_torchvision(name, builder, weights, file.path),
        trained_on="ImageNet-1k",
        accuracy=weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100,
        measured_on="50,000 validation pictures",
        weights=file,
        # The layout of torchvision's own recipe, so that the numbers are the same to the last digit.
        memory_format=torch.contiguous_format,
        family=get_model_builder(builder).__module__,
    )


def _build_torchvision(name: str, builder: str, weights, path: Path) -> nn.Module:
    from torchvision.models import get_model

    # The builder unpickles without restrictions, so it only gets files that the strict reader has passed.
    found = load_state_dict(path)
    try:
        return get_model(builder, weights=weights, progress=False).eval()
    except RuntimeError as error:
        raise UserError(
            f"{path} does not hold the published weights of {name}{_describe_misfit(builder, found)}. Move it to "
            f"another place, and they are fetched at the next use: {USABLE}."
        ) from error


def _describe_misfit(builder: str, found: dict) -> str:
    """Which tensor of a file does not fit, the last one first: that is where classes are counted."""
    from torchvision.models import get_model

    with torch.device("meta"):
        wanted = get_model(builder, weights=None).state_dict()
    for name, tensor in reversed(wanted.items()):
        shape = tuple(found[name].shape) if isinstance(found.get(name), torch.Tensor) else None
        if shape is None:
            return f" (it has no tensor {name})"
        if shape != tuple(tensor.shape):
            return f" ({name} has the shape {shape} in it, and {tuple(tensor.shape)} there)"
    return ""
