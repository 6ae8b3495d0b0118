"""How a kind of network is trained: all of it from the first step, or a pretrained part apart from the rest."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from analysis.errors import Progress
from models.data.dataset import Split
from models.data.preprocessing import Preprocessing
from models.networks.transfer import (
    TransferNet,
    adapt_preprocessing,
    load_backbone_weights,
    parameter_groups,
    prepare_mode,
)
from models.training.feature_cache import FeatureCache


class WholeNetwork:
    """Every weight is trained at the same rate, on pictures.

    Attributes:
        core: The part of it that is run and trained on what :meth:`feed` gives.
        takes_features: Whether ``core`` takes features instead of pictures.
        freezes: Whether some weights are left as they are for some steps.
        half_on_cpu: Whether half precision makes it faster on a CPU that has it.
    """

    takes_features = False
    freezes = False
    half_on_cpu = True

    def __init__(self, module: nn.Module, *, augments: bool):
        self.module = self.core = module

    def adapt(self, preprocessing: Preprocessing) -> Preprocessing:
        """The mean and std that the network is used to, in place of the data's."""
        return preprocessing

    def load(self, progress: Progress) -> None:
        """Puts pretrained weights into the network, where it has some; may raise UserError."""

    def list_groups(self, learning_rate: float) -> list[dict]:
        """Parameter groups for the optimiser; ``rate_factor`` is each group's share of the learning rate."""
        return [{"params": list(self.module.parameters()), "rate_factor": 1.0}]

    def before_step(self, step: int, total_steps: int) -> None:
        """What has to be done before a step (from 0)."""

    def feed(
        self, split: Split, preprocessing: Preprocessing, runs_root: Path, progress, stop: Callable[[], bool]
    ) -> Split | None:
        """The split as ``core`` takes it; None if it was stopped on the way."""
        return split


class TransferLearning(WholeNetwork):
    """A pretrained backbone with a new head; features of a backbone that never changes are computed once.

    Args:
        augments: Whether pictures change from epoch to epoch, so that their features do, too.
    """

    freezes = True
    module: TransferNet
    half_on_cpu = False  # depthwise convolutions, which most backbones have, take twice as long in it

    def __init__(self, module: TransferNet, *, augments: bool):
        super().__init__(module, augments=augments)
        self.takes_features = module.config.mode == "frozen" and not augments
        if self.takes_features:
            self.core = module.head

    def adapt(self, preprocessing: Preprocessing) -> Preprocessing:
        """The backbone's mean and std."""
        return adapt_preprocessing(preprocessing, self.module.config)

    def load(self, progress: Progress) -> None:
        """The backbone's published weights."""
        load_backbone_weights(self.module, progress)

    def list_groups(self, learning_rate: float) -> list[dict]:
        """The head, and parts of the backbone at lower rates."""
        config = self.module.config
        return parameter_groups(self.module, learning_rate, config.backbone_factor, config.depth_decay)

    def before_step(self, step: int, total_steps: int) -> None:
        """Freezes or frees the backbone."""
        prepare_mode(self.module, self.module.config.mode, step, total_steps)

    def feed(
        self, split: Split, preprocessing: Preprocessing, runs_root: Path, progress, stop: Callable[[], bool]
    ) -> Split | None:
        """Features in place of pictures, where the backbone never changes."""
        if not self.takes_features:
            return split
        features: Tensor | None = FeatureCache(runs_root).get(
            self.module, split.images, preprocessing, progress=progress, stop=stop
        )
        return None if features is None else replace(split, images=features.to(split.labels.device))


APPROACHES: dict[type[nn.Module], type[WholeNetwork]] = {TransferNet: TransferLearning}
"""Network -> how it is trained, where that is not as a whole."""


def find_approach(model_class: type[nn.Module]) -> type[WholeNetwork]:
    """How networks of this kind are trained."""
    return APPROACHES.get(model_class, WholeNetwork)
