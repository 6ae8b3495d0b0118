"""Transfer learning: a pretrained backbone with a new head, frozen, trained further, or first one and then the other.

Yosinski et al., "How transferable are features in deep neural networks?", 2014; lower learning rates for early
layers are from Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification", 2018.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from pydantic import BeforeValidator
from torch import Tensor, nn

from analysis.errors import Progress, UserError, no_progress
from models.data.preprocessing import Preprocessing
from models.networks.options import ArchitectureConfig
from models.settings import Choice, Integer, Number, checked_dataclass
from models.zoo.backbones import (
    BACKBONES,
    DEFAULT_BACKBONE,
    build_backbone,
    find_backbone,
    load_pretrained,
    measure_backbone,
)


@dataclass(frozen=True)
class Mode:
    """A table entry: the share of all steps in which the backbone does not change, given the configured one."""

    title: str
    frozen_share: Callable[[float], float]


MODES = {
    "frozen": Mode("the head only", lambda configured: 1.0),
    "unfrozen": Mode("all layers", lambda configured: 0.0),
    "frozen_then_unfrozen": Mode("first the head, then all layers", lambda configured: configured),
}
FROZEN_SHARE = 0.3
BACKBONE_FACTOR = 0.1
DEPTH_DECAY = 0.5
DEPTH_GROUPS = 3
"""Parts of equal depth that a backbone is divided into, each with a learning rate of its own."""
_TRAINS_ALL = {"mode": ("unfrozen", "frozen_then_unfrozen")}


def _check_backbone(name: object) -> object:
    find_backbone(name)
    return name


@checked_dataclass
class TransferConfig(ArchitectureConfig):
    """A backbone, a head for ``num_classes``, and how they are trained; ``image_size`` is by default the backbone's.

    ``mode`` says when the backbone is trained, ``frozen_share`` how long "frozen_then_unfrozen" waits with it.
    The last third of the backbone learns at ``backbone_factor`` times the head's rate, every third before it at
    ``depth_decay`` times that.
    """

    title: ClassVar[str] = "Transfer learning"
    max_parameters: ClassVar[int] = 700_000_000

    # None only until __post_init__, which asks the backbone.
    image_size: Annotated[int | None, Integer(8, 1024, title="Side of the picture in pixels")] = None  # type: ignore[assignment]
    # A name that is not there gets a sentence without all those that are.
    backbone: Annotated[str, Choice(BACKBONES, title="Backbone"), BeforeValidator(_check_backbone)] = DEFAULT_BACKBONE
    mode: Annotated[str, Choice(MODES, title="What is trained")] = "frozen"
    dropout: Annotated[float, Number(0.0, 0.95, title="Dropout before the last layer")] = 0.2
    frozen_share: Annotated[
        float,
        Number(
            0.0,
            1.0,
            title="Share of the steps before all layers are trained",
            only_with={"mode": ("frozen_then_unfrozen",)},
        ),
    ] = FROZEN_SHARE
    backbone_factor: Annotated[
        float, Number(0.0, 1.0, title="Learning rate of the last layers before the head", only_with=_TRAINS_ALL)
    ] = BACKBONE_FACTOR
    depth_decay: Annotated[
        float, Number(0.0, 1.0, title="Learning rate of earlier layers, against later ones", only_with=_TRAINS_ALL)
    ] = DEPTH_DECAY

    def __post_init__(self):
        if self.image_size is None:
            object.__setattr__(self, "image_size", find_backbone(self.backbone).preprocessing.crop_size)
        super().__post_init__()

    @property
    def num_features(self) -> int:
        """Inputs of the last, linear layer."""
        return measure_backbone(self.backbone, self.image_size).num_features

    @property
    def num_parameters(self) -> int:
        """Trainable numbers of the whole network, frozen or not."""
        size = measure_backbone(self.backbone, self.image_size)
        return size.num_parameters + self.num_classes * (size.num_features + 1)

    def check_shapes(self) -> None:
        """Raises UserError where the backbone takes no such pictures."""
        if self.in_channels not in (1, 3):
            raise UserError(
                f"in_channels must be 1 (grey) or 3 (colour) for a pretrained backbone, not {self.in_channels}."
            )
        measure_backbone(self.backbone, self.image_size)


class TransferNet(nn.Module):
    """Maps ``(N, in_channels, H, W)`` to logits ``(N, num_classes)``; :func:`adapt_preprocessing` has mean and std.

    ``backbone`` gives features ``(N, F)``; ``head`` is a dropout and a linear layer. A frozen backbone stays in eval
    mode whatever :meth:`train` says, so that its batch-norm statistics do not move.
    """

    head_name = "head"

    def __init__(self, config: TransferConfig):
        super().__init__()
        self.config = config
        self.color = _Grey(config) if config.in_channels == 1 else nn.Identity()
        self.backbone = build_backbone(config.backbone)
        self.head = nn.Sequential(
            OrderedDict(
                dropout=nn.Dropout(config.dropout), classifier=nn.Linear(config.num_features, config.num_classes)
            )
        )
        self.is_backbone_frozen = False

    def extract_features(self, x: Tensor) -> Tensor:
        """Features ``(N, F)`` of normalised images ``(N, in_channels, H, W)``: what ``head`` takes."""
        return self.backbone(self.color(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.extract_features(x))

    def train(self, mode: bool = True) -> "TransferNet":
        """As for any module, but a frozen backbone stays in eval mode."""
        super().train(mode)
        if self.is_backbone_frozen:
            self.backbone.eval()
        return self

    def freeze_backbone(self, frozen: bool) -> None:
        """Keeps every tensor of the backbone as it is in all steps from here on, or lets it be trained again."""
        if frozen == self.is_backbone_frozen:
            return
        self.is_backbone_frozen = frozen
        self.backbone.requires_grad_(not frozen)
        if frozen:
            self.backbone.zero_grad(set_to_none=True)  # or the optimiser would apply what is left
        self.train(self.training)


class _Grey(nn.Module):
    """Normalised grey pictures to what a colour network gets for the same picture in three equal channels."""

    scale: Tensor
    shift: Tensor

    def __init__(self, config: TransferConfig):
        super().__init__()
        preprocessing = find_backbone(config.backbone).preprocessing
        # On the CPU also where weights are only described: no file holds them.
        mean, std = (torch.tensor(v, device="cpu").view(-1, 1, 1) for v in (preprocessing.mean, preprocessing.std))
        grey_mean, grey_std = _grey_statistics(preprocessing)
        self.register_buffer("scale", grey_std / std, persistent=False)
        self.register_buffer("shift", (grey_mean - mean) / std, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 1, H, W)`` to ``(N, 3, H, W)``."""
        return x * self.scale + self.shift


def _grey_statistics(preprocessing: Preprocessing) -> tuple[float, float]:
    mean, std = (round(sum(values) / len(values), 6) for values in (preprocessing.mean, preprocessing.std))
    return mean, std


def adapt_preprocessing(own: Preprocessing, config: TransferConfig) -> Preprocessing:
    """A data set's steps with the mean and std that the backbone's weights are used to (their average for grey).

    Size and interpolation stay the data set's, so that any picture is treated as its pictures were.
    """
    theirs = find_backbone(config.backbone).preprocessing
    if config.in_channels == 1:
        mean, std = _grey_statistics(theirs)
        return replace(own, mean=(mean,), std=(std,))
    return replace(own, mean=theirs.mean, std=theirs.std)


def load_backbone_weights(net: TransferNet, progress: Progress = no_progress) -> None:
    """Puts the published weights into ``net.backbone``, which has random ones; a download if they are not here.

    Raises:
        UserError: The weights are not here and cannot be had, or are damaged.
    """
    load_pretrained(net.backbone, net.config.backbone, progress)


def is_backbone_frozen_at(step: int, total_steps: int, mode: str, frozen_share: float = FROZEN_SHARE) -> bool:
    """Whether the backbone stays as it is in a step (from 0) of a training in this mode."""
    share = MODES[mode].frozen_share(frozen_share)
    return share >= 1 or step < share * total_steps


def prepare_mode(net: TransferNet, mode: str, step: int = 0, total_steps: int = 1) -> bool:
    """Freezes the backbone or frees it, as the mode wants it for a step; to be called before every step.

    Returns:
        Whether it is frozen.
    """
    frozen = is_backbone_frozen_at(step, total_steps, mode, net.config.frozen_share)
    net.freeze_backbone(frozen)
    return frozen


def parameter_groups(
    net: TransferNet, learning_rate: float, backbone_factor: float = BACKBONE_FACTOR, depth_decay: float = DEPTH_DECAY
) -> list[dict]:
    """Groups for an optimiser: the head, then the backbone's thirds from the last to the first.

    Args:
        net: The network; frozen parameters are in the groups, too, and optimisers skip them.
        learning_rate: Of the head.
        backbone_factor: Rate of the backbone's last third, as a fraction of ``learning_rate``.
        depth_decay: Rate of each third as a fraction of that of the one behind it.

    Returns:
        Dictionaries with ``params``, ``lr``, ``name`` and ``rate_factor``, the fraction of ``learning_rate``.
    """
    groups = [("head", list(net.head.parameters()), 1.0)]
    for behind, params in enumerate(reversed(_divide_by_depth(net.backbone))):
        groups.append((f"backbone.{DEPTH_GROUPS - 1 - behind}", params, backbone_factor * depth_decay**behind))
    return [
        {"params": params, "lr": learning_rate * factor, "name": name, "rate_factor": factor}
        for name, params, factor in groups
        if params
    ]


def _divide_by_depth(backbone: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters in as many runs of about equally many layers; residual blocks stay in one piece."""
    parts = list(_list_parts(backbone, _count_layers(backbone) / (2 * DEPTH_GROUPS)))
    total = sum(depth for _, depth in parts)
    groups: list[list[nn.Parameter]] = [[] for _ in range(DEPTH_GROUPS)]
    group = passed = 0
    for parameters, depth in parts:
        if depth:  # a part belongs where its middle is; norms and biases to the layer before them
            group = int(DEPTH_GROUPS * (passed + depth / 2) / total)
        groups[group] += parameters
        passed += depth
    return groups


def _list_parts(module: nn.Module, most: float) -> Iterator[tuple[list[nn.Parameter], int]]:
    """(parameters, number of layers) in the order of the network, larger modules taken apart."""
    depth = _count_layers(module)
    children = list(module.children())
    if depth <= most or not children:
        yield list(module.parameters()), depth
        return
    yield list(module.parameters(recurse=False)), 0
    for child in children:
        yield from _list_parts(child, most)


def _count_layers(module: nn.Module) -> int:
    """Modules with a weight matrix or filters of their own."""
    return sum(any(p.dim() > 1 for p in part.parameters(recurse=False)) for part in module.modules())
