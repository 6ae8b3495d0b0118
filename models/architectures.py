"""The one table of network architectures."""

from models.resnet import ResNet, ResNetConfig
from models.small_cnn import SmallCNN, SmallCNNConfig

ARCHITECTURES = {"small_cnn": (SmallCNNConfig, SmallCNN), "resnet": (ResNetConfig, ResNet)}
"""Name -> (config dataclass, module class). Every config has num_classes, in_channels, image_size, padding_mode and
pooling; every module keeps it as ``config`` and names the part that ends in the logits ``head_name``."""
