"""Known cures for shift sensitivity, as changes to a network that is then trained a little further.

An arm is the start model with some of the changes made, on its own or in combination. None of them adds weights,
so all of the start's weights carry over (a head of another shape starts anew).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from analysis.errors import UserError
from models.networks.options import ArchitectureConfig, list_options
from models.networks.stack import StackConfig
from models.settings import check_choice

_MAXIMA = ("max", "blur", "aps")
"""Poolings that take a maximum; what stands in for another one has a name that ends in "_stride"."""


@dataclass(frozen=True)
class Change:
    """One cure; ``alter`` gives the changed configuration (None: only the training changes).

    ``redundant`` says why a network does not need it, when ``alter`` changes nothing.
    """

    title: str
    explanation: str
    alter: Callable[[ArchitectureConfig, int], ArchitectureConfig] | None = None
    redundant: str = ""


def _change(config: ArchitectureConfig, **options: Any) -> ArchitectureConfig:
    """The configuration with other values for options that its kind of network has."""
    return replace(config, **options)


def _wrap(config: ArchitectureConfig, blur_size: int) -> ArchitectureConfig:
    if not hasattr(config, "padding_mode"):
        raise UserError("It pads nothing.")
    return _change(config, padding_mode="circular")


def _blur(config: ArchitectureConfig, blur_size: int) -> ArchitectureConfig:
    return _change(config, pooling=_exchange(config, "blur"), blur_size=blur_size)


def _sample(config: ArchitectureConfig, blur_size: int) -> ArchitectureConfig:
    return _change(config, pooling=_exchange(config, "aps"))


def _exchange(config: ArchitectureConfig, kind: str) -> str:
    """The pooling of this kind that stands in for the network's own, under the name that this network knows."""
    if not hasattr(config, "pooling"):
        raise UserError("It has no downsampling.")
    known = list_options(type(config))["pooling"].choices
    return kind if config.pooling in _MAXIMA or f"{kind}_stride" not in known else f"{kind}_stride"


def _pool_globally(config: ArchitectureConfig, blur_size: int) -> ArchitectureConfig:
    if not hasattr(config, "padding_mode"):
        raise UserError("It has no feature maps to average.")
    return _change(config, head="gap") if getattr(config, "head", None) == "flatten" else config


CHANGES = {
    "circular": Change(
        "circular padding",
        "Every padded operation wraps around, so that no border tells where an object is.",
        _wrap,
        "It wraps around already.",
    ),
    "gap": Change(
        "global average pooling",
        "The head averages over all positions, instead of one weight for each of them.",
        _pool_globally,
        "Its head does not depend on positions already.",
    ),
    "blur": Change(
        "blur",
        "A low-pass filter before every downsampling (Zhang 2019).",
        _blur,
        "It blurs with a filter of this size already.",
    ),
    "aps": Change(
        "adaptive polyphase sampling",
        "Every downsampling keeps the strongest of its four grids (Chaman and Dokmanić 2021).",
        _sample,
        "It samples adaptively already.",
    ),
    "shift_augment": Change("random shifts", "Training pictures move by up to an eighth of their side."),
}
ARMS: dict[str, tuple[str, ...]] = {
    "as_is": (),
    "circular": ("circular",),
    "gap": ("gap",),
    "blur": ("blur",),
    "aps": ("aps",),
    "shift_augment": ("shift_augment",),
    "circular_gap": ("circular", "gap"),
    "circular_blur": ("circular", "blur"),
    "circular_aps": ("circular", "aps"),
    "circular_blur_gap": ("circular", "blur", "gap"),
    "circular_aps_gap": ("circular", "aps", "gap"),
    "blur_shift": ("blur", "shift_augment"),
    "gap_shift": ("gap", "shift_augment"),
    "circular_shift": ("circular", "shift_augment"),
    "circular_aps_shift": ("circular", "aps", "shift_augment"),
}
"""Name of an arm -> the changes it makes, in order."""


@dataclass(frozen=True)
class Arm:
    """An arm for one start model: its network's configuration, or the ``obstacle`` that leaves it without one."""

    name: str
    title: str
    explanation: str
    config: ArchitectureConfig | None
    obstacle: str = ""

    @property
    def shifts_pictures(self) -> bool:
        """Whether the training moves its pictures at random."""
        return "shift_augment" in ARMS[self.name]


def list_arms(config: ArchitectureConfig, *, blur_size: int = 3) -> tuple[Arm, ...]:
    """Every arm for a start model with this configuration, those that cannot be made with the reason."""
    return tuple(_make_arm(name, config, blur_size) for name in ARMS)


def find_arm(name: str, config: ArchitectureConfig, *, blur_size: int = 3) -> Arm:
    """One arm that can be made from a model with this configuration.

    Raises:
        UserError: No such arm, or this model has no use for it.
    """
    check_choice("arm", name, ARMS)
    arm = _make_arm(name, config, blur_size)
    if arm.obstacle:
        raise UserError(f"The arm {name} does not suit this start model: {arm.obstacle}")
    return arm


def _make_arm(name: str, config: ArchitectureConfig, blur_size: int) -> Arm:
    changes = [CHANGES[change] for change in ARMS[name]]
    title = " + ".join(change.title for change in changes) or "as is"
    explanation = " ".join(change.explanation for change in changes) or "The same network, trained on."
    title = title[0].upper() + title[1:]
    try:
        return Arm(name, title, explanation, _apply(changes, config, blur_size))
    except UserError as error:
        return Arm(name, title, explanation, None, obstacle=str(error))


def _apply(changes: list[Change], config: ArchitectureConfig, blur_size: int) -> ArchitectureConfig:
    for change in changes:
        if change.alter is None:
            continue
        if isinstance(config, StackConfig):
            raise UserError("Its layers are written one by one: write them otherwise, and train again.")
        altered = change.alter(config, blur_size)
        if altered == config:
            raise UserError(change.redundant)
        config = altered
    return config
