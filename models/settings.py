"""Checks of single settings: every configuration refuses bad values with the same kind of sentence."""

from collections.abc import Collection
from dataclasses import fields
from typing import TypeVar

from analysis.errors import UserError

Config = TypeVar("Config")


def check_integer(name: str, value: object, low: int, high: int) -> None:
    """Raises UserError unless ``value`` is an int (not a bool) in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UserError(f"{name} must be a whole number from {low} to {high}, not {show_value(value)}.")


def check_number(name: str, value: object, low: float, high: float) -> None:
    """Raises UserError unless ``value`` is a finite int or float in [low, high]."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise UserError(f"{name} must be a number from {low:g} to {high:g}, not {show_value(value)}.")


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raises UserError unless ``value`` is one of ``choices``."""
    if not isinstance(value, str) or value not in choices:
        raise UserError(f"{name} must be one of {', '.join(choices)}, not {show_value(value)}.")


def check_flag(name: str, value: object) -> None:
    """Raises UserError unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise UserError(f"{name} must be true or false, not {show_value(value)}.")


def build_config(config_class: type[Config], values: object) -> Config:
    """A dataclass from a dictionary that may come from a file: unknown names are refused by name.

    Raises:
        UserError: Not a dictionary, an unknown name, or a value that the dataclass itself refuses.
    """
    if not isinstance(values, dict):
        raise UserError(f"The settings must be a table of names and values, not {show_value(values)}.")
    known = [field.name for field in fields(config_class)]
    unknown = [str(name) for name in values if name not in known]
    if unknown:
        raise UserError(f"There is no setting {show_value(unknown[0])}; there are {', '.join(known)}.")
    return config_class(**values)


def show_value(value: object) -> str:
    """The value as it is written in a sentence about it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
