"""Settings: frozen dataclasses whose annotations say what a value may be, to files, pages and command line alike.

A field is annotated with its type and a :class:`Setting`, as in ``epochs: Annotated[int, Integer(1, 1000)] = 5``;
every configuration refuses bad values with the same kind of sentence.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Self, TypeVar, dataclass_transform, get_args

import pydantic.dataclasses
from pydantic import ConfigDict, GetCoreSchemaHandler, ValidationError, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from analysis.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Class = TypeVar("Class")
Config = TypeVar("Config", bound="DataclassInstance")


def check_integer(name: str, value: object, low: int, high: int) -> int:
    """The value; raises UserError unless it is an int (not a bool) in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UserError(f"{name} must be a whole number from {low} to {high}, not {show_value(value)}.")
    return value


def check_number(name: str, value: object, low: float, high: float) -> float:
    """The value; raises UserError unless it is a finite int or float (not a bool) in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UserError(f"{name} must be a number from {low:g} to {high:g}, not {show_value(value)}.")
    return value


def check_choice(name: str, value: object, choices: Collection[str]) -> str:
    """The value; raises UserError unless it is one of ``choices``."""
    if not isinstance(value, str) or value not in choices:
        raise UserError(f"{name} must be one of {', '.join(choices)}, not {show_value(value)}.")
    return value


def check_flag(name: str, value: object) -> bool:
    """The value; raises UserError unless it is True or False."""
    if not isinstance(value, bool):
        raise UserError(f"{name} must be true or false, not {show_value(value)}.")
    return value


def show_value(value: object) -> str:
    """The value as it is written in a sentence about it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True, eq=False, kw_only=True)
class Setting:
    """What is said of a setting beside its type; every kind of it adds what a value may be.

    Attributes:
        title: What a page calls it.
        help: What the command line says of it; None where it is no option there.
        only_with: Another setting -> those of its values with which this one has an effect.
        default: What is taken if nothing is chosen; :func:`list_settings` fills it in.
    """

    title: str = ""
    help: str | None = None
    only_with: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    default: Any = None

    @property
    def choices(self) -> dict[str, str]:
        """Name -> title, where there are names to choose from."""
        return {}

    def check(self, name: str, value: Any) -> object:
        """The value as it is kept; ``name`` is what the sentence calls it. Raises UserError: it is not possible."""
        raise NotImplementedError

    def parse(self, name: str, text: str) -> object:
        """The value that a text stands for, such as ``"16, 48"`` for ``(16, 48)``.

        Raises:
            UserError: It stands for none, or for one that is not possible.
        """
        try:
            value = self._read(text)
        except ValueError:
            value = text
        return self.check(name, value)

    def _read(self, text: str) -> object:
        return text.strip()

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(value: object, info: ValidationInfo) -> object:
            return self.check(str(info.field_name), value)

        schema = core_schema.with_info_plain_validator_function(check)
        return core_schema.nullable_schema(schema) if type(None) in get_args(source) else schema


@dataclass(frozen=True, eq=False)
class Integer(Setting):
    """A whole number from ``low`` to ``high`` in steps of ``step``, which are ``rule`` in words behind "must be"."""

    low: int
    high: int
    step: int = 1
    rule: str = ""

    def check(self, name: str, value: Any) -> int:
        if (check_integer(name, value, self.low, self.high) - self.low) % self.step:
            raise UserError(f"{name} must be {self.rule}, not {value}.")
        return value

    def _read(self, text: str) -> int:
        return int(text)


@dataclass(frozen=True, eq=False)
class Number(Setting):
    """A number from ``low`` to ``high``."""

    low: float
    high: float

    def check(self, name: str, value: Any) -> float:
        return check_number(name, value, self.low, self.high)

    def _read(self, text: str) -> float:
        return float(text)


@dataclass(frozen=True, eq=False)
class Integers(Setting):
    """Whole numbers from ``low`` to ``high``, as many as ``lengths`` (fewest, most) says, such as ``example``."""

    low: int
    high: int
    lengths: tuple[int, int]
    example: tuple[int, ...]

    def check(self, name: str, value: Any) -> tuple[int, ...]:
        fewest, most = self.lengths
        if not isinstance(value, list | tuple) or not fewest <= len(value) <= most:
            example = ", ".join(map(str, self.example))
            raise UserError(f"{name} must list {fewest} to {most} whole numbers, such as {example}.")
        return tuple(check_integer(f"Each entry of {name}", entry, self.low, self.high) for entry in value)

    def _read(self, text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(",") if part.strip())


@dataclass(frozen=True, eq=False)
class Choice(Setting):
    """One of the names in ``table``, whose entries may have titles."""

    table: Collection[str]

    @property
    def choices(self) -> dict[str, str]:
        """Name -> title."""
        entries = dict(self.table) if isinstance(self.table, Mapping) else dict.fromkeys(self.table)
        return {
            name: name if isinstance(entry, str) else getattr(entry, "title", name) for name, entry in entries.items()
        }

    def check(self, name: str, value: Any) -> str:
        return check_choice(name, value, self.table)


@dataclass(frozen=True, eq=False)
class Choices(Choice):
    """Several of the names in ``table``, one at least."""

    def check(self, name: str, value: Any) -> Any:
        if not isinstance(value, list | tuple) or not value:
            raise UserError(f"{name} must list some of {', '.join(self.table)}.")
        return tuple(check_choice(f"Each entry of {name}", entry, self.table) for entry in value)


@dataclass(frozen=True, eq=False)
class Flag(Setting):
    """True or False."""

    def check(self, name: str, value: Any) -> bool:
        return check_flag(name, value)


@dataclass(frozen=True, eq=False)
class Text(Setting):
    """A text, ``what`` in words behind "must be"; lengths are in characters."""

    what: str
    min_length: int = 0
    max_length: int = 2**20

    def check(self, name: str, value: Any) -> str:
        if not isinstance(value, str) or not self.min_length <= len(value) <= self.max_length:
            raise UserError(f"{name} must be {self.what}.")
        return value


@dataclass(frozen=True, eq=False)
class Nested(Setting):
    """Settings of their own, or a dictionary with them, as files have it."""

    config_class: type

    def check(self, name: str, value: Any) -> object:
        return value if isinstance(value, self.config_class) else build_config(self.config_class, value)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def checked_dataclass(config_class: type[Class]) -> type[Class]:
    """Makes a class a frozen dataclass that checks its values, and raises UserError for the first that is refused."""
    checked: Any = pydantic.dataclasses.dataclass(config_class, frozen=True, config=ConfigDict(extra="forbid"))
    check = checked.__init__

    @wraps(check)
    def __init__(self, *args, **values) -> None:
        try:
            check(self, *args, **values)
        except ValidationError as error:
            raise UserError(_describe(error)) from None

    checked.__init__ = __init__
    return checked


def _describe(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    refusal = problem.get("ctx", {}).get("error")
    return str(refusal) if isinstance(refusal, UserError) else f"{problem['loc'][-1]}: {problem['msg']}."


class Stored:
    """A configuration that is kept in files."""

    def to_dict(self) -> dict:
        """A JSON-ready dictionary."""
        config: Any = self
        return {entry.name: to_plain(getattr(self, entry.name)) for entry in fields(config)}

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """The inverse of :meth:`to_dict`, for values from a file. Raises UserError: as for :func:`build_config`."""
        config_class: Any = cls
        return build_config(config_class, values)


def to_plain(value: Any) -> Any:
    """Settings, and tables and lists of them, as JSON has them."""
    if isinstance(value, Stored):
        return value.to_dict()
    if is_dataclass(value):
        return {entry.name: to_plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {name: to_plain(entry) for name, entry in value.items()}
    return [to_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def list_settings(config_class: "type[DataclassInstance]") -> dict[str, Setting]:
    """Name -> what is said of it and its default, in the order in which they are written."""
    return {
        entry.name: replace(note, default=entry.default)
        for entry in fields(config_class)
        for note in getattr(entry.type, "__metadata__", ())
        if isinstance(note, Setting)
    }


def build_config(config_class: type[Config], values: object) -> Config:
    """A configuration from a dictionary that may come from a file: unknown names are refused by name.

    Raises:
        UserError: Not a dictionary, an unknown name, or a value that the configuration itself refuses.
    """
    if not isinstance(values, dict):
        raise UserError(f"The settings must be a table of names and values, not {show_value(values)}.")
    known = [entry.name for entry in fields(config_class)]
    unknown = [str(name) for name in values if name not in known]
    if unknown:
        raise UserError(f"There is no setting {show_value(unknown[0])}; there are {', '.join(known)}.")
    return config_class(**values)
