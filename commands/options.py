"""Options made from the settings that they set: their names, types, defaults and words are those of the fields."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any, get_args

import typer

from models.settings import list_settings

KEYWORD = Parameter.KEYWORD_ONLY


class Options(tuple[Parameter, ...]):
    """The options that a command takes as one dictionary: what such a parameter is annotated with."""


def setting_options(config_class: Any, *names: str) -> Options:
    """An option for each setting that has words for the command line, or only for those that are named."""
    types = {entry.name: get_args(entry.type)[0] for entry in fields(config_class) if get_args(entry.type)}
    return Options(
        _build_option(name, types[name], setting.help, setting.default)
        for name, setting in list_settings(config_class).items()
        if setting.help is not None and (name in names or not names)
    )


def text_options(words: Mapping[str, str]) -> Options:
    """An option for each name, which is None or a text; ``words`` are what ``--help`` says of them."""
    return Options(_build_option(name, str | None, text, None) for name, text in words.items())


def takes_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command that gets all :class:`Options` of a parameter in one dictionary, by name."""
    groups, parameters = {}, []
    for parameter in signature(command).parameters.values():
        options = next((note for note in get_args(parameter.annotation) if isinstance(note, Options)), None)
        if options is None:
            parameters.append(parameter.replace(kind=KEYWORD))
        else:
            groups[parameter.name] = [option.name for option in options]
            parameters.extend(options)

    @wraps(command)
    def run(**given: Any) -> None:
        grouped = {name: {option: given.pop(option) for option in options} for name, options in groups.items()}
        command(**given, **grouped)

    vars(run)["__signature__"] = signature(command).replace(parameters=parameters)
    return run


def _build_option(name: str, kind: Any, words: str | None, default: object) -> Parameter:
    return Parameter(name, KEYWORD, annotation=Annotated[kind, typer.Option(help=words or None)], default=default)
