"""Claims of the lecture notes as comparisons that a class can run: one table entry each.

Sizes are chosen so that a claim can be seen in minutes on two cores, not so that accuracies are high.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lab.comparisons.config import Arm, ArmsConfig
from models.data.datasets import DATASETS
from models.settings import build_config, check_choice
from models.training.config import TrainingConfig


@dataclass(frozen=True)
class Preset:
    """A table entry.

    Attributes:
        base: Settings of the TrainingConfig that all arms share.
        arms: What is compared; the first one is what the others are compared with.
        question: A key of ``QUESTIONS``.
        direction: What is claimed of the second arm's decisive measure: 1 larger, -1 smaller, 0 nothing.
        shifts: Whether networks are also tested on moved pictures.
    """

    title: str
    claim: str
    base: Mapping
    arms: tuple[Arm, ...]
    question: str
    direction: int = 0
    seeds: int = ArmsConfig.seeds
    shifts: bool = False
    note: str = ""

    def configure(self, seeds: int | None, base: Mapping) -> ArmsConfig:
        """The comparison, with these settings instead of the preset's.

        Args:
            seeds: How often each arm is trained; None for the preset's number.

        Raises:
            UserError: An unknown setting or a value out of range.
        """
        return ArmsConfig(
            base=build_config(TrainingConfig, {"validate_often": True, **self.base, **base}),
            arms=self.arms,
            seeds=self.seeds if seeds is None else seeds,
            question=self.question,
            direction=self.direction,
            title=self.title,
            claim=self.claim,
            shifts=self.shifts,
        )


def _option_arms(name: str, **titles: str) -> tuple[Arm, ...]:
    return tuple(Arm(value, title, {"model": {name: value}}) for value, title in titles.items())


_FASHION = {"dataset": "fashion_mnist", "snapshots": False}

_TRANSFER = {
    "dataset": "shapes",
    "snapshots": False,
    "architecture": "transfer",
    "image_size": 64,
    "train_limit": 300,
    "batch_size": 30,
    "epochs": 4,
    "optimizer": "adam",
    "learning_rate": 2e-3,
    "weight_decay": 0.0,
    "shapes": {"num_images": 1000},
}
_TRANSFER_CLAIM = (
    "A pretrained network needs few pictures: training only the head (frozen) is quick, training all layers "
    "(unfrozen) takes longer and can do better."
)

PRESETS = {
    "bn_faster": Preset(
        title="Batch normalisation needs fewer steps",
        claim="With batch normalisation a network reaches the same accuracy in fewer steps; Ioffe and Szegedy (2015) "
        "report 14 times fewer for an Inception network.",
        base=_FASHION
        | {
            "model": {"channels": [16, 32, 64, 64]},
            "train_limit": 10_000,
            "batch_size": 50,
            "epochs": 5,
            "learning_rate": 0.005,
            "schedule": "constant",
            "weight_decay": 0.0,
        },
        arms=_option_arms("norm", none="no normalisation", batch="batch normalisation"),
        question="steps",
        direction=-1,
    ),
    "dropout_gap": Preset(
        title="Dropout shrinks the gap",
        claim="Dropout is a regulariser: training and validation accuracy come closer to each other.",
        base=_FASHION
        | {
            "architecture": "mlp",
            "model": {"hidden": [512, 256]},
            "train_limit": 2000,
            "batch_size": 100,
            "epochs": 20,
            "optimizer": "adam",
            "learning_rate": 1e-3,
            "schedule": "cosine",
            "weight_decay": 0.0,
        },
        arms=(
            Arm("none", "no dropout", {"model": {"dropout": 0.0}}),
            Arm("dropout", "dropout 0.5", {"model": {"dropout": 0.5}}),
        ),
        question="gap",
        direction=-1,
    ),
    "augmentation_gap": Preset(
        title="Augmentation shrinks the gap",
        claim="Random changes of the training pictures make up for having few of them: the gap shrinks.",
        base=_FASHION
        | {"train_limit": 1000, "batch_size": 25, "epochs": 20, "learning_rate": 0.05, "weight_decay": 0.0},
        arms=(
            Arm("none", "no augmentation", {"augment": False}),
            Arm("augmented", "augmentation", {"augment": {"translate": 0.2, "flip": 1.0, "crop": 0.2}}),
        ),
        question="gap",
        direction=-1,
    ),
    "gap_translation": Preset(
        title="Global average pooling is robust to translation",
        claim="A head of global average pooling is more robust to translation of the input than one that flattens.",
        base=_FASHION | {"train_limit": 10_000, "batch_size": 100, "epochs": 4, "learning_rate": 0.05},
        arms=_option_arms("head", flatten="flatten", gap="global average pooling"),
        question="translation",
        direction=1,
        shifts=True,
    ),
    "cnn_vs_mlp": Preset(
        title="A CNN against an MLP of equal size",
        claim="With equally many parameters, a CNN is better on pictures than an MLP.",
        base={
            "dataset": "shapes",
            "snapshots": False,
            "model": {"norm": "none"},
            "batch_size": 64,
            "epochs": 8,
            "optimizer": "adam",
            "learning_rate": 2e-3,
            "weight_decay": 0.0,
        },
        arms=(Arm("mlp", "MLP", {"equal_mlp": 1}), Arm("cnn", "CNN")),
        question="accuracy",
        direction=1,
    ),
    "softmax_svm": Preset(
        title="Softmax against SVM",
        claim="The two losses of a linear classifier, cross-entropy after softmax and the multiclass hinge loss, "
        "usually do about equally well.",
        base=_FASHION
        | {
            "architecture": "linear",
            "train_limit": 10_000,
            "batch_size": 100,
            "epochs": 8,
            "learning_rate": 0.005,
            "weight_decay": 0.0,
        },
        arms=(Arm("softmax", "softmax", {"loss": "cross_entropy"}), Arm("svm", "SVM", {"loss": "svm"})),
        question="accuracy",
    ),
    "random_labels": Preset(
        title="Random labels are memorised",
        claim="A network with enough parameters fits any labels of its training pictures, even random ones (Zhang "
        "et al., 2017): a low training loss does not mean that anything was learned.",
        base=_FASHION
        | {
            "architecture": "mlp",
            "model": {"hidden": [512, 512]},
            "train_limit": 1000,
            "batch_size": 50,
            "epochs": 40,
            "optimizer": "adam",
            "learning_rate": 1e-3,
            "schedule": "constant",
            "weight_decay": 0.0,
        },
        arms=(
            Arm("right", "right labels", {"label_noise": 0.0}),
            Arm("random", "random labels", {"label_noise": 1.0}),
        ),
        question="memory",
    ),
    "frozen_unfrozen": Preset(
        title="Transfer: backbone frozen or unfrozen",
        claim=_TRANSFER_CLAIM,
        base=_TRANSFER,
        arms=_option_arms("mode", frozen="frozen", unfrozen="unfrozen"),
        question="accuracy",
        note="The pretrained network is EfficientNet-Lite0, which needs no download.",
    ),
    "practical": Preset(
        title="Practical: MobileNetV3, frozen or unfrozen",
        claim=_TRANSFER_CLAIM,
        base=_TRANSFER | {"model": {"backbone": "mobilenet_v3_small"}},
        arms=_option_arms("mode", frozen="frozen", unfrozen="unfrozen"),
        question="accuracy",
        note="Meant for a zip of your own pictures, one folder per class: choose it under “Single run” and tick “Use "
        "the data of Single run”; otherwise it takes drawn shapes. The weights (10 MB) are downloaded once.",
    ),
    "blurpool": Preset(
        title="Blur before downsampling",
        claim="A low-pass filter before every downsampling (BlurPool, Zhang 2019) makes answers more consistent "
        "under shifts.",
        base=_FASHION | {"train_limit": 10_000, "batch_size": 100, "epochs": 4, "learning_rate": 0.05},
        arms=_option_arms("pooling", max="max-pooling", blur="max-pooling with blur"),
        question="translation",
        direction=1,
        shifts=True,
    ),
}
"""Every claim by name."""


def configure_preset(name: str, seeds: int | None = None, base: Mapping = MappingProxyType({})) -> ArmsConfig:
    """See :meth:`Preset.configure`. Raises UserError: no such preset, an unknown setting or a value out of range."""
    check_choice("preset", name, PRESETS)
    if base.get("dataset") not in (None, *DATASETS):  # sizes of drawn shapes do not fit own pictures
        base = {"train_limit": None, **base}
    return PRESETS[name].configure(seeds, base)
