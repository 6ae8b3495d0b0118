"""What can be chosen of a network: each option says what it is called and what it may be, and checks its values.

A configuration's fields are made with :func:`choice`, :func:`integer`, :func:`number` and :func:`integers`. A page
builds its controls, and the command line reads its text, from :func:`list_options`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from analysis.errors import UserError
from models.settings import check_choice, check_integer, check_number

FROM_DATA = ("num_classes", "in_channels", "image_size")
"""What the data set decides, not the user."""


@dataclass(frozen=True)
class Option:
    """One thing to choose.

    Attributes:
        title: For people.
        kind: A key of ``KINDS``: "choice", "integer", "number" or "integers".
        default: What is taken if nothing is chosen.
        choices: Name -> title, of a choice.
        low: The smallest number; of "integers", the smallest entry.
        high: The largest number.
        step: From one possible whole number to the next.
        rule: What ``step`` means, in words behind "must be".
        lengths: How few and how many entries "integers" may have.
        only_with: Another option -> those of its values with which this one has an effect.
    """

    title: str
    kind: str
    default: object
    choices: Mapping[str, str] = field(default_factory=dict)
    low: float = 0
    high: float = 0
    step: int = 1
    rule: str = ""
    lengths: tuple[int, int] = (0, 0)
    only_with: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def check(self, name: str, value: object) -> None:
        """Raises UserError unless ``value`` is possible; ``name`` is what the sentence calls it."""
        KINDS[self.kind].check(self, name, value)

    def parse(self, name: str, text: str) -> object:
        """The value that a text stands for, such as ``"16, 48"`` for ``(16, 48)``.

        Raises:
            UserError: It stands for none, or for one that is not possible.
        """
        try:
            value = KINDS[self.kind].parse(text)
        except ValueError:
            value = text
        self.check(name, value)
        return value


def _check_choice(option: Option, name: str, value: object) -> None:
    check_choice(name, value, option.choices)


def _check_number(option: Option, name: str, value: object) -> None:
    check_number(name, value, option.low, option.high)


def _check_integer(option: Option, name: str, value: object) -> None:
    check_integer(name, value, option.low, option.high)
    if (value - option.low) % option.step:
        raise UserError(f"{name} must be {option.rule}, not {value}.")


def _check_integers(option: Option, name: str, value: object) -> None:
    fewest, most = option.lengths
    if not isinstance(value, list | tuple) or not fewest <= len(value) <= most:
        example = ", ".join(map(str, option.default))
        raise UserError(f"{name} must list {fewest} to {most} whole numbers, such as {example}.")
    for entry in value:
        check_integer(f"Each entry of {name}", entry, option.low, option.high)


@dataclass(frozen=True)
class _Kind:
    check: Any
    parse: Any


KINDS = {
    "choice": _Kind(_check_choice, str.strip),
    "integer": _Kind(_check_integer, int),
    "number": _Kind(_check_number, float),
    "integers": _Kind(_check_integers, lambda text: tuple(int(part) for part in text.split(",") if part.strip())),
}
"""Kind of option -> how values are checked, and read from text."""


def choice(default: str, title: str, table: Iterable[str], **more) -> Any:
    """A field that takes one of the names in ``table``, whose entries may have titles."""
    entries = table if isinstance(table, Mapping) else {}
    choices = {name: getattr(entries.get(name), "title", name) for name in table}
    return _field(Option(title, "choice", default, choices, **more))


def integer(default: int, title: str, low: int, high: int, **more) -> Any:
    """A field that takes a whole number from ``low`` to ``high``."""
    return _field(Option(title, "integer", default, low=low, high=high, **more))


def number(default: float, title: str, low: float, high: float, **more) -> Any:
    """A field that takes a number from ``low`` to ``high``."""
    return _field(Option(title, "number", default, low=low, high=high, **more))


def integers(default: tuple[int, ...], title: str, low: int, high: int, lengths: tuple[int, int], **more) -> Any:
    """A field that takes whole numbers from ``low`` to ``high``, as many as ``lengths`` (fewest, most) says."""
    return _field(Option(title, "integers", default, low=low, high=high, lengths=lengths, **more))


def _field(option: Option) -> Any:
    return field(default=option.default, metadata={"option": option})


@dataclass(frozen=True)
class ArchitectureConfig(ABC):
    """What every configuration of a network has: the data it is for, and a size known before there is a network.

    Raises:
        UserError: A value is not possible, the parts do not fit each other, or there are too many weights.
    """

    title: ClassVar[str]
    max_parameters: ClassVar[int] = 200_000_000

    num_classes: int = integer(10, "Classes", 2, 10_000)
    in_channels: int = integer(3, "Input channels", 1, 16)
    image_size: int = integer(32, "Side of the picture in pixels", 1, 1024)

    def __post_init__(self):
        for option_field in fields(self):
            value = getattr(self, option_field.name)
            option_field.metadata["option"].check(option_field.name, value)
            if isinstance(value, list):  # as JSON has it
                object.__setattr__(self, option_field.name, tuple(value))
        self.check_shapes()
        if self.num_parameters > self.max_parameters:
            raise UserError(
                f"This network would have {self.num_parameters / 1e6:.0f} million weights; "
                f"at most {self.max_parameters // 10**6} million are possible here."
            )

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """Trainable numbers of the whole network."""

    @property
    def chosen(self) -> dict:
        """The options without those that the data decide; as a table of :class:`TrainingConfig` takes them."""
        return {name: value for name, value in asdict(self).items() if name not in FROM_DATA}

    def check_shapes(self) -> None:  # noqa: B027  (a network that takes every size has nothing to refuse)
        """Raises UserError where values that are possible by themselves do not fit each other."""


def list_options(config_class: type[ArchitectureConfig]) -> dict[str, Option]:
    """Name -> option, in the order in which they are shown, without what the data decide."""
    return {f.name: f.metadata["option"] for f in fields(config_class) if f.name not in FROM_DATA}
