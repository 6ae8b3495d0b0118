"""How methods are set: their parameters, the layer that is looked at, what is compared with."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from analysis.attribution.baselines import BASELINES
from analysis.attribution.method import GROUPS
from analysis.attribution.methods import METHODS
from analysis.errors import UserError

MEAN = "mean"
LAYER, BASELINE = "layer", "baseline"
BASELINE_TITLES = {name: baseline.title for name, baseline in BASELINES.items()}
LONGEST = 600
_PAIR = r"[\w.]{1,80}:[\w.+-]{1,80}"


@dataclass(frozen=True)
class Settings:
    """What is not as it is by itself.

    Attributes:
        options: Method -> its parameters.
        layer: Of the model in the sidebar; nothing for what suits a method.
        baseline: What methods that need a picture without evidence compare with.
    """

    options: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    layer: str = ""
    baseline: str = MEAN


def read_settings(text: str) -> Settings:
    """What the browser or a link says: ``occlusion.window:32,layer:conv_head,baseline:blur``.

    Raises:
        UserError: It cannot be read, there is no such method or parameter, or a number is out of range.
    """
    if len(text) > LONGEST or not re.fullmatch(rf"(?:{_PAIR}(?:,{_PAIR})*)?", text):
        raise UserError("The settings of the methods cannot be read; open the page anew.")
    pairs = dict(pair.split(":", 1) for pair in text.split(",") if pair)
    layer, baseline = pairs.pop(LAYER, ""), pairs.pop(BASELINE, MEAN)
    if baseline not in BASELINES:
        raise UserError(f"There is no baseline called {baseline}; there are {', '.join(BASELINES)}.")
    options: dict[str, dict[str, float]] = {}
    for name, value in pairs.items():
        method, _, parameter = name.partition(".")
        known = {each.name: each for each in METHODS[method].parameters} if method in METHODS else {}
        if parameter not in known:
            raise UserError(f"There is no setting called {name}.")
        options.setdefault(method, {})[parameter] = known[parameter].read(value)
    return Settings(options, layer, baseline)


def write_settings(settings: Settings) -> str:
    """As :func:`read_settings` reads it."""
    pairs = [
        f"{method}.{name}:{value:g}" for method, each in settings.options.items() for name, value in each.items()
    ]
    pairs += [f"{LAYER}:{settings.layer}"] if settings.layer else []
    pairs += [f"{BASELINE}:{settings.baseline}"] if settings.baseline != MEAN else []
    return ",".join(pairs)


def check_settings(text: str) -> str:
    """The text of a link. Raises ValueError: it cannot be read."""
    try:
        read_settings(text)
    except UserError as error:
        raise ValueError(text) from error
    return text


def describe_methods() -> str:
    """What the picker of methods is built from, JSON as text: groups, and methods with their parameters."""
    methods = [
        {
            "name": method.name,
            "title": method.title,
            "group": method.group,
            "about": method.explanation,
            "layer": method.needs_layer,
            "baseline": method.uses_baseline,
            "parameters": [
                {
                    "name": each.name,
                    "title": each.title,
                    "about": each.explanation,
                    "low": each.low,
                    "high": each.high,
                    "usual": each.default,
                    "whole": each.is_whole,
                }
                for each in method.parameters
            ],
        }
        for method in METHODS.values()
    ]
    return json.dumps({"groups": GROUPS, "methods": methods})


def describe_settings(settings: Settings, method: str) -> str:
    """What of the settings goes for a method, in words for a caption; nothing where all is as usual."""
    titles = {each.name: each.title for each in METHODS[method].parameters}
    said = [f"{titles[name][4:]} {value:g}" for name, value in settings.options.get(method, {}).items()]
    if METHODS[method].uses_baseline and settings.baseline != MEAN:
        said.append(f"compared with {BASELINE_TITLES[settings.baseline].lower()}")
    return ", ".join(said)
