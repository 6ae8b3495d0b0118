"""What can be varied between matched arms, one table entry each: the text of a value becomes a change."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from analysis.errors import UserError
from lab.comparisons.config import MAX_NAME, Arm, ArmsConfig
from lab.comparisons.sentences import MEASURES, QUESTIONS
from models.data.augment.augment import TRANSFORMS
from models.networks.options import list_options
from models.networks.table import ARCHITECTURES
from models.settings import Setting, check_choice
from models.training.config import TrainingConfig
from models.training.optimization import LOSSES, OPTIMIZERS

Base = TrainingConfig


@dataclass(frozen=True)
class Variation:
    """A table entry.

    Attributes:
        suggest: Texts of values to begin with, for a base configuration; the first is compared with the others.
        read: The changes that a text stands for; raises UserError.
        show: A value's text for people.
        obstacle: Why it cannot be varied for a base configuration, or nothing.
        question: What the comparison is then about: a key of ``QUESTIONS``.
    """

    title: str
    suggest: Callable[[Base], Sequence[str]]
    read: Callable[[Base, str], dict]
    show: Callable[[Base, str], str] = lambda base, text: text
    obstacle: Callable[[Base], str] = lambda base: ""
    question: str = "accuracy"
    shifts: bool = False


def _options(base: Base) -> dict[str, Setting]:
    return list_options(ARCHITECTURES[base.architecture][0])


def _vary_option(name: str, title: str, *texts: str, **more) -> Variation:
    """One option of the architecture; a choice that has not two of the texts suggests all its values."""

    def obstacle(base: Base) -> str:
        if name in _options(base):
            return ""
        able = ", ".join(key for key, (config, _) in ARCHITECTURES.items() if name in list_options(config))
        return f"{ARCHITECTURES[base.architecture][0].title} has no such option ({name}); these have: {able}."

    def read(base: Base, text: str) -> dict:
        return {"model": {name: _options(base)[name].parse(name, text)}}

    def show(base: Base, text: str) -> str:
        return _options(base)[name].choices.get(text, text)

    def suggest(base: Base) -> Sequence[str]:
        choices = _options(base)[name].choices
        known = tuple(text for text in texts if text in choices) if choices else texts
        return known if len(known) > 1 else tuple(choices)

    return Variation(title, suggest, read, show, obstacle, **more)


def _vary_number(name: str, title: str, *texts: str, **more) -> Variation:
    """One number of the configuration, or of ``DERIVED``."""

    def read(base: Base, text: str) -> dict:
        try:
            return {name: float(text)}
        except ValueError:
            raise UserError(f"{title} must be a number such as {texts[-1]}, not {text[:60]!r}.") from None

    return Variation(title, lambda base: texts, read, **more)


def _vary_choice(name: str, title: str, table, **more) -> Variation:
    """One choice of the configuration."""

    def read(base: Base, text: str) -> dict:
        check_choice(title, text, table)
        return {name: text}

    def show(base: Base, text: str) -> str:
        return getattr(table[text], "title", text)

    return Variation(title, lambda base: tuple(table), read, show, **more)


def _read_augmentation(base: Base, text: str) -> dict:
    """none, default, or strengths such as ``flip=1 crop=0.4``."""
    if text in ("none", "default"):
        return {"augment": text == "default"}
    strengths = {}
    for part in text.split():
        name, _, strength = part.partition("=")
        check_choice("Augmentation", name, TRANSFORMS)
        try:
            strengths[name] = float(strength or TRANSFORMS[name].default)
        except ValueError:
            raise UserError(f"The strength of {name} must be a number, not {strength[:60]!r}.") from None
    return {"augment": strengths}


def _read_network(base: Base, text: str) -> dict:
    return {} if text == "base" else {"equal_mlp": {"mlp": 1, "mlp2": 2}[_check_network(text)]}


def _check_network(text: str) -> str:
    check_choice("Network", text, _NETWORKS)
    return text


_NETWORKS = {
    "base": "the network chosen",
    "mlp": "an MLP with equally many parameters",
    "mlp2": "an MLP of two hidden layers with equally many parameters",
}

VARIATIONS = {
    "dropout": _vary_option("dropout", "Dropout", "0", "0.25", "0.5", question="gap"),
    "norm": _vary_option("norm", "Normalisation", "none", "batch", "layer", "group", question="steps"),
    "weight_decay": _vary_number("weight_decay", "Weight decay (L2)", "0", "0.0005", "0.005", question="gap"),
    "augmentation": Variation(
        "Augmentation",
        lambda base: ("none", "default"),
        _read_augmentation,
        lambda base, text: {"none": "none", "default": "what suits the data"}.get(text, text),
        question="gap",
    ),
    "head": _vary_option("head", "Head", "flatten", "gap", question="translation", shifts=True),
    "label_noise": _vary_number("label_noise", "Share of wrong labels", "0", "0.2", "0.5"),
    "train_fraction": _vary_number("train_fraction", "Share of the training pictures", "1", "0.3", "0.1"),
    "backbone": _vary_option("mode", "What is trained of a pretrained network", "frozen", "unfrozen"),
    "pooling": _vary_option("pooling", "Downsampling", "max", "blur", question="translation", shifts=True),
    "padding": _vary_option(
        "padding_mode", "Padding", "zeros", "circular", "reflect", question="translation", shifts=True
    ),
    "activation": _vary_option("activation", "Activation", "relu", "tanh", "sigmoid", question="steps"),
    "loss": _vary_choice("loss", "Loss", LOSSES),
    "optimizer": _vary_choice("optimizer", "Optimiser", dict.fromkeys(OPTIMIZERS), question="steps"),
    "learning_rate": _vary_number("learning_rate", "Learning rate", "0.2", "0.05", "0.01", question="steps"),
    "network": Variation(
        "Network, with equally many parameters",
        lambda base: ("mlp", "base"),
        _read_network,
        lambda base, text: _NETWORKS[_check_network(text)],
    ),
}
"""Everything that can be varied by name."""


def vary(base: Base, name: str, texts: Sequence[str], seeds: int = ArmsConfig.seeds, **more) -> ArmsConfig:
    """A comparison of arms that differ in one thing.

    Args:
        name: A key of ``VARIATIONS``.
        texts: Its value for each arm; the first one is what the others are compared with.
        **more: Further settings of the ArmsConfig. Without ``shifts``, what only those tell is not the question.

    Raises:
        UserError: It cannot be varied for this base, or a value is not possible.
    """
    check_choice("What is varied", name, VARIATIONS)
    variation = VARIATIONS[name]
    if obstacle := variation.obstacle(base):
        raise UserError(f"{variation.title} cannot be varied here: {obstacle}")
    texts = [str(text).strip() for text in texts]
    if len(texts) < 2:
        example = ", ".join(variation.suggest(base)[:3])
        raise UserError(f"Give at least two values of {variation.title.lower()} to compare, such as {example}.")
    arms: list[Arm] = []
    for number, text in enumerate(texts, 1):
        changes = variation.read(base, text)
        if any(changes == arm.changes for arm in arms):
            raise UserError("Two arms are the same; name each value once.")
        shown = f"{variation.title.lower()}: {variation.show(base, text)}"
        arms.append(Arm(_to_name(name, text, number), shown, changes))
    settings = {"shifts": variation.shifts, "title": f"Varied: {variation.title.lower()}", **more}
    question = find_question(variation, settings["shifts"])
    return ArmsConfig(replace(base, validate_often=True), tuple(arms), seeds, **{"question": question, **settings})


def find_question(variation: Variation, shifts: bool) -> str:
    """What decides between the arms: a key of ``QUESTIONS``; ``shifts`` is whether moved pictures are tested."""
    decisive = MEASURES[QUESTIONS[variation.question].measures[0]]
    return variation.question if shifts or not decisive.is_shifted else "accuracy"


def _to_name(name: str, text: str, number: int) -> str:
    """Fit for the name of a run; what has to be cut off may be all that tells two arms apart, but not the number."""
    whole = re.sub(r"[^A-Za-z0-9.]+", "_", f"{name}_{text}").strip("_.")
    return whole if len(whole) <= MAX_NAME else f"{whole[: MAX_NAME - 3]}_{number}"
