"""What a comparison of matched arms is told: a base configuration, and what each arm changes in it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import PlainValidator

from analysis.errors import UserError
from analysis.grammar import count
from lab.comparisons.sentences import QUESTIONS
from models.networks.mlp import FLAT_NORMS, MLPConfig
from models.settings import (
    Choice,
    Flag,
    Integer,
    Nested,
    Stored,
    Text,
    build_config,
    check_choice,
    check_integer,
    check_number,
    checked_dataclass,
)
from models.training.config import TrainingConfig

MAX_ARMS = 8
MAX_SEEDS = 20
MAX_TEXT = 300
TOLERANCE = 0.05
"""How far "equally many" parameters may be from each other, as a share."""
SHARED = frozenset(
    (
        "dataset",
        "data_root",
        "image_size",
        "shapes",
        "corrections",
        "seed",
        "split_seed",
        "device",
        "trackers",
        "validate_often",
    )
)
"""What matched arms have in common by definition."""
MAX_NAME = 24
NAME_PATTERN = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._]{{0,{MAX_NAME - 1}}}")


@dataclass(frozen=True)
class DataFacts:
    """What has to be known of the data to work out some changes."""

    num_train: int
    num_classes: int
    in_channels: int
    image_size: int

    @property
    def shape(self) -> dict[str, int]:
        """As :meth:`models.training.config.TrainingConfig.architecture_config` takes it."""
        return {"num_classes": self.num_classes, "in_channels": self.in_channels, "image_size": self.image_size}


@dataclass(frozen=True)
class Derived:
    """A table entry: a change that depends on the data.

    ``check(value)`` raises UserError, ``change(base, value, facts)`` gives fields of a TrainingConfig.
    """

    check: Callable[[object], object]
    change: Callable[[TrainingConfig, Any, DataFacts], dict]


def _take_share(base: TrainingConfig, share: float, facts: DataFacts) -> dict:
    available = min(base.train_limit or facts.num_train, facts.num_train)
    return {"train_limit": max(1, round(share * available))}


def _build_equal_mlp(base: TrainingConfig, num_hidden: int, facts: DataFacts) -> dict:
    # Without a size, an MLP would take the data set's own, where the base network may prefer another.
    return {"architecture": "mlp", "model": match_mlp(base, num_hidden, facts), "image_size": facts.image_size}


DERIVED = {
    "train_fraction": Derived(lambda value: check_number("train_fraction", value, 1e-6, 1.0), _take_share),
    "equal_mlp": Derived(lambda value: check_integer("equal_mlp", value, 1, 8), _build_equal_mlp),
}
"""Name in an arm's changes -> what it means: the share of the training pictures; the number of hidden layers, all of
one width, of an MLP with as many parameters as the base network."""


def match_mlp(base: TrainingConfig, num_hidden: int, facts: DataFacts) -> dict:
    """Options of the MLP whose number of parameters is nearest to that of the base network.

    It also has the base's normalisation, dropout and activation, where these exist in both.

    Raises:
        UserError: No such MLP comes within ``TOLERANCE``.
    """
    network = base.architecture_config(**facts.shape)
    options = {name: getattr(network, name) for name in ("norm", "dropout", "activation") if hasattr(network, name)}
    if options.get("norm") not in FLAT_NORMS:
        options.pop("norm", None)

    def weigh(width: int) -> int:
        # Not through a config: one that is too large cannot be made.
        widths = (facts.in_channels * facts.image_size**2, *[width] * num_hidden, facts.num_classes)
        per_unit = 1 if FLAT_NORMS.get(options.get("norm", "")) else 0
        return sum((a + 1) * b for a, b in pairwise(widths)) + per_unit * width * num_hidden

    wanted = network.num_parameters
    least = 2 if options.get("norm") == "layer" else 1  # a single unit has nothing to be normalised with
    low, high = least, 16_384
    while low < high:  # the first width with at least as many
        middle = (low + high) // 2
        low, high = (low, middle) if weigh(middle) >= wanted else (middle + 1, high)
    width = min((w for w in (low - 1, low) if w >= least), key=lambda w: abs(weigh(w) - wanted))
    options["hidden"] = [width] * num_hidden
    found = build_config(MLPConfig, {**options, **facts.shape}).num_parameters
    if abs(found - wanted) > TOLERANCE * wanted:
        raise UserError(
            f"No MLP with {count(num_hidden, 'hidden layer')} has about as many parameters as the base network "
            f"({wanted:,}): with {count(width, 'unit')} in a layer it has {found:,}. Choose another network."
        )
    return options


@dataclass(frozen=True)
class Arm:
    """One way to train: ``name`` is part of its runs' names, ``changes`` are what it replaces in the base.

    ``changes`` maps fields of a TrainingConfig, or names in ``DERIVED``, to values; "model" adds to the base's
    options of the architecture, and takes their place where "architecture" changes as well.
    """

    name: str
    title: str
    changes: dict = field(default_factory=dict)

    def __post_init__(self):
        if not isinstance(self.name, str) or not NAME_PATTERN.fullmatch(self.name):
            raise UserError(f"An arm's name has 1 to {MAX_NAME} letters, digits, dots or underscores.")
        if not isinstance(self.title, str) or not 0 < len(self.title) <= MAX_TEXT:
            raise UserError(f"An arm's title must be a text of at most {MAX_TEXT} characters.")
        if not isinstance(self.changes, dict):
            raise UserError("The changes of an arm must be a table.")
        known = [entry.name for entry in fields(TrainingConfig) if entry.name not in SHARED]
        for name, value in self.changes.items():
            if name in SHARED:
                raise UserError(f"All arms share {name}; vary something else.")
            check_choice("What an arm changes", name, [*known, *DERIVED])
            if name in DERIVED:
                DERIVED[name].check(value)
        if not isinstance(self.changes.get("model", {}), dict):
            raise UserError("model must be a table of options.")

    def configure(self, base: TrainingConfig, facts: DataFacts | None = None) -> TrainingConfig:
        """The base with this arm's changes; without facts, those that depend on the data are left out.

        Raises:
            UserError: A value is not possible.
        """
        values: dict = {}
        for name, value in self.changes.items():
            if name not in DERIVED:
                values[name] = value
            elif facts is not None:
                values |= DERIVED[name].change(base, value, facts)
        if "model" in values and "architecture" not in values:
            values["model"] = {**base.model, **values["model"]}
        elif "architecture" in values:
            values.setdefault("model", {})
        return replace(base, **values)


def _read_arms(arms: object) -> tuple[Arm, ...]:
    if not isinstance(arms, list | tuple) or not 2 <= len(arms) <= MAX_ARMS:
        raise UserError(f"A comparison has 2 to {MAX_ARMS} arms.")
    arms = tuple(arm if isinstance(arm, Arm) else build_config(Arm, arm) for arm in arms)
    if len({arm.name for arm in arms}) < len(arms):
        raise UserError("Two arms are the same; name each value once.")
    return arms


_ShortText = Annotated[str, Text(f"a text of at most {MAX_TEXT} characters", max_length=MAX_TEXT)]


@checked_dataclass
class ArmsConfig(Stored):
    """Everything that decides the outcome of a comparison, checked when it is made.

    Every arm is trained with ``seeds`` seeds, from the base's own on; the first arm is what the others are compared
    with. ``question`` is a key of ``QUESTIONS``, ``direction`` what is claimed of the second arm's decisive measure
    (1 larger, -1 smaller, 0 nothing), ``claim`` the same in words. ``shifts`` says whether trained networks are also
    tested on moved pictures. ``dataset``, if given, takes the place of the base's.
    """

    base: Annotated[TrainingConfig, Nested(TrainingConfig)]
    arms: Annotated[tuple[Arm, ...], PlainValidator(_read_arms)]
    seeds: Annotated[int, Integer(1, MAX_SEEDS)] = 3
    question: Annotated[str, Choice(QUESTIONS)] = "accuracy"
    direction: Annotated[int, Integer(-1, 1)] = 0
    title: _ShortText = "Matched arms"
    claim: _ShortText = ""
    shifts: Annotated[bool, Flag()] = False
    dataset: Annotated[str | None, Text("a name or the path of a folder or zip", min_length=1)] = None

    def __post_init__(self):
        base = self.base if self.dataset is None else replace(self.base, dataset=self.dataset)
        object.__setattr__(self, "base", base)
        object.__setattr__(self, "dataset", base.dataset)
        check_integer("seed", base.seed, 0, 2**32 - self.seeds)
        for arm in self.arms:
            arm.configure(base)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """One after the other, from the base's."""
        return tuple(range(self.base.seed, self.base.seed + self.seeds))

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """See :meth:`models.settings.Stored.from_dict`."""
        if not isinstance(values, dict) or not {"base", "arms"} <= values.keys():
            raise UserError("The settings of a comparison must have a base and arms.")
        return super().from_dict(values)
