"""Options that are made from settings: named, typed and refused as the fields are."""

from dataclasses import fields
from inspect import signature
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from commands.options import setting_options, takes_options, text_options
from models.settings import Flag, Integer, Number, checked_dataclass
from models.training.config import TrainingConfig
from tests.sentences import refused


@checked_dataclass
class Point:
    x: Annotated[int, Integer(0, 9, help="Across.")] = 3
    rate: Annotated[float | None, Number(0, 1, help="")] = None
    wraps: Annotated[bool, Flag(help="Around.")] = True
    hidden: Annotated[int, Integer(0, 9)] = 5


@pytest.fixture
def command():
    """What the command was given, by its arguments."""
    app, given = typer.Typer(), {}

    @app.command()
    @takes_options
    def draw(*, name: str, point: Annotated[dict, setting_options(Point)], more: Annotated[dict, WORDS]):
        given.update(name=name, point=Point(**point), more=more)

    def run(*arguments):
        found = CliRunner().invoke(app, arguments, catch_exceptions=False)
        return found.exit_code, given

    return run


WORDS = text_options({"shape": "Any."})


def test_defaults_are_those_of_the_fields(command):
    assert command("a") == (0, {"name": "a", "point": Point(), "more": {"shape": None}})


def test_every_setting_with_words_is_an_option(command):
    code, given = command("a", "--x", "4", "--rate", "0.5", "--no-wraps", "--shape", "7")
    assert (code, given["point"], given["more"]) == (0, Point(4, 0.5, False), {"shape": "7"})
    assert command("a", "--hidden", "1")[0] == 2


def test_the_field_decides_what_is_read_and_what_is_refused(command):
    assert command("a", "--x", "many")[0] == 2
    with refused("x", 0, 9, 10, error=ValueError):
        command("a", "--x", "10")


def test_options_of_a_training_are_fields_of_it():
    names = {option.name for option in setting_options(TrainingConfig)}
    assert names < {field.name for field in fields(TrainingConfig)}
    assert [option.name for option in setting_options(TrainingConfig, "seed")] == ["seed"]
    assert "seed" in signature(_train()).parameters


def _train():
    from commands.training import train

    return train
