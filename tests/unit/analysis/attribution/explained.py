"""A small residual network that all methods can explain."""

import torch
from torch import Tensor, nn

from analysis.attribution.methods import METHODS

QUICK: dict[str, dict[str, int]] = {
    "rise": {"n_masks": 20},
    "feature_ablation": {"n_segments": 9},
    "shapley_sampling": {"n_segments": 9, "n_samples": 2},
    "kernel_shap": {"n_segments": 9, "n_samples": 40},
    "lime": {"n_segments": 9, "n_samples": 40},
    "gradient_shap": {"n_samples": 8},
    "layer_conductance": {"n_steps": 8},
    "internal_influence": {"n_steps": 8},
    "score_cam": {"channels": 6},
    "ablation_cam": {"channels": 6},
}
"""Options with which a method takes little time."""


class ResidualNet(nn.Module):
    """Three classes; one in-place ReLU used three times, as in torchvision's BasicBlock."""

    def __init__(self, rectifier: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.relu = rectifier(inplace=True)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.conv3 = nn.Conv2d(6, 8, 3, stride=2)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.conv1(x)))
        x = self.relu(self.conv2(x) + x)
        return self.fc(self.relu(self.conv3(x)).mean((2, 3)))


def describe(model: nn.Module) -> list:
    """What an analysis has to leave as it was."""
    modules = [
        (module.training, len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
        for module in model.modules()
    ]
    parameters = [(id(parameter), parameter.requires_grad, id(parameter.grad)) for parameter in model.parameters()]
    return [modules, parameters, torch.get_rng_state().tolist()]


CONVOLUTIONAL = [name for name in METHODS if name != "attention_rollout"]
"""The methods that work on a network without attention."""
