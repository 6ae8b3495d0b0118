"""The one table of network architectures."""

import torch
from torch import nn

from models.networks.cifar_resnet import CifarResNet, CifarResNetConfig
from models.networks.lenet import LeNet5, LeNet5Config
from models.networks.linear import LinearClassifier, LinearConfig
from models.networks.mlp import MLP, MLPConfig
from models.networks.options import ArchitectureConfig
from models.networks.resnet import ResNet, ResNetConfig
from models.networks.small_cnn import SmallCNN, SmallCNNConfig
from models.networks.stack import Stack, StackConfig
from models.networks.transfer import TransferConfig, TransferNet
from models.networks.vgg import VGG, VGGConfig

ARCHITECTURES: dict[str, tuple[type[ArchitectureConfig], type[nn.Module]]] = {
    "linear": (LinearConfig, LinearClassifier),
    "mlp": (MLPConfig, MLP),
    "lenet5": (LeNet5Config, LeNet5),
    "small_cnn": (SmallCNNConfig, SmallCNN),
    "vgg": (VGGConfig, VGG),
    "cifar_resnet": (CifarResNetConfig, CifarResNet),
    "resnet": (ResNetConfig, ResNet),
    "stack": (StackConfig, Stack),
    "transfer": (TransferConfig, TransferNet),
}
"""Name -> (config dataclass, module class). :func:`models.networks.options.list_options` says what a config lets one
choose; every module keeps it as ``config`` and names the part that ends in the logits ``head_name``."""


def sketch_model(config: ArchitectureConfig) -> nn.Module:
    """The network of a configuration with shapes only (PyTorch's meta device): no memory, no random numbers."""
    model_class = next(model for kind, model in ARCHITECTURES.values() if kind is type(config))
    with torch.device("meta"):
        return model_class(config).eval()
